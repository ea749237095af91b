package keyring_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// familyInTime runs f in a bubble, with one user's key cached.
func familyInTime(t *testing.T, f func(t *testing.T, w *world, id keyctx.KeyID), change ...func(*keyring.Config)) {
	synctest.Test(t, func(t *testing.T) {
		w := newFamily(t, change...)
		f(t, w, active(t, w, user(1, 1)))
	})
}

// untilErr uses the key by its ID every few seconds until that fails, and returns
// how long it took and the error.
func untilErr(t *testing.T, w *world, c keyring.Context, id keyctx.KeyID, limit time.Duration) (took time.Duration, err error) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(3 * time.Second) {
		if err := tryByID(w, c, id); err != nil {
			return time.Since(start), err
		}
		if time.Since(start) > limit {
			t.Fatalf("still serving after %v", limit)
		}
		synctest.Wait()
	}
}

// Cached children heed their parent's state within ActiveKeyTTL: in this process and
// in others, in use or idle, with work in the background or without.
func TestCachedChildHeedsItsParentsState(t *testing.T) {
	for state, want := range map[storage.State]error{
		storage.StateDisabled: keyring.ErrKeyDisabled,
		storage.StateShredded: keyring.ErrKeyShredded,
	} {
		for name, change := range map[string]func(*keyring.Config){
			"background": func(*keyring.Config) {},
			"none":       func(c *keyring.Config) { c.NoBackground = true },
		} {
			t.Run(state.String()+" "+name, func(t *testing.T) {
				familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
					other := w.cousin(t, change)
					if err := useFor(other, user(1, 1), id, 10*time.Minute); err != nil {
						t.Fatal(err)
					}
					idle := w.cousin(t, change)
					wantErr(t, tryByID(idle, user(1, 1), id), nil)
					w.setState(t, w.parentOf(t, tenant(1)).KeyID, state)
					for _, r := range []*world{w, other} {
						took, err := untilErr(t, r, user(1, 1), id, 10*time.Minute)
						if wantErr(t, err, want); took > time.Minute+5*time.Second {
							t.Fatalf("it took %v to notice", took)
						}
					}
					time.Sleep(time.Minute)
					wantErr(t, tryByID(idle, user(1, 1), id), want)
				}, change)
			})
		}
	}
}

// The same of the key that is sealed under.
func TestActiveChildHeedsItsParentsState(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.setState(t, w.parentOf(t, tenant(1)).KeyID, storage.StateShredded)
		for start := time.Now(); active(t, w, user(1, 1)) == id; time.Sleep(3 * time.Second) {
			if time.Since(start) > time.Minute+5*time.Second {
				t.Fatal("data is still sealed under a key whose parent is shredded")
			}
			synctest.Wait()
		}
		wantErr(t, tryByID(w, user(1, 1), id), keyring.ErrKeyShredded) // and the old one is gone at once
	})
}

// A child that is loaded when its parent has been cached for a while is not taken
// for fresher than the parent is.
func TestChildIsNoFresherThanItsParent(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, _ keyctx.KeyID) {
		time.Sleep(50 * time.Second)
		id := active(t, w, user(1, 2)) // the parent's state was read 50 seconds ago
		w.setState(t, w.parentOf(t, tenant(1)).KeyID, storage.StateShredded)
		time.Sleep(11 * time.Second)
		wantErr(t, tryByID(w, user(1, 2), id), keyring.ErrKeyShredded)
	}, func(c *keyring.Config) { c.NoBackground = true })
	familyInTime(t, func(t *testing.T, w *world, _ keyctx.KeyID) {
		time.Sleep(14*time.Minute + 30*time.Second)
		id := active(t, w, user(1, 2)) // the parent was unwrapped so long ago
		w.kek.SetFault(memkek.Denied)
		time.Sleep(40 * time.Second)
		wantErr(t, tryByID(w, user(1, 2), id), kek.ErrDenied)
	}, func(c *keyring.Config) { c.NoBackground = true; c.ActiveKeyTTL = time.Hour })
}

// A KEK that was revoked ends the use of all that is under it within one TTL.
func TestParentDenied(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		second := active(t, w, user(1, 2))
		w.kek.SetFault(memkek.Denied)
		took, err := untilErr(t, w, user(1, 1), id, time.Hour)
		wantErr(t, err, kek.ErrDenied, kek.ErrUnavailable)
		if took > 15*time.Minute+10*time.Second {
			t.Fatalf("it took %v to notice", took)
		}
		// The parent is dropped: its other children follow when they look after it.
		time.Sleep(time.Minute)
		wantBoth(t, w, user(1, 2), second, kek.ErrDenied)
		w.kek.SetFault(memkek.None)
		if err := useFor(w, user(1, 1), id, time.Minute); err != nil {
			t.Fatal(err)
		}
	})
}

