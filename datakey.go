package vault

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyring"
)

// DataKey is a key for the caller's own cryptography: a file format, a protocol,
// another library. Printing one shows no secret; printing a struct of yours that
// has one in an unexported field does, because package fmt can't ask it then.
type DataKey struct {
	// Key is 32 random bytes, never all zero in practice and never stored. Zero
	// it with clear when it is no longer needed.
	Key []byte `json:"-" xml:"-"`

	// Sealed is Key in an envelope, to be kept beside what Key encrypts.
	Sealed []byte
}

// Format prints no secret, whatever the verb.
func (k DataKey) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "vault.DataKey{Key: [REDACTED], Sealed: %d bytes}", len(k.Sealed))
}

// MarshalJSON refuses: a key in clear is not for documents. Marshal Sealed.
func (k DataKey) MarshalJSON() ([]byte, error) { return nil, errMarshalDataKey }

var errMarshalDataKey = fmt.Errorf("vault: a DataKey is not marshalled: marshal its Sealed")

// CreateDataKey makes a data key for the context. The errors are those of
// [Vault.Encrypt].
func (v *Vault) CreateDataKey(ctx context.Context, kc KeyContext) (DataKey, error) {
	c, err := v.context(kc)
	if err != nil {
		return DataKey{}, err
	}
	return v.createDataKey(ctx, c)
}

// DecryptDataKey returns the 32 bytes of a data key that was made, or rekeyed,
// for the context. The errors are those of [Vault.Decrypt].
func (v *Vault) DecryptDataKey(ctx context.Context, kc KeyContext, sealed []byte) ([]byte, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	return v.decryptDataKey(ctx, c, sealed)
}

// RekeyDataKey seals a data key of the context from anew for the context to, or
// for the same one under its active key. The bytes it encrypts need not be
// touched. What was sealed before still opens: rekeying revokes nothing. For another
// context it makes two events: dek.decrypted of from, and dek.rekeyed of to.
func (v *Vault) RekeyDataKey(ctx context.Context, from KeyContext, sealed []byte, to KeyContext) ([]byte, error) {
	source, err := v.context(from)
	if err != nil {
		return nil, err
	}
	target, err := v.context(to)
	if err != nil {
		return nil, err
	}
	return v.rekeyDataKey(ctx, source, sealed, target)
}

func (v *Vault) createDataKey(ctx context.Context, c keyring.Context) (_ DataKey, err error) {
	defer v.trace(&ctx, "create_data_key", &c).end(&err)
	o := v.begin(ctx, DEKCreated, c)
	if err := v.authorize(ctx, OpCreateDataKey, c); err != nil {
		return DataKey{}, o.end(fmt.Errorf("vault: create data key: %w", err))
	}
	key := make([]byte, envelope.KeySize)
	if _, err := rand.Read(key); err != nil { // never fails: crypto/rand crashes the program instead
		return DataKey{}, err
	}
	sealed, id, err := v.seal(ctx, c, envelope.KindDataKey, len(key), nil, key, nil)
	if err != nil {
		err = fmt.Errorf("vault: create data key: %w", err)
	}
	o.key(id)
	if err := o.end(err); err != nil {
		clear(key)
		return DataKey{}, err
	}
	return DataKey{Key: key, Sealed: sealed}, nil
}

func (v *Vault) decryptDataKey(ctx context.Context, c keyring.Context, sealed []byte) (_ []byte, err error) {
	defer v.trace(&ctx, "decrypt_data_key", &c).end(&err)
	o := v.begin(ctx, DEKDecrypted, c)
	if err := v.authorize(ctx, OpDecryptDataKey, c); err != nil {
		return nil, o.end(fmt.Errorf("vault: decrypt data key: %w", err))
	}
	key, id, err := v.open(ctx, c, envelope.KindDataKey, nil, sealed, nil)
	if err != nil {
		err = fmt.Errorf("vault: decrypt data key: %w", err)
	}
	o.key(id)
	if err := o.end(err); err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

func (v *Vault) rekeyDataKey(ctx context.Context, from keyring.Context, sealed []byte, to keyring.Context) (_ []byte, err error) {
	defer v.trace(&ctx, "rekey_data_key", &to).end(&err)
	if err := v.permitRekey(ctx, from, to); err != nil {
		return nil, err
	}
	o := v.begin(ctx, DEKRekeyed, to)
	key, id, err := v.openToRekey(ctx, from, sealed, to)
	defer clear(key)
	var out []byte
	if err == nil {
		if out, id, err = v.seal(ctx, to, envelope.KindDataKey, len(key), nil, key, nil); err != nil {
			err = fmt.Errorf("vault: rekey data key: %w", err)
		}
	}
	o.key(id)
	if err := o.end(err); err != nil {
		return nil, err
	}
	return out, nil
}

// openToRekey opens what is to be sealed for to. If that is another context, the one that
// it leaves gets an event too: whoever asks who had its data keys must find this.
func (v *Vault) openToRekey(ctx context.Context, from keyring.Context, sealed []byte, to keyring.Context) ([]byte, KeyID, error) {
	o := op{v: v, ctx: ctx}
	if from.Hash != to.Hash {
		o = v.begin(ctx, DEKDecrypted, from)
	}
	key, id, err := v.open(ctx, from, envelope.KindDataKey, nil, sealed, nil)
	if err != nil {
		err = fmt.Errorf("vault: rekey data key: %w", err)
	}
	o.key(id)
	if err := o.end(err); err != nil {
		clear(key)
		return nil, id, err
	}
	return key, id, nil
}

// permitRekey decides about both contexts: what comes out of one, and goes into the
// other. The event of a denial is about the one that is denied.
func (v *Vault) permitRekey(ctx context.Context, from, to keyring.Context) error {
	err := v.permit(ctx, AccessRequest{Operation: OpRekeyFrom, Context: from.Pairs})
	if err == nil {
		err = v.permit(ctx, AccessRequest{Operation: OpRekeyTo, Context: to.Pairs})
	}
	if err != nil {
		return fmt.Errorf("vault: rekey data key: %w", err)
	}
	return nil
}
