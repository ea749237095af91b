package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/embedvault/vault/storage"
)

// swapper has records that are ready at about the same time written in one go,
// where the store can do that: whoever comes while others' records are being
// written waits, and then the first of those who wait writes what is there by
// then, for all. A lone one is written at once.
type swapper struct {
	store storage.KeyBatchUpdater

	mu      sync.Mutex // guards what follows
	waiting []*swap
	leading bool // somebody writes, or has been told to
}

// swap is one record that is to be written.
type swap struct {
	ctx  context.Context
	rec  storage.KeyRecord
	err  error     // once it is done
	wake chan bool // true: lead; false: it is done
}

// newSwapper returns nil if the store takes keys singly.
func newSwapper(r *Keyring) *swapper {
	if r.batches == nil {
		return nil
	}
	return &swapper{store: r.batches}
}

// update is UpdateKey of rec.
func (s *swapper) update(ctx context.Context, rec storage.KeyRecord) error {
	w := &swap{ctx: ctx, rec: rec, wake: make(chan bool, 1)}
	if s.join(w) {
		s.lead(w)
		return w.err
	}
	select {
	case leader := <-w.wake:
		if leader {
			s.lead(w)
		}
	case <-ctx.Done():
		if s.leave(w) {
			return ctx.Err()
		}
		if <-w.wake { // too late: it is being written, or it is its turn
			s.lead(w)
		}
	}
	return w.err
}

// join reports whether w is to lead; otherwise it waits.
func (s *swapper) join(w *swap) (leader bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leading {
		s.leading = true
		return true
	}
	s.waiting = append(s.waiting, w)
	return false
}

// leave takes w out of those who wait, if it is still there.
func (s *swapper) leave(w *swap) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, w)
	if i < 0 {
		return false
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return true
}

// lead writes w and what waits with it, and passes the lead on.
func (s *swapper) lead(w *swap) {
	s.mu.Lock()
	n := min(len(s.waiting), storage.MaxKeyUpdates-1)
	batch := append([]*swap{w}, s.waiting[:n]...)
	s.waiting = slices.Delete(s.waiting, 0, n)
	s.mu.Unlock()

	s.write(batch)

	s.mu.Lock()
	if len(s.waiting) == 0 {
		s.leading = false
	} else {
		next := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		next.wake <- true // has room for it
	}
	s.mu.Unlock()
	for _, other := range batch {
		if other != w {
			other.wake <- false
		}
	}
}

var errNoUpdateResult = errors.New("the store gave no result for a record of a batch")

// write writes a batch and sets the results. It goes on for as long as anybody's
// ctx does.
func (s *swapper) write(batch []*swap) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(batch[0].ctx))
	defer cancel()
	var left atomic.Int64
	left.Store(int64(len(batch)))
	recs := make([]storage.KeyRecord, len(batch))
	for i, w := range batch {
		recs[i] = w.rec
		defer context.AfterFunc(w.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})()
	}
	results, err := s.call(ctx, recs)
	for i, w := range batch {
		switch {
		case err != nil:
			w.err = err
		case i < len(results):
			w.err = results[i]
		default:
			w.err = fmt.Errorf("%w: %w", storage.ErrUnavailable, errNoUpdateResult)
		}
	}
}

// call calls the driver, on a goroutine of its own: the others must not wait for
// ever, whatever it does.
func (s *swapper) call(ctx context.Context, recs []storage.KeyRecord) (results []error, err error) {
	err = fmt.Errorf("%w: %w", storage.ErrUnavailable, errGoexit)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%w: %s", storage.ErrUnavailable, panicText(p))
			}
		}()
		results, err = s.store.UpdateKeys(ctx, recs), nil
	}()
	<-done
	return results, err
}
