package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

// TestMembers races on three members, each asked by a client of its own: one
// wins, and all see who.
func TestMembers(t *testing.T) {
	t.Parallel()
	c := newThree(t)
	o := etcdstore.Options{Prefix: newPrefix()}
	var stores []*etcdstore.Store
	for i := range 3 {
		stores = append(stores, newStore(t, connect(t, c, i), o))
	}
	race := func(lost error, f func(s storage.Store, i int) error) {
		t.Helper()
		errs := make([]error, 12)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = f(stores[i%3], i) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, lost) {
				t.Errorf("got %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d won", won)
		}
	}
	for round := range 5 {
		race(storage.ErrExists, func(s storage.Store, _ int) error {
			k := key(t, round, 1)
			if err := s.InsertKey(t.Context(), k); err != nil {
				return err
			}
			for _, other := range stores { // at once, on every member
				got, err := other.LatestKey(t.Context(), k.ContextHash, k.Purpose)
				if err != nil || got.KeyID != k.KeyID {
					return fmt.Errorf("another member doesn't see the key: %w", err)
				}
			}
			return nil
		})
		race(storage.ErrExists, func(s storage.Store, _ int) error {
			_, err := s.PutObject(t.Context(), object(t, round, "a"), storage.PutGuard{IfAbsent: true})
			return err
		})
		race(storage.ErrExists, func(s storage.Store, i int) error {
			_, err := s.PutObject(t.Context(), object(t, 100+i, fmt.Sprint("unique", round), func(r *storage.ObjectRecord) { r.UniqueName = true }), storage.PutGuard{})
			return err
		})
		_, h := contextOf(t, round)
		cur, err := stores[0].GetObject(t.Context(), storage.ObjectRef{ContextHash: h, Name: "a"})
		must(t, err)
		race(storage.ErrVersionConflict, func(s storage.Store, _ int) error {
			_, err := s.PutObject(t.Context(), object(t, round, "a"), storage.PutGuard{IfVersion: cur.VersionID})
			return err
		})
		k, err := stores[1].LatestKey(t.Context(), h, keyctx.PurposeData)
		must(t, err)
		race(storage.ErrVersionConflict, func(s storage.Store, _ int) error { return s.UpdateKey(t.Context(), k) })
	}
	must(t, stores[2].Audit(t.Context(), false))
}

// newThree starts three members whose disks are synced.
func newThree(t *testing.T) *cluster {
	t.Helper()
	c, err := newCluster(t.TempDir(), 3, nil)
	must(t, err)
	t.Cleanup(c.stopAll)
	return c
}

// writer puts versions of objects of its own until it is stopped, and keeps
// what was acknowledged.
type writer struct {
	t     *testing.T
	s     storage.Store
	i     int
	mu    sync.Mutex
	acked []storage.ObjectRecord
}

func (w *writer) run(ctx context.Context) {
	pace := time.NewTicker(25 * time.Millisecond) // other tests run, too
	defer pace.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		r := object(w.t, w.i, fmt.Sprint("n", n%5))
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		stored, err := w.s.PutObject(one, r, storage.PutGuard{})
		cancel()
		if err != nil {
			if ended := ctx.Err(); !errors.Is(err, storage.ErrUnavailable) && (ended == nil || !errors.Is(err, ended)) {
				w.t.Errorf("writer %d: %v", w.i, err)
			}
			continue
		}
		stored.Envelope = r.Envelope
		w.mu.Lock()
		w.acked = append(w.acked, stored)
		w.mu.Unlock()
	}
}

