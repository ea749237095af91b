package azurekv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// wrappingKey is what a signed record says about the version that wrapped.
type wrappingKey struct {
	version string
	hash    [hashLen]byte
	size    int // of its modulus and ciphertexts, in bytes
}

// Wrap implements [kek.Wrapper]. The key must have 32 bytes: others are refused
// as [kek.ErrCorrupt]. It makes one call, and a second to sign; and a third when
// the key has a new version. A KEK without a way to wrap with the key, for want of
// [Options.SigningKey], is denied.
//
// Key Vault is reported to let a disabled key wrap
// (https://github.com/Azure/azure-sdk-for-python/issues/45342). Wrap then
// succeeds and Unwrap of the result is denied, which the keyring sees before it
// uses the key.
func (k *KEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	wrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("azurekv: wrap with %s: %w", k.key, err)
	}
	return wrapped, nil
}

func (k *KEK) wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(kek.ErrUnavailable, err)
	}
	if len(key) != keyLen {
		return nil, fail(kek.ErrCorrupt, fmt.Errorf("a key of %d bytes, want %d", len(key), keyLen))
	}
	switch k.writes {
	case formatSymmetric:
		random := make([]byte, randomLen)
		_, _ = rand.Read(random) // never fails: it crashes the program instead
		return k.wrapBound(ctx, formatSymmetric, azkeys.EncryptionAlgorithmA256KW, random, key, b)
	case formatUnsigned:
		return k.wrapBound(ctx, formatUnsigned, azkeys.EncryptionAlgorithmRSAOAEP256, nil, key, b)
	case formatSigned:
		return k.wrapSigned(ctx, key, b)
	}
	return nil, fail(kek.ErrDenied, errReadOnly)
}

var errReadOnly = errors.New("this KEK only reads: for a key that isn't symmetric it takes Options.SigningKey to wrap")

// wrapBound makes a record that has the hash of the binding inside.
func (k *KEK) wrapBound(ctx context.Context, format byte, alg azkeys.EncryptionAlgorithm, random, key []byte, b kek.Binding) ([]byte, error) {
	payload := bound(random, key, b.AppendBytes(nil))
	defer clear(payload)
	version, ciphertext, err := k.wrapKey(ctx, alg, payload)
	if err != nil {
		return nil, err
	}
	return append(appendHead(format, version), ciphertext...), nil
}

func (k *KEK) wrapSigned(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	by, err := k.signer.public(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", k.signer.id, err)
	}
	version, ciphertext, err := k.wrapKey(ctx, azkeys.EncryptionAlgorithmRSAOAEP256, key)
	if err != nil {
		return nil, err
	}
	w, err := k.wrappedBy(ctx, version)
	if err != nil {
		return nil, err
	}
	if len(ciphertext) != w.size {
		return nil, fail(kek.ErrCorrupt, fmt.Errorf("a ciphertext of %d bytes by a key of %d", len(ciphertext), w.size))
	}
	body := signedBody(version, w.hash, by.hash, ciphertext)
	signature, err := k.signer.sign(ctx, by, digest(b, w.hash, by.hash, body))
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.signer.id, err)
	}
	return append(body, signature...), nil
}

// wrappedBy returns what there is to say about the version that has just
// wrapped. Key Vault is asked once for each new version.
func (k *KEK) wrappedBy(ctx context.Context, version string) (*wrappingKey, error) {
	if w := k.latest.Load(); w != nil && w.version == version {
		return w, nil
	}
	got, err := getKey(ctx, k.client, versionID{k.key, version})
	if err != nil {
		return nil, err
	}
	h, err := got.hash()
	if err != nil {
		return nil, fail(kek.ErrCorrupt, err)
	}
	w := &wrappingKey{version: version, hash: h, size: got.public.Size()}
	k.latest.Store(w)
	return w, nil
}
