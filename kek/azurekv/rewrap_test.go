package azurekv_test

import (
	"crypto/rsa"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// rewrapStale does what a rewrap of everything does with a wrapping: it leaves
// what is current as it is.
func rewrapStale(t testing.TB, k *azurekv.KEK, wrapped []byte) []byte {
	t.Helper()
	if k.WrappedVersion(wrapped) == must(k.Check(t.Context()))(t).PrimaryVersion {
		return wrapped
	}
	return must(k.Rewrap(t.Context(), wrapped, binding(t)))(t)
}

// From unsigned to signed as Options.InsecureUnsigned says, under one and the same
// version of the key: unsigned wrappings are old.
func TestMoveFromUnsignedToSigned(t *testing.T) {
	e := newEnv(t, unsigned)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	wantCurrent(t, e.kek, wrapped)

	sign := must(e.srv.CreateKey(signID, azurekvtest.RSA2048))(t)
	e.options.SigningKey, e.options.VerifyingKeys = sign.VersionID(), []*rsa.PublicKey{sign.PublicKey()}
	both := e.open(t)
	wantStale(t, both, wrapped)
	wrapped = rewrapStale(t, both, wrapped)
	wantCurrent(t, both, wrapped)

	e.options.InsecureUnsigned = false
	wantOpens(t, e.open(t), wrapped, key)
}

// To a new version of the signing key, with the wrapping key as it is: what the
// old one signed is old, and the old one can be unpinned when all is rewrapped.
func TestMoveToANewSigningKey(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	ok(t, e.signing.Rotate())
	e.options.SigningKey = e.signing.VersionID()
	e.options.VerifyingKeys = append(e.options.VerifyingKeys, e.signing.PublicKey())
	k := e.open(t)
	wantStale(t, k, wrapped)
	wrapped = rewrapStale(t, k, wrapped)
	wantCurrent(t, k, wrapped)

	e.options.VerifyingKeys = e.options.VerifyingKeys[1:]
	wantOpens(t, e.open(t), wrapped, key)
}

// While nobody knows the signing key nothing passes for current.
func TestNothingIsCurrentWithoutTheSigningKey(t *testing.T) {
	e := newEnv(t, signed)
	wrapped := wrap(t, e.kek, secret())
	e.signing.Delete()
	wantCurrent(t, e.kek, wrapped) // it has seen it
	wantStale(t, e.open(t), wrapped)
}

// Key Vault may let a disabled key wrap. What comes of it can't be unwrapped, and
// must not take the place of what can.
func TestRewrapToADisabledVersion(t *testing.T) {
	for _, m := range modes {
		for _, lets := range []bool{false, true} {
			e := newEnv(t, m)
			key := secret()
			old := wrap(t, e.kek, key)
			ok(t, e.key.Rotate())
			e.key.Disable(e.key.Version())
			if lets {
				e.srv.LetDisabledWrap()
				wantClass(t, unwrapErr(t, e.kek, wrap(t, e.kek, key)), kek.ErrDenied)
			}
			rewrapped, err := e.kek.Rewrap(t.Context(), old, binding(t))
			if rewrapped != nil || err == nil {
				t.Errorf("%s, %v: %d bytes, error %v", m, lets, len(rewrapped), err)
			}
			wantClass(t, err, kek.ErrDenied)
			wantOpens(t, e.kek, old, key)
		}
	}
}
