package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

// Encrypt encrypts plaintext for the key context kc, together with aad, and
// returns an envelope, which the caller keeps. aad, which may be nil, is not in
// it: Decrypt needs the same again. The envelope is 86 bytes longer than the
// plaintext, more if it carries its own key.
//
// The context's key is made if this is its first use, and it is stored before
// Encrypt returns. plaintext and aad are neither kept nor changed.
//
// Errors: ErrInvalidContext; ErrTooLarge beyond Config.MaxPlaintext; those of
// the key (ErrKeyDisabled, ErrKEKDenied, ErrKEKUnavailable, ErrKEKCorrupt,
// ErrPolicy; under a parent also ErrKeyNotFound if the parent's key is gone, ErrNoStore,
// ErrNoSelfContained); ErrClosed; the context's; the store's.
func (v *Vault) Encrypt(ctx context.Context, kc KeyContext, plaintext, aad []byte) ([]byte, error) {
	return v.AppendEncrypt(ctx, kc, nil, plaintext, aad)
}

// Decrypt returns what Encrypt was given for the same context and aad. An empty
// plaintext is returned as an empty slice that isn't nil.
//
// Errors: ErrInvalidContext; ErrMalformed if data isn't an envelope of Encrypt;
// ErrWrongContext if it is another context's (of a self-contained one it can't
// be told from a damaged key: the error then matches ErrKEKCorrupt as well);
// ErrDecrypt if it was tampered with or aad is another; ErrKeyNotFound; those of
// the key (ErrKeyDisabled, ErrKeyShredded, ErrKEKDenied, ErrKEKUnavailable,
// ErrKEKCorrupt, ErrPolicy); ErrClosed; the context's; the store's.
func (v *Vault) Decrypt(ctx context.Context, kc KeyContext, data, aad []byte) ([]byte, error) {
	return v.AppendDecrypt(ctx, kc, nil, data, aad)
}

// AppendEncrypt is [Vault.Encrypt] with the envelope appended to dst, whose
// spare capacity is used if there is enough. plaintext and aad may lie in it.
// Where it returns an error it returns no bytes.
func (v *Vault) AppendEncrypt(ctx context.Context, kc KeyContext, dst, plaintext, aad []byte) ([]byte, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	return v.encrypt(ctx, c, dst, plaintext, aad)
}

// AppendDecrypt is [Vault.Decrypt] with the plaintext appended to dst, whose
// spare capacity is used if there is enough, and may be overwritten also when it
// fails.
func (v *Vault) AppendDecrypt(ctx context.Context, kc KeyContext, dst, data, aad []byte) ([]byte, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	return v.decrypt(ctx, c, dst, data, aad)
}

// EncryptString is [Vault.Encrypt] with the envelope in its text form, "vlt1."
// and base64url, for TEXT columns and JSON.
func (v *Vault) EncryptString(ctx context.Context, kc KeyContext, plaintext string, aad []byte) (string, error) {
	c, err := v.context(kc)
	if err != nil {
		return "", err
	}
	return v.encryptString(ctx, c, plaintext, aad)
}

// DecryptString returns what EncryptString was given. Text that isn't exactly
// what EncryptString makes is ErrMalformed.
func (v *Vault) DecryptString(ctx context.Context, kc KeyContext, text string, aad []byte) (string, error) {
	c, err := v.context(kc)
	if err != nil {
		return "", err
	}
	return v.decryptString(ctx, c, text, aad)
}

// Inspect says what an envelope is, of any kind, or a message's or field's text form,
// without a key: version, kind, key ID, sizes and, of self-contained ones, the
// KEKs' URIs. Nothing of it is authenticated. Its errors match ErrMalformed.
func Inspect(data []byte) (Info, error) {
	if len(data) >= len(envelope.TextPrefix) && string(data[:len(envelope.TextPrefix)]) == envelope.TextPrefix {
		b, err := envelope.DecodeText(string(data))
		if err != nil {
			return Info{}, fmt.Errorf("vault: inspect: %w", err)
		}
		data = b
	} else if bytes.HasPrefix(data, []byte(sealedTextPrefix)) {
		b, err := decodeSealedText(string(data))
		if err != nil {
			return Info{}, fmt.Errorf("vault: inspect: %w", err)
		}
		data = b
	}
	info, err := envelope.Inspect(data)
	if err != nil {
		return Info{}, fmt.Errorf("vault: inspect: %w", err)
	}
	return info, nil
}

func (v *Vault) encrypt(ctx context.Context, c keyring.Context, dst, plaintext, aad []byte) ([]byte, error) {
	o := v.begin(ctx, MessageEncrypted, c)
	out, id, err := v.seal(ctx, c, envelope.KindMessage, v.cfg.MaxPlaintext, dst, plaintext, aad)
	if err != nil {
		err = fmt.Errorf("vault: encrypt: %w", err)
	}
	o.key(id)
	if err := o.endMessage(err); err != nil {
		return nil, err
	}
	return out, nil
}

func (v *Vault) decrypt(ctx context.Context, c keyring.Context, dst, data, aad []byte) ([]byte, error) {
	legacy := len(data) > 0 && data[0] != envelope.Version
	return v.decryptBytes(ctx, c, dst, data, aad, legacy)
}

