package boltstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault/storage"
)

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "vault.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// mark is an operation that writes a system record under its name.
func mark(name string) func(*tx) error {
	return func(t *tx) error { return t.put(bucketSystem, []byte(name), []byte("written")) }
}

func marked(t testing.TB, s *Store, name string) (there bool) {
	t.Helper()
	if err := s.view(t.Context(), "look", func(t *tx) error {
		there = t.get(bucketSystem, []byte(name)) != nil
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return there
}

// hold has a writer hold the transaction until release is called, and returns
// when it is in it.
func hold(t testing.TB, s *Store) (release func()) {
	t.Helper()
	in, out := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.update(context.Background(), "hold", 0, func(*tx) error { close(in); <-out; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-in
	return func() { close(out); wg.Wait() }
}

// queued waits until n writes are in the queue.
func queued(t testing.TB, s *Store, n int) {
	t.Helper()
	for range 5000 {
		s.queue.mu.Lock()
		got := len(s.queue.waiting)
		s.queue.mu.Unlock()
		if got == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("there are never %d writes in the queue", n)
}

// countCommits counts transactions, and may make them fail.
func countCommits(t testing.TB, fail func() error) *int {
	n := 0
	was := commitTx
	t.Cleanup(func() { commitTx = was })
	commitTx = func(tx *bbolt.Tx) error {
		n++
		if fail != nil {
			if err := fail(); err != nil {
				_ = tx.Rollback()
				return err
			}
		}
		return was(tx)
	}
	return &n
}

func TestWritersShareATransaction(t *testing.T) {
	s := newStore(t)
	commits := countCommits(t, nil)
	release := hold(t, s)
	errs := make(chan error)
	for i := range 50 {
		go func() { errs <- s.update(t.Context(), "mark", 0, mark(fmt.Sprint(i))) }()
	}
	queued(t, s, 50)
	release()
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if *commits != 1 { // the holder wrote nothing
		t.Errorf("50 writes that waited took %d transactions", *commits)
	}
	for i := range 50 {
		if !marked(t, s, fmt.Sprint(i)) {
			t.Errorf("write %d is not there", i)
		}
	}
}

func TestBatchesAreLimited(t *testing.T) {
	s := newStore(t)
	for _, c := range []struct{ writes, size, commits int }{{maxBatch + 1, 0, 2}, {10, maxBatchBytes / 3, 4}, {3, 2 * maxBatchBytes, 3}} {
		commits := countCommits(t, nil)
		release := hold(t, s)
		var wg sync.WaitGroup
		for i := range c.writes {
			wg.Go(func() {
				if err := s.update(t.Context(), "mark", c.size, mark(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		queued(t, s, c.writes)
		release()
		wg.Wait()
		if *commits != c.commits {
			t.Errorf("%d writes of %d bytes took %d transactions, want %d", c.writes, c.size, *commits, c.commits)
		}
	}
}

func TestLeavingTheQueue(t *testing.T) {
	s := newStore(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() { errs <- s.update(ctx, "mark", 0, mark("left")) }()
	queued(t, s, 1)
	stays := make(chan error)
	go func() { stays <- s.update(t.Context(), "mark", 0, mark("stayed")) }()
	queued(t, s, 2)
	cancel()
	select {
	case err := <-errs: // at once, not when its turn comes
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for its turn")
	}
	release()
	if err := <-stays; err != nil {
		t.Error(err)
	}
	if marked(t, s, "left") || !marked(t, s, "stayed") {
		t.Error("the wrong one was written")
	}
}

// TestStartedIsNotLeft ends a write's ctx when it is being committed: it gets
// the true result.
func TestStartedIsNotLeft(t *testing.T) {
	s := newStore(t)
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make(chan error)
	go func() {
		errs <- s.update(ctx, "mark", 0, func(t *tx) error { cancel(); return mark("started")(t) })
	}()
	queued(t, s, 1)
	release()
	if err := <-errs; err != nil || !marked(t, s, "started") {
		t.Errorf("got %v, written: %v", err, marked(t, s, "started"))
	}
}

func TestFailureHurtsNobodyElse(t *testing.T) {
	s := newStore(t)
	failure := errors.New("too late")
	late := func(name string) func(*tx) error {
		return func(t *tx) error {
			t.indexPut([]byte("x"+name), nothing)
			if err := mark(name)(t); err != nil {
				return err
			}
			return failure
		}
	}
	panics := func(t *tx) error { _ = mark("panic")(t); panic("a damaged page") }
	refused := func(*tx) error { return storage.ErrExists }
	ops := map[string]struct {
		fn   func(*tx) error
		want error
	}{
		"a": {mark("a"), nil}, "late1": {late("late1"), failure}, "b": {mark("b"), nil}, "refused": {refused, storage.ErrExists},
		"panic": {panics, storage.ErrCorrupt}, "late2": {late("late2"), failure}, "c": {mark("c"), nil},
	}
	for range 5 { // maps come in another order each time
		release := hold(t, s)
		var wg sync.WaitGroup
		for name, op := range ops {
			wg.Go(func() {
				if err := s.update(t.Context(), name, 0, op.fn); !errors.Is(err, op.want) {
					t.Errorf("%s: got %v, want %v", name, err, op.want)
				}
			})
		}
		queued(t, s, len(ops))
		release()
		wg.Wait()
		for name, op := range ops {
			if there := marked(t, s, name); there != (op.want == nil) {
				t.Errorf("%s: written: %v", name, there)
			}
			if err := s.view(t.Context(), "look", func(tx *tx) error {
				if v, err := tx.indexGet([]byte("x" + name)); v != nil || err != nil {
					t.Errorf("%s left an entry in the index: %v, %v", name, v, err)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestCommitFails wants everybody in the transaction to hear of it, also those
// that were refused for what others had written in it.
func TestCommitFails(t *testing.T) {
	s := newStore(t)
	diskFull := errors.New("no space left on device")
	full := true
	countCommits(t, func() error {
		if full {
			return diskFull
		}
		return nil
	})
	put := func() error {
		_, err := s.PutSystem(t.Context(), storage.SystemRecord{Name: "r", Value: []byte("v")})
		return err
	}
	release := hold(t, s)
	errs := make(chan error)
	for range 8 {
		go func() { errs <- put() }()
	}
	queued(t, s, 8)
	release()
	for range 8 {
		if err := <-errs; !errors.Is(err, diskFull) || !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrExists) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := s.GetSystem(t.Context(), "r"); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	full = false // and it goes on when there is space again
	if err := put(); err != nil {
		t.Error(err)
	}
	if err := put(); !errors.Is(err, storage.ErrExists) {
		t.Error(err)
	}
}

// TestCommitPanics wants a store that bbolt panicked in to say so from then on
// and to close, and not to hang on a lock that was never released.
func TestCommitPanics(t *testing.T) {
	s := newStore(t)
	was := commitTx
	t.Cleanup(func() { commitTx = was })
	commitTx = func(*bbolt.Tx) error { panic("assertion failed") }
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 {
			if err := s.update(t.Context(), "mark", 0, mark("m")); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			if err := s.Ping(t.Context()); !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		commitTx = was
		again, err := Open(s.path, Options{LockWait: -1})
		if err != nil {
			t.Error(err)
			return
		}
		if err := again.update(t.Context(), "mark", 0, mark("m")); err != nil {
			t.Error(err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}

// TestQueueUnderStress has many writers, a third of whose ctxs end at some
// time: each success is there, and each that ended in the queue isn't.
func TestQueueUnderStress(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	results := map[string]error{}
	var wg sync.WaitGroup
	for w := range 24 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprint(w, "-", i)
				ctx, cancel := context.WithCancel(t.Context())
				if i%3 == 0 {
					time.AfterFunc(time.Duration(w*40)*time.Microsecond, cancel)
				}
				err := s.update(ctx, "mark", 0, mark(name))
				cancel()
				mu.Lock()
				results[name] = err
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	ended := 0
	for name, err := range results {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			ended++
		default:
			t.Errorf("%s: %v", name, err)
		}
		if there := marked(t, s, name); there != (err == nil) {
			t.Errorf("%s: got %v, written: %v", name, err, there)
		}
	}
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	if s.queue.leading || len(s.queue.waiting) > 0 {
		t.Error("the queue is not at rest")
	}
	t.Logf("%d of %d ended in the queue", ended, len(results))
}

// TestLoneWriterStartsAtOnce wants no goroutine, timer or wait between a lone
// writer and its transaction.
func TestLoneWriterStartsAtOnce(t *testing.T) {
	s := newStore(t)
	w := &write{ctx: t.Context(), fn: mark("m")}
	if err := s.submit(w); err != nil || w.wake != nil {
		t.Errorf("%v; it went through the queue: %v", err, w.wake != nil)
	}
	if !slices.Equal(s.queue.waiting, nil) || s.queue.leading {
		t.Error("the queue is not at rest")
	}
}
