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

// movable is a policy whose one choice can be changed.
type movable struct{ choice atomic.Pointer[kek.Choice] }

func (m *movable) Choose(context.Context, keyctx.KeyContext) (kek.Choice, error) {
	return *m.choice.Load(), nil
}

// set makes c the choice and what was it its first Previous.
func (m *movable) set(c kek.Choice) {
	if old := m.choice.Load(); old != nil {
		c.Previous = append([]kek.Choice{*old}, old.Previous...)
	}
	m.choice.Store(&c)
}

// dropPrevious forgets what was.
func (m *movable) dropPrevious() {
	c := *m.choice.Load()
	c.Previous = nil
	m.choice.Store(&c)
}

func choice(q kek.Quorum, keks ...kek.Wrapper) kek.Choice { return kek.Choice{KEKs: keks, Quorum: q} }

// moving is a keyring whose policy is movable, with one key under c.
func moving(t testing.TB, c kek.Choice, change ...func(*keyring.Config)) (*world, *movable, keyctx.KeyID) {
	m := new(movable)
	m.set(c)
	w := newWorldOn(t, nil, memstore.New(), append([]func(*keyring.Config){withPolicy(m)}, change...)...)
	return w, m, active(t, w, tenant(1))
}

func (w *world) record(t testing.TB, id keyctx.KeyID) storage.KeyRecord {
	t.Helper()
	rec, err := w.store.GetKey(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// rewrap rewraps one key and fails unless that is what becomes of it.
func (w *world) rewrap(t testing.TB, id keyctx.KeyID, want keyring.Rewrapped, o ...keyring.RewrapOptions) {
	t.Helper()
	opts := append(o, keyring.RewrapOptions{})[0]
	got, err := w.NewRewrapping(opts).Rewrap(context.Background(), w.record(t, id))
	if err != nil || got != want {
		t.Fatalf("rewrapped %d, error %v; want %d", got, err, want)
	}
}

func (w *world) rewrapErr(t testing.TB, id keyctx.KeyID, want error, not ...error) {
	t.Helper()
	before := w.record(t, id)
	_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(context.Background(), before)
	wantErr(t, err, want, not...)
	if after := w.record(t, id); after.Revision != before.Revision {
		t.Fatal("a rewrap that failed has written")
	}
}

// opensCold has a keyring without a cache open the key.
func (w *world) opensCold(t testing.TB, m kek.Policy, id keyctx.KeyID, want error) {
	t.Helper()
	wantErr(t, tryByID(newWorldOn(t, nil, w.store, withPolicy(m)), tenant(1), id), want)
}

func uris(rec storage.KeyRecord) []string {
	var us []string
	for _, w := range rec.Wrappings {
		us = append(us, w.URI)
	}
	return us
}

// Every move between quorums and members leaves the key, openable under what the
// policy says, and under nothing else.
func TestRewrapMoves(t *testing.T) {
	a, b, c := memkek.New("a"), memkek.New("b"), memkek.New("c")
	choices := map[string]kek.Choice{
		"one":         choice(kek.AnyOf, a),
		"another":     choice(kek.AnyOf, b),
		"any of two":  choice(kek.AnyOf, a, b),
		"any of rest": choice(kek.AnyOf, b, c),
		"all of two":  choice(kek.AllOf, a, b),
		"all of rest": choice(kek.AllOf, b, c),
		"all three":   choice(kek.AllOf, a, b, c),
	}
	for from, c1 := range choices {
		for to, c2 := range choices {
			t.Run(from+" to "+to, func(t *testing.T) {
				w, m, id := moving(t, c1)
				old := w.record(t, id)
				if from == to {
					w.rewrap(t, id, keyring.RewrapCurrent)
					return
				}
				m.set(c2)
				w.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{DryRun: true})
				if now := w.record(t, id); now.Revision != old.Revision {
					t.Fatal("a dry run has written")
				}
				w.rewrap(t, id, keyring.RewrapMoved)
				m.dropPrevious()
				rec := w.record(t, id)
				if rec.Quorum != c2.Quorum || len(rec.Wrappings) != len(c2.KEKs) || rec.RewrappedAt.IsZero() || rec.State != old.State {
					t.Fatalf("quorum %v, %v, at %v", rec.Quorum, uris(rec), rec.RewrappedAt)
				}
				w.opensCold(t, m, id, nil)
				w.opensCold(t, kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) { return c1, nil }), id,
					map[bool]error{true: nil, false: kek.ErrPolicy}[rec.Quorum == c1.Quorum && subset(rec, c1)])
				w.rewrap(t, id, keyring.RewrapCurrent)
				// Two shares of different splits are not the key.
				if old.Quorum == kek.AllOf && c2.Quorum == kek.AllOf {
					for _, wr := range old.Wrappings {
						mixed := rec.Clone()
						for i := range mixed.Wrappings {
							if mixed.Wrappings[i].URI == wr.URI {
								mixed.Wrappings[i] = wr
							}
						}
						mixed.Revision = w.record(t, id).Revision
						if err := w.store.UpdateKey(t.Context(), mixed); err != nil {
							t.Fatal(err)
						}
						if slices.Contains(uris(rec), wr.URI) {
							w.opensCold(t, m, id, kek.ErrCorrupt)
						}
					}
				}
			})
		}
	}
}

