package azurekvtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
)

// Type is a type of key, with its size.
type Type string

// The types of keys. EC256 can do nothing here but be got.
const (
	RSA2048    Type = "RSA-2048"
	RSA3072    Type = "RSA-3072"
	RSA4096    Type = "RSA-4096"
	RSAHSM2048 Type = "RSA-HSM-2048" // like RSA2048, of another key type
	AES256     Type = "oct-HSM-256"  // for Managed HSMs
	EC256      Type = "EC-P-256"
)

// material is what one version of a key is made of: one of the three.
type material struct {
	rsa *rsa.PrivateKey
	aes []byte
	ec  *ecdsa.PrivateKey
	hsm bool // of rsa: the key type is RSA-HSM
}

var (
	errAlgorithm = errors.New("azurekvtest: not an algorithm of this key's")
	errDigest    = errors.New("azurekvtest: not a digest of 32 bytes")
)

// pool has the RSA keys of this process, made when they are first needed, because
// making one is slow. Every server begins anew with the first one, so that
// within a server all keys differ.
var pool struct {
	sync.Mutex
	keys map[int][]*rsa.PrivateKey
}

// pooled returns the i-th RSA key of a size.
func pooled(bits, i int) (*rsa.PrivateKey, error) {
	pool.Lock()
	defer pool.Unlock()
	if pool.keys == nil {
		pool.keys = map[int][]*rsa.PrivateKey{}
	}
	for len(pool.keys[bits]) <= i {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		pool.keys[bits] = append(pool.keys[bits], k)
	}
	return pool.keys[bits][i], nil
}

// newMaterial makes a key. It is called with s.mu held.
func (s *Server) newMaterial(t Type) (material, error) {
	switch t {
	case AES256:
		k := make([]byte, 32)
		_, _ = rand.Read(k) // never fails
		return material{aes: k}, nil
	case EC256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		return material{ec: k}, err
	}
	bits, ok := map[Type]int{RSA2048: 2048, RSA3072: 3072, RSA4096: 4096, RSAHSM2048: 2048}[t]
	if !ok {
		return material{}, fmt.Errorf("azurekvtest: no type of key: %.50q", string(t))
	}
	k, err := pooled(bits, s.made[bits])
	s.made[bits]++
	return material{rsa: k, hsm: t == RSAHSM2048}, err
}

// wrap, unwrap and sign are the three operations, by the names of algorithms
// of https://learn.microsoft.com/azure/key-vault/keys/about-keys-details
func (m material) wrap(alg string, value []byte) ([]byte, error) {
	switch {
	case m.rsa != nil && alg == "RSA-OAEP-256":
		return rsa.EncryptOAEP(sha256.New(), rand.Reader, &m.rsa.PublicKey, value, nil)
	case m.aes != nil && alg == "A256KW":
		return keyWrap(m.aes, value)
	}
	return nil, errAlgorithm
}

func (m material) unwrap(alg string, value []byte) ([]byte, error) {
	switch {
	case m.rsa != nil && alg == "RSA-OAEP-256":
		return rsa.DecryptOAEP(sha256.New(), nil, m.rsa, value, nil)
	case m.aes != nil && alg == "A256KW":
		return keyUnwrap(m.aes, value)
	}
	return nil, errAlgorithm
}

func (m material) sign(alg string, digest []byte) ([]byte, error) {
	switch {
	case len(digest) != sha256.Size:
		return nil, errDigest
	case m.rsa != nil && alg == "PS256":
		return rsa.SignPSS(rand.Reader, m.rsa, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case m.rsa != nil && alg == "RS256":
		return rsa.SignPKCS1v15(nil, m.rsa, crypto.SHA256, digest)
	}
	return nil, errAlgorithm
}
