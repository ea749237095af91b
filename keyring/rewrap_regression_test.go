package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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

type noDescribe struct{ *memkek.KEK }

func (noDescribe) Check(context.Context) (kek.Status, error) {
	return kek.Status{}, fmt.Errorf("AccessDenied: kms:DescribeKey: %w", kek.ErrDenied)
}

// session is a client with one tenant's credentials to a KEK that several share by
// URI, or one of credentials that expire.
type session struct {
	*memkek.KEK
	who  string
	open *atomic.Bool
	used func(who string, items []kek.BatchItem)
}

func (s session) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	s.used(s.who, items)
	if !s.open.Load() {
		rs := make([]kek.BatchResult, len(items))
		for i := range rs {
			rs[i].Err = fmt.Errorf("expired token: %w", kek.ErrDenied)
		}
		return rs
	}
	return s.KEK.UnwrapBatch(ctx, items)
}

func (s session) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	s.used(s.who, items)
	if !s.open.Load() {
		rs := make([]kek.BatchResult, len(items))
		for i := range rs {
			rs[i].Err = fmt.Errorf("expired token: %w", kek.ErrDenied)
		}
		return rs
	}
	return s.KEK.RewrapBatch(ctx, items)
}

type plainVT struct{ k *memkek.KEK }

func (p plainVT) URI() string { return p.k.URI() }
func (p plainVT) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	return p.k.Wrap(ctx, key, b)
}
func (p plainVT) Unwrap(ctx context.Context, w []byte, b kek.Binding) ([]byte, error) {
	return p.k.Unwrap(ctx, w, b)
}

// Z15. Keys of batch items whose callers have left are not zeroed.
type keptBatch struct {
	*memkek.KEK
	release chan struct{}
	mu      *sync.Mutex
	out     *[][]byte
}

func (k keptBatch) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	<-k.release
	rs := k.KEK.UnwrapBatch(context.WithoutCancel(ctx), items)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range rs {
		*k.out = append(*k.out, r.Bytes)
	}
	return rs
}

// The KMS can't be asked for its newest version once (throttled, or the role
// lacks kms:DescribeKey): Rewrap must not report the key as moved while it is
// still wrapped under the old version.
func TestRegressionMovedThatIsNot(t *testing.T) {
	t.Run("throttled once", func(t *testing.T) {
		a := memkek.New("a")
		w, m, id := moving(t, one(a))
		a.Rotate()
		before := w.record(t, id)
		a.FailNext(1, memkek.Unavailable) // the Check
		did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), before)
		t.Logf("did %d, err %v, same blob: %v", did, err, slices.Equal(before.Wrappings[0].Wrapped, w.record(t, id).Wrappings[0].Wrapped))
		if err == nil { // the operator believes it and destroys the old version
			a.DestroyOld()
			w.opensCold(t, m, id, nil)
		}
	})
	t.Run("no permission to describe", func(t *testing.T) {
		a := noDescribe{memkek.New("a")}
		w, m, id := moving(t, one(a))
		a.Rotate()
		did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
		t.Logf("did %d, err %v", did, err)
		if err == nil {
			a.DestroyOld()
			w.opensCold(t, m, id, nil)
		}
	})
}

// A KEK of an any-of that answers nonsense for a moment loses its good
// wrapping, with nothing in its place.
func TestRegressionGoodWrappingIsNotDropped(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Garbage, memkek.Corrupt} {
		t.Run(fault.String(), func(t *testing.T) {
			a, b := memkek.New("a"), memkek.New("b")
			w, m, id := moving(t, choice(kek.AnyOf, a, b))
			b.Rotate() // a reason to look at the key
			a.SetUnwrapFault(fault)
			a.SetWrapFault(memkek.Unavailable)
			did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
			t.Logf("did %d, err %v, under %v", did, err, uris(w.record(t, id)))
			a.SetFault(memkek.None)
			b.SetFault(memkek.Denied) // region b is gone; a is what any-of is for
			w.opensCold(t, m, id, nil)
		})
	}
}

