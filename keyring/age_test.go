package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

func rotateAfter(d time.Duration) func(*keyring.Config) {
	return func(c *keyring.Config) { c.RotateAfter = d }
}

func customer(n int) keyring.Context {
	return contextOf(keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%05d", n)})
}

// versions returns how many versions of a context's key there are.
func (w *world) versions(t testing.TB, c keyring.Context, p keyctx.Purpose) uint32 {
	t.Helper()
	rec, err := w.store.LatestKey(context.Background(), c.Hash, p)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Version
}

// 10,000 contexts were made in the same minute, and reach their age together. They are
// rotated over the time that there is for it, each once; and nobody waits for it.
func TestRotationStorm(t *testing.T) {
	contexts := 10_000
	if raceEnabled {
		contexts = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		const age, round = 20 * time.Hour, 10 * time.Minute // of which the last two hours are for rotating
		w := newWorld(t, rotateAfter(age), func(c *keyring.Config) { c.Size, c.TTL = 2*contexts, 48*time.Hour })
		cs := make([]keyring.Context, contexts)
		for i := range cs {
			cs[i] = customer(i)
			active(t, w, cs[i])
		}
		time.Sleep(18 * time.Hour)
		w.kek.ResetCounts()
		w.kek.SetLatency(50 * time.Millisecond)
		most, before, waited := 0, 0, time.Duration(0)
		for range 2*time.Hour/round + 1 {
			for _, c := range cs {
				start := time.Now()
				active(t, w, c)
				waited += time.Since(start)
				time.Sleep(round / time.Duration(contexts))
			}
			most, before = max(most, w.kek.Wraps()-before), w.kek.Wraps()
		}
		for _, c := range cs {
			if n := w.versions(t, c, data); n != 2 {
				t.Fatalf("version %d", n)
			}
		}
		if w.kek.Wraps() != contexts {
			t.Errorf("%d wraps", w.kek.Wraps())
		}
		if most > contexts/8 {
			t.Errorf("%d of %d were rotated within %v", most, contexts, round)
		}
		if waited > 0 {
			t.Errorf("calls waited for %v", waited)
		}
	})
}

// All at once, the worst case: keys that were not used for long are too old, all of
// them. A few are rotated at a time, and the calls don't wait.
func TestRotationBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rotateAfter(time.Hour), func(c *keyring.Config) { c.Size, c.TTL = 2000, 48*time.Hour })
		for i := range 500 {
			active(t, w, customer(i))
		}
		time.Sleep(24 * time.Hour)
		w.kek.ResetCounts()
		w.kek.SetLatency(time.Second)
		start := time.Now()
		for i := range 500 {
			active(t, w, customer(i))
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the calls took %v", took)
		}
		time.Sleep(10 * time.Second)
		// Four, or fewer where a call and a load in the background found the same key.
		if n, most := w.kek.Wraps(), w.kek.MaxConcurrent(); n < 1 || n > 4 || most > 4 {
			t.Errorf("%d keys were rotated, %d at once", n, most)
		}
	})
}

// A key that is used as keys are is rotated before it is older than it may be, beside
// the calls that use it.
func TestRotatedByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rotateAfter(90*24*time.Hour))
		id := active(t, w, tenant(1))
		time.Sleep(81*24*time.Hour - time.Hour)
		if active(t, w, tenant(1)); w.versions(t, tenant(1), data) != 1 {
			t.Fatal("rotated too early")
		}
		for range 10 * 24 {
			active(t, w, tenant(1))
			time.Sleep(time.Hour)
		}
		if n := w.versions(t, tenant(1), data); n != 2 {
			t.Fatalf("version %d", n)
		}
		rec, err := w.store.LatestKey(t.Context(), tenant(1).Hash, data)
		if err != nil {
			t.Fatal(err)
		}
		old, err := w.store.GetKey(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if age := rec.CreatedAt.Sub(old.CreatedAt); age > 90*24*time.Hour+time.Hour || age < 81*24*time.Hour {
			t.Errorf("rotated at an age of %v", age)
		}
		wantErr(t, tryByID(w, tenant(1), id), nil)
		if now := active(t, w, tenant(1)); now != rec.KeyID {
			t.Error("the new version isn't in use")
		}
	})
}

// Several processes find the same key too old: one new version.
func TestProcessesThatRotateByAgeMakeOneVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rotateAfter(time.Hour))
		active(t, w, tenant(1))
		peers := []*world{w}
		for range 7 {
			peers = append(peers, w.peer(t, rotateAfter(time.Hour)))
		}
		time.Sleep(time.Hour)
		for _, p := range peers {
			p.kek.SetLatency(10 * time.Millisecond)
			active(t, p, tenant(1))
		}
		for range 3 {
			for _, p := range peers {
				time.Sleep(31 * time.Second)
				active(t, p, tenant(1))
			}
		}
		if n := w.versions(t, tenant(1), data); n != 2 {
			t.Errorf("version %d", n)
		}
	})
}

// Without background work the call that finds the key too old rotates it, and where
// that fails the old one serves.
func TestRotatedByAgeWithoutBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rotateAfter(time.Hour), func(c *keyring.Config) { c.NoBackground = true })
		id := active(t, w, tenant(1))
		time.Sleep(time.Hour)
		w.kek.SetWrapFault(memkek.Denied)
		if active(t, w, tenant(1)) != id {
			t.Error("another key, though none could be made")
		}
		w.kek.SetWrapFault(memkek.None)
		time.Sleep(11 * time.Minute)
		if active(t, w, tenant(1)) == id || w.versions(t, tenant(1), data) != 2 {
			t.Error("not rotated")
		}
	})
}

