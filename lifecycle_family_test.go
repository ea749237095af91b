package vault_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// stopAfterParent ends a ctx once a wrapping key was written.
type stopAfterParent struct {
	storage.Store
	stop context.CancelFunc
}

func (s *stopAfterParent) UpdateKey(ctx context.Context, r storage.KeyRecord) error {
	err := s.Store.UpdateKey(ctx, r)
	if r.Purpose == keyctx.PurposeWrapping && s.stop != nil {
		s.stop()
	}
	return err
}

// A parent was shredded or disabled, and then the call was stopped: the process that
// did it doesn't go on serving what is under it.
func TestChildrenOfAStoppedParentAreForgotten(t *testing.T) {
	for name, want := range map[string]error{"Shred": vault.ErrKeyShredded, "Disable": vault.ErrKeyDisabled} {
		t.Run(name, func(t *testing.T) {
			k, s := memkek.New("test"), memstore.New()
			cfg := family(t, k, s)
			hs := &stopAfterParent{Store: s}
			cfg.Store = hs
			v := open(t, cfg)
			sealed := must(v.Encrypt(t.Context(), userA, []byte("secret"), nil))(t)
			other := must(v.Encrypt(t.Context(), userOf(orgB, 1), nil, nil))(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			hs.stop = cancel
			var err error
			if name == "Shred" {
				_, err = v.Shred(ctx, orgA, vault.ShredOptions{})
			} else {
				_, err = v.Disable(ctx, orgA)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("stopped: %v", err)
			}
			if _, err := v.Decrypt(t.Context(), userA, sealed, nil); !errors.Is(err, want) {
				t.Errorf("the child: %v", err)
			}
			hs.stop = nil
			if got, err := v.Encrypt(t.Context(), userA, []byte("x"), nil); err == nil {
				must(open(t, family(t, k, s)).Decrypt(t.Context(), userA, got, nil))(t)
			}
			unwraps := k.Unwraps()
			must(v.Decrypt(t.Context(), userOf(orgB, 1), other, nil))(t)
			if k.Unwraps() != unwraps {
				t.Error("another family was forgotten too")
			}
		})
	}
}

// A parent's version is retired while a process is slow between wrapping a key under it
// and writing that: neither a key that is moved nor a new one stays under it.
func TestRetiredWhileAChildIsWritten(t *testing.T) {
	for _, create := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { retiredWhileWritten(t, create) })
	}
}

func retiredWhileWritten(t *testing.T, create bool) {
	k, s := memkek.New("test"), memstore.New()
	h := orgs(t, kek.Fixed(k))
	old := open(t, vault.Config{Policy: h.MovingOut(), Store: s, NoBackground: true})
	sealed := must(old.Encrypt(t.Context(), userA, []byte("secret"), nil))(t) // under the KEK still

	cfg := vault.Config{
		Policy: h.MovingIn(), Store: s, NoBackground: true,
		Cache: vault.CacheConfig{TTL: 5 * time.Second, ActiveKeyTTL: 5 * time.Second, StaleIfUnavailable: -1},
	}
	op := open(t, cfg)
	must(op.Encrypt(t.Context(), userOf(orgA, 7), nil, nil))(t) // the parent, v1
	hs := &hookStore{Store: s}
	cfg.Store = hs
	slow := open(t, cfg)
	retired := int64(0)
	pause := func(r storage.KeyRecord) {
		if r.ParentID.IsZero() || retired > 0 {
			return
		}
		ok(t, op.Rotate(t.Context(), orgA))
		must(op.Rewrap(t.Context(), vault.RewrapOptions{Match: userOf(orgA, 7)}))(t)
		time.Sleep(11 * time.Second)
		o := vault.RetireOptions{Match: orgA, ElsewhereReencrypted: true, OlderThan: 10 * time.Second}
		retired += must(op.RetireKeys(t.Context(), o))(t).Retired
	}
	kc := userA
	if create {
		kc, hs.beforeInsert = userOf(orgA, 9), pause
		sealed = must(slow.Encrypt(t.Context(), kc, []byte("secret"), nil))(t)
	} else {
		hs.beforeUpdate = pause
		must(slow.Rewrap(t.Context(), vault.RewrapOptions{Match: userA}))(t)
	}
	if retired != 1 {
		t.Fatalf("%d retired", retired)
	}
	must(open(t, vault.Config{Policy: h.MovingIn(), Store: s, NoBackground: true}).Decrypt(t.Context(), kc, sealed, nil))(t)
}