// The policy gives each tenant a Wrapper with that tenant's credentials. The
// batcher sends one tenant's keys through another's.
func TestRegressionBatchThroughAnothersWrapper(t *testing.T) {
	base := memkek.New("shared")
	yes := new(atomic.Bool)
	yes.Store(true)
	var mu sync.Mutex
	var wrong []string
	p := kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
		who := kc["organization_id"]
		return one(session{base, who, yes, func(who string, items []kek.BatchItem) {
			mu.Lock()
			defer mu.Unlock()
			for _, it := range items {
				if got := it.Binding.Context["organization_id"]; got != who {
					wrong = append(wrong, got+" through "+who)
				}
			}
		}}), nil
	})
	w := newWorldOn(t, nil, memstore.New(), withPolicy(p))
	id1, id2 := active(t, w, tenant(1)), active(t, w, tenant(2))
	base.Rotate()
	job := w.NewRewrapping(keyring.RewrapOptions{})
	for _, id := range []keyctx.KeyID{id1, id2} {
		if _, err := job.Rewrap(t.Context(), w.record(t, id)); err != nil {
			t.Fatal(err)
		}
	}
	if len(wrong) > 0 {
		t.Errorf("a Wrapper that the policy doesn't name for the context was asked: %v", wrong)
	}
}

func TestRegressionBatchThroughAnExpiredWrapper(t *testing.T) {
	base := memkek.New("shared")
	open := new(atomic.Bool)
	open.Store(true)
	current := session{base, "", open, func(string, []kek.BatchItem) {}}
	var mu sync.Mutex
	p := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
		mu.Lock()
		defer mu.Unlock()
		return one(current), nil
	})
	w := newWorldOn(t, nil, memstore.New(), withPolicy(p))
	id1, id2 := active(t, w, tenant(1)), active(t, w, tenant(2))
	base.Rotate()
	job := w.NewRewrapping(keyring.RewrapOptions{})
	if _, err := job.Rewrap(t.Context(), w.record(t, id1)); err != nil {
		t.Fatal(err)
	}
	open.Store(false) // its token expires, and the policy hands out a new client
	fresh := new(atomic.Bool)
	fresh.Store(true)
	mu.Lock()
	current = session{base, "", fresh, current.used}
	mu.Unlock()
	_, err := job.Rewrap(t.Context(), w.record(t, id2))
	wantErr(t, err, nil)
}

// FailClosed: a sink that keeps its events in a store fails with that store's
// error. The rewrap takes it for its own conflict and reports success.
func TestRegressionRequiredEventIsNotSwallowed(t *testing.T) {
	for _, cause := range []error{storage.ErrVersionConflict, storage.ErrNotFound} {
		recorded := 0
		var fail atomic.Bool
		a, b := memkek.New("a"), memkek.New("b")
		w, m, id := moving(t, one(a), func(c *keyring.Config) {
			c.OnEvent = func(_ context.Context, e keyring.Event) error {
				if fail.Load() {
					return fmt.Errorf("audit: %w", cause)
				}
				if e.Kind == keyring.KeyRewrapped {
					recorded++
				}
				return nil
			}
		})
		m.set(one(b))
		fail.Store(true)
		did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
		if err == nil {
			t.Errorf("%v: did %d without an error, and %d events were recorded; now under %v", cause, did, recorded, uris(w.record(t, id)))
		}
	}
}

func TestRegressionRequiredEventOfCreateIsNotSwallowed(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) {
		c.OnEvent = func(context.Context, keyring.Event) error {
			return fmt.Errorf("audit: %w", storage.ErrExists)
		}
	})
	if err := tryActive(w, tenant(1)); err == nil {
		t.Error("key.created wasn't recorded, and the key serves")
	}
}

// A key that is refused by the policy is no event.
func TestRegressionEventsOfRefusedKeys(t *testing.T) {
	events := 0
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a), func(c *keyring.Config) {
		c.OnEvent = func(_ context.Context, e keyring.Event) error {
			if e.Kind == keyring.KeyRewrapped {
				events++
			}
			return nil
		}
	})
	m.set(one(b))
	m.dropPrevious()
	w.rewrapErr(t, id, kek.ErrPolicy)
	if events != 1 {
		t.Errorf("%d events, want 1", events)
	}
}

// Close returns while a rewrap goes on: it writes to the store afterwards.
func TestRegressionNoWriteAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memkek.New("a"), memkek.New("b")
		w, m, id := moving(t, choice(kek.AllOf, a, b))
		before := w.record(t, id)
		a.Rotate()
		m.set(choice(kek.AllOf, plainVT{a}, plainVT{b}))
		a.SetLatency(time.Second)
		done := make(chan error, 1)
		go func() {
			_, err := w.NewRewrapping(keyring.RewrapOptions{Force: true}).Rewrap(t.Context(), before)
			done <- err
		}()
		time.Sleep(500 * time.Millisecond)
		w.Close()
		closedAt := w.record(t, id).Revision
		err := <-done
		t.Logf("rewrap: %v", err)
		if w.record(t, id).Revision != closedAt {
			t.Error("it wrote to the store after Close had returned")
		}
	})
}

