package keyring_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// inTime runs f in a bubble whose clock is driven by waiting.
func inTime(t *testing.T, f func(t *testing.T, w *world, id keyctx.KeyID)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id := active(t, w, tenant(1))
		f(t, w, id)
	})
}

// useFor uses both ways to the key every few seconds and returns the first error.
func useFor(w *world, c keyring.Context, id keyctx.KeyID, d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(7 * time.Second) {
		if err := tryActive(w, c); err != nil {
			return err
		}
		if err := tryByID(w, c, id); err != nil {
			return err
		}
		synctest.Wait()
	}
	return nil
}

func TestRevokedWithinTTL(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.kek.SetFault(memkek.Denied)
		start := time.Now()
		err := useFor(w, tenant(1), id, time.Hour)
		wantErr(t, err, kek.ErrDenied, kek.ErrUnavailable)
		if took := time.Since(start); took > 15*time.Minute+10*time.Second {
			t.Fatalf("it took %v to notice", took)
		}
		wantErr(t, tryByID(w, tenant(1), id), kek.ErrDenied)
		w.kek.SetFault(memkek.None) // and given back
		if err := useFor(w, tenant(1), id, time.Minute); err != nil {
			t.Fatal(err)
		}
	})
}

// Once the KMS has said no, the key is gone: not only when its time is over.
func TestDenialDropsAtOnce(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.kek.SetFault(memkek.Denied)
		for w.Stats().KEKs[w.kek.URI()].Denied == 0 { // a renewal in the background
			if err := tryByID(w, tenant(1), id); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		wantErr(t, tryByID(w, tenant(1), id), kek.ErrDenied)
		wantErr(t, tryActive(w, tenant(1)), kek.ErrDenied)
	})
}

func TestOutageWithinTheGraceTakesNothingDown(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Unavailable, memkek.Hang} {
		t.Run(fault.String(), func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
				w.kek.SetFault(fault)
				if err := useFor(w, tenant(1), id, 70*time.Minute); err != nil {
					t.Fatalf("after %v: %v", time.Since(time.Time{}), err)
				}
				start := time.Now()
				err := useFor(w, tenant(1), id, time.Hour)
				wantErr(t, err, kek.ErrUnavailable, kek.ErrDenied)
				if late := time.Since(start); late > 6*time.Minute {
					t.Fatalf("served for %v beyond the grace", late-5*time.Minute)
				}
				w.kek.SetFault(memkek.None)
				time.Sleep(31 * time.Second)
				if err := useFor(w, tenant(1), id, 20*time.Minute); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A key that wasn't used when the outage began, and has expired since, serves.
func TestIdleKeyServesStale(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		time.Sleep(30 * time.Minute)
		w.kek.SetFault(memkek.Hang)
		start := time.Now()
		if err := tryByID(w, tenant(1), id); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Fatalf("a caller waited %v for a KMS that hangs although a stale key was at hand", took)
		}
		start = time.Now()
		if err := tryByID(w, tenant(1), id); err != nil || time.Since(start) > 0 {
			t.Fatalf("the next caller waited %v: %v", time.Since(start), err)
		}
		time.Sleep(50 * time.Minute) // now beyond TTL and grace
		wantErr(t, tryByID(w, tenant(1), id), kek.ErrUnavailable)
	})
}

func TestStaleOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.StaleIfUnavailable = 0 })
		id := active(t, w, tenant(1))
		w.kek.SetFault(memkek.Unavailable)
		if err := useFor(w, tenant(1), id, 14*time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		wantErr(t, tryByID(w, tenant(1), id), kek.ErrUnavailable)
	})
}

func TestCorruptIsNeverServedStale(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Corrupt, memkek.Garbage} {
		inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
			w.kek.SetFault(fault)
			time.Sleep(16 * time.Minute)
			wantErr(t, tryByID(w, tenant(1), id), kek.ErrCorrupt)
		})
	}
}

