package vault_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// listHook runs f before keys are listed for the first time.
type listHook struct {
	storage.Store
	f func()
}

func (s *listHook) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	if f := s.f; f != nil {
		s.f = nil
		f()
	}
	return s.Store.ListKeys(ctx, q)
}

// What was disabled for its own reason within a waiting period stays disabled when the
// shredding is cancelled, whichever came first.
func TestDisableOutlivesACancelledShred(t *testing.T) {
	for _, race := range []bool{false, true} {
		k, s := memkek.New("test"), memstore.New()
		hs := &listHook{Store: s}
		v := open(t, vault.Config{KEK: k, Store: hs, NoBackground: true})
		w := open(t, vault.Config{KEK: k, Store: s, NoBackground: true})
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("secret"), nil))(t)
		var r vault.ShredReceipt
		shred := func() { r = must(w.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour}))(t) }
		if race {
			hs.f = shred // Disable has looked for pending shreddings, and not for keys
		} else {
			shred()
		}
		wantCount(t, 1)(v.Disable(t.Context(), orgA))
		wantCount(t, 0)(v.Disable(t.Context(), orgA))
		ok(t, v.CancelShred(t.Context(), r.ID))
		if _, err := v.Decrypt(t.Context(), orgA, sealed, nil); !errors.Is(err, vault.ErrKeyDisabled) {
			t.Errorf("race %v: %v", race, err)
		}
		wantCount(t, 1)(v.Enable(t.Context(), orgA))
		must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
	}
}

// A shredding begins to wait while its keys are being enabled: they are disabled when
// both are done, and what a cancellation then gives back is all of them.
func TestEnableRacesAShred(t *testing.T) {
	k, s := memkek.New("test"), memstore.New()
	v := open(t, vault.Config{KEK: k, Store: s, NoBackground: true})
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("secret"), nil))(t)
	var r vault.ShredReceipt
	w := open(t, vault.Config{KEK: k, Store: &listHook{Store: s, f: func() {
		r = must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour}))(t)
	}}, NoBackground: true})
	if _, err := w.Enable(t.Context(), orgA); !errors.Is(err, vault.ErrShredPending) {
		t.Errorf("enable: %v", err)
	}
	for _, p := range []*vault.Vault{v, w} {
		if _, err := p.Decrypt(t.Context(), orgA, sealed, nil); !errors.Is(err, vault.ErrKeyDisabled) {
			t.Errorf("in the waiting period: %v", err)
		}
	}
	ok(t, v.CancelShred(t.Context(), r.ID))
	must(w.Decrypt(t.Context(), orgA, sealed, nil))(t)
}

// What was disabled before a shredding began isn't enabled in its waiting period.
func TestEnableWhatAShredWants(t *testing.T) {
	v := open(t, vault.Config{KEK: memkek.New("test"), Store: memstore.New(), NoBackground: true})
	sealed := must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
	wantCount(t, 1)(v.Disable(t.Context(), orgA))
	r := must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour}))(t)
	if n, err := v.Enable(t.Context(), orgA); n != 0 || !errors.Is(err, vault.ErrShredPending) {
		t.Errorf("%d: %v", n, err)
	}
	ok(t, v.CancelShred(t.Context(), r.ID))
	if _, err := v.Decrypt(t.Context(), orgA, sealed, nil); !errors.Is(err, vault.ErrKeyDisabled) {
		t.Errorf("cancelled: %v", err)
	}
	wantCount(t, 1)(v.Enable(t.Context(), orgA))
	must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
}

// One note is damaged, or a newer program's: its own keys stay disabled, and all other
// customers' go on.
func TestOneUnreadableShred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		v := open(t, vault.Config{KEK: memkek.New("test"), Store: s, NoBackground: true, RotateAfter: -1})
		orgC := vault.KeyContext{"organization_id": "org_c"}
		narrow := vault.KeyContext{"organization_id": "org_01", "user_id": "u"}
		for _, kc := range []vault.KeyContext{orgA, orgB, orgC, userA} {
			must(v.Encrypt(t.Context(), kc, nil, nil))(t)
		}
		must(v.Encrypt(t.Context(), narrow, nil, nil))(t)
		rA := must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour}))(t)
		rB := must(v.Shred(t.Context(), orgB, vault.ShredOptions{After: time.Hour}))(t)
		must(v.Shred(t.Context(), orgC, vault.ShredOptions{After: time.Hour}))(t)
		for _, r := range must(s.ListSystem(t.Context(), "shred/", "", 100))(t) {
			if strings.Contains(string(r.Value), "org_01") {
				r.Value = []byte(`{"format":2}`)
				must(s.PutSystem(t.Context(), r))(t)
			}
		}
		wantPending := func(want int) {
			t.Helper()
			if p, err := v.PendingShreds(t.Context()); len(p) != want || !errors.Is(err, vault.ErrStoreCorrupt) {
				t.Errorf("pending: %v %v", p, err)
			}
		}
		wantPending(2)
		if n, err := v.Enable(t.Context(), vault.KeyContext{"organization_id": "other"}); n != 0 || err != nil {
			t.Errorf("enable another customer's: %d %v", n, err)
		}
		for _, kc := range []vault.KeyContext{orgA, narrow} {
			if n, err := v.Enable(t.Context(), kc); n != 0 || !errors.Is(err, vault.ErrShredPending) || !errors.Is(err, vault.ErrStoreCorrupt) {
				t.Errorf("enable its own: %d %v", n, err)
			}
		}
		if err := v.CancelShred(t.Context(), rA.ID); !errors.Is(err, vault.ErrStoreCorrupt) {
			t.Errorf("cancel the unreadable: %v", err)
		}
		ok(t, v.CancelShred(t.Context(), rB.ID))
		must(v.Encrypt(t.Context(), orgB, nil, nil))(t)
		time.Sleep(2 * time.Hour)
		done, err := v.RunShreds(t.Context())
		if len(done) != 1 || !errors.Is(err, vault.ErrStoreCorrupt) {
			t.Errorf("run: %v %v", done, err)
		}
		wantPending(0)
	})
}

// A second request with another waiting period, while the first disables its keys, is
// told that there is one; the same request again is taken up.
func TestShredWithAnotherPeriodWhileTheFirstBegins(t *testing.T) {
	k, s := memkek.New("test"), memstore.New()
	v := open(t, vault.Config{KEK: k, Store: s, NoBackground: true})
	must(v.Encrypt(t.Context(), orgA, []byte("secret"), nil))(t)
	hs := &hookStore{Store: s}
	w := open(t, vault.Config{KEK: k, Store: hs, NoBackground: true})
	first := vault.ShredOptions{After: time.Hour, Reason: "A"}
	hs.beforeUpdate = func(storage.KeyRecord) {
		hs.beforeUpdate = nil
		for _, o := range []vault.ShredOptions{{After: 365 * 24 * time.Hour, Reason: "A"}, {After: time.Hour, Reason: "B"}} {
			if r, err := v.Shred(t.Context(), orgA, o); !errors.Is(err, vault.ErrExists) {
				t.Errorf("%+v: %v %v", o, r, err)
			}
		}
		must(v.Shred(t.Context(), orgA, first))(t)
	}
	must(w.Shred(t.Context(), orgA, first))(t)
}
