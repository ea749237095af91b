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

// fits reports whether wrapped bytes of the format can be made with a key.
func (k vaultKey) fits(format byte) bool {
	if format == formatSymmetric {
		return k.kind == kindSymmetric
	}
	_, err := k.hash()
	return err == nil
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
	resp, err := await(ctx, func() (azkeys.GetKeyResponse, error) {
		return client.GetKey(ctx, id.name, id.version, nil)
	}, nil)
	if err != nil {
		return vaultKey{}, failed(ctx, call{opGet, id.keyID}, err)
	}
	return id.read(resp)
}

// read checks what Key Vault says about a version of a key.
func (id versionID) read(resp azkeys.GetKeyResponse) (vaultKey, error) {
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
	// A copy: the call may outlive this function, and the caller is about to zero
	// its own.
	value := bytes.Clone(payload)
	resp, err := await(ctx, func() (azkeys.WrapKeyResponse, error) {
		defer clear(value)
		return k.client.WrapKey(ctx, k.key.name, "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(alg), Value: value}, nil)
	}, nil)
	if err != nil {
		return "", nil, failed(ctx, call{opWrap, k.key}, err)
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
	// A copy, as in wrapKey: r is part of the caller's bytes.
	params := azkeys.KeyOperationParameters{Algorithm: to.Ptr(alg), Value: bytes.Clone(r.ciphertext)}
	resp, err := await(ctx, func() (azkeys.UnwrapKeyResponse, error) {
		return k.client.UnwrapKey(ctx, k.key.name, r.version, params, nil)
	}, func(late azkeys.UnwrapKeyResponse) { clear(late.Result) })
	if err != nil {
		return nil, k.unwrapFailed(ctx, r, err)
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
// was never one of this key, or of an earlier key of this name: the wrapped bytes
// are wrong. If the key is gone, it is denied; and so it is if the wrapped bytes
// are signed, since the signature proves that the version was this key's.
func (k *KEK) unwrapFailed(ctx context.Context, r record, err error) error {
	c := call{opUnwrap, k.key}
	first := failed(ctx, c, err)
	if r.format == formatSigned || !notFound(c, err) || ctx.Err() != nil {
		return first
	}
	switch _, again := getKey(ctx, k.client, versionID{keyID: k.key}); {
	case again == nil:
		return failedAs(kek.ErrCorrupt, c, err)
	case errors.Is(again, kek.ErrUnavailable):
		return again
	}
	return first
}