// A key in use is renewed before it expires, and no caller waits; a key that
// isn't used costs no call.
func TestUsedKeyIsRenewedInTheBackground(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.kek.SetLatency(time.Second)
		before := w.kek.Unwraps()
		for range 24 * 60 { // a day at a call a minute
			start := time.Now()
			if err := tryByID(w, tenant(1), id); err != nil {
				t.Fatal(err)
			}
			if time.Since(start) > 0 {
				t.Fatal("a caller waited")
			}
			synctest.Wait()
			time.Sleep(time.Minute)
		}
		if n := w.kek.Unwraps() - before; n < 96 || n > 130 {
			t.Fatalf("%d KMS calls in a day, want about one in 13 minutes", n)
		}
		before = w.kek.Unwraps()
		time.Sleep(24 * time.Hour)
		if w.kek.Unwraps() != before {
			t.Fatal("a key that nobody used cost a KMS call")
		}
	})
}

func TestNoBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.NoBackground = true })
		id := active(t, w, tenant(1))
		for range 60 {
			time.Sleep(20 * time.Second)
			before := w.kek.Unwraps()
			if err := tryByID(w, tenant(1), id); err != nil {
				t.Fatal(err)
			}
			after := w.kek.Unwraps()
			synctest.Wait()
			if w.kek.Unwraps() != after {
				t.Fatal("something went on after the call")
			}
			_ = before
		}
		if n := w.kek.Unwraps(); n != 2 { // checking the wrapping, and one renewal in 20 minutes
			t.Fatalf("%d unwraps", n)
		}
	})
}

func TestRotationIsNoticed(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, old keyctx.KeyID) {
		other := w.peer(t)
		if active(t, other, tenant(1)) != old {
			t.Fatal("not one key")
		}
		k, err := w.Rotate(t.Context(), tenant(1), data)
		if err != nil {
			t.Fatal(err)
		}
		next := k.ID()
		k.Release()
		if next == old || active(t, w, tenant(1)) != next {
			t.Fatal("the process that rotated goes on with the old key")
		}
		time.Sleep(time.Minute)
		if active(t, other, tenant(1)) != next {
			t.Fatal("another process goes on with the old key after ActiveKeyTTL")
		}
		for _, w := range []*world{w, other} {
			if err := tryByID(w, tenant(1), old); err != nil {
				t.Fatal(err)
			}
		}
		rec, err := w.store.GetKey(t.Context(), old)
		if err != nil || rec.State != storage.StateDecryptOnly {
			t.Fatalf("the old record is %v, %v", rec.State, err)
		}
	})
}

func TestProcessesThatRotateAtOnceMakeOneVersion(t *testing.T) {
	w := newWorld(t)
	active(t, w, tenant(1))
	worlds := make(chan *world, 8)
	for range 8 {
		p := w.peer(t)
		p.kek.SetLatency(20 * time.Millisecond)
		worlds <- p
	}
	ids := together(t, 8, func() (keyctx.KeyID, error) {
		k, err := (<-worlds).Rotate(t.Context(), tenant(1), data)
		if err != nil {
			return keyctx.KeyID{}, err
		}
		defer k.Release()
		return k.ID(), nil
	})
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("two new versions")
		}
	}
	rec, err := w.store.LatestKey(t.Context(), tenant(1).Hash, data)
	if err != nil || rec.Version != 2 {
		t.Fatalf("version %d, %v", rec.Version, err)
	}
}

func TestRotateErrors(t *testing.T) {
	w := newWorld(t)
	_, err := w.Rotate(t.Context(), tenant(1), data)
	wantErr(t, err, keyring.ErrKeyNotFound)
	active(t, w, tenant(1))
	w.change(t, tenant(1), func(r *storage.KeyRecord) { r.State = storage.StateDisabled })
	_, err = w.Rotate(t.Context(), tenant(1), data)
	wantErr(t, err, keyring.ErrKeyDisabled)
}

func TestDisablingAndShreddingAreNoticed(t *testing.T) {
	for state, want := range map[storage.State]error{
		storage.StateDisabled: keyring.ErrKeyDisabled,
		storage.StateShredded: keyring.ErrKeyShredded,
	} {
		for _, fault := range []memkek.Fault{memkek.None, memkek.Unavailable, memkek.Hang} {
			t.Run(state.String()+" while the KMS is "+fault.String(), func(t *testing.T) {
				inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
					time.Sleep(20 * time.Minute) // expired: what serves from now on is stale
					w.kek.SetFault(fault)
					if err := tryByID(w, tenant(1), id); err != nil {
						t.Fatal(err)
					}
					w.change(t, tenant(1), func(r *storage.KeyRecord) {
						r.State = state
						if state == storage.StateShredded {
							r.Wrappings = nil
						}
					})
					time.Sleep(time.Minute + time.Second)
					wantErr(t, tryByID(w, tenant(1), id), want)
					if state == storage.StateDisabled {
						wantErr(t, tryActive(w, tenant(1)), want)
						w.change(t, tenant(1), func(r *storage.KeyRecord) { r.State = storage.StateActive })
						w.kek.SetFault(memkek.None)
						if err := tryByID(w, tenant(1), id); err != nil {
							t.Fatalf("enabled again: %v", err)
						}
					}
				})
			})
		}
	}
}