// A superseded wrapping key with keys under it is not unused.
func TestUnusedHeedsChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := family(t, memkek.New("test"), memstore.New())
		cfg.RotateAfter = -1
		v := open(t, cfg)
		must(v.Encrypt(t.Context(), userA, nil, nil))(t)
		ok(t, v.Rotate(t.Context(), orgA))
		time.Sleep(48 * time.Hour)
		unused := vault.KeyFilter{All: true, MaxUnusedAge: 24 * time.Hour}
		if keys := inventory(t, v, unused); len(keys) != 0 {
			t.Errorf("shown as unused: %+v", keys)
		}
		must(v.Rewrap(t.Context(), vault.RewrapOptions{All: true}))(t)
		if keys := inventory(t, v, unused); len(keys) != 1 || keys[0].Purpose != vault.PurposeWrapping {
			t.Errorf("unused: %+v", keys)
		}
	})
}

// Keys that are wrapped as they should be are that also while their parent is disabled.
func TestRewrapOfADisabledFamily(t *testing.T) {
	v := open(t, family(t, memkek.New("test"), memstore.New()))
	for _, kc := range []vault.KeyContext{userA, userOf(orgB, 1)} {
		must(v.Encrypt(t.Context(), kc, nil, nil))(t)
	}
	must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: 24 * time.Hour}))(t)
	if r, err := v.Rewrap(t.Context(), vault.RewrapOptions{All: true}); err != nil || r.Current != 4 {
		t.Errorf("%+v: %v", r, err)
	}
}

// What Keys shows of a key is what becomes of who uses it.
func TestKeysShowWhatTheParentIs(t *testing.T) {
	v := open(t, family(t, memkek.New("test"), memstore.New()))
	sealed := must(v.Encrypt(t.Context(), userA, nil, nil))(t)
	want := func(state vault.KeyState, active bool) {
		t.Helper()
		keys := inventory(t, v, vault.KeyFilter{Match: userA, State: state})
		if len(keys) != 1 || keys[0].State != state || keys[0].Active != active {
			t.Errorf("%+v, want %v", keys, state)
		}
	}
	want(vault.StateActive, true)
	must(v.Disable(t.Context(), orgA))(t)
	wantCount(t, 1)(v.Enable(t.Context(), userA))
	want(vault.StateDisabled, false)
	if _, err := v.Decrypt(t.Context(), userA, sealed, nil); !errors.Is(err, vault.ErrKeyDisabled) {
		t.Error(err)
	}
	must(v.Enable(t.Context(), orgA))(t)
	want(vault.StateActive, true)
	must(v.Decrypt(t.Context(), userA, sealed, nil))(t)
}

// Objects under a key that died with its parent are dead, and no failures.
func TestReencryptUnderADeadParent(t *testing.T) {
	s := memstore.New()
	v := open(t, family(t, memkek.New("test"), s))
	must(v.Put(t.Context(), userA, "a", []byte("x")))(t)
	setParents(t, s, orgA, storage.StateShredded)
	w := open(t, family(t, memkek.New("test"), s))
	must(w.Put(t.Context(), userA, "b", []byte("y")))(t) // under the next version
	keys := inventory(t, w, vault.KeyFilter{Match: userA, State: vault.StateShredded})
	if len(keys) != 1 || keys[0].Version != 1 {
		t.Errorf("%+v", keys)
	}
	if r, err := w.ReencryptObjects(t.Context(), vault.ReencryptOptions{All: true}); err != nil || r.Dead != 1 || r.Failed != 0 {
		t.Errorf("%+v: %v", r, err)
	}
}