// The KMS refuses to wrap: the old key serves, it is told, and it isn't tried again for
// a while.
func TestRotationByAgeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int32
		w := newWorld(t, rotateAfter(time.Hour), func(c *keyring.Config) {
			c.OnEvent = func(_ context.Context, e keyring.Event) error {
				if e.Kind == keyring.KeyRotated && e.Err != nil {
					told.Add(1)
				}
				return nil
			}
		})
		id := active(t, w, tenant(1))
		time.Sleep(time.Hour)
		w.kek.SetWrapFault(memkek.Denied)
		for range 21 {
			if active(t, w, tenant(1)) != id {
				t.Fatal("another key")
			}
			time.Sleep(time.Minute + time.Second)
		}
		if n := told.Load(); n < 2 || n > 3 {
			t.Errorf("told %d times in 21 minutes", n)
		}
		w.kek.SetWrapFault(memkek.None)
		for range 12 {
			active(t, w, tenant(1))
			time.Sleep(time.Minute + time.Second)
		}
		if n := w.versions(t, tenant(1), data); n != 2 {
			t.Errorf("version %d", n)
		}
	})
}

// An index key that rotated would silently lose its index.
func TestIndexKeysDontRotateByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rotateAfter(time.Hour))
		for range 100 {
			for _, p := range []keyctx.Purpose{keyctx.PurposeIndex, keyctx.PurposeWrapping, keyctx.PurposeAuthentication} {
				k, err := w.Active(t.Context(), tenant(1), p)
				if err != nil {
					t.Fatal(err)
				}
				k.Release()
			}
			time.Sleep(time.Minute + time.Second)
		}
		for p, want := range map[keyctx.Purpose]uint32{keyctx.PurposeIndex: 1, keyctx.PurposeWrapping: 2, keyctx.PurposeAuthentication: 1} {
			if n := w.versions(t, tenant(1), p); n != want {
				t.Errorf("%v: version %d, want %d", p, n, want)
			}
		}
	})
}

// A key is disabled while its successor is made: neither seals.
func TestRotationByAgeHeedsDisabling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, rotateAfter(time.Hour))
		active(t, w, tenant(1))
		time.Sleep(time.Hour)
		w.store.SetFault(func(op string) error {
			if op == "InsertKey" {
				w.store.SetFault(nil)
				w.change(t, tenant(1), func(r *storage.KeyRecord) {
					r.State, r.StateBefore = storage.StateDisabled, r.State
				})
			}
			return nil
		})
		active(t, w, tenant(1)) // begins it
		synctest.Wait()
		if rec := w.change(t, tenant(1), func(*storage.KeyRecord) {}); rec.Version != 2 || rec.State != storage.StateDisabled {
			t.Errorf("version %d is %v", rec.Version, rec.State)
		}
		wantErr(t, tryActive(w, tenant(1)), keyring.ErrKeyDisabled)
	})
}

func TestForget(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	other := active(t, w, tenant(2))
	k, err := w.Active(t.Context(), tenant(1), data)
	if err != nil {
		t.Fatal(err)
	}
	w.Forget(tenant(1).Hash)
	w.Forget(tenant(3).Hash)
	if err := useKey(k); err != nil { // its user has it still
		t.Error(err)
	}
	k.Release()
	if n := w.Stats().Cached; n != 1 {
		t.Errorf("%d keys are cached", n)
	}
	w.kek.ResetCounts()
	if active(t, w, tenant(1)) != id || active(t, w, tenant(2)) != other {
		t.Error("other keys")
	}
	wantCalls(t, w.kek, 0, 1)
}

// The hint of a scope must not find what was forgotten.
func TestForgetReachesHints(t *testing.T) {
	w := newWorld(t)
	c := tenant(1)
	c.Hint = new(keyring.Hint)
	active(t, w, c)
	w.change(t, c, func(r *storage.KeyRecord) { r.State, r.Wrappings, r.Quorum = storage.StateShredded, nil, 0 })
	w.Forget(c.Hash)
	rec := w.change(t, c, func(*storage.KeyRecord) {})
	wantErr(t, tryByID(w, c, rec.KeyID), keyring.ErrKeyShredded)
	if err := tryActive(w, c); err != nil || w.versions(t, c, data) != 2 {
		t.Errorf("version %d, %v", w.versions(t, c, data), err)
	}
}

func TestReread(t *testing.T) {
	w := newWorld(t)
	peer := w.peer(t)
	old := active(t, w, tenant(1))
	k, err := peer.Rotate(t.Context(), tenant(1), data)
	if err != nil {
		t.Fatal(err)
	}
	k.Release()
	if active(t, w, tenant(1)) != old {
		t.Error("noticed before its time")
	}
	again, err := w.Reread(t.Context(), tenant(1), data)
	if err != nil || again.ID() == old {
		t.Fatalf("reread: %v", err)
	}
	again.Release()
	if active(t, w, tenant(1)) == old {
		t.Error("the old key is in use")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Reread(ctx, tenant(1), data); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.Close()
	if _, err := w.Reread(t.Context(), tenant(1), data); !errors.Is(err, keyring.ErrClosed) {
		t.Error(err)
	}
}
