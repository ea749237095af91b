package hashivault_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/hashicorp/vault/api"
)

// New takes no key that can't be a KEK, and makes none.
func TestNewRefuses(t *testing.T) {
	allowAll := hashivaulttest.Policy{"transit/*": {"create", "read", "update"}}
	for _, c := range []struct {
		name    string
		options *hashivaulttest.KeyOptions // nil: there is no such key
		policy  hashivaulttest.Policy
		version hashivaulttest.Version
		class   error
	}{
		{"no such key", nil, allowAll, hashivaulttest.V1_13, kek.ErrDenied},
		{"may not read", &hashivaulttest.KeyOptions{}, hashivaulttest.Policy{"transit/encrypt/*": {"update"}}, hashivaulttest.V1_13, kek.ErrDenied},
		{"convergent", &hashivaulttest.KeyOptions{Derived: true, Convergent: true}, allowAll, hashivaulttest.V1_13, kek.ErrDenied},
		{"RSA", &hashivaulttest.KeyOptions{Type: "rsa-2048"}, allowAll, hashivaulttest.V1_13, kek.ErrDenied},
		{"a signing key", &hashivaulttest.KeyOptions{Type: "ed25519", Derived: true}, allowAll, hashivaulttest.V1_13, kek.ErrDenied},
		{"associated data ignored", &hashivaulttest.KeyOptions{}, allowAll, hashivaulttest.V1_12, kek.ErrDenied},
		{"may not encrypt", &hashivaulttest.KeyOptions{}, hashivaulttest.Policy{"transit/keys/*": {"read"}}, hashivaulttest.V1_13, kek.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := hashivaulttest.New(t)
			srv.Imitate(c.version)
			if c.options != nil {
				srv.CreateKey("root", *c.options)
			}
			srv.SetPolicy("p", c.policy)
			k, err := hashivault.New(t.Context(), srv.Client(srv.CreateToken(time.Hour, "p")), "root", hashivault.Options{})
			wantClass(t, "New", err, c.class)
			if k != nil || err == nil {
				t.Errorf("New returned %v, %v", k, err)
			}
			if c.options == nil && srv.Key("root").Exists() {
				t.Error("New made the key")
			}
		})
	}
}

// An old server that ignores associated data serves a derived key all the same.
func TestOldServerWithDerivedKey(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.Imitate(hashivaulttest.V1_11)
	f := setUpOn(t, srv, "root", hashivaulttest.KeyOptions{Derived: true})
	wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
	_, err := f.kek.Unwrap(t.Context(), wrapped, binding("another"))
	wantClass(t, "Unwrap with another binding", err, kek.ErrCorrupt)
}

// A server that ignores associated data only in encrypt, or only in decrypt, as
// a cluster of two versions might.
func TestServerThatHalfIgnoresAssociatedData(t *testing.T) {
	for _, op := range []string{"encrypt", "decrypt"} {
		srv := hashivaulttest.New(t)
		srv.CreateKey("root", hashivaulttest.KeyOptions{})
		config := srv.Client("").CloneConfig()
		config.HttpClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			srv.Imitate(hashivaulttest.V1_13)
			if strings.Contains(r.URL.Path, "/"+op+"/") {
				srv.Imitate(hashivaulttest.V1_12)
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		client.SetToken(srv.RootToken())
		_, err = hashivault.New(t.Context(), client, "root", hashivault.Options{})
		if op == "encrypt" { // nothing that was wrapped would unwrap
			wantClass(t, op, err, kek.ErrCorrupt)
		} else if err == nil { // it may be seen as the one or the other
			t.Errorf("%s: New succeeded", op)
		}
	}
}

// After New another node answers, of a Vault that ignores associated data: the
// cluster is being upgraded, or falls back. Nothing is wrapped there that would be
// bound to nothing, and the key isn't to blame.
func TestOlderNodeAfterNew(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{})
	key, b := newKey(), binding("org")
	bound := mustWrap(t, f.kek, key, b)
	for _, older := range []hashivaulttest.Version{hashivaulttest.V1_11, hashivaulttest.V1_12} {
		f.srv.Imitate(older)
		_, err := f.kek.Wrap(t.Context(), key, b)
		wantClass(t, "Wrap", err, kek.ErrUnavailable)
		f.srv.Imitate(hashivaulttest.V1_13)
		if _, err := f.kek.Unwrap(t.Context(), bound, b); err != nil {
			t.Error(err)
		}
	}
}

