package azurekv

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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
	pinned pinnedKeys
	found  atomic.Pointer[signingKey] // nil until Key Vault was asked
}

// signingKey is the public key of a signer.
type signingKey struct {
	hash [hashLen]byte
	key  *rsa.PublicKey // one of the pinned ones
}

// signerPatience is for how long New waits for the signing key's vault.
const signerPatience = 5 * time.Second

// try looks for the signing key. That it isn't among the pinned ones is an error
// of the options; that it can't be had now is none, since nothing but wrapping
// needs it: [signer.public] asks again.
func (s *signer) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, signerPatience)
	defer cancel()
	got, err := getKey(ctx, s.client, s.id)
	if err != nil {
		return nil
	}
	if _, err := s.among(got); err != nil {
		return fmt.Errorf("%w: SigningKey: %w", ErrOptions, err)
	}
	return nil
}

// public returns the signing key's public key. Key Vault is asked until it has
// answered once: a version doesn't change.
func (s *signer) public(ctx context.Context) (*signingKey, error) {
	if found := s.found.Load(); found != nil {
		return found, nil
	}
	got, err := getKey(ctx, s.client, s.id)
	if err != nil {
		return nil, err
	}
	found, err := s.among(got)
	if err != nil {
		return nil, fail(kek.ErrDenied, err)
	}
	return found, nil
}

// among finds the key that Key Vault has among the pinned ones.
func (s *signer) among(got vaultKey) (*signingKey, error) {
	h, err := got.hash()
	if err != nil {
		return nil, err
	}
	if s.pinned[h] == nil {
		return nil, fmt.Errorf("the public key (SHA-256 %x…) is not among VerifyingKeys", h[:8])
	}
	found := &signingKey{hash: h, key: s.pinned[h]}
	s.found.Store(found)
	return found, nil
}

// sign has Key Vault sign the digest, and verifies what comes back.
func (s *signer) sign(ctx context.Context, by *signingKey, digest [hashLen]byte) ([]byte, error) {
	resp, err := await(ctx, func() (azkeys.SignResponse, error) {
		return s.client.Sign(ctx, s.id.name, s.id.version, azkeys.SignParameters{
			Algorithm: to.Ptr(azkeys.SignatureAlgorithmPS256), Value: digest[:],
		}, nil)
	}, nil)
	if err != nil {
		return nil, failed(ctx, call{opSign, s.id.keyID}, err)
	}
	if err := s.id.match(resp.KID); err != nil {
		return nil, err
	}
	if verifyPS256(by.key, digest, resp.Result) != nil {
		return nil, fail(kek.ErrCorrupt, errors.New("the answer is not a signature of what was asked, with the key that was asked"))
	}
	return resp.Result, nil
}