func (w *writer) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// TestMemberStopsAndReturns stops one member after the other, the leader first,
// while processes write. They go on, and what was acknowledged is there.
func TestMemberStopsAndReturns(t *testing.T) {
	t.Parallel()
	c := newThree(t)
	o := etcdstore.Options{Prefix: newPrefix()}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var writers []*writer
	for i := range 3 {
		w := &writer{t: t, s: newStore(t, connect(t, c), o), i: i}
		writers = append(writers, w)
		wg.Go(func() { w.run(ctx) })
	}
	goOn := func(what string) {
		t.Helper()
		for _, w := range writers {
			for end, from := time.Now().Add(30*time.Second), w.count(); w.count() < from+3; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%s: writer %d doesn't go on", what, w.i)
				}
			}
		}
	}
	goOn("at first")
	leader := c.leader()
	for _, i := range []int{leader, (leader + 1) % 3} {
		c.stop(i)
		goOn("with a member stopped")
		must(t, c.start(i))
		goOn("with the member back")
	}
	stop()
	wg.Wait()
	// Asked of the member that was away last.
	s := newStore(t, connect(t, c, (leader+1)%3), o)
	must(t, s.Audit(t.Context(), false))
	total := 0
	for _, w := range writers {
		there := map[storage.ID]storage.ObjectRecord{} // by version
		numbers := map[string]uint64{}
		for _, r := range w.acked {
			if numbers[r.Name] == 0 {
				for _, v := range versions(t, s, r.ID) {
					there[v.VersionID] = v
				}
			}
			total++
			if got, ok := there[r.VersionID]; !ok || !got.Same(r) {
				t.Error("an acknowledged version is gone or wrong")
			}
			if r.Number <= numbers[r.Name] {
				t.Errorf("version %d after %d", r.Number, numbers[r.Name])
			}
			numbers[r.Name] = r.Number
		}
	}
	t.Logf("%d versions", total)
}

// versions returns all versions of an object, with their envelopes.
func versions(t *testing.T, s storage.Store, object storage.ID) (all []storage.ObjectRecord) {
	t.Helper()
	for q := (storage.VersionQuery{Object: object, WithEnvelope: true}); ; {
		page, err := s.ListVersions(t.Context(), q)
		must(t, err)
		all = append(all, page.Objects...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
	}
}

// TestNoQuorum stops two members of three: every call fails as it should,
// within its time, and works again when they are back.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	c := newThree(t)
	s := newStore(t, connect(t, c), etcdstore.Options{})
	k := key(t, 1, 1)
	must(t, s.InsertKey(t.Context(), k))
	r := put(t, s, object(t, 1, "a"))
	c.stop(0, 1)
	var wg sync.WaitGroup
	for name, f := range map[string]func(ctx context.Context) error{
		"ping":         s.Ping,
		"get":          func(ctx context.Context) error { return errOf(s.GetObject(ctx, storage.ObjectRef{ID: r.ID})) },
		"get nothing":  func(ctx context.Context) error { return errOf(s.GetObject(ctx, storage.ObjectRef{ID: r.VersionID})) },
		"latest":       func(ctx context.Context) error { return errOf(s.LatestKey(ctx, k.ContextHash, k.Purpose)) },
		"latest, none": func(ctx context.Context) error { return errOf(s.LatestKey(ctx, k.ContextHash, keyctx.PurposeIndex)) },
		"list": func(ctx context.Context) error {
			return errOf(s.ListObjects(ctx, storage.ObjectQuery{Contexts: allOf}))
		},
		"count":  func(ctx context.Context) error { return errOf(s.CountByKey(ctx, r.KeyID)) },
		"put":    func(ctx context.Context) error { return errOf(s.PutObject(ctx, object(t, 1, "b"), storage.PutGuard{})) },
		"insert": func(ctx context.Context) error { return s.InsertKey(ctx, key(t, 2, 1)) },
		"delete": func(ctx context.Context) error {
			return errOf(s.DeleteObject(ctx, storage.ObjectRef{ID: r.ID}, storage.ID{}))
		},
		"system":        func(ctx context.Context) error { return errOf(s.GetSystem(ctx, "s")) },
		"delete system": func(ctx context.Context) error { return s.DeleteSystem(ctx, "s", 1) },
	} {
		wg.Go(func() {
			err := within(t, time.Second, f)
			if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
	wg.Wait()
	impatient := newStore(t, connect(t, c), etcdstore.Options{RequestTimeout: time.Second})
	if err := impatient.Ping(t.Context()); !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a ctx that has no end: got %v", err)
	}
	must(t, c.start(0, 1))
	err := within(t, 30*time.Second, func(ctx context.Context) error {
		for {
			one, cancel := context.WithTimeout(ctx, 2*time.Second)
			_, err := s.LatestKey(one, k.ContextHash, k.Purpose)
			cancel()
			if err == nil || ctx.Err() != nil {
				return err
			}
		}
	})
	must(t, err)
	got, err := s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID})
	if err != nil || !got.Same(r) {
		t.Errorf("got %v, %v", got, err)
	}
	put(t, s, object(t, 1, "c"))
	must(t, s.Audit(t.Context(), false))
}
