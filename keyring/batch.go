package keyring

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/embedvault/vault/kek"
)

// Of the batches that are made of single calls.
const (
	batchWait = 2 * time.Millisecond // how long the first item waits for others
	batchMax  = 100                  // items in one batch
)

// batcher makes one call to a KMS of many that are made at about the same time.
type batcher struct {
	r *Keyring
	w kek.Batcher

	mu      sync.Mutex // guards what follows
	pending map[string]*batch
}

// batch is a call in the making.
type batch struct {
	items   []kek.BatchItem
	results []kek.BatchResult
	full    chan struct{} // closed when no more items are taken
	done    chan struct{} // closed when results are there
}

// batcher returns what makes batches for w, or nil if it takes none.
func (j *Rewrapping) batcher(w kek.Wrapper) *batcher {
	b, ok := w.(kek.Batcher)
	if !ok {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	uri := w.URI()
	if j.batches[uri] == nil {
		j.batches[uri] = &batcher{r: j.r, w: b, pending: map[string]*batch{}}
	}
	return j.batches[uri]
}

// do has one item unwrapped or rewrapped along with others. The first of them
// makes the call; it outlives its caller's cancellation, for the others' sake.
func (b *batcher) do(ctx context.Context, ask string, item kek.BatchItem) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrUnavailable, err)
	}
	c, at := b.join(ctx, ask, item)
	if c == nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrUnavailable, ErrClosed)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting for a batch: %w", kek.ErrUnavailable, ctx.Err())
	}
	if at >= len(c.results) {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, errNoResult)
	}
	r := c.results[at]
	if r.Err == nil && r.Bytes == nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, errNoResult)
	}
	return r.Bytes, r.Err
}

// join adds the item to a batch and returns its place there; nil if the keyring
// is closed.
func (b *batcher) join(ctx context.Context, ask string, item kek.BatchItem) (*batch, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.pending[ask]
	if c == nil {
		c = &batch{full: make(chan struct{}), done: make(chan struct{})}
		if !b.r.goRun(func() { b.run(context.WithoutCancel(ctx), ask, c) }) {
			return nil, 0
		}
		b.pending[ask] = c
	}
	c.items = append(c.items, item)
	if len(c.items) == batchMax {
		delete(b.pending, ask)
		close(c.full)
	}
	return c, len(c.items) - 1
}

// run waits for a batch to fill and makes the call.
func (b *batcher) run(ctx context.Context, ask string, c *batch) {
	defer close(c.done)
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	select {
	case <-c.full:
	case <-timer.C:
	}
	b.mu.Lock()
	if b.pending[ask] == c {
		delete(b.pending, ask)
	}
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, b.r.cfg.CallTimeout)
	defer cancel()
	defer context.AfterFunc(b.r.done, cancel)()
	defer func() {
		if p := recover(); p != nil {
			c.results = make([]kek.BatchResult, len(c.items))
			for i := range c.results {
				c.results[i].Err = fmt.Errorf("%w: %s", kek.ErrUnavailable, panicText(p))
			}
		}
	}()
	if ask == askRewrap {
		c.results = b.w.RewrapBatch(ctx, c.items)
	} else {
		c.results = b.w.UnwrapBatch(ctx, c.items)
	}
}
