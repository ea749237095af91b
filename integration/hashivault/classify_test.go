package hashivault_test

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/keyctx"
	"github.com/hashicorp/vault/api"
)

// scenario is something that happens to a server, a key or a token, and the
// class that the driver's errors then have.
type scenario struct {
	name   string
	happen func(t *testing.T, w world, c *api.Client)
	class  error
}

var scenarios = []scenario{
	{"key deleted", func(t *testing.T, w world, _ *api.Client) { deleteKey(t, w) }, kek.ErrDenied},
	{"key deleted, root token", func(t *testing.T, w world, c *api.Client) {
		deleteKey(t, w)
		c.SetToken(w.rootToken())
	}, kek.ErrDenied},
	{"mount gone", func(t *testing.T, w world, _ *api.Client) { w.unmount(t, "transit") }, kek.ErrDenied},
	{"mount gone, root token", func(t *testing.T, w world, c *api.Client) {
		w.unmount(t, "transit")
		c.SetToken(w.rootToken())
	}, kek.ErrDenied},
	{"no permission", func(t *testing.T, w world, _ *api.Client) { w.policy(t, "app") }, kek.ErrDenied},
	{"denied outright", func(t *testing.T, w world, _ *api.Client) { w.policy(t, "app", "transit/* deny") }, kek.ErrDenied},
	{"no permission, token without default policy", func(t *testing.T, w world, c *api.Client) {
		w.policy(t, "app")
		c.SetToken(w.token(t, time.Hour, true, "app"))
	}, kek.ErrDenied},
	{"token expired", func(t *testing.T, w world, c *api.Client) {
		c.SetToken(w.token(t, time.Second, false, "app"))
		time.Sleep(1100 * time.Millisecond)
	}, kek.ErrUnavailable},
	{"token revoked", func(t *testing.T, w world, c *api.Client) { w.revoke(t, c.Token()) }, kek.ErrUnavailable},
	{"no token", func(_ *testing.T, _ world, c *api.Client) { c.ClearToken() }, kek.ErrUnavailable},
	{"a token that never was", func(_ *testing.T, _ world, c *api.Client) { c.SetToken("hvs.nobody") }, kek.ErrUnavailable},
	{"sealed", func(t *testing.T, w world, _ *api.Client) { w.seal(t) }, kek.ErrUnavailable},
	{"throttled", func(t *testing.T, w world, _ *api.Client) { w.throttle(t) }, kek.ErrUnavailable},
}

// TestClassify plays every scenario on the real server and on ours, with a
// derived and a plain key: the class of each method's error is as it should be,
// and its text is the same on both.
func TestClassify(t *testing.T) {
	for _, s := range scenarios {
		for _, derived := range []bool{true, false} {
			t.Run(s.name, func(t *testing.T) {
				texts := map[string]map[string]string{}
				for name, w := range worlds(t) {
					texts[name] = playScenario(t, w, s, derived)
				}
				for op, want := range texts["real"] {
					if got := texts["ours"][op]; got != want {
						t.Errorf("%s:\nreal %s\nours %s", op, want, got)
					}
				}
			})
		}
	}
}

// playScenario returns the text of each method's error.
func playScenario(t *testing.T, w world, s scenario, derived bool) map[string]string {
	t.Helper()
	k, client := newKEK(t, w, derived)
	key, b := newKey(), binding("org")
	wrapped, err := k.Wrap(t.Context(), key, b)
	ok(t, err)
	s.happen(t, w, client)
	texts := map[string]string{}
	for op, call := range operations(k, key, wrapped, b) {
		err := call(t.Context())
		wantClass(t, op, err, s.class)
		texts[op] = strings.ReplaceAll(err.Error(), strings.TrimPrefix(client.Address(), "http://"), "HOST")
	}
	return texts
}