func TestRegressionAbandonedBatchKeysAreZeroed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var out [][]byte
		a := keptBatch{memkek.New("a"), make(chan struct{}), &mu, &out}
		w, _, id := moving(t, one(a))
		a.Rotate()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		rec := w.record(t, id)
		go func() {
			_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(ctx, rec)
			done <- err
		}()
		time.Sleep(time.Second)
		cancel()
		t.Log(<-done)
		close(a.release)
		synctest.Wait()
		w.Close()
		if len(out) == 0 {
			t.Fatal("nothing was unwrapped")
		}
		for _, b := range out {
			if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
				t.Error("an unwrapped key nobody holds any more is still in memory")
			}
		}
	})
}

// NoBackground: a batch outlives the call that made it.
func TestRegressionBatchEndsWithItsLastWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := memkek.New("a")
		w, _, id := moving(t, one(a), func(c *keyring.Config) { c.NoBackground = true })
		a.Rotate()
		rec := w.record(t, id)
		a.SetRewrapFault(memkek.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(ctx, rec)
		synctest.Wait()
		if n := a.InFlight(); n > 0 {
			t.Errorf("%d calls to the KMS go on after the call returned (%v)", n, err)
		}
	})
}

// A refusal that had to be recorded and wasn't, of the call that asks for the
// newest version, doesn't fail the rewrap.
func TestRegressionUnrecordedDenialOfCheck(t *testing.T) {
	a := noDescribe{memkek.New("a")}
	boom := errors.New("boom")
	w, _, id := moving(t, one(a), func(c *keyring.Config) {
		c.OnEvent = func(_ context.Context, e keyring.Event) error {
			if e.Kind == keyring.KEKDenied {
				t.Logf("denied event with hash %v and key %v", e.ContextHash, e.KeyID)
				return boom
			}
			return nil
		}
	})
	a.Rotate()
	_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
	wantErr(t, err, boom)
}

// Close doesn't end what a rewrap has started: it waits for every hanging
// call, one after the other where they queue for a place.
func TestRegressionCloseEndsRewraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memkek.New("a"), memkek.New("b")
		m := new(movable)
		m.set(one(a))
		w := newWorldOn(t, nil, memstore.New(), withPolicy(m), func(c *keyring.Config) { c.KEKConcurrency = 1 })
		var recs []storage.KeyRecord
		for i := range 8 {
			recs = append(recs, w.record(t, active(t, w, tenant(i))))
		}
		m.set(one(b))
		a.SetFault(memkek.Hang)
		job := w.NewRewrapping(keyring.RewrapOptions{})
		for _, rec := range recs {
			go func() { _, _ = job.Rewrap(t.Context(), rec) }()
		}
		time.Sleep(500 * time.Millisecond)
		start := time.Now()
		w.Close()
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("Close took %v", took)
		}
	})
}

// A record of a page is minutes old. Another process has moved the key and
// the old rule is dropped: the rewrap blames the policy, and doesn't look again.
func TestRegressionStalePage(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a))
	page := w.record(t, id)
	m.set(one(b))
	w.rewrap(t, id, keyring.RewrapMoved) // by another process
	m.dropPrevious()
	did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), page)
	if err != nil || did != keyring.RewrapCurrent {
		t.Errorf("did %d: %v", did, err)
	}
}

// The same when the customer revokes the old KEK.
func TestRegressionStalePageDenied(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a))
	page := w.record(t, id)
	m.set(one(b))
	w.rewrap(t, id, keyring.RewrapMoved)
	a.SetFault(memkek.Denied)
	did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), page)
	if err != nil || did != keyring.RewrapCurrent {
		t.Errorf("did %d: %v", did, err)
	}
}

// A load that read the record just before it was moved, and asks the policy
// just after Previous was dropped.
func TestRegressionLoadAcrossARewrap(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a))
	var once sync.Once
	p := kek.PolicyFunc(func(ctx context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
		once.Do(func() {
			m.set(one(b))
			w.rewrap(t, id, keyring.RewrapMoved)
			m.dropPrevious()
		})
		return m.Choose(ctx, kc)
	})
	wantErr(t, tryByID(newWorldOn(t, nil, w.store, withPolicy(p)), tenant(1), id), nil)
}

// A DryRun, and an all-of with other members, where the role may not describe
// the key.
func TestRegressionSplitNeedsNoCheck(t *testing.T) {
	a, b, c := noDescribe{memkek.New("a")}, memkek.New("b"), memkek.New("c")
	w, m, id := moving(t, choice(kek.AllOf, a, b))
	m.set(choice(kek.AllOf, a, c)) // split anew: no version matters
	w.rewrap(t, id, keyring.RewrapMoved)
}