func subset(rec storage.KeyRecord, c kek.Choice) bool {
	for _, u := range uris(rec) {
		if !slices.ContainsFunc(c.KEKs, func(w kek.Wrapper) bool { return w.URI() == u }) {
			return false
		}
	}
	return rec.Quorum == kek.AnyOf || len(rec.Wrappings) == len(c.KEKs)
}

// Without Previous the policy doesn't name what the key is wrapped under: the
// rewrap refuses, and no KEK is asked.
func TestRewrapNeedsThePolicy(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a))
	m.set(one(b))
	m.dropPrevious()
	a.ResetCounts()
	w.rewrapErr(t, id, kek.ErrPolicy)
	if a.Calls()+b.Calls() > 0 {
		t.Error("a KEK was asked")
	}
}

// After the KMS rotated its key, what the old version wrapped is wrapped anew and
// the rest left alone; the KMS does it itself.
func TestRewrapAfterRotation(t *testing.T) {
	for _, q := range []kek.Quorum{kek.AnyOf, kek.AllOf} {
		a, b := memkek.New("a"), memkek.New("b")
		w, m, id := moving(t, choice(q, a, b))
		w.rewrap(t, id, keyring.RewrapCurrent)
		old := w.record(t, id)
		a.Rotate()
		w.rewrap(t, id, keyring.RewrapMoved)
		if a.Rewraps() != 1 || b.Rewraps() != 0 {
			t.Errorf("%v: %d and %d calls to rewrap, want 1 and 0", q, a.Rewraps(), b.Rewraps())
		}
		a.DestroyOld()
		w.opensCold(t, m, id, nil)
		rec := w.record(t, id)
		if !slices.Equal(rec.Wrappings[1].Wrapped, old.Wrappings[1].Wrapped) {
			t.Errorf("%v: what was current was wrapped anew", q)
		}
		w.rewrap(t, id, keyring.RewrapCurrent)
		w.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{Force: true})
		w.opensCold(t, m, id, nil)
	}
}

// plain is a KEK with none of the optional interfaces.
type plain struct{ k *memkek.KEK }

func (p plain) URI() string { return p.k.URI() }
func (p plain) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	return p.k.Wrap(ctx, key, b)
}
func (p plain) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	return p.k.Unwrap(ctx, wrapped, b)
}

func TestRewrapWithoutOptionalInterfaces(t *testing.T) {
	for _, q := range []kek.Quorum{kek.AnyOf, kek.AllOf} {
		a, b := memkek.New("a"), memkek.New("b")
		w, m, id := moving(t, choice(q, plain{a}, plain{b}))
		a.Rotate()
		w.rewrap(t, id, keyring.RewrapCurrent) // it can't tell
		w.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{Force: true})
		a.DestroyOld()
		w.opensCold(t, m, id, nil)
	}
}

// An any-of key that was made while one KMS was down gets its missing wrapping.
func TestRepair(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Unavailable, memkek.Denied, memkek.Corrupt, memkek.Garbage} {
		east, west := memkek.New("east"), memkek.New("west")
		m := new(movable)
		m.set(choice(kek.AnyOf, east, west))
		w := newWorldOn(t, nil, memstore.New(), withPolicy(m))
		east.SetFault(fault)
		id := active(t, w, tenant(1))
		if got := uris(w.record(t, id)); !slices.Equal(got, []string{"mem:west"}) {
			t.Fatalf("%v: made under %v", fault, got)
		}
		w.rewrapErr(t, id, kekError(fault)) // still down: nothing to write
		east.SetFault(memkek.None)
		w.rewrap(t, id, keyring.RewrapMoved)
		west.SetFault(memkek.Denied)
		w.opensCold(t, m, id, nil)
	}
}

