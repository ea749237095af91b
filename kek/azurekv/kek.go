package azurekv

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

var (
	_ kek.Rewrapper     = (*KEK)(nil)
	_ kek.Checker       = (*KEK)(nil)
	_ kek.VersionTeller = (*KEK)(nil)
)

// KEK is a key-encryption key in Azure Key Vault or a Managed HSM. It is safe for
// concurrent use and needs no closing.
type KEK struct {
	client   *azkeys.Client
	key      keyID
	kind     kind
	signer   *signer // nil if nothing is signed
	pinned   pinnedKeys
	unsigned bool // unsigned RSA wrappings are taken

	latest atomic.Pointer[wrappingKey] // the version that wrapped last; a cache
}

// wrappingKey is what a signed record says about the version that wrapped.
type wrappingKey struct {
	version string
	hash    [hashLen]byte
	size    int // of its modulus and ciphertexts, in bytes
}

// New returns the KEK that is the given key: "https://<vault>/keys/<name>",
// in lower case, without a version. client must be of that vault. New asks for
// the key once, and for the signing key, which takes the permission "get"; a key
// that exists and can't be used is no error (see [KEK.Check]). It keeps client
// and nothing else of what it is given.
//
// Errors match [ErrOptions], or one of the classes of kek.
func New(ctx context.Context, client *azkeys.Client, key string, o Options) (*KEK, error) {
	c, err := o.check(client, key)
	if err != nil {
		return nil, fmt.Errorf("azurekv: open: %w", err)
	}
	k := &KEK{client: client, key: c.key, pinned: c.pinned, unsigned: o.InsecureUnsigned}
	if err := k.open(ctx, o, c); err != nil {
		return nil, fmt.Errorf("azurekv: open %s: %w", c.key, err)
	}
	return k, nil
}

// open asks Key Vault what the key is, and checks the options against it.
func (k *KEK) open(ctx context.Context, o Options, c checked) error {
	got, err := getKey(ctx, k.client, versionID{keyID: c.key})
	if err != nil {
		return err
	}
	k.kind = got.kind
	signed := c.signing.version != ""
	switch {
	case got.kind == kindOther:
		return fmt.Errorf("%w: a key of type %.20q can't be a KEK; RSA, RSA-HSM and oct-HSM can", ErrOptions, string(got.kty))
	case got.kind == kindSymmetric && signed:
		return fmt.Errorf("%w: SigningKey is for RSA keys, and this is of type %.20q", ErrOptions, string(got.kty))
	case got.kind == kindSymmetric:
		return nil
	case !signed && !o.InsecureUnsigned:
		return fmt.Errorf("%w: an RSA key needs SigningKey and VerifyingKeys, or else InsecureUnsigned", ErrOptions)
	}
	if _, err := got.hash(); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if !signed {
		return nil
	}
	signingClient := o.SigningClient
	if signingClient == nil {
		signingClient = k.client
	}
	k.signer, err = newSigner(ctx, signingClient, c.signing, c.pinned)
	return err
}

// URI implements [kek.Wrapper]: "azure-kv://<vault>/keys/<name>".
func (k *KEK) URI() string { return k.key.uri() }

// Wrap implements [kek.Wrapper]. The key must have 32 bytes: others are refused
// as [kek.ErrCorrupt]. It makes one call, and a second to sign; and a third when
// the key has a new version.
//
// Should Key Vault let a disabled key wrap, Wrap succeeds and Unwrap of the
// result fails, which the keyring sees before it uses the key.
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
	switch {
	case k.kind == kindSymmetric:
		random := make([]byte, randomLen)
		_, _ = rand.Read(random) // never fails: it crashes the program instead
		return k.wrapBound(ctx, formatSymmetric, azkeys.EncryptionAlgorithmA256KW, random, key, b)
	case k.signer == nil:
		return k.wrapBound(ctx, formatUnsigned, azkeys.EncryptionAlgorithmRSAOAEP256, nil, key, b)
	}
	return k.wrapSigned(ctx, key, b)
}

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
	payload := append([]byte(nil), key...)
	defer clear(payload)
	version, ciphertext, err := k.wrapKey(ctx, azkeys.EncryptionAlgorithmRSAOAEP256, payload)
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
	body := signedBody(version, w.hash, k.signer.hash, ciphertext)
	signature, err := k.signer.sign(ctx, digest(b, w.hash, k.signer.hash, body))
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
// to the one that the options are for.
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("azurekv: rewrap of %d bytes with %s: %w", len(wrapped), k.key, err)
	}
	defer clear(key)
	rewrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("azurekv: rewrap with %s: %w", k.key, err)
	}
	return rewrapped, nil
}

// WrappedVersion implements [kek.VersionTeller]: the 32 hexadecimal digits of
// Key Vault's version.
func (k *KEK) WrappedVersion(wrapped []byte) string {
	r, err := parse(wrapped)
	if err != nil {
		return ""
	}
	return r.version
}

// Format prints the URI and nothing else, whatever the verb: the struct leads to
// a credential.
func (k *KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.URI()) }
