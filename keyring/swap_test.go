package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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

// batchStore counts what is written together, and lets the first batch wait.
type batchStore struct {
	*memstore.Store
	first chan struct{} // the first batch waits for it

	mu      sync.Mutex // guards what follows
	sizes   []int
	writing keyctx.KeyID                   // by the first batch
	before  func(recs []storage.KeyRecord) // called for the second batch
	after   func(results []error) []error  // of the second batch
}

func (s *batchStore) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) []error {
	s.mu.Lock()
	s.sizes = append(s.sizes, len(recs))
	n := len(s.sizes)
	if n == 1 {
		s.writing = recs[0].KeyID
	}
	s.mu.Unlock()
	switch {
	case n == 1:
		<-s.first
	case n == 2 && s.before != nil:
		s.before(recs)
	}
	results := s.Store.UpdateKeys(ctx, recs)
	if n == 2 && s.after != nil {
		results = s.after(results)
	}
	return results
}

func (s *batchStore) isWriting() keyctx.KeyID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writing
}

// crowd is many keys whose rewraps are under way at the same time: one is being
// written, all others are ready and wait.
type crowd struct {
	*world
	store   *batchStore
	ids     []keyctx.KeyID
	errs    []error
	did     []keyring.Rewrapped
	events  chan keyring.Event
	cancels []context.CancelFunc
	wg      sync.WaitGroup
}

func newCrowd(t *testing.T, n int, a, b kek.Wrapper, onEvent func(keyring.Event) error) *crowd {
	c := &crowd{
		store: &batchStore{Store: memstore.New(), first: make(chan struct{})}, events: make(chan keyring.Event, 10*n),
		errs: make([]error, n), did: make([]keyring.Rewrapped, n),
	}
	m := new(movable)
	m.set(one(a))
	c.world = newWorldOn(t, nil, c.store.Store, withPolicy(m), func(cfg *keyring.Config) {
		cfg.Store = c.store
		cfg.OnEvent = func(_ context.Context, e keyring.Event) error {
			if e.Kind != keyring.KeyRewrapped {
				return nil
			}
			c.events <- e
			return onEvent(e)
		}
	})
	for i := range n {
		c.ids = append(c.ids, active(t, c.world, tenant(i)))
	}
	m.set(one(b))
	j := c.NewRewrapping(keyring.RewrapOptions{Concurrency: 3})
	for i, id := range c.ids {
		rec := c.record(t, id)
		ctx, cancel := context.WithCancel(t.Context())
		c.cancels = append(c.cancels, cancel)
		c.wg.Go(func() { c.did[i], c.errs[i] = j.Rewrap(ctx, rec) })
	}
	time.Sleep(time.Second) // in a bubble: until all wait
	return c
}

// finish lets the first batch go and waits for all.
func (c *crowd) finish() {
	close(c.store.first)
	c.wg.Wait()
	close(c.events)
}

func (c *crowd) indexOf(rec storage.KeyRecord) int { return slices.Index(c.ids, rec.KeyID) }

func never(keyring.Event) error { return nil }

// However few keys are worked on at a time, what is ready while another one is
// written is written together; and of a batch each key has its own outcome: one that
// lost a race is looked at anew, one that was shredded stays so, one that the store
// failed fails, and all others are moved. Each is an event of its own.
func TestRewrapsAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		c := newCrowd(t, n, memkek.New("a"), memkek.New("b"), never)
		lost, dead, failed := -1, -1, -1
		c.store.before = func(recs []storage.KeyRecord) {
			lost, dead, failed = c.indexOf(recs[3]), c.indexOf(recs[7]), c.indexOf(recs[11])
			c.change(t, tenant(lost), func(r *storage.KeyRecord) { r.State = storage.StateDecryptOnly })
			c.change(t, tenant(dead), shred)
		}
		c.store.after = func(results []error) []error {
			results[11] = fmt.Errorf("%w: gone", storage.ErrUnavailable)
			return results
		}
		c.finish()
		if c.store.sizes[0] != 1 || c.store.sizes[1] != n-1 || len(c.store.sizes) != 3 || c.store.sizes[2] != 1 {
			t.Fatalf("written in batches of %v", c.store.sizes)
		}
		for i, id := range c.ids {
			rec, want := c.record(t, id), keyring.RewrapMoved
			var wantErr error
			switch i {
			case dead:
				want = keyring.RewrapNothing
			case failed:
				want, wantErr = 0, storage.ErrUnavailable
			}
			if c.did[i] != want || !errors.Is(c.errs[i], wantErr) {
				t.Errorf("key %d: %d, %v", i, c.did[i], c.errs[i])
			}
			switch {
			case i == dead && (rec.State != storage.StateShredded || len(rec.Wrappings) > 0):
				t.Error("a batch brought a shredded key back")
			case i == lost && rec.State != storage.StateDecryptOnly:
				t.Error("a batch overwrote a state")
			case i != dead && uris(rec)[0] != "mem:b":
				t.Errorf("key %d is under %v", i, uris(rec))
			}
		}
		told := map[keyctx.KeyID]int{}
		for e := range c.events {
			told[e.KeyID]++
			if (e.Err != nil) != (e.KeyID == c.ids[failed]) {
				t.Errorf("event with %v", e.Err)
			}
		}
		if len(told) != n-1 || told[c.ids[dead]] != 0 || len(c.errs) != n {
			t.Errorf("%d events", len(told))
		}
	})
}