// TestClassifyWrapped is what can be wrong with a wrapped key.
func TestClassifyWrapped(t *testing.T) {
	for name, w := range worlds(t) {
		for _, derived := range []bool{true, false} {
			k, _ := newKEK(t, w, derived)
			b := binding("org")
			old, err := k.Wrap(t.Context(), newKey(), b)
			ok(t, err)
			w.write(t, "transit/keys/root/rotate", nil)
			fresh, err := k.Wrap(t.Context(), newKey(), b)
			ok(t, err)
			tooNew := append([]byte(nil), old...)
			tooNew[4] = 9
			for _, c := range []struct {
				what    string
				wrapped []byte
				b       kek.Binding
				class   error
			}{
				{"another binding", old, binding("another"), kek.ErrCorrupt},
				{"a version that is not yet", tooNew, b, kek.ErrCorrupt},
				{"the other version", append(append([]byte(nil), old[:4]...), append([]byte{2}, old[5:]...)...), b, kek.ErrCorrupt},
			} {
				for op, call := range opening(k, c.wrapped, c.b) {
					wantClass(t, name+": "+c.what+": "+op, call(t.Context()), c.class)
				}
			}
			w.write(t, "transit/keys/root/config", map[string]any{"min_decryption_version": 2})
			for op, call := range opening(k, old, b) {
				wantClass(t, name+": retired: "+op, call(t.Context()), kek.ErrDenied)
			}
			for op, call := range opening(k, fresh, b) {
				if err := call(t.Context()); err != nil {
					t.Errorf("%s: %s: %v", name, op, err)
				}
			}
			if name == "real" {
				w.write(t, "transit/keys/root/config", map[string]any{"min_encryption_version": 2})
				w.write(t, "transit/keys/root/trim", map[string]any{"min_available_version": 2})
				for op, call := range opening(k, old, b) {
					wantClass(t, name+": trimmed: "+op, call(t.Context()), kek.ErrDenied)
				}
			}
			deleteKey(t, w)
			w.write(t, "transit/keys/root", map[string]any{"derived": derived})
			for op, call := range opening(k, old, b) {
				wantClass(t, name+": recreated: "+op, call(t.Context()), kek.ErrCorrupt)
			}
			deleteKey(t, w)
		}
	}
}

// newKEK makes the key "root" and returns the KEK that it is, for a token that
// has the documented policy.
func newKEK(t testing.TB, w world, derived bool) (*hashivault.KEK, *api.Client) {
	t.Helper()
	w.write(t, "transit/keys/root", map[string]any{"derived": derived})
	w.policy(t, "app", keyPolicy("transit", "root")...)
	client := w.client(w.token(t, time.Hour, false, "app"))
	k, err := hashivault.New(t.Context(), client, "root", hashivault.Options{})
	ok(t, err)
	return k, client
}

func deleteKey(t testing.TB, w world) {
	t.Helper()
	w.write(t, "transit/keys/root/config", map[string]any{"deletion_allowed": true})
	w.remove(t, "transit/keys/root")
}

type call = func(context.Context) error

func opening(k *hashivault.KEK, wrapped []byte, b kek.Binding) map[string]call {
	items := []kek.BatchItem{{Wrapped: wrapped, Binding: b}}
	return map[string]call{
		"Unwrap":      func(ctx context.Context) error { _, err := k.Unwrap(ctx, wrapped, b); return err },
		"Rewrap":      func(ctx context.Context) error { _, err := k.Rewrap(ctx, wrapped, b); return err },
		"UnwrapBatch": func(ctx context.Context) error { return k.UnwrapBatch(ctx, items)[0].Err },
		"RewrapBatch": func(ctx context.Context) error { return k.RewrapBatch(ctx, items)[0].Err },
	}
}

func operations(k *hashivault.KEK, key, wrapped []byte, b kek.Binding) map[string]call {
	all := opening(k, wrapped, b)
	all["Wrap"] = func(ctx context.Context) error { _, err := k.Wrap(ctx, key, b); return err }
	all["Check"] = func(ctx context.Context) error { _, err := k.Check(ctx); return err }
	return all
}

func wantClass(t testing.TB, what string, err, class error) {
	t.Helper()
	for _, c := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if errors.Is(err, c) != (c == class) {
			t.Errorf("%s: got error %.300v, want one that matches %v alone", what, err, class)
			return
		}
	}
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}

func binding(org string) kek.Binding {
	kc := keyctx.KeyContext{"organization_id": org}
	hash, err := kc.Hash()
	if err != nil {
		panic(err)
	}
	return kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
}
