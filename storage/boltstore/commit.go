package boltstore

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault/storage"
)

// A transaction costs two syncs of the disk, whatever is in it. So concurrent
// writers share one: whoever comes while another one's transaction runs waits
// in the queue, and when that has ended the first in the queue commits what is
// there by then, for all. A lone writer starts at once.

// Limits of one transaction.
const (
	maxBatch      = 512
	maxBatchBytes = 16 << 20 // or one write that is larger
)

// write is one operation of one caller.
type write struct {
	ctx  context.Context
	size int // of what it writes, about

	// fn does it. It checks everything that can refuse it before it writes
	// anything, and may be run several times: only the last one counts.
	fn  func(*tx) error
	err error

	// wake gets true when the caller is to lead, false when its write is done.
	wake chan bool
}

// queue holds the writes that wait.
type queue struct {
	mu      sync.Mutex // guards what is below
	waiting []*write
	leading bool // somebody runs a transaction, or has been told to
}

// update runs fn in a writing transaction, maybe with others, and returns when
// it is committed or has failed. op is for the error.
func (s *Store) update(ctx context.Context, op string, size int, fn func(*tx) error) error {
	err := ctx.Err()
	if err == nil {
		err = s.submit(&write{ctx: ctx, size: size, fn: fn})
	}
	if err != nil {
		return fmt.Errorf("boltstore: %s: %w", op, err)
	}
	return nil
}

func (s *Store) submit(w *write) error {
	if s.queue.join(w) {
		s.lead(w)
		return w.err
	}
	select {
	case leader := <-w.wake:
		if leader {
			s.lead(w)
		}
	case <-w.ctx.Done():
		if s.queue.leave(w) {
			return w.ctx.Err()
		}
		// Too late: it is in a transaction, or about to lead one.
		if <-w.wake {
			s.lead(w)
		}
	}
	return w.err
}

// join reports whether w's caller is to lead; otherwise w waits.
func (q *queue) join(w *write) (leader bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.leading {
		q.leading = true
		return true
	}
	w.wake = make(chan bool, 1)
	q.waiting = append(q.waiting, w)
	return false
}

// leave takes w out of the queue, if it is still there.
func (q *queue) leave(w *write) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take returns what goes into the leader's transaction, the leader's first.
func (q *queue) take(leader *write) []*write {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, leader.size
	for n < len(q.waiting) && n < maxBatch-1 {
		if size += q.waiting[n].size; size > maxBatchBytes {
			break
		}
		n++
	}
	batch := append([]*write{leader}, q.waiting[:n]...)
	q.waiting = slices.Delete(q.waiting, 0, n)
	return batch
}

// pass makes the first in the queue the leader, if there is one.
func (q *queue) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.leading = false
		return
	}
	next := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	next.wake <- true // has room for it
}

// lead commits w and what waits with it.
func (s *Store) lead(w *write) {
	batch := s.queue.take(w)
	s.commit(batch)
	s.queue.pass()
	for _, other := range batch {
		if other != w {
			other.wake <- false
		}
	}
}

// commit runs a batch in one transaction. If one of them fails when it has
// written already, the others are done again without it.
func (s *Store) commit(batch []*write) {
	for rest := slices.Clone(batch); len(rest) > 0; {
		failed := s.try(rest)
		if failed < 0 {
			return
		}
		rest = slices.Delete(rest, failed, failed+1)
	}
}

// try runs a batch in one transaction and sets the errors of all, unless it
// returns the index of one that has to be left out.
func (s *Store) try(batch []*write) (failed int) {
	whole := func(err error) int { // its failure is everybody's
		for _, w := range batch {
			w.err = err
		}
		return -1
	}
	if err := s.usable(); err != nil {
		return whole(err)
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// Not in an operation but in bbolt's own begin, commit or rollback.
		if p := recover(); p != nil {
			s.broken.Store(true)
			failed = whole(damaged(p))
		}
	}()
	btx, err := s.db.Begin(true)
	if err != nil {
		return whole(boltError(err))
	}
	t := &tx{Tx: btx, s: s, changes: map[string]*change{}}
	wrote, failed := t.runAll(batch)
	if failed >= 0 || !wrote {
		if err := btx.Rollback(); err != nil {
			return whole(err)
		}
		return failed
	}
	if err := t.writeChanges(); err != nil {
		_ = btx.Rollback() // err says more
		return whole(err)
	}
	if err := commitTx(btx); err != nil {
		return whole(fmt.Errorf("%w: commit: %w", storage.ErrUnavailable, err))
	}
	return -1
}

// commitTx is a variable so that tests can make it fail.
var commitTx = (*bbolt.Tx).Commit

// runAll runs the operations, and stops at one that has failed too late.
func (t *tx) runAll(batch []*write) (wrote bool, failed int) {
	for i, w := range batch {
		if w.err = w.ctx.Err(); w.err != nil {
			continue
		}
		t.wrote = false
		w.err = t.run(w.fn)
		if w.err != nil && t.wrote {
			return wrote, i
		}
		wrote = wrote || t.wrote
	}
	return wrote, -1
}

// run runs one operation. If it meets a damaged page the others need not
// suffer: only its own transaction has to go.
func (t *tx) run(fn func(*tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.wrote = true
			err = damaged(p)
		}
	}()
	return fn(t)
}