// An event that had to be recorded and wasn't is its own key's error.
func TestRewrapsWrittenTogetherHaveTheirOwnEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := errors.New("not recorded")
		var c *crowd
		c = newCrowd(t, 10, memkek.New("a"), memkek.New("b"), func(e keyring.Event) error {
			if e.KeyID == c.ids[4] {
				return lost
			}
			return nil
		})
		c.finish()
		for i, err := range c.errs {
			if c.did[i] != keyring.RewrapMoved || (i == 4) != errors.Is(err, lost) || i != 4 && err != nil {
				t.Errorf("key %d: %d, %v", i, c.did[i], err)
			}
		}
	})
}

// lying is a KEK that returns, for one context, what doesn't unwrap.
type lying struct {
	*memkek.KEK
	to keyctx.Hash
}

func (l lying) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if b.ContextHash == l.to {
		return l.KEK.Wrap(ctx, make([]byte, len(key)), b)
	}
	return l.KEK.Wrap(ctx, key, b)
}

// What doesn't unwrap to the key is in no batch: the others of its page are moved.
func TestRewrapChecksBeforeTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 10, memkek.New("a"), lying{memkek.New("b"), tenant(6).Hash}, never)
		c.finish()
		for i, id := range c.ids {
			rec := c.record(t, id)
			if i == 6 && (!errors.Is(c.errs[i], kek.ErrCorrupt) || rec.Revision != 1 || uris(rec)[0] != "mem:a") {
				t.Errorf("a wrapping that isn't the key was written: %v, revision %d", c.errs[i], rec.Revision)
			}
			if i != 6 && (c.errs[i] != nil || uris(rec)[0] != "mem:b") {
				t.Errorf("key %d: %v", i, c.errs[i])
			}
		}
	})
}

// Who is cancelled while the record waits leaves, and takes nobody along; not even
// the one whose ctx the batch began with.
func TestRewrapLeavesABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 6, memkek.New("a"), memkek.New("b"), never)
		c.store.before = func(recs []storage.KeyRecord) {
			c.cancels[c.indexOf(recs[0])]() // it leads, and goes on
			synctest.Wait()
		}
		leaver := 0
		if c.store.isWriting() == c.ids[0] {
			leaver = 1
		}
		c.cancels[leaver]()
		synctest.Wait() // it has left
		c.finish()
		for i, id := range c.ids {
			want := int64(2)
			if i == leaver {
				want = 1
				wantErr(t, c.errs[i], context.Canceled)
			}
			if rec := c.record(t, id); int64(rec.Revision) != want {
				t.Errorf("key %d is at revision %d: %v", i, rec.Revision, c.errs[i])
			}
		}
	})
}

// A driver that panics, ends its goroutine or gives too few results leaves nobody
// waiting, and nothing is taken for written.
func TestRewrapBatchBroken(t *testing.T) {
	for name, f := range map[string]func(results []error) []error{
		"panic":   func([]error) []error { panic("of a driver") },
		"goexit":  func([]error) []error { runtime.Goexit(); return nil },
		"nothing": func([]error) []error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 8, memkek.New("a"), memkek.New("b"), never)
				c.store.after = f
				c.finish()
				failed := 0
				for _, err := range c.errs {
					if errors.Is(err, storage.ErrUnavailable) {
						failed++
					} else if err != nil {
						t.Error(err)
					}
				}
				if failed != 7 {
					t.Errorf("%d of 7 failed: %v", failed, c.errs)
				}
			})
		})
	}
}

// A batch for a KMS goes as soon as all keys that can come have come, and not only
// after the time that it waits for more.
func TestRewrapBatchDoesNotWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m, _ := moving(t, one(memkek.New("a")))
		b := memkek.New("b")
		m.set(one(b))
		for i := range 8 {
			active(t, w, tenant(10+i))
		}
		b.Rotate()
		j := w.NewRewrapping(keyring.RewrapOptions{Concurrency: 4})
		j.Coming(8)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 8 {
			rec, err := w.store.LatestKey(t.Context(), tenant(10+i).Hash, data)
			wantErr(t, err, nil)
			wg.Go(func() { _, _ = j.Rewrap(t.Context(), rec) })
		}
		wg.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("it waited for %v", took)
		}
	})
}

// Who waits for its turn when the keyring is closed is told that, like who has it.
func TestRewrapThatWaitsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memkek.New("a"), memkek.New("b")
		w, m, id := moving(t, one(a))
		m.set(one(b))
		b.SetLatency(time.Hour)
		j := w.NewRewrapping(keyring.RewrapOptions{Concurrency: 1})
		rec := w.record(t, id)
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := j.Rewrap(t.Context(), rec); errs <- err }()
		}
		synctest.Wait()
		w.Close()
		for range 2 {
			wantErr(t, <-errs, keyring.ErrClosed)
		}
	})
}
