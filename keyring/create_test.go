package keyring_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

func TestFirstUseMakesOneKey(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	wantCalls(t, w.kek, 1, 1) // wrapped, and the wrapping checked
	rec, err := w.store.GetKey(t.Context(), id)
	if err != nil || rec.Version != 1 || rec.State != storage.StateActive || len(rec.Wrappings) != 1 {
		t.Fatalf("stored %+v, %v", rec, err)
	}
	reads := w.store.Calls("LatestKey")
	for range 100 {
		if active(t, w, tenant(1)) != id {
			t.Fatal("another key")
		}
		if err := tryByID(w, tenant(1), id); err != nil {
			t.Fatal(err)
		}
	}
	wantCalls(t, w.kek, 1, 1)
	if n := w.store.Calls("LatestKey"); n != reads || w.store.Calls("GetKey") != 1 {
		t.Fatal("a warm call asked the store")
	}
}

// 3,000 first uses at once: one record, one wrap, one check.
func TestManyFirstUsesMakeOneKey(t *testing.T) {
	w := newWorld(t)
	w.kek.SetLatency(20 * time.Millisecond)
	ids := together(t, 3000, func() (keyctx.KeyID, error) {
		k, err := w.Active(t.Context(), tenant(1), data)
		if err != nil {
			return keyctx.KeyID{}, err
		}
		defer k.Release()
		return k.ID(), useKey(k)
	})
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("two keys were made")
		}
	}
	wantCalls(t, w.kek, 1, 1)
	if n := w.store.Calls("InsertKey"); n != 1 {
		t.Fatalf("%d inserts", n)
	}
}

// 3,000 decrypts of one cold key make one KMS call.
func TestManyColdReadsMakeOneCall(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	cold := w.peer(t)
	cold.kek.SetLatency(20 * time.Millisecond)
	together(t, 3000, func() (struct{}, error) { return struct{}{}, tryByID(cold, tenant(1), id) })
	wantCalls(t, cold.kek, 0, 1)
	if n := cold.kek.MaxConcurrent(); n != 1 {
		t.Fatalf("%d calls at once for one key", n)
	}
}

// together runs f in n goroutines at once and returns what they returned.
func together[T any](t *testing.T, n int, f func() (T, error)) []T {
	t.Helper()
	out, errs := make([]T, n), make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			out[i], errs[i] = f()
		})
	}
	close(start)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestProcessesThatRaceShareOneKey(t *testing.T) {
	w := newWorld(t)
	worlds := []*world{w}
	for range 7 {
		worlds = append(worlds, w.peer(t))
	}
	for _, w := range worlds {
		w.kek.SetLatency(10 * time.Millisecond) // all are past their first look before any stores
	}
	i := make(chan *world, len(worlds))
	for _, w := range worlds {
		i <- w
	}
	ids := together(t, len(worlds), func() (keyctx.KeyID, error) {
		k, err := (<-i).Active(t.Context(), tenant(1), data)
		if err != nil {
			return keyctx.KeyID{}, err
		}
		defer k.Release()
		return k.ID(), useKey(k)
	})
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("two processes use two keys")
		}
	}
	page, err := w.store.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{Hash: tenant(1).Hash}})
	if err != nil || len(page.Keys) != 1 {
		t.Fatalf("%d records, %v", len(page.Keys), err)
	}
}

// "Could not unwrap" never mints another key.
func TestFailedUnwrapNeverMints(t *testing.T) {
	for fault, want := range map[memkek.Fault]error{
		memkek.Denied: kek.ErrDenied, memkek.Unavailable: kek.ErrUnavailable,
		memkek.Corrupt: kek.ErrCorrupt, memkek.Garbage: kek.ErrCorrupt,
		memkek.Panic: kek.ErrUnavailable, memkek.Hang: kek.ErrUnavailable,
	} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				id := active(t, w, tenant(1))
				cold := w.peer(t)
				cold.kek.SetFault(fault)
				wantErr(t, tryActive(cold, tenant(1)), want)
				wantErr(t, tryByID(cold, tenant(1), id), want)
				if cold.kek.Wraps() != 0 || w.store.Calls("InsertKey") != 1 {
					t.Fatal("a key was made")
				}
				cold.kek.SetFault(memkek.None)
				if active(t, cold, tenant(1)) != id {
					t.Fatal("another key after the fault")
				}
			})
		})
	}
}