// In the middle of a rewrap: it unwraps at a new node and wraps at an old one,
// which answers what follows too, or doesn't.
func TestOlderNodeWhileRewrapping(t *testing.T) {
	for _, after := range []hashivaulttest.Version{hashivaulttest.V1_12, hashivaulttest.V1_13} {
		f := setUp(t, hashivaulttest.KeyOptions{})
		_, items := wrapMany(t, f, 3)
		items[0].Binding.Version++ // one that is bad, so that the next is tried
		f.srv.Rewrite(func(e hashivaulttest.Entry, status int, body []byte) (int, []byte) {
			switch {
			case strings.Contains(e.Path, "/decrypt/"):
				f.srv.Imitate(hashivaulttest.V1_12)
			case strings.Contains(e.Path, "/encrypt/"):
				f.srv.Imitate(after)
			}
			return status, body
		})
		results := f.kek.RewrapBatch(t.Context(), items)
		wantClass(t, "the bad one", results[0].Err, kek.ErrCorrupt)
		for _, r := range results[1:] {
			wantClass(t, "RewrapBatch", r.Err, kek.ErrUnavailable)
			if r.Bytes != nil {
				t.Error("bytes beside the error")
			}
		}
		f.srv.Imitate(hashivaulttest.V1_13)
		_, err := f.kek.Rewrap(t.Context(), items[1].Wrapped, items[1].Binding)
		wantClass(t, "Rewrap", err, kek.ErrUnavailable)
	}
}

// A derived key was made anew as a plain one, which ignores contexts: what is of
// its making and says that it is a derived key's is not rewrapped, for anybody.
func TestRewrapOfWhatIsBoundToNothing(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	f.key.Delete()
	other := setUpOn(t, f.srv, "root", hashivaulttest.KeyOptions{})
	secret, err := other.client.Logical().WriteWithContext(t.Context(), "transit/encrypt/root", map[string]any{
		"plaintext": base64.StdEncoding.EncodeToString(newKey()),
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Data["ciphertext"].(string), "vault:v1:"))
	if err != nil {
		t.Fatal(err)
	}
	loose := append([]byte{1, 0, 0, 0, 1}, raw...)
	for _, org := range []string{"a", "b"} {
		rewrapped, err := f.kek.Rewrap(t.Context(), loose, binding(org))
		wantClass(t, "Rewrap", err, kek.ErrDenied)
		r := f.kek.RewrapBatch(t.Context(), []kek.BatchItem{{Wrapped: loose, Binding: binding(org)}, {}})
		wantClass(t, "RewrapBatch", r[0].Err, kek.ErrDenied)
		wantClass(t, "RewrapBatch of nothing", r[1].Err, kek.ErrCorrupt)
		if rewrapped != nil || r[0].Bytes != nil {
			t.Error("bytes beside the error")
		}
	}
}

// A key that OpenBao's soft deletion took out of use is denied until it is back.
func TestSoftDeletedKey(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		f.key.SetSoftDeleted(true)
		for name, op := range operations(f.kek, key, wrapped, b) {
			if name != "Check" {
				wantClass(t, name, op(t.Context()), kek.ErrDenied)
			}
		}
		if status, err := f.kek.Check(t.Context()); err != nil || status.Usable || status.Reason == "" {
			t.Errorf("Check: %+v, %v", status, err)
		}
		_, err := hashivault.New(t.Context(), f.client, "root", hashivault.Options{})
		wantClass(t, "New", err, kek.ErrDenied)
		f.key.SetSoftDeleted(false)
		if _, err := f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
			t.Error(err)
		}
	})
}

// The key is deleted while the KEK is in use: wrapping never makes another,
// whatever the token may do.
func TestWrapNeverMakesAKey(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		f.client.SetToken(f.srv.RootToken())
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		f.key.Delete()
		for name, op := range operations(f.kek, key, wrapped, b) {
			wantClass(t, name, op(t.Context()), kek.ErrDenied)
		}
		if f.key.Exists() {
			t.Fatal("a key was made")
		}
	})
}

// Between the unwrap and the wrap of a rewrap of many.
func TestRewrapBatchNeverMakesAKey(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{})
	f.client.SetToken(f.srv.RootToken())
	b := binding("org")
	wrapped := mustWrap(t, f.kek, newKey(), b)
	f.srv.Rewrite(func(e hashivaulttest.Entry, status int, body []byte) (int, []byte) {
		if strings.HasPrefix(e.Path, "transit/decrypt/") {
			f.key.Delete()
		}
		return status, body
	})
	r := f.kek.RewrapBatch(t.Context(), []kek.BatchItem{{Wrapped: wrapped, Binding: b}})
	wantClass(t, "RewrapBatch", r[0].Err, kek.ErrDenied)
	if f.key.Exists() {
		t.Fatal("a key was made")
	}
}