func kekError(f memkek.Fault) error {
	switch f {
	case memkek.Denied:
		return kek.ErrDenied
	case memkek.Corrupt, memkek.Garbage:
		return kek.ErrCorrupt
	}
	return kek.ErrUnavailable
}

// A KMS that answers with garbage, on any of the ways in which a key is wrapped
// anew, costs nothing: what was there stays.
func TestRewrapWritesNothingUnchecked(t *testing.T) {
	faults := map[string]func(*memkek.KEK){
		"wraps garbage":    func(k *memkek.KEK) { k.SetWrapFault(memkek.Garbage) },
		"rewraps garbage":  func(k *memkek.KEK) { k.SetRewrapFault(memkek.Garbage); k.SetWrapFault(memkek.Garbage) },
		"unwraps garbage":  func(k *memkek.KEK) { k.SetUnwrapFault(memkek.Garbage) },
		"unwraps zeros":    func(k *memkek.KEK) { k.SetUnwrapResult(make([]byte, 32)) },
		"unwraps 31 bytes": func(k *memkek.KEK) { k.SetUnwrapResult(make([]byte, 31)) },
		"panics":           func(k *memkek.KEK) { k.SetFault(memkek.Panic) },
		"hangs up":         func(k *memkek.KEK) { k.SetFault(memkek.Unavailable) },
		"refuses":          func(k *memkek.KEK) { k.SetFault(memkek.Denied) },
	}
	for name, fault := range faults {
		for _, to := range []kek.Quorum{kek.AnyOf, kek.AllOf} {
			t.Run(fmt.Sprintf("%s, moving to %v", name, to), func(t *testing.T) {
				a, b, c := memkek.New("a"), memkek.New("b"), memkek.New("c")
				w, m, id := moving(t, one(a))
				if to == kek.AnyOf {
					m.set(one(b))
				} else {
					m.set(choice(to, b, c))
				}
				fault(b)
				w.rewrapErr(t, id, nil2class(t, w, id))
				b.SetFault(memkek.None)
				b.SetUnwrapResult(nil)
				w.opensCold(t, m, id, nil)
				w.rewrap(t, id, keyring.RewrapMoved)
				m.dropPrevious()
				w.opensCold(t, m, id, nil)
			})
			t.Run(fmt.Sprintf("%s, rotated, %v", name, to), func(t *testing.T) {
				a, b := memkek.New("a"), memkek.New("b")
				start := one(a)
				if to == kek.AllOf {
					start = choice(to, a, b)
				}
				w, m, id := moving(t, start)
				a.Rotate()
				fault(a)
				before := w.record(t, id)
				_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), before)
				if err == nil && name != "wraps garbage" { // the KMS rewraps without wrapping
					t.Fatal("no error")
				}
				a.SetFault(memkek.None)
				a.SetUnwrapResult(nil)
				w.opensCold(t, m, id, nil)
				a.DestroyOld()
				if w.record(t, id).Revision != before.Revision {
					w.opensCold(t, m, id, nil)
				}
			})
		}
	}
}

// nil2class returns the class of the error that a rewrap gives now, which must be
// one.
func nil2class(t testing.TB, w *world, id keyctx.KeyID) error {
	t.Helper()
	_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(context.Background(), w.record(t, id))
	if err == nil {
		t.Fatal("no error")
	}
	return kek.Class(err)
}

// A wrapping that is there and was never good must not be what is left after a
// move: the others are dropped only once one has been unwrapped.
func TestRewrapDoesNotTrustWhatIsThere(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, choice(kek.AnyOf, a, b))
	w.change(t, tenant(1), func(rec *storage.KeyRecord) { rec.Wrappings[0].Wrapped[20] ^= 1 }) // a's
	m.set(one(a))
	w.rewrap(t, id, keyring.RewrapMoved) // from b's, wrapped anew
	m.dropPrevious()
	w.opensCold(t, m, id, nil)

	w, m, id = moving(t, choice(kek.AnyOf, a, b))
	w.change(t, tenant(1), func(rec *storage.KeyRecord) { rec.Wrappings[0].Wrapped[20] ^= 1 })
	m.set(one(a))
	b.SetFault(memkek.Unavailable)
	_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
	wantErr(t, err, kek.ErrUnavailable)
	b.SetFault(memkek.None)
	w.opensCold(t, m, id, nil)
}

