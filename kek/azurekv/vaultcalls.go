package azurekv

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// kind is what the type of a key means for wrapping.
type kind int

const (
	kindOther kind = iota
	kindRSA
	kindSymmetric
)

// kindOf sorts JSON web key types.
func kindOf(t azkeys.KeyType) kind {
	switch t {
	case azkeys.KeyTypeRSA, azkeys.KeyTypeRSAHSM:
		return kindRSA
	case azkeys.KeyTypeOctHSM:
		return kindSymmetric
	}
	return kindOther
}

// vaultKey is what Key Vault says about one version of a key.
type vaultKey struct {
	version    string
	kind       kind
	kty        azkeys.KeyType
	public     *rsa.PublicKey // of kindRSA
	ops        []*azkeys.KeyOperation
	attributes azkeys.KeyAttributes
}

// hash returns the hash of an RSA key.
func (k vaultKey) hash() ([hashLen]byte, error) {
	if k.kind != kindRSA {
		return [hashLen]byte{}, fmt.Errorf("a key of type %.20q, want RSA", string(k.kty))
	}
	return hashOf(k.public)
}

// getKey asks for a version of a key, the newest if it names none. Its errors
// have a class.
func getKey(ctx context.Context, client *azkeys.Client, id versionID) (vaultKey, error) {
	if err := ctx.Err(); err != nil {
		return vaultKey{}, fail(kek.ErrUnavailable, err)
	}
	resp, err := client.GetKey(ctx, id.name, id.version, nil)
	if err != nil {
		return vaultKey{}, failed(ctx, opGet, err)
	}
	if resp.Key == nil || resp.Key.Kty == nil {
		return vaultKey{}, fail(kek.ErrUnavailable, errNoKID)
	}
	version, err := id.versionOf(resp.Key.KID)
	if err == nil && id.version != "" && version != id.version {
		err = fail(kek.ErrCorrupt, errAnotherKey)
	}
	if err != nil {
		return vaultKey{}, err
	}
	k := vaultKey{version: version, kty: *resp.Key.Kty, kind: kindOf(*resp.Key.Kty), ops: resp.Key.KeyOps}
	if resp.Attributes != nil {
		k.attributes = *resp.Attributes
	}
	if k.kind == kindRSA {
		if k.public, err = publicKey(resp.Key); err != nil {
			return vaultKey{}, fail(kek.ErrCorrupt, err)
		}
	}
	return k, nil
}

// wrapKey has the key's newest version encrypt payload.
func (k *KEK) wrapKey(ctx context.Context, alg azkeys.EncryptionAlgorithm, payload []byte) (version string, ciphertext []byte, err error) {
	resp, err := k.client.WrapKey(ctx, k.key.name, "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(alg), Value: payload}, nil)
	if err != nil {
		return "", nil, failed(ctx, opWrap, err)
	}
	version, err = k.key.versionOf(resp.KID)
	if err != nil {
		return "", nil, err
	}
	if !validCiphertext(alg, resp.Result) {
		return "", nil, fail(kek.ErrCorrupt, fmt.Errorf("the answer has a ciphertext of %d bytes", len(resp.Result)))
	}
	return version, resp.Result, nil
}

func validCiphertext(alg azkeys.EncryptionAlgorithm, c []byte) bool {
	if alg == azkeys.EncryptionAlgorithmA256KW {
		return len(c) == aesWrapLen
	}
	return slices.Contains(rsaLens, len(c))
}

// unwrapKey has the version that r names decrypt r's ciphertext to n bytes. The
// caller zeroes them.
func (k *KEK) unwrapKey(ctx context.Context, alg azkeys.EncryptionAlgorithm, r record, n int) ([]byte, error) {
	// A copy: the SDK keeps its argument as long as a retry may need it.
	params := azkeys.KeyOperationParameters{Algorithm: to.Ptr(alg), Value: bytes.Clone(r.ciphertext)}
	resp, err := k.client.UnwrapKey(ctx, k.key.name, r.version, params, nil)
	if err != nil {
		return nil, k.unwrapFailed(ctx, err)
	}
	if err := (versionID{k.key, r.version}).match(resp.KID); err != nil {
		clear(resp.Result)
		return nil, err
	}
	if len(resp.Result) != n {
		clear(resp.Result)
		return nil, fail(kek.ErrCorrupt, fmt.Errorf("it holds %d bytes, want %d", len(resp.Result), n))
	}
	return resp.Result, nil
}

// unwrapFailed sorts an error of unwrapKey. Versions of a key can't be deleted
// one by one, so a version that Key Vault doesn't know, of a key that it knows,
// was never one of this key, or of an earlier key of this name: the
// wrapped bytes are wrong. If the key is gone, it is denied.
func (k *KEK) unwrapFailed(ctx context.Context, err error) error {
	first := failed(ctx, opUnwrap, err)
	if !notFound(err) || ctx.Err() != nil {
		return first
	}
	switch _, again := getKey(ctx, k.client, versionID{keyID: k.key}); {
	case again == nil:
		return failedAs(kek.ErrCorrupt, err)
	case errors.Is(again, kek.ErrUnavailable):
		return again
	}
	return first
}
