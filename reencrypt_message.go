package vault

import (
	"bytes"
	"context"
	"fmt"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

// NeedsReencrypt reports whether an envelope that the application keeps, of the context
// kc, is sealed otherwise than Encrypt would now: under a superseded version of the key,
// or with a copy of its key that is wrapped in another way than the stored one. It takes
// messages, in either form, data keys and fields. Nothing is decrypted, but the
// envelope's key is loaded, so that an envelope that can't be opened is an error. A
// rotation by another process is known within Config.Cache.ActiveKeyTTL.
//
// Errors: ErrInvalidContext; ErrMalformed; ErrNoStore, since without a store there are no
// versions; those of Decrypt about the key.
func (v *Vault) NeedsReencrypt(ctx context.Context, kc KeyContext, data []byte) (bool, error) {
	c, err := v.context(kc)
	if err != nil {
		return false, err
	}
	needs, err := v.needsReencrypt(ctx, c, data)
	if err != nil {
		return false, fmt.Errorf("vault: needs re-encryption: %w", err)
	}
	return needs, nil
}

// Reencrypt returns an envelope of the same plaintext, context and aad under the
// context's active key, in the same form, text or binary. It takes messages, data keys
// and fields; the latter two have no aad. The caller stores it in place of data, and
// should do so only if data is still there: a writer may have been faster. The new
// envelope was opened again, and compared.
//
// Errors: ErrNoStore; those of Decrypt and Encrypt.
func (v *Vault) Reencrypt(ctx context.Context, kc KeyContext, data, aad []byte) ([]byte, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	return v.reencrypt(ctx, c, data, aad)
}

// reencryptable returns the binary form of an envelope that an application keeps, and
// its kind.
func (v *Vault) reencryptable(ctx context.Context, data []byte) (e envelope.Envelope, binary []byte, text bool, err error) {
	if err := v.ready(ctx); err != nil {
		return e, nil, false, err
	}
	if text = bytes.HasPrefix(data, []byte(envelope.TextPrefix)); text {
		if data, err = envelope.DecodeText(string(data)); err != nil {
			return e, nil, text, err
		}
	}
	if e, err = envelope.Parse(data); err != nil {
		return e, nil, text, err
	}
	switch kind := e.Kind.Reference(); {
	case kind == envelope.KindMessage, !text && (kind == envelope.KindDataKey || kind == envelope.KindField):
		return e, data, text, nil
	}
	return e, nil, text, fmt.Errorf("%w: it is a %v", ErrMalformed, e.Kind)
}

func (v *Vault) needsReencrypt(ctx context.Context, c keyring.Context, data []byte) (_ bool, err error) {
	defer v.trace(&ctx, "needs_reencrypt", &c).end(&err)
	if err := v.permit(ctx, AccessRequest{Operation: OpNeedsReencrypt, Context: c.Pairs}); err != nil {
		return false, err
	}
	e, _, _, err := v.reencryptable(ctx, data)
	if err != nil {
		return false, err
	}
	// Its own key first: only what is of this context must make the context a key.
	k, err := v.keyOf(ctx, c, e)
	if err != nil {
		return false, err
	}
	defer k.Release()
	active, err := v.ring.Active(ctx, c, keyctx.PurposeData)
	if err != nil {
		return false, err
	}
	defer active.Release()
	switch {
	case active.ID() != e.KeyID:
		return true, nil
	case e.Block == nil:
		return v.cfg.SelfContained, nil
	}
	return !v.cfg.SelfContained || !bytes.Equal(e.Block, active.Block()), nil
}

func (v *Vault) reencrypt(ctx context.Context, c keyring.Context, data, aad []byte) (_ []byte, err error) {
	defer v.trace(&ctx, "reencrypt", &c).end(&err)
	o := v.begin(ctx, MessageReencrypted, c)
	var e envelope.Envelope
	var out, binary []byte
	var text bool
	err = v.authorize(ctx, OpReencrypt, c)
	if err == nil {
		e, binary, text, err = v.reencryptable(ctx, data)
	}
	id := e.KeyID
	if err == nil {
		out, id, err = v.reseal(ctx, c, e.Kind.Reference(), binary, aad)
	}
	if err == nil && text {
		var s string
		s, err = envelope.EncodeText(out)
		out = []byte(s)
	}
	if err != nil {
		err = fmt.Errorf("vault: re-encrypt: %w", err)
	}
	o.key(id)
	if err := o.endMessage(err); err != nil {
		return nil, err
	}
	return out, nil
}

// reseal returns what an envelope of this kind holds, sealed anew under the context's
// active key, and opened again to see that it is the same: it is going to take the
// place of the only copy.
func (v *Vault) reseal(ctx context.Context, c keyring.Context, kind envelope.Kind, data, aad []byte) ([]byte, KeyID, error) {
	plain, old, err := v.open(ctx, c, kind, nil, data, aad)
	if err != nil {
		return nil, old, err
	}
	defer clear(plain)
	sealed, id, err := v.seal(ctx, c, kind, len(plain), nil, plain, aad)
	if err == nil && id == old {
		// Superseded by another process, and not noticed yet?
		var k *keyring.Key
		if k, err = v.ring.Reread(ctx, c, keyctx.PurposeData); err == nil {
			k.Release()
			sealed, id, err = v.seal(ctx, c, kind, len(plain), nil, plain, aad)
		}
	}
	if err != nil {
		return nil, old, err
	}
	again, _, err := v.open(ctx, c, kind, nil, sealed, aad)
	if err != nil {
		return nil, old, fmt.Errorf("checking what was re-encrypted: %w", err)
	}
	defer clear(again)
	if !bytes.Equal(again, plain) {
		return nil, old, fmt.Errorf("%w: checking what was re-encrypted: it is not what it was", ErrDecrypt)
	}
	return sealed, id, nil
}
