package keyring

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/embedvault/vault/kek"
)

// Of the batches that are made of single calls.
const (
	batchWait = 2 * time.Millisecond // how long the first item waits for others
	batchMax  = 100                  // items in one batch
)

// batchFull is how many items a batch need not wait for more after: as many as
// there are keys at a time, or left.
func (j *Rewrapping) batchFull() int {
	n := batchMax
	if coming := int(j.coming.Load()); coming > 0 && j.places != nil {
		n = min(n, cap(j.places), coming)
	}
	return n
}

// batchKey is what the items of a batch have in common: the very Wrapper, and
// not only its URI. A policy may give each context its own client, with its own
// rights, to the same KEK.
type batchKey struct {
	w   kek.Batcher
	ask string
}

// batching returns w as a Batcher, if it is one that can be compared.
func batching(w kek.Wrapper, ask string) (kek.Batcher, batchKey, bool) {
	b, ok := w.(kek.Batcher)
	if !ok || !reflect.ValueOf(w).Comparable() {
		return nil, batchKey{}, false
	}
	return b, batchKey{b, ask}, true
}

// batch is one call to a KMS, made of many that come at about the same time. It
// outlives the cancellation of any of them and ends when the last has left.
type batch struct {
	ctx    context.Context
	cancel context.CancelFunc
	full   chan struct{} // closed when no more items are taken
	done   chan struct{} // closed when results are there

	mu      sync.Mutex // guards what follows, and results once done is closed
	items   []kek.BatchItem
	left    []bool // who no longer waits
	waiting int
	results []kek.BatchResult
}

var errNoResult = errors.New("the driver gave no result for an item of a batch")

// inBatch has one item unwrapped or rewrapped along with others.
func (j *Rewrapping) inBatch(ctx context.Context, w kek.Batcher, key batchKey, wrapped []byte, b kek.Binding) ([]byte, error) {
	uri := w.URI()
	state := j.r.stateOf(uri)
	start := time.Now()
	private := b
	private.Context = b.Context.Clone()
	out, err := j.await(ctx, key, kek.BatchItem{Wrapped: wrapped, Binding: private}, state)
	if err != nil {
		return nil, j.r.failed(ctx, state, uri, key.ask, b, err, time.Since(start))
	}
	return out, nil
}

func (j *Rewrapping) await(ctx context.Context, key batchKey, item kek.BatchItem, state *kekState) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrUnavailable, err)
	}
	c, at := j.join(ctx, key, item, state)
	if c == nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrUnavailable, ErrClosed)
	}
	select {
	case <-c.done:
		return c.take(at)
	case <-ctx.Done():
		c.leave(at)
		return nil, fmt.Errorf("%w: waiting for a batch: %w", kek.ErrUnavailable, ctx.Err())
	}
}

// join adds the item to a batch and returns its place there; nil if the keyring
// is closed.
func (j *Rewrapping) join(ctx context.Context, key batchKey, item kek.BatchItem, state *kekState) (*batch, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.batches[key]
	if c == nil || c.ctx.Err() != nil { // everybody has left that one
		c = &batch{full: make(chan struct{}), done: make(chan struct{})}
		c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if !j.r.goRun(func() { j.run(key, c, state) }) {
			c.cancel()
			return nil, 0
		}
		j.batches[key] = c
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items = append(c.items, item)
	c.left = append(c.left, false)
	c.waiting++
	if len(c.items) >= j.batchFull() {
		delete(j.batches, key)
		close(c.full)
	}
	return c, len(c.items) - 1
}

// run waits for a batch to fill and makes the call.
func (j *Rewrapping) run(key batchKey, c *batch, state *kekState) {
	defer c.cancel()
	defer context.AfterFunc(j.r.done, c.cancel)()
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	select {
	case <-c.full:
	case <-timer.C:
	}
	j.mu.Lock()
	if j.batches[key] == c {
		delete(j.batches, key)
	}
	j.mu.Unlock()
	c.mu.Lock()
	items := c.items
	c.mu.Unlock()
	call := key.w.UnwrapBatch
	if key.ask == askRewrap {
		call = key.w.RewrapBatch
	}
	results, err := pass(c.ctx, &state.gate, func(ctx context.Context) ([]kek.BatchResult, error) {
		begun := time.Now()
		defer func() { state.observe(time.Since(begun)) }()
		for range items {
			state.count(key.ask)
		}
		var outcome error
		defer j.r.traceKEK(&ctx, KEKCall{URI: state.uri, Ask: key.ask, Items: len(items)}, &outcome)()
		results := call(ctx, items)
		outcome = firstFailed(results)
		return results, unansweredBatch(results)
	}, forgetResults)
	c.finish(results, err)
}

// unansweredBatch returns an error if no item got an answer, and one that says
// so: that is one call without an answer, and not as many as there are items.
func unansweredBatch(results []kek.BatchResult) error {
	for _, r := range results {
		if !errors.Is(r.Err, kek.ErrUnavailable) {
			return nil
		}
	}
	if len(results) == 0 {
		return nil
	}
	return results[0].Err
}

// finish publishes the results, or for each item the error if there are none.
// What nobody takes is zeroed.
func (c *batch) finish(results []kek.BatchResult, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results = make([]kek.BatchResult, len(c.items))
	for i := range c.results {
		switch {
		case i < len(results):
			c.results[i] = results[i]
		case err != nil:
			c.results[i].Err = err
		}
		if c.left[i] || c.results[i].Err != nil {
			clear(c.results[i].Bytes)
		}
	}
	if len(results) > len(c.items) {
		forgetResults(results[len(c.items):])
	}
	close(c.done)
}

// take returns the result at a place.
func (c *batch) take(at int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.results[at]
	if r.Err == nil && r.Bytes == nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, errNoResult)
	}
	if r.Err != nil {
		return nil, r.Err
	}
	return r.Bytes, nil
}

// leave gives a place up.
func (c *batch) leave(at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left[at] = true
	if c.waiting--; c.waiting == 0 {
		c.cancel()
	}
	if c.results != nil { // in the meantime
		clear(c.results[at].Bytes)
	}
}

func forgetResults(results []kek.BatchResult) {
	for _, r := range results {
		clear(r.Bytes)
	}
}
