package azurekv

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// Unwrap implements [kek.Wrapper]. It takes every format of this package, but
// for unsigned RSA wrappings, which take [Options.InsecureUnsigned]. A signature
// is verified before any call is made; bytes that don't parse, are
// of an unknown format, or were signed by nobody known, cost none.
func (k *KEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("azurekv: unwrap of %d bytes with %s: %w", len(wrapped), k.key, err)
	}
	return key, nil
}

func (k *KEK) unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(kek.ErrUnavailable, err)
	}
	r, err := parse(wrapped)
	if err != nil {
		return nil, fail(kek.ErrCorrupt, err)
	}
	switch r.format {
	case formatSymmetric:
		return k.unwrapBound(ctx, azkeys.EncryptionAlgorithmA256KW, r, randomLen, b)
	case formatUnsigned:
		// Without this anyone who has the public key could write records.
		if !k.unsigned {
			return nil, fail(kek.ErrCorrupt, errors.New("it is not signed, and Options.InsecureUnsigned is not set"))
		}
		return k.unwrapBound(ctx, azkeys.EncryptionAlgorithmRSAOAEP256, r, 0, b)
	}
	if err := k.pinned.verify(r, b); err != nil {
		return nil, fail(kek.ErrCorrupt, err)
	}
	return k.unwrapKey(ctx, azkeys.EncryptionAlgorithmRSAOAEP256, r, keyLen)
}

// unwrapBound opens a record that has the hash of the binding inside, after the
// key, which follows skip random bytes.
func (k *KEK) unwrapBound(ctx context.Context, alg azkeys.EncryptionAlgorithm, r record, skip int, b kek.Binding) ([]byte, error) {
	payload, err := k.unwrapKey(ctx, alg, r, skip+keyLen+hashLen)
	if err != nil {
		return nil, err
	}
	defer clear(payload)
	want := sha256.Sum256(b.AppendBytes(nil))
	if subtle.ConstantTimeCompare(payload[skip+keyLen:], want[:]) != 1 {
		return nil, fail(kek.ErrCorrupt, errors.New("it is bound to something else"))
	}
	return append([]byte(nil), payload[skip:skip+keyLen]...), nil
}

// Rewrap implements [kek.Rewrapper]. Key Vault has no such operation: the key is
// unwrapped and wrapped in this process, and zeroed. It also changes the format
// and the signing key to those that the options are for. What is now of another
// version is unwrapped once more before it is returned: see [KEK.Wrap] for why
// it might not unwrap.
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("azurekv: rewrap of %d bytes with %s: %w", len(wrapped), k.key, err)
	}
	defer clear(key)
	rewrapped, err := k.wrap(ctx, key, b)
	if err == nil {
		err = k.prove(ctx, rewrapped, wrapped, key, b)
	}
	if err != nil {
		return nil, fmt.Errorf("azurekv: rewrap with %s: %w", k.key, err)
	}
	return rewrapped, nil
}

// prove checks that rewrapped unwraps to key, unless it is of the version that
// has just unwrapped old.
func (k *KEK) prove(ctx context.Context, rewrapped, old, key []byte, b kek.Binding) error {
	if versionIn(rewrapped) == versionIn(old) {
		return nil
	}
	again, err := k.unwrap(ctx, rewrapped, b)
	if err != nil {
		return fmt.Errorf("what was rewrapped doesn't unwrap: %w", err)
	}
	defer clear(again)
	if subtle.ConstantTimeCompare(again, key) != 1 {
		return fail(kek.ErrCorrupt, errors.New("what was rewrapped unwraps to another key"))
	}
	return nil
}
