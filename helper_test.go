package vault_test

import (
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

var (
	orgA  = vault.KeyContext{"organization_id": "org_01"}
	orgB  = vault.KeyContext{"organization_id": "org_02"}
	userA = vault.KeyContext{"organization_id": "org_01", "user_id": "u_1"}
)

// setup is a way to run a vault: what must hold for one must hold for all.
type setup struct {
	name string

	// stored says whether there is a store, and self whether new envelopes carry
	// their key.
	stored, self bool

	config func(t testing.TB) vault.Config
}

func setups() []setup {
	memory := func(testing.TB) vault.Config {
		return vault.Config{KEK: memkek.New("test"), Store: memstore.New()}
	}
	return []setup{
		{"memory", true, false, memory},
		{"bbolt", true, false, func(t testing.TB) vault.Config {
			return vault.Config{KEK: memkek.New("test"), Store: openBolt(t, filepath.Join(t.TempDir(), "vault.db"))}
		}},
		{"self-contained", true, true, func(t testing.TB) vault.Config {
			c := memory(t)
			c.SelfContained = true
			return c
		}},
		{"no store", false, true, func(testing.TB) vault.Config {
			return vault.Config{KEK: memkek.New("test")}
		}},
		{"namespace", true, false, func(t testing.TB) vault.Config {
			c := memory(t)
			c.Namespace = "billing"
			return c
		}},
	}
}

// eachSetup runs f with every setup; with stored, only with those that have a
// store.
func eachSetup(t *testing.T, stored bool, f func(t *testing.T, s setup, c vault.Config)) {
	for _, s := range setups() {
		if stored && !s.stored {
			continue
		}
		t.Run(s.name, func(t *testing.T) { f(t, s, s.config(t)) })
	}
}

// open makes a vault that is closed when the test ends.
func open(t testing.TB, c vault.Config) *vault.Vault {
	t.Helper()
	v, err := vault.New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// peerOf is another process on the same KEK and the same store.
func peerOf(t testing.TB, v *vaulttest.Vault, change ...func(*vault.Config)) *vaulttest.Vault {
	t.Helper()
	k := v.KEK.Peer()
	p := vaulttest.New(t, append([]func(*vault.Config){func(c *vault.Config) { c.KEK, c.Store = k, v.Store }}, change...)...)
	p.KEK, p.Store = k, v.Store
	return p
}

// wantErr fails unless err matches want (nil: no error) and none of not.
func wantErr(t testing.TB, err, want error, not ...error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that matches %v", err, want)
	}
	for _, n := range not {
		if errors.Is(err, n) {
			t.Fatalf("error %v matches %v too", err, n)
		}
	}
}

// ok ends the test at an error.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must returns its value, or ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// sentinels are the errors that package vault documents.
var sentinels = map[string]error{
	"ErrInvalidContext": vault.ErrInvalidContext, "ErrInvalidName": vault.ErrInvalidName,
	"ErrInvalidOption": vault.ErrInvalidOption, "ErrInvalidCursor": vault.ErrInvalidCursor,
	"ErrTooLarge": vault.ErrTooLarge, "ErrNoStore": vault.ErrNoStore, "ErrClosed": vault.ErrClosed,
	"ErrEvent": vault.ErrEvent, "ErrNotFound": vault.ErrNotFound, "ErrExists": vault.ErrExists,
	"ErrVersionConflict": vault.ErrVersionConflict, "ErrMalformed": vault.ErrMalformed,
	"ErrWrongContext": vault.ErrWrongContext, "ErrDecrypt": vault.ErrDecrypt,
	"ErrKeyNotFound": vault.ErrKeyNotFound, "ErrKeyDisabled": vault.ErrKeyDisabled,
	"ErrKeyShredded": vault.ErrKeyShredded, "ErrKEKDenied": vault.ErrKEKDenied,
	"ErrKEKUnavailable": vault.ErrKEKUnavailable, "ErrKEKCorrupt": vault.ErrKEKCorrupt,
	"ErrPolicy": vault.ErrPolicy, "ErrStoreUnavailable": vault.ErrStoreUnavailable,
	"ErrStoreCorrupt": vault.ErrStoreCorrupt, "ErrNoSelfContained": vault.ErrNoSelfContained, "ErrRewrapIncomplete": vault.ErrRewrapIncomplete,
	"ErrShredPending": vault.ErrShredPending, "ErrReceipt": vault.ErrReceipt,
	"ErrReencryptIncomplete": vault.ErrReencryptIncomplete, "ErrKeyInUse": vault.ErrKeyInUse,
	"ErrNoContext": vault.ErrNoContext, "ErrContextConflict": vault.ErrContextConflict, "ErrNoVault": vault.ErrNoVault,
	"ErrNoLocation": vault.ErrNoLocation, "ErrInvalidLocation": vault.ErrInvalidLocation, "ErrWrongLocation": vault.ErrWrongLocation,
	"ErrWrongType": vault.ErrWrongType, "ErrUnsupportedType": vault.ErrUnsupportedType, "ErrNull": vault.ErrNull,
	"ErrPending": vault.ErrPending, "ErrRedacted": vault.ErrRedacted, "ErrInvalidIndex": vault.ErrInvalidIndex,
	"ErrNotIndexable": vault.ErrNotIndexable, "ErrModel": vault.ErrModel,
}

// classes returns the names of the sentinels that err matches, sorted.
func classes(err error) []string {
	var names []string
	for name, s := range sentinels {
		if errors.Is(err, s) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// wantClass fails unless err matches exactly these sentinels.
func wantClass(t testing.TB, err error, want ...string) {
	t.Helper()
	if got := classes(err); err == nil || !slices.Equal(got, want) {
		t.Fatalf("error %v has the classes %v, want %v", err, got, want)
	}
}

// hashIn is the hash of a context in a namespace.
func hashIn(t testing.TB, kc vault.KeyContext, namespace string) vault.ContextHash {
	t.Helper()
	h, err := keyctx.HashIn(kc, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// byTenant is a policy that gives each organisation its own KEKs, and no other
// context any.
type byTenant map[string]kek.Choice

func (p byTenant) Choose(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
	if c, ok := p[kc["organization_id"]]; ok {
		return c, nil
	}
	return kek.Choice{}, kek.ErrPolicy
}

func one(w kek.Wrapper) kek.Choice { return kek.Choice{KEKs: []kek.Wrapper{w}, Quorum: kek.AnyOf} }

// withPolicy gives a vault a policy.
func withPolicy(p kek.Policy) func(*vault.Config) {
	return func(c *vault.Config) { c.KEK, c.Policy = nil, p }
}

// openKEK is the worst KEK there can be: what it wraps is the key itself, and
// it looks at no binding. Tests learn context keys from what is stored.
type openKEK string

func (u openKEK) URI() string { return string(u) }

func (u openKEK) Wrap(_ context.Context, key []byte, _ kek.Binding) ([]byte, error) {
	return slices.Clone(key), nil
}

func (u openKEK) Unwrap(_ context.Context, wrapped []byte, _ kek.Binding) ([]byte, error) {
	return slices.Clone(wrapped), nil
}

// names returns the names of a list's objects.
func names(t testing.TB, list func(func(vault.Metadata, error) bool)) []string {
	t.Helper()
	got := []string{}
	for m, err := range list {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		got = append(got, m.Name)
	}
	return got
}

// ctxType is a context where context means a key context's.
type ctxType = context.Context

// textOf is the text form of bytes that may not be an envelope, which
// EncryptString would never make.
func textOf(b []byte) string { return "vlt1." + base64.RawURLEncoding.EncodeToString(b) }

// emailIndex is the blind index of most tests.
var emailIndex = vault.Index{Table: "users", Column: "email", Normaliser: "email@1"}