// A store that can't be reached is served through until the TTL, not beyond.
func TestStoreOutage(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		failStore(w.store, storage.ErrUnavailable, "GetKey", "LatestKey")
		if err := useFor(w, tenant(1), id, 14*time.Minute+50*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		wantErr(t, tryByID(w, tenant(1), id), storage.ErrUnavailable)
		w.store.SetFault(nil)
		time.Sleep(31 * time.Second)
		if err := useFor(w, tenant(1), id, time.Minute); err != nil {
			t.Fatal(err)
		}
	})
}

// While the store is down a key in use doesn't ask it for every message.
func TestStoreOutageIsNotHammered(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		time.Sleep(2 * time.Minute)
		failStore(w.store, storage.ErrUnavailable, "GetKey", "LatestKey")
		before := w.store.Calls("GetKey")
		for range 1000 {
			if err := tryByID(w, tenant(1), id); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if n := w.store.Calls("GetKey") - before; n > 4 {
			t.Fatalf("%d reads in one second of an outage", n)
		}
	})
}

func TestUnavailableIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.FailNext(2, memkek.Unavailable)
		if err := tryActive(w, tenant(1)); err != nil {
			t.Fatal(err)
		}
		w.kek.FailNext(1, memkek.Denied)
		calls := w.kek.Calls()
		wantErr(t, tryActive(w, tenant(2)), kek.ErrDenied)
		if w.kek.Calls() != calls+1 {
			t.Fatal("a denial was retried")
		}
	})
}

// A KMS that hangs holds nobody longer than their ctx, nor than the load may
// take.
func TestHangingKMS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetFault(memkek.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		wantErr(t, tryActiveCtx(ctx, w, tenant(1)), context.DeadlineExceeded)
		if took := time.Since(start); took != time.Second {
			t.Fatalf("took %v", took)
		}
		start = time.Now()
		wantErr(t, tryActive(w, tenant(1)), kek.ErrUnavailable)
		if took := time.Since(start); took > 16*time.Second {
			t.Fatalf("took %v", took)
		}
	})
}

// A policy that ignores its ctx, against its contract, keeps no caller. It is no
// outage of a KEK.
func TestDriverThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		w := newWorld(t, func(c *keyring.Config) {
			c.Policy = kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
				<-stuck
				return kek.Choice{}, kek.ErrPolicy
			})
		})
		start := time.Now()
		wantErr(t, tryActive(w, tenant(1)), context.DeadlineExceeded, kek.ErrUnavailable)
		if took := time.Since(start); took > 16*time.Second {
			t.Fatalf("took %v", took)
		}
		close(stuck)
	})
}

func TestFirstWaiterCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetLatency(time.Second)
		first, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- tryActiveCtx(first, w, tenant(1)) }()
		synctest.Wait()
		second := make(chan error, 1)
		go func() { second <- tryActive(w, tenant(1)) }()
		synctest.Wait()
		cancel()
		wantErr(t, <-gone, context.Canceled)
		if err := <-second; err != nil {
			t.Fatalf("the second waiter lost its key with the first: %v", err)
		}
		wantCalls(t, w.kek, 1, 1)
	})
}

func TestLastWaiterEndsTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetFault(memkek.Hang)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- tryActiveCtx(ctx, w, tenant(1)) }()
		synctest.Wait()
		cancel()
		wantErr(t, <-gone, context.Canceled)
		synctest.Wait()
		if n := w.kek.InFlight(); n != 0 {
			t.Fatalf("%d calls go on for nobody", n)
		}
		w.kek.SetFault(memkek.None)
		if err := tryActive(w, tenant(1)); err != nil {
			t.Fatal(err)
		}
	})
}