// The key is deleted and made anew with the same name. What the old one wrapped
// is lost, and nobody takes it for something else; what the new one would not
// bind is not wrapped.
func TestRecreatedKey(t *testing.T) {
	for _, c := range []struct {
		name        string
		was, is     hashivaulttest.KeyOptions
		wrap, check bool // whether these still work
		unwrap      error
	}{
		{"derived, derived", hashivaulttest.KeyOptions{Derived: true}, hashivaulttest.KeyOptions{Derived: true}, true, true, kek.ErrCorrupt},
		{"plain, plain", hashivaulttest.KeyOptions{}, hashivaulttest.KeyOptions{}, true, true, kek.ErrCorrupt},
		{"derived, plain", hashivaulttest.KeyOptions{Derived: true}, hashivaulttest.KeyOptions{}, false, false, kek.ErrCorrupt},
		{"plain, derived", hashivaulttest.KeyOptions{}, hashivaulttest.KeyOptions{Derived: true}, false, false, kek.ErrDenied},
		{"derived, convergent", hashivaulttest.KeyOptions{Derived: true}, hashivaulttest.KeyOptions{Derived: true, Convergent: true}, false, false, kek.ErrCorrupt},
		{"plain, RSA", hashivaulttest.KeyOptions{}, hashivaulttest.KeyOptions{Type: "rsa-2048"}, false, false, kek.ErrDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := setUp(t, c.was)
			key, b := newKey(), binding("org")
			old := mustWrap(t, f.kek, key, b)
			f.key.Delete()
			f.srv.CreateKey("root", c.is)

			_, err := f.kek.Unwrap(t.Context(), old, b)
			wantClass(t, "Unwrap of an old one", err, c.unwrap)
			_, err = f.kek.Rewrap(t.Context(), old, b)
			wantClass(t, "Rewrap of an old one", err, c.unwrap)
			wrapped, err := f.kek.Wrap(t.Context(), key, b)
			if c.wrap && err != nil {
				t.Errorf("Wrap: %v", err)
			} else if !c.wrap {
				wantClass(t, "Wrap", err, kek.ErrDenied)
			}
			if status, err := f.kek.Check(t.Context()); err != nil || status.Usable != c.check || !c.check && status.Reason == "" {
				t.Errorf("Check: %+v, %v", status, err)
			}
			if c.is.Type != "" || c.is.Convergent {
				return
			}
			again := open(t, f.client, "root", hashivault.Options{})
			_, err = again.Unwrap(t.Context(), old, b)
			wantClass(t, "Unwrap of an old one by a new process", err, kek.ErrCorrupt)
			if c.wrap {
				if _, err := again.Unwrap(t.Context(), wrapped, b); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true, AutoRotate: 720 * time.Hour})
	f.key.Rotate()
	status, err := f.kek.Check(t.Context())
	if want := (kek.Status{Usable: true, PrimaryVersion: "2", Rotates: true}); err != nil || status != want {
		t.Errorf("got %+v, %v", status, err)
	}
	f = setUp(t, hashivaulttest.KeyOptions{})
	if status, err := f.kek.Check(t.Context()); err != nil || status.Rotates || status.PrimaryVersion != "1" {
		t.Errorf("got %+v, %v", status, err)
	}
	for answer, rotates := range map[string]bool{`0`: false, `"0s"`: false, `null`: false, `3600`: true, `"720h"`: true} {
		f.srv.Rewrite(func(_ hashivaulttest.Entry, status int, _ []byte) (int, []byte) {
			return status, []byte(`{"data":{"name":"root","type":"aes256-gcm96","latest_version":1,"auto_rotate_period":` + answer + `}}`)
		})
		if status, err := f.kek.Check(t.Context()); err != nil || status.Rotates != rotates {
			t.Errorf("%s: got %+v, %v", answer, status, err)
		}
	}
}

// With a plain key New proves that the server binds, and with a derived one the
// key's own property says so.
func TestWhatNewAsks(t *testing.T) {
	for derived, want := range map[bool][3]int{true: {1, 0, 0}, false: {1, 1, 1}} {
		f := setUp(t, hashivaulttest.KeyOptions{Derived: derived})
		if got := [3]int{f.srv.Calls("keys"), f.srv.Calls("encrypt"), f.srv.Calls("decrypt")}; got != want {
			t.Errorf("derived %v: New read, encrypted, decrypted %v times, want %v", derived, got, want)
		}
	}
}

// What a standby answers.
func TestRedirect(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		standby := hashivaulttest.New(t)
		standby.Redirect(f.srv.URL())
		if err := f.client.SetAddress(standby.URL()); err != nil {
			t.Fatal(err)
		}
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		for name, op := range operations(f.kek, key, wrapped, b) {
			if err := op(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		loop := hashivaulttest.New(t) // more than one hop isn't made
		standby.Redirect(loop.URL())
		loop.Redirect(f.srv.URL())
		_, err := f.kek.Unwrap(t.Context(), wrapped, b)
		wantClass(t, "two hops", err, kek.ErrUnavailable)
	})
}