// A store that can't be asked is no definite not-found.
func TestStoreFailureNeverMints(t *testing.T) {
	w := newWorld(t)
	failStore(w.store, storage.ErrUnavailable, "LatestKey")
	wantErr(t, tryActive(w, tenant(1)), storage.ErrUnavailable)
	wantCalls(t, w.kek, 0, 0)
	failStore(w.store, storage.ErrUnavailable, "InsertKey")
	wantErr(t, tryActive(w, tenant(1)), storage.ErrUnavailable)
	w.store.SetFault(nil)
	first := active(t, w, tenant(1))
	if active(t, w.peer(t), tenant(1)) != first {
		t.Fatal("what is used is not what is stored")
	}
}

// An insert whose acknowledgement was lost is found by the next try.
func TestInsertThatWasDoneButFailed(t *testing.T) {
	w := newWorld(t)
	other := w.peer(t)
	lost := errors.New("connection lost after the commit")
	w.store.SetFault(func(op string) error {
		if op != "InsertKey" {
			return nil
		}
		w.store.SetFault(nil)
		active(t, other, tenant(1)) // stands for the commit that was done
		return lost
	})
	wantErr(t, tryActive(w, tenant(1)), lost)
	if active(t, w, tenant(1)) != active(t, other, tenant(1)) {
		t.Fatal("two keys")
	}
}

// A wrapping that doesn't unwrap is never stored.
func TestBadWrappingIsNotStored(t *testing.T) {
	w := newWorld(t)
	for _, fault := range []func(){
		func() { w.kek.SetWrapFault(memkek.Garbage) },
		func() { w.kek.SetUnwrapFault(memkek.Garbage) },
		func() { w.kek.SetUnwrapFault(memkek.Corrupt) },
		func() { w.kek.SetUnwrapResult(make([]byte, 32)) },
	} {
		fault()
		wantErr(t, tryActive(w, tenant(1)), kek.ErrCorrupt)
		w.kek.SetFault(memkek.None)
		w.kek.SetUnwrapResult(nil)
	}
	if w.store.Calls("InsertKey") != 0 {
		t.Fatal("a key was stored under a wrapping that doesn't unwrap")
	}
	active(t, w, tenant(1))
}

func TestUnwrapResultsThatAreNoKey(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	foreign := make([]byte, 32)
	foreign[0] = 1
	for name, result := range map[string][]byte{
		"31 bytes": make([]byte, 31), "33 bytes": make([]byte, 33), "no bytes": {},
		"32 zero bytes": make([]byte, 32), "someone else's key": foreign,
	} {
		t.Run(name, func(t *testing.T) {
			cold := w.peer(t)
			cold.kek.SetUnwrapResult(result)
			wantErr(t, tryByID(cold, tenant(1), id), kek.ErrCorrupt)
			wantErr(t, tryActive(cold, tenant(1)), kek.ErrCorrupt)
		})
	}
}

func TestShreddedContextStartsAfresh(t *testing.T) {
	w := newWorld(t)
	old := active(t, w, tenant(1))
	w.change(t, tenant(1), func(r *storage.KeyRecord) { r.State, r.Wrappings = storage.StateShredded, nil })
	cold := w.peer(t)
	id := active(t, cold, tenant(1))
	rec, err := w.store.GetKey(t.Context(), id)
	if err != nil || rec.Version != 2 {
		t.Fatalf("version %d, %v", rec.Version, err)
	}
	wantErr(t, tryByID(cold, tenant(1), old), keyring.ErrKeyShredded)
}

func TestKeyNotFoundNeverMints(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	restored := newWorldOn(t, w.kek, memstore.New())
	wantErr(t, tryByID(restored, tenant(1), id), keyring.ErrKeyNotFound, storage.ErrNotFound)
	if restored.store.Calls("InsertKey") != 0 {
		t.Fatal("a key was made")
	}
}

// What is cached must not be sealed under once its record is gone.
func TestActiveKeyThatLeftTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old := active(t, w, tenant(1))
		if err := w.store.DeleteKey(t.Context(), old, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if active(t, w, tenant(1)) == old {
			t.Fatal("sealed under a key that is not stored")
		}
	})
}

func TestCancelledBeforeAnything(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, tryActiveCtx(ctx, w, tenant(1)), context.Canceled)
	wantCalls(t, w.kek, 0, 0)
	if w.store.Calls("LatestKey") != 0 {
		t.Fatal("the store was asked")
	}
}