// An outage takes nothing down within the grace: neither what is cached nor what is
// under a parent that is. After it, everything.
func TestParentUnavailable(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Unavailable, memkek.Hang} {
		t.Run(fault.String(), func(t *testing.T) {
			familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
				w.kek.SetFault(fault)
				if err := useFor(w, user(1, 1), id, 70*time.Minute); err != nil {
					t.Fatal(err)
				}
				fresh := active(t, w, user(1, 2)) // under the parent as it is cached
				wantErr(t, tryByID(w, user(1, 2), fresh), nil)
				took, err := untilErr(t, w, user(1, 1), id, time.Hour)
				wantErr(t, err, kek.ErrUnavailable, kek.ErrDenied)
				if took > 6*time.Minute {
					t.Fatalf("served for %v beyond the grace", took-5*time.Minute)
				}
				wantErr(t, tryActive(w, user(1, 2)), kek.ErrUnavailable)
				w.kek.SetFault(memkek.None)
				time.Sleep(31 * time.Second)
				if err := useFor(w, user(1, 1), id, 20*time.Minute); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Nobody waits for a KMS that hangs while a stale key is at hand, and that of many
// children no more than that of one.
func TestStaleChildrenDontWait(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		ids := []keyctx.KeyID{id}
		for n := 2; n < 200; n++ {
			ids = append(ids, active(t, w, user(1, n)))
		}
		time.Sleep(30 * time.Minute)
		w.kek.SetFault(memkek.Hang)
		w.kek.ResetCounts()
		for range 100 {
			start := time.Now()
			var wg sync.WaitGroup
			for n, id := range ids {
				wg.Go(func() { wantErr(t, tryByID(w, user(1, n+1), id), nil) })
			}
			wg.Wait()
			if took := time.Since(start); took > 3*time.Second {
				t.Fatalf("a caller waited %v", took)
			}
			time.Sleep(time.Second)
		}
		if n := w.kek.Calls(); n > 40 { // in 100 to 300 seconds, of 5 seconds each
			t.Fatalf("%d calls to a KMS that hangs", n)
		}
	})
}

// Of a cold child whose parent's KEK hangs it is said whose fault that is.
func TestColdChildOfAHangingKEK(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		cold := w.cousin(t)
		cold.kek.SetFault(memkek.Hang)
		wantErr(t, tryByID(cold, user(1, 1), id), kek.ErrUnavailable)
		wantErr(t, tryActive(cold, user(1, 1)), kek.ErrUnavailable)
		wantErr(t, tryActive(cold, user(1, 2)), kek.ErrUnavailable)
	})
}

// A store that can't be reached stops nothing within TTL.
func TestStoreUnreachableUnderAParent(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		failStore(w.store, errCut, "GetKey", "LatestKey")
		if err := useFor(w, user(1, 1), id, 14*time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		wantErr(t, tryByID(w, user(1, 1), id), storage.ErrUnavailable)
		w.store.SetFault(nil)
		time.Sleep(31 * time.Second)
		wantBoth(t, w, user(1, 1), id, nil)
	})
}

// A family in use costs the KMS and the store a little and no more: children that
// are renewed with their parent are not due again at once.
func TestFamilyInUseCostsLittle(t *testing.T) {
	familyInTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		const users = 20
		ids := []keyctx.KeyID{id}
		for n := 2; n <= users; n++ {
			ids = append(ids, active(t, w, user(1, n)))
		}
		w.kek.ResetCounts()
		w.store.ResetCalls()
		for end := time.Now().Add(2 * time.Hour); time.Now().Before(end); time.Sleep(time.Second) {
			for n, id := range ids {
				wantErr(t, tryByID(w, user(1, n+1), id), nil)
			}
			synctest.Wait()
		}
		if n := w.kek.Calls(); n < 8 || n > 20 {
			t.Errorf("%d calls to the KMS in 8 TTLs, want one or two in each", n)
		}
		// One look at each child in 15 to 54 seconds, and at most four a minute at
		// their parent.
		if n := w.store.Calls(""); n > users*120*4+120*8 {
			t.Errorf("%d calls to the store in 120 minutes", n)
		}
		t.Logf("%d calls to the KMS, %d to the store", w.kek.Calls(), w.store.Calls(""))
	})
}