// decryptBytes decrypts an envelope or, if foreign and Config.Legacy is set,
// what an older scheme made.
func (v *Vault) decryptBytes(ctx context.Context, c keyring.Context, dst, data, aad []byte, foreign bool) ([]byte, error) {
	o := v.begin(ctx, MessageDecrypted, c)
	var out []byte
	var id KeyID
	var err error
	if foreign && v.cfg.Legacy != nil {
		out, err = v.decryptLegacy(ctx, c, dst, data, aad)
	} else {
		out, id, err = v.open(ctx, c, envelope.KindMessage, dst, data, aad)
	}
	return v.decrypted(o, id, out, len(dst), err)
}

// decrypted ends the event of a decryption and returns its outcome. from is
// where the plaintext begins in out.
func (v *Vault) decrypted(o op, id KeyID, out []byte, from int, err error) ([]byte, error) {
	if err != nil {
		err = fmt.Errorf("vault: decrypt: %w", err)
	}
	o.key(id)
	if err := o.endMessage(err); err != nil {
		if out != nil {
			clear(out[from:])
		}
		return nil, err
	}
	return out, nil
}

func (v *Vault) encryptString(ctx context.Context, c keyring.Context, plaintext string, aad []byte) (string, error) {
	b, err := v.encrypt(ctx, c, nil, []byte(plaintext), aad)
	if err != nil {
		return "", err
	}
	text, err := envelope.EncodeText(b)
	if err != nil {
		return "", fmt.Errorf("vault: encrypt: %w", err)
	}
	return text, nil
}

func (v *Vault) decryptString(ctx context.Context, c keyring.Context, text string, aad []byte) (string, error) {
	if v.cfg.Legacy != nil && text != "" && !strings.HasPrefix(text, envelope.TextPrefix) {
		b, err := v.decryptBytes(ctx, c, nil, []byte(text), aad, true)
		return string(b), err
	}
	b, err := envelope.DecodeText(text)
	if err != nil {
		_, err = v.decrypted(v.begin(ctx, MessageDecrypted, c), KeyID{}, nil, 0, err)
		return "", err
	}
	b, err = v.decrypt(ctx, c, nil, b, aad)
	return string(b), err
}

func (v *Vault) decryptLegacy(ctx context.Context, c keyring.Context, dst, data, aad []byte) (out []byte, err error) {
	if v.closed.Load() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v.legacy.Add(1)
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("legacy: %w: panic of type %T", ErrDecrypt, p)
		}
	}()
	plaintext, err := v.cfg.Legacy(ctx, c.Pairs.Clone(), data, aad)
	if err != nil {
		return nil, fmt.Errorf("legacy: %w", err)
	}
	if dst == nil {
		dst = []byte{}
	}
	return append(dst, plaintext...), nil
}

var errTooLong = errors.New("longer than the limit")

// seal appends to dst an envelope of an API's kind, under the context's active
// key.
func (v *Vault) seal(ctx context.Context, c keyring.Context, kind envelope.Kind, limit int, dst, plaintext, aad []byte) ([]byte, KeyID, error) {
	if len(plaintext) > limit {
		return nil, KeyID{}, fmt.Errorf("%w: %d bytes are %w of %d", ErrTooLarge, len(plaintext), errTooLong, limit)
	}
	k, err := v.ring.Active(ctx, c, keyctx.PurposeData)
	if err != nil {
		return nil, KeyID{}, err
	}
	defer k.Release()
	var block []byte
	if v.cfg.SelfContained || v.cfg.Store == nil {
		// A key that an envelope once brought has a block, too: that alone makes
		// nothing self-contained.
		if block, kind = k.Block(), kind.Self(); block == nil {
			return nil, k.ID(), fmt.Errorf("%w: context %s: encrypt with a vault whose SelfContained isn't set", ErrNoSelfContained, c.Hash.Short())
		}
	}
	out, err := k.Seal(dst, kind, block, plaintext, aad)
	return out, k.ID(), err
}

// open appends to dst what an envelope of an API's kind holds. It returns the
// ID of the key that the envelope names also if it fails.
func (v *Vault) open(ctx context.Context, c keyring.Context, kind envelope.Kind, dst, data, aad []byte) ([]byte, KeyID, error) {
	e, err := envelope.Parse(data)
	if err != nil {
		return nil, KeyID{}, err
	}
	if e.Kind.Reference() != kind {
		return nil, KeyID{}, fmt.Errorf("%w: it is a %v", ErrMalformed, e.Kind)
	}
	k, err := v.keyOf(ctx, c, e)
	if err != nil {
		return nil, e.KeyID, err
	}
	defer k.Release()
	out, err := k.Open(dst, e, aad)
	return out, e.KeyID, err
}

// keyOf returns the key that an envelope names or carries, for the caller to release.
func (v *Vault) keyOf(ctx context.Context, c keyring.Context, e envelope.Envelope) (*keyring.Key, error) {
	if e.Block == nil {
		return v.ring.ByID(ctx, c, keyctx.PurposeData, e.KeyID)
	}
	return v.ring.FromBlock(ctx, c, e.KeyID, e.Block)
}