// A key that isn't the record's, wrapped honestly by an allowed KEK, is not
// carried over.
func TestRewrapRefusesAnotherKey(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a))
	forged := forge(t, a, tenant(1), 1)
	w.change(t, tenant(1), func(rec *storage.KeyRecord) { rec.Wrappings = forged.Wrappings })
	m.set(one(b))
	w.rewrapErr(t, id, kek.ErrCorrupt)
}

func TestRewrapSkipsTombstonesAndKeepsStates(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a))
	w.change(t, tenant(1), func(rec *storage.KeyRecord) {
		rec.State, rec.StateBefore = storage.StateDisabled, storage.StateActive
	})
	m.set(one(b))
	w.rewrap(t, id, keyring.RewrapMoved)
	if rec := w.record(t, id); rec.State != storage.StateDisabled || rec.StateBefore != storage.StateActive {
		t.Errorf("state %v", rec.State)
	}
	w.opensCold(t, m, id, keyring.ErrKeyDisabled)
	w.change(t, tenant(1), shred)
	w.rewrap(t, id, keyring.RewrapNothing)
}

// racingStore lets another writer in just before an update.
type racingStore struct {
	*memstore.Store
	before func(rec storage.KeyRecord)
}

func (s *racingStore) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	if f := s.before; f != nil {
		s.before = nil
		f(rec)
	}
	return s.Store.UpdateKey(ctx, rec)
}

func (s *racingStore) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) []error {
	if f := s.before; f != nil {
		s.before = nil
		f(recs[0])
	}
	return s.Store.UpdateKeys(ctx, recs)
}

// singly is a store that takes keys one by one.
type singly struct{ storage.Store }

// What another process writes meanwhile is not overwritten: not a shredding, not a
// state, not its own rewrap.
func TestRewrapOverwritesNothing(t *testing.T) {
	t.Run("singly", func(t *testing.T) {
		rewrapOverwritesNothing(t, func(s storage.Store) storage.Store { return singly{s} })
	})
	t.Run("together", func(t *testing.T) {
		rewrapOverwritesNothing(t, func(s storage.Store) storage.Store { return s })
	})
}

func rewrapOverwritesNothing(t *testing.T, as func(storage.Store) storage.Store) {
	a, b := memkek.New("a"), memkek.New("b")
	m := new(movable)
	m.set(one(a))
	store := &racingStore{Store: memstore.New()}
	w := newWorldOn(t, nil, store.Store, withPolicy(m), func(c *keyring.Config) { c.Store = as(store) })
	id := active(t, w, tenant(1))
	m.set(one(b))
	store.before = func(storage.KeyRecord) { w.change(t, tenant(1), shred) }
	w.rewrap(t, id, keyring.RewrapNothing)
	if rec := w.record(t, id); rec.State != storage.StateShredded || len(rec.Wrappings) > 0 {
		t.Error("a rewrap brought a shredded key back")
	}

	m = new(movable)
	m.set(one(a))
	store = &racingStore{Store: memstore.New()}
	w = newWorldOn(t, nil, store.Store, withPolicy(m), func(c *keyring.Config) { c.Store = as(store) })
	id = active(t, w, tenant(1))
	m.set(one(b))
	store.before = func(rec storage.KeyRecord) {
		w.change(t, tenant(1), func(r *storage.KeyRecord) { r.Wrappings = rec.Wrappings })
	}
	w.rewrap(t, id, keyring.RewrapCurrent)

	store.before = func(rec storage.KeyRecord) {
		if err := store.DeleteKey(context.Background(), id, rec.Revision); err != nil {
			t.Error(err)
		}
	}
	m.set(one(a))
	rec := w.record(t, id)
	did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), rec)
	if did != keyring.RewrapNothing || err != nil {
		t.Errorf("a deleted key: %d, %v", did, err)
	}
}

// The rule changes while a key is wrapped anew: it ends up under what the rule
// says then.
func TestRuleChangesBetweenRewrapAndStore(t *testing.T) {
	a, b, c := memkek.New("a"), memkek.New("b"), memkek.New("c")
	w, m, id := moving(t, one(a))
	m.set(one(b))
	change := sync.OnceFunc(func() { m.set(one(c)) })
	hooked := hookedKEK{b, change}
	current := *m.choice.Load()
	current.KEKs = []kek.Wrapper{hooked}
	m.choice.Store(&current)
	w.rewrap(t, id, keyring.RewrapMoved)
	if got := uris(w.record(t, id)); !slices.Equal(got, []string{"mem:c"}) {
		t.Errorf("it is under %v", got)
	}
}

