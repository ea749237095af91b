package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	var not error
	err = l.do(func() error {
		var err error
		if l.w.key == nil {
			if not, err = l.w.compare(head); err != nil {
				return err
			}
		}
		l.heads.start(ctx, k)
		l.w.key = key
		return l.w.checkpoint()
	})
	if err == nil {
		err = l.heads.flush(ctx)
	}
	if err = errors.Join(not, err); err != nil {
		return fmt.Errorf("audit: start: %w", err)
	}
	return nil
}

// compare compares the log as it was when it was opened with a head. What doesn't fit is
// noted in the log, for everyone to see who reads it.
func (w *writer) compare(head vault.AuditHead) (not, err error) {
	if head.Log != w.log {
		return nil, nil
	}
	l := w.begin()
	if head.Seq > w.opened {
		l.state.seq = max(l.state.seq, head.Seq)
		l.note(noteCut, fmt.Sprintf(`,"first":%d,"last":%d`, w.opened+1, head.Seq))
		not = fmt.Errorf("%w: records %d to %d are missing at its end", ErrHead, w.opened+1, head.Seq)
		return not, w.commit(l)
	}
	hash, found, err := hashOf(w.path, head.Seq)
	if err != nil || !found || hash == head.Hash { // not found: it is in another part
		return nil, err
	}
	l.note(noteRewritten, fmt.Sprintf(`,"first":%d`, head.Seq))
	return fmt.Errorf("%w: record %d is another", ErrHead, head.Seq), w.commit(l)
}

// hashOf returns the hash of a line of a file.
func hashOf(path string, seq uint64) (hash [32]byte, found bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return hash, false, err
	}
	defer f.Close()
	c := &checker{limit: 1, tail: true, light: true, head: &vault.AuditHead{Seq: seq}}
	lines := newLines(f)
	for {
		b, err := lines.next()
		if err != nil {
			return hash, false, nil //nolint:nilerr // the end
		}
		if l, err := c.parse(b, lines.long); err == nil && l.seq == seq {
			return lines.hash, true, nil
		}
	}
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
	if err := keeper.KeepAuditHead(ctx, *head); err != nil && !errors.Is(err, vault.ErrNoStore) {
		return fmt.Errorf("keep the head: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == head {
		h.next = nil
	}
	return nil
}

// close keeps what is to be kept and ends the goroutine.
func (h *heads) close() error {
	h.mu.Lock()
	h.closed = true
	close(h.wake)
	started, ctx := h.keeper != nil, h.ctx
	h.mu.Unlock()
	if !started {
		return nil
	}
	<-h.ended
	return h.flush(ctx)
}
