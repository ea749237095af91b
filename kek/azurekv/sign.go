package azurekv

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// signatureLabel starts what is signed.
const signatureLabel = "vault/v1/azure-sig"

var (
	errNotPinned = errors.New("it was signed with a key that is not among VerifyingKeys")
	errSignature = errors.New("the signature is not of these bytes and this binding")
)

// digest is what is signed. All parts but the last have a fixed length.
//
//	SHA-256("vault/v1/azure-sig" ‖ binding ‖ wrapping key's hash ‖ signing key's hash ‖ body)
func digest(b kek.Binding, wrapping, signing [hashLen]byte, body []byte) [hashLen]byte {
	m := append([]byte(nil), signatureLabel...)
	m = b.AppendBytes(m)
	m = append(m, wrapping[:]...)
	m = append(m, signing[:]...)
	m = append(m, body...)
	return sha256.Sum256(m)
}

// verify checks the signature of a signed record. The record only chooses which
// of the pinned keys; it can't bring its own.
func (p pinnedKeys) verify(r record, b kek.Binding) error {
	key := p[r.signing]
	if key == nil {
		return errNotPinned
	}
	d := digest(b, r.wrapping, r.signing, r.body)
	if verifyPS256(key, d, r.signature) != nil {
		return errSignature
	}
	return nil
}

// verifyPS256 takes PS256 of RFC 7518 and nothing else: the salt is as long as
// the hash.
func verifyPS256(key *rsa.PublicKey, digest [hashLen]byte, signature []byte) error {
	return rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: hashLen, Hash: crypto.SHA256})
}

// signer signs with one version of one key.
type signer struct {
	client *azkeys.Client
	id     versionID
	hash   [hashLen]byte
	key    *rsa.PublicKey // one of the pinned ones
}

// newSigner asks for the signing key and finds it among the pinned ones.
func newSigner(ctx context.Context, client *azkeys.Client, id versionID, pinned pinnedKeys) (*signer, error) {
	got, err := getKey(ctx, client, id)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	h, err := got.hash()
	if err != nil {
		return nil, fmt.Errorf("%w: SigningKey: %w", ErrOptions, err)
	}
	if pinned[h] == nil {
		return nil, fmt.Errorf("%w: SigningKey's public key (SHA-256 %s…) is not among VerifyingKeys", ErrOptions, hex.EncodeToString(h[:8]))
	}
	return &signer{client: client, id: id, hash: h, key: pinned[h]}, nil
}

// sign has Key Vault sign the digest, and verifies what comes back.
func (s *signer) sign(ctx context.Context, digest [hashLen]byte) ([]byte, error) {
	resp, err := s.client.Sign(ctx, s.id.name, s.id.version, azkeys.SignParameters{
		Algorithm: to.Ptr(azkeys.SignatureAlgorithmPS256), Value: digest[:],
	}, nil)
	if err != nil {
		return nil, failed(ctx, opSign, err)
	}
	if err := s.id.match(resp.KID); err != nil {
		return nil, err
	}
	if verifyPS256(s.key, digest, resp.Result) != nil {
		return nil, fail(kek.ErrCorrupt, errors.New("the answer is not a signature of what was asked, with the key that was asked"))
	}
	return resp.Result, nil
}