type hookedKEK struct {
	*memkek.KEK
	hook func()
}

func (h hookedKEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	h.hook()
	return h.KEK.Wrap(ctx, key, b)
}

// Events: one for each key that was moved or failed, none for the others.
func TestRewrapEvents(t *testing.T) {
	var mu sync.Mutex
	var events []keyring.Event
	boom := errors.New("boom")
	var fail atomic.Bool
	a, b := memkek.New("a"), memkek.New("b")
	w, m, id := moving(t, one(a), func(c *keyring.Config) {
		c.OnEvent = func(_ context.Context, e keyring.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == keyring.KeyRewrapped {
				events = append(events, e)
				if fail.Load() {
					return boom
				}
			}
			return nil
		}
	})
	w.rewrap(t, id, keyring.RewrapCurrent)
	m.set(one(b))
	b.SetFault(memkek.Corrupt)
	w.rewrapErr(t, id, kek.ErrCorrupt)
	b.SetFault(memkek.None)
	w.rewrap(t, id, keyring.RewrapMoved)
	if len(events) != 2 || events[0].Err == nil || events[1].Err != nil || events[1].KeyID != id {
		t.Errorf("events %+v", events)
	}
	fail.Store(true)
	m.set(one(a))
	_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
	wantErr(t, err, boom)
}

// Many keys at once become few calls where a KMS takes batches.
func TestRewrapInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches, most atomic.Int64
		a := counting{memkek.New("a"), &batches, &most}
		m := new(movable)
		m.set(one(a))
		w := newWorldOn(t, nil, memstore.New(), withPolicy(m))
		var ids []keyctx.KeyID
		for i := range 320 {
			ids = append(ids, active(t, w, tenant(i)))
		}
		a.Rotate()
		job := w.NewRewrapping(keyring.RewrapOptions{})
		var wg sync.WaitGroup
		for _, id := range ids {
			rec := w.record(t, id)
			wg.Go(func() {
				if did, err := job.Rewrap(t.Context(), rec); did != keyring.RewrapMoved || err != nil {
					t.Error(did, err)
				}
			})
		}
		wg.Wait()
		if n := batches.Load(); n > 10 || most.Load() != 100 {
			t.Errorf("%d calls for 320 keys, the largest of %d", n, most.Load())
		}
		a.DestroyOld()
		for i, id := range ids {
			wantErr(t, tryByID(newWorldOn(t, nil, w.store, withPolicy(m)), tenant(i), id), nil)
		}
	})
}

// counting counts batches.
type counting struct {
	*memkek.KEK
	batches, most *atomic.Int64
}

func (c counting) count(n int) {
	c.batches.Add(1)
	c.most.Store(max(c.most.Load(), int64(n)))
	time.Sleep(10 * time.Millisecond)
}

func (c counting) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	c.count(len(items))
	return c.KEK.UnwrapBatch(ctx, items)
}

func (c counting) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	c.count(len(items))
	return c.KEK.RewrapBatch(ctx, items)
}

// A driver whose batches break their contract loses nothing.
func TestRewrapWithBrokenBatches(t *testing.T) {
	for name, spoil := range map[string]func([]kek.BatchResult) []kek.BatchResult{
		"none":   func([]kek.BatchResult) []kek.BatchResult { return nil },
		"empty":  func(rs []kek.BatchResult) []kek.BatchResult { return make([]kek.BatchResult, len(rs)) },
		"panics": func([]kek.BatchResult) []kek.BatchResult { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			a := &spoiling{memkek.New("a"), spoil}
			w, m, id := moving(t, one(a))
			a.Rotate()
			_, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id))
			if name == "panics" {
				wantErr(t, err, kek.ErrUnavailable)
			} else {
				// The driver says that it isn't the key; another way to it works.
				wantErr(t, err, nil)
			}
			w.opensCold(t, m, id, nil)
		})
	}
}

type spoiling struct {
	*memkek.KEK
	spoil func([]kek.BatchResult) []kek.BatchResult
}

func (s *spoiling) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	return s.spoil(s.KEK.RewrapBatch(ctx, items))
}
