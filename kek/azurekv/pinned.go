package azurekv

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// maxExponent is the largest public exponent that crypto/rsa takes on every
// platform.
const maxExponent = 1<<31 - 1

// pinnedKeys are the verifying keys by the hash of their SubjectPublicKeyInfo.
type pinnedKeys map[[hashLen]byte]*rsa.PublicKey

// pin checks and copies the verifying keys.
func pin(keys []*rsa.PublicKey) (pinnedKeys, error) {
	pinned := make(pinnedKeys, len(keys))
	for i, k := range keys {
		if k == nil || k.N == nil {
			return nil, fmt.Errorf("%w: VerifyingKeys[%d] is nil", ErrOptions, i)
		}
		own := &rsa.PublicKey{N: new(big.Int).Set(k.N), E: k.E}
		h, err := hashOf(own)
		if err != nil {
			return nil, fmt.Errorf("%w: VerifyingKeys[%d]: %w", ErrOptions, i, err)
		}
		pinned[h] = own
	}
	return pinned, nil
}

// hashOf returns SHA-256 of the key's SubjectPublicKeyInfo in DER, if the key is
// of a kind that Key Vault has.
func hashOf(key *rsa.PublicKey) ([hashLen]byte, error) {
	if !slices.Contains([]int{2048, 3072, 4096}, key.N.BitLen()) {
		return [hashLen]byte{}, fmt.Errorf("an RSA key of %d bits, want 2048, 3072 or 4096", key.N.BitLen())
	}
	if key.E < 3 || key.E > maxExponent || key.E%2 == 0 {
		return [hashLen]byte{}, fmt.Errorf("an RSA key whose exponent is %d", key.E)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [hashLen]byte{}, err
	}
	return sha256.Sum256(der), nil
}

// publicKey returns the RSA public key in a JSON web key.
func publicKey(k *azkeys.JSONWebKey) (*rsa.PublicKey, error) {
	e := new(big.Int).SetBytes(k.E)
	if len(k.N) == 0 || !e.IsInt64() || e.Int64() > maxExponent {
		return nil, errors.New("the answer has no usable RSA public key")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(e.Int64())}, nil
}

// FetchVerifyingKey asks Key Vault for the public key of a signing key. key is
// its identifier, with a version or, for the newest one, without. id is the
// identifier with the version, for [Options.SigningKey]; pemKey is the public
// key, for [ParseVerifyingKeys]. o says only which hosts there are
// ([Options.HostSuffix]).
//
// Call it once, when you set the key up, and put what it returns into your
// configuration. Errors are those of [New].
func FetchVerifyingKey(ctx context.Context, client *azkeys.Client, key string, o Options) (id string, pemKey []byte, err error) {
	c, err := o.keyOf(client, key)
	if err != nil {
		return "", nil, fmt.Errorf("azurekv: fetch a verifying key: %w", err)
	}
	got, err := getKey(ctx, client, c)
	if err != nil {
		return "", nil, fmt.Errorf("azurekv: fetch the verifying key of %s: %w", c.keyID, err)
	}
	if _, err := got.hash(); err != nil {
		return "", nil, fmt.Errorf("azurekv: fetch the verifying key of %s: %w: %w", c.keyID, ErrOptions, err)
	}
	der, err := x509.MarshalPKIXPublicKey(got.public)
	if err != nil {
		return "", nil, fmt.Errorf("azurekv: fetch the verifying key of %s: %w", c.keyID, fail(kek.ErrCorrupt, err))
	}
	return versionID{c.keyID, got.version}.String(), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParseVerifyingKeys parses one or more public keys in PEM, for
// [Options.VerifyingKeys]. Anything else between or after them is refused, but
// for white space. Errors match [ErrOptions].
func ParseVerifyingKeys(pemKeys []byte) ([]*rsa.PublicKey, error) {
	var keys []*rsa.PublicKey
	for rest := bytes.TrimSpace(pemKeys); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, after, _ := bytes.Cut(rest, []byte(pemEnd))
		key, err := parsePEM(block)
		if err != nil {
			return nil, fmt.Errorf("azurekv: parse verifying keys: %w: key %d is %w", ErrOptions, len(keys)+1, err)
		}
		keys, rest = append(keys, key), after
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("azurekv: parse verifying keys: %w: there is none", ErrOptions)
	}
	return keys, nil
}

const (
	pemBegin = "-----BEGIN PUBLIC KEY-----"
	pemEnd   = "-----END PUBLIC KEY-----"
)

// parsePEM parses one block without its last line. It is cut out before, since
// [pem.Decode] skips what it can't read and takes the next block, and a key that
// is missing among the pinned ones would be missed much later.
func parsePEM(text []byte) (*rsa.PublicKey, error) {
	if !bytes.HasPrefix(text, []byte(pemBegin)) || bytes.Count(text, []byte("-----BEGIN")) != 1 {
		return nil, errors.New("not a PUBLIC KEY in PEM")
	}
	block, rest := pem.Decode(append(bytes.Clone(text), pemEnd...))
	if block == nil || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, errors.New("a damaged PUBLIC KEY in PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, errors.New("not an RSA public key")
	}
	return key, nil
}
