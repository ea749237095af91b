package azurekv_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
	"github.com/embedvault/vault/keyctx"
)

const (
	host    = "contoso.vault.azure.net"
	hsmHost = "contoso.managedhsm.azure.net"
	rootID  = "https://" + host + "/keys/vault-root"
	hsmID   = "https://" + hsmHost + "/keys/vault-root"
	signID  = "https://" + host + "/keys/vault-sign"
)

// must returns a function that returns v, or fails the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mode is a way to wrap, and so a format.
type mode string

const (
	signed    mode = "signed"
	unsigned  mode = "unsigned"
	symmetric mode = "symmetric"
)

var modes = []mode{signed, unsigned, symmetric}

// env is a server with a key for a mode, and a KEK of it.
type env struct {
	mode    mode
	srv     *azurekvtest.Server
	key     *azurekvtest.Key
	signing *azurekvtest.Key // of signed
	client  *azkeys.Client
	options azurekv.Options
	kek     *azurekv.KEK
}

func newEnv(t testing.TB, m mode) *env {
	t.Helper()
	e := &env{mode: m, srv: azurekvtest.New(t)}
	e.key, e.client = makeKey(t, e.srv, m, "vault-root")
	e.options = e.optionsFor(t)
	e.kek = e.open(t)
	return e
}

// makeKey makes a key for a mode, and a client of its vault.
func makeKey(t testing.TB, srv *azurekvtest.Server, m mode, name string) (*azurekvtest.Key, *azkeys.Client) {
	t.Helper()
	h, keyType := host, azurekvtest.RSA2048
	if m == symmetric {
		h, keyType = hsmHost, azurekvtest.AES256
	}
	return must(srv.CreateKey("https://"+h+"/keys/"+name, keyType))(t), must(srv.Client(h))(t)
}

func (e *env) optionsFor(t testing.TB) azurekv.Options {
	t.Helper()
	switch e.mode {
	case signed:
		e.signing = must(e.srv.CreateKey(signID, azurekvtest.RSA2048))(t)
		return azurekv.Options{SigningKey: e.signing.VersionID(), VerifyingKeys: []*rsa.PublicKey{e.signing.PublicKey()}}
	case unsigned:
		return azurekv.Options{InsecureUnsigned: true}
	}
	return azurekv.Options{}
}

// open opens the key as another process would.
func (e *env) open(t testing.TB) *azurekv.KEK {
	t.Helper()
	return must(azurekv.New(t.Context(), e.client, e.key.ID(), e.options))(t)
}

func secret() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

func binding(t testing.TB) kek.Binding {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": "org_4711-very-secret"}
	return kek.Binding{ContextHash: must(kc.Hash())(t), Purpose: keyctx.PurposeData, Version: 1, Context: kc, KeyID: keyctx.KeyID{1, 2, 3}}
}

func wrap(t testing.TB, k kek.Wrapper, key []byte) []byte {
	t.Helper()
	return must(k.Wrap(t.Context(), key, binding(t)))(t)
}

func wantOpens(t testing.TB, k kek.Wrapper, wrapped, key []byte) {
	t.Helper()
	if got := must(k.Unwrap(t.Context(), wrapped, binding(t)))(t); !bytes.Equal(got, key) {
		t.Error("Unwrap returned another key")
	}
}

// wantError checks that err matches all of want.
func wantError(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("got error %v, want one that matches %v", err, w)
		}
	}
}

// wantClass checks that err matches class and no other.
func wantClass(t testing.TB, err, class error) {
	t.Helper()
	for _, c := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if got := errors.Is(err, c); got != (c == class) {
			t.Errorf("error %v: matches %q: %v, want only %q", err, c, got, class)
		}
	}
	if err != nil && len(err.Error()) > 8<<10 {
		t.Errorf("the error's text has %d bytes", len(err.Error()))
	}
}

// wantStale checks that wrapped can be told, without a call, from what Wrap makes
// now, as a rewrap of everything does.
func wantStale(t testing.TB, k *azurekv.KEK, wrapped []byte) {
	t.Helper()
	newest := must(k.Check(t.Context()))(t).PrimaryVersion
	if got := k.WrappedVersion(wrapped); got == "" || newest == "" || got == newest {
		t.Errorf("it is taken for current: %q, and what is wrapped now is %q", got, newest)
	}
}

// wantCurrent checks the opposite.
func wantCurrent(t testing.TB, k *azurekv.KEK, wrapped []byte) {
	t.Helper()
	newest := must(k.Check(t.Context()))(t).PrimaryVersion
	if got := k.WrappedVersion(wrapped); got != newest {
		t.Errorf("it is taken for old: %q, and what is wrapped now is %q", got, newest)
	}
}

// unwrapErr returns what Unwrap says.
func unwrapErr(t testing.TB, k kek.Wrapper, wrapped []byte) error {
	t.Helper()
	_, err := k.Unwrap(t.Context(), wrapped, binding(t))
	return err
}

// calls makes one call of each method of a KEK that asks Key Vault.
func calls(k *azurekv.KEK, wrapped []byte, b kek.Binding) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Wrap":   func(ctx context.Context) error { _, err := k.Wrap(ctx, secret(), b); return err },
		"Unwrap": func(ctx context.Context) error { _, err := k.Unwrap(ctx, wrapped, b); return err },
		"Rewrap": func(ctx context.Context) error { _, err := k.Rewrap(ctx, wrapped, b); return err },
		"Check":  func(ctx context.Context) error { _, err := k.Check(ctx); return err },
	}
}
