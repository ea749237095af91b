package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/embedvault/vault"
)

// Keeper is what a log needs of a vault; a *vault.Vault is one.
type Keeper interface {
	// AuditKey returns the key that MACs checkpoints.
	AuditKey(ctx context.Context) (*vault.AuditKey, error)

	// AuditHead returns what KeepAuditHead was last given for this log, or
	// vault.ErrNotFound, or vault.ErrNoStore if heads aren't kept.
	AuditHead(ctx context.Context, log vault.ID) (vault.AuditHead, error)

	// KeepAuditHead keeps a head, and never goes back.
	KeepAuditHead(ctx context.Context, head vault.AuditHead) error
}

var _ Keeper = (*vault.Vault)(nil)

// Start fetches the key from the vault, compares the log's end with the head that the
// vault's store keeps, and makes a checkpoint, which covers all that was written
// before. From then on there are checkpoints, and their heads are kept; until then, and
// if Start fails, events are chained only. It may be called again.
//
// Errors: [ErrHead], with which the log has started all the same; vault.ErrNoStore of a
// vault that can keep no key; those of vault.AuditKey and of the store.
func (l *Log) Start(ctx context.Context, k Keeper) error {
	l.starting.Lock()
	defer l.starting.Unlock()
	key, err := k.AuditKey(ctx)
	if err != nil {
		return fmt.Errorf("audit: start: %w", err)
	}
	head, err := k.AuditHead(ctx, l.id)
	switch {
	case errors.Is(err, vault.ErrNotFound), errors.Is(err, vault.ErrNoStore):
		head = vault.AuditHead{}
	case err != nil:
		return fmt.Errorf("audit: start: %w", err)
	}
	err = l.do(func() error {
		if l.w.key == nil {
			not, err := l.w.compare(head, key)
			if err != nil {
				return err
			}
			l.w.not = not // also for the next Start, if this one waits no longer
		}
		l.heads.start(ctx, k)
		l.w.key = key
		return errors.Join(l.w.not, l.w.checkpoint())
	})
	if !errors.Is(err, ErrSlow) { // it is told: once
		err = errors.Join(err, l.do(func() error { l.w.not = nil; return nil }))
	}
	if err = errors.Join(err, l.heads.flush(ctx)); err != nil {
		return fmt.Errorf("audit: start: %w", err)
	}
	return nil
}

// keepTimeout bounds one write of a head.
const keepTimeout = 10 * time.Second

// heads keeps the newest head in the vault's store, beside the writing of events: a
// database that is slow slows no operation.
type heads struct {
	tell func(error)

	mu      sync.Mutex // guards what follows
	keeper  Keeper
	ctx     context.Context // of Start, without its end
	next    *vault.AuditHead
	wake    chan struct{} // has room for one; closed: no more will come
	ended   chan struct{}
	closed  bool
	keeping sync.Mutex // one at a time
}

func newHeads(tell func(error)) *heads {
	return &heads{tell: tell, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// start lets heads be kept by k.
func (h *heads) start(ctx context.Context, k Keeper) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first := h.keeper == nil
	h.keeper, h.ctx = k, context.WithoutCancel(ctx)
	if first && !h.closed {
		go h.loop()
	}
}

// offer says that there is a newer head.
func (h *heads) offer(head vault.AuditHead) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = &head
	if h.closed {
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *heads) loop() {
	defer close(h.ended)
	for range h.wake {
		h.mu.Lock()
		ctx := h.ctx
		h.mu.Unlock()
		h.tell(h.flush(ctx))
	}
}

// flush keeps the newest head, if it isn't kept. One that fails is tried again with the
// next.
func (h *heads) flush(ctx context.Context) error {
	h.keeping.Lock()
	defer h.keeping.Unlock()
	h.mu.Lock()
	head, keeper := h.next, h.keeper
	h.mu.Unlock()
	if head == nil || keeper == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	err := guarded(func() error { return keeper.KeepAuditHead(ctx, *head) }) // on a goroutine of ours
	if err != nil && !errors.Is(err, vault.ErrNoStore) {
		return fmt.Errorf("keep the head: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == head {
		h.next = nil
	}
	return nil
}

// close keeps what is to be kept and ends the goroutine. A store that hangs is waited
// for no longer than that.
func (h *heads) close(timeout time.Duration) error {
	h.mu.Lock()
	h.closed = true
	close(h.wake)
	started, ctx := h.keeper != nil, h.ctx
	h.mu.Unlock()
	if !started {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		<-h.ended
		done <- h.flush(ctx)
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("keep the head: %w: the store hasn't answered after %v", ErrSlow, timeout)
	}
}
