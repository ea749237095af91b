package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// on is another process on the world's store, with this policy.
func (w *world) on(t testing.TB, p kek.Policy) *world {
	t.Helper()
	return newWorldOn(t, w.kek, w.store, withPolicy(p))
}

// Children move to their parent's newest version; what is there already is left
// alone, without a call to the KMS or a look at the old parent.
func TestRewrapMovesToTheNewestParent(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	v1 := w.parentOf(t, tenant(1)).KeyID
	w.rewrap(t, id, keyring.RewrapCurrent)
	v2 := w.rotateParent(t, tenant(1))
	w.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{DryRun: true})
	w.wantUnder(t, id, v1)
	w.rewrap(t, id, keyring.RewrapMoved)
	w.wantUnder(t, id, v2)
	if w.record(t, id).RewrappedAt.IsZero() {
		t.Fatal("the record doesn't say when it was rewrapped")
	}

	cold := w.cousin(t)
	w.store.ResetCalls()
	cold.rewrap(t, id, keyring.RewrapCurrent)
	if n := w.store.Calls(""); n != 2 || cold.kek.Calls() != 0 { // the test's GetKey, and LatestKey
		t.Fatalf("%d calls to the store and %d to the KMS", n, cold.kek.Calls())
	}
	for parent, want := range map[keyctx.KeyID]int64{v1: 0, v2: 1} {
		if n, err := storage.CountChildren(t.Context(), w.store, "", parent, 0); err != nil || n != want {
			t.Fatalf("%d children, %v, want %d", n, err, want)
		}
	}
	wantBoth(t, w, user(1, 1), id, nil)
	wantBoth(t, cold, user(1, 1), id, nil)
}

// A parent that is rewrapped moves alone.
func TestRewrapOfAParentTouchesNoChild(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	parent := w.parentOf(t, tenant(1)).KeyID
	child := w.record(t, id)
	w.kek.Rotate()
	w.rewrap(t, parent, keyring.RewrapMoved)
	w.rewrap(t, id, keyring.RewrapCurrent)
	w.kek.DestroyOld()
	if w.record(t, id).Revision != child.Revision {
		t.Fatal("the child was touched")
	}
	wantBoth(t, w.cousin(t), user(1, 1), id, nil)
}

// Between KEKs and parents, and from one parent to another, there and back.
func TestRewrapMovesIntoAndOutOfFamilies(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	parents := func(keys ...string) kek.Choice {
		kc := keyctx.KeyContext{}
		for _, k := range keys {
			kc[k] = user(1, 1).Pairs[k]
		}
		return kek.Choice{Parent: kc}
	}
	choices := map[string]kek.Choice{
		"one":          choice(kek.AnyOf, a),
		"any of two":   choice(kek.AnyOf, a, b),
		"all of two":   choice(kek.AllOf, a, b),
		"organisation": parents("organization_id"),
		"user":         parents("user_id"),
	}
	c := user(1, 1)
	for from, c1 := range choices {
		for to, c2 := range choices {
			if from == to || c1.Parent == nil && c2.Parent == nil {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				m := new(movable)
				m.set(c1)
				policy := kek.PolicyFunc(func(ctx context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
					if len(kc) == 1 {
						return one(a), nil
					}
					return m.Choose(ctx, kc)
				})
				w := newWorldOn(t, a, memstore.New(), withPolicy(policy))
				id := active(t, w, c)
				w.rewrap(t, id, keyring.RewrapCurrent)
				m.set(c2)
				w.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{DryRun: true})
				wantErr(t, tryByID(w.on(t, policy), c, id), nil) // as Previous
				w.rewrap(t, id, keyring.RewrapMoved)
				w.rewrap(t, id, keyring.RewrapCurrent)
				m.dropPrevious()
				wantErr(t, tryByID(w.on(t, policy), c, id), nil)
				rec := w.record(t, id)
				if (c2.Parent != nil) == rec.ParentID.IsZero() || len(rec.Wrappings) != max(len(c2.KEKs), 1) {
					t.Fatalf("parent %v, under %v", rec.ParentID, uris(rec))
				}
				m.choice.Store(&c1) // what was is no longer named
				wantErr(t, tryByID(w.on(t, policy), c, id), kek.ErrPolicy)
			})
		}
	}
}

// The steps of bringing contexts under a parent while processes run, and of taking
// them out again: at each, the processes of the step before and after read
// everything.
func TestMovingInAndOut(t *testing.T) {
	k := memkek.New("test")
	h := under(t, kek.Fixed(k), "organization_id")
	w := newWorldOn(t, k, memstore.New())
	first := active(t, w, user(1, 1))
	steps := []kek.Policy{kek.Fixed(k), h.MovingOut(), h.MovingIn(), h, h.MovingIn(), h.MovingOut(), kek.Fixed(k)}
	for i := 1; i < len(steps); i++ {
		before, after := w.on(t, steps[i-1]), w.on(t, steps[i])
		made := []keyctx.KeyID{first, active(t, before, user(1, 100+i)), active(t, after, user(1, 200+i))}
		for j, c := range []keyring.Context{user(1, 1), user(1, 100+i), user(1, 200+i)} {
			for _, p := range []kek.Policy{steps[i-1], steps[i]} {
				wantErr(t, tryByID(w.on(t, p), c, made[j]), nil)
			}
		}
		for _, id := range made { // what a pass over all keys does
			if _, err := after.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), w.record(t, id)); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
		}
		for n := range i {
			for _, c := range []keyring.Context{user(1, 101+n), user(1, 201+n)} {
				rec, err := w.store.LatestKey(t.Context(), c.Hash, data)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := after.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), rec); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
		}
	}
	if rec := w.record(t, first); !rec.ParentID.IsZero() || uris(rec)[0] != k.URI() {
		t.Fatalf("at the end it is wrapped under %v", uris(rec))
	}
}

// A rewrap makes the parent's key where there is none, but not to see what it would do.
func TestRewrapMakesTheParent(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, user(1, 1))
	in := w.on(t, under(t, kek.Fixed(w.kek), "organization_id").MovingIn())
	w.kek.ResetCounts()
	in.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{DryRun: true})
	if w.stored(t) != 1 || w.kek.Calls() != 0 {
		t.Fatal("a dry run has made a key, or called the KMS")
	}
	in.rewrap(t, id, keyring.RewrapMoved)
	w.wantUnder(t, id, w.parentOf(t, tenant(1)).KeyID)
}

func TestRewrapForcedUnderTheSameParent(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	before := w.record(t, id).Wrappings[0].Wrapped
	w.rewrap(t, id, keyring.RewrapMoved, keyring.RewrapOptions{Force: true})
	if after := w.record(t, id).Wrappings[0].Wrapped; string(after) == string(before) {
		t.Fatal("the wrapping is the same")
	}
	wantBoth(t, w.cousin(t), user(1, 1), id, nil)
}

// What is under a shredded parent is as good as shredded; under a disabled one it
// waits.
func TestRewrapUnderAParentThatIsNotUsable(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	v1 := w.parentOf(t, tenant(1)).KeyID
	w.rotateParent(t, tenant(1))
	w.setState(t, v1, storage.StateDisabled)
	w.cousin(t).rewrapErr(t, id, keyring.ErrKeyDisabled)
	w.setState(t, v1, storage.StateShredded)
	w.cousin(t).rewrap(t, id, keyring.RewrapNothing)
	w.wantUnder(t, id, v1)
}

// The newest parent is disabled: nothing can be brought under it, or made.
func TestRewrapToADisabledParent(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	w.setState(t, w.rotateParent(t, tenant(1)), storage.StateDisabled)
	cold := w.cousin(t)
	cold.rewrapErr(t, id, keyring.ErrKeyDisabled)
	wantErr(t, tryActive(cold, user(1, 2)), keyring.ErrKeyDisabled)
	wantErr(t, tryByID(cold, user(1, 1), id), nil) // its own parent is not
}

// A parent that is rotated or shredded while its children are rewrapped: the pass
// looks again, and what it said before is no verdict.
func TestRewrapWhileTheParentChanges(t *testing.T) {
	w := newFamily(t)
	first, second := active(t, w, user(1, 1)), active(t, w, user(1, 2))
	v2 := w.rotateParent(t, tenant(1))
	j := w.cousin(t).NewRewrapping(keyring.RewrapOptions{})
	move := func(id keyctx.KeyID) {
		t.Helper()
		if did, err := j.Rewrap(t.Context(), w.record(t, id)); err != nil || did != keyring.RewrapMoved {
			t.Fatalf("rewrapped %d: %v", did, err)
		}
	}
	move(first)
	w.wantUnder(t, first, v2)
	w.setState(t, v2, storage.StateShredded) // of which j knows as the newest
	move(second)
	v3 := w.parentOf(t, tenant(1))
	if v3.Version != 3 {
		t.Fatalf("the newest version is %d", v3.Version)
	}
	w.wantUnder(t, second, v3.KeyID)
}

// A key isn't brought under a parent's version that was superseded since the pass
// looked, and may be retired.
func TestRewrapUnderTheNewestOnly(t *testing.T) {
	w := newFamily(t)
	first, second := active(t, w, user(1, 1)), active(t, w, user(1, 2))
	v2 := w.rotateParent(t, tenant(1))
	j := w.cousin(t).NewRewrapping(keyring.RewrapOptions{})
	move := func(id keyctx.KeyID) {
		t.Helper()
		if did, err := j.Rewrap(t.Context(), w.record(t, id)); err != nil || did != keyring.RewrapMoved {
			t.Fatalf("rewrapped %d: %v", did, err)
		}
	}
	move(first)
	w.wantUnder(t, first, v2)
	v3 := w.rotateParent(t, tenant(1))
	move(second)
	w.wantUnder(t, second, v3)
}

// A record that is as old as the page that it was listed on: its parent is shredded
// since, and it isn't under that any more.
func TestRewrapOfARecordWhoseParentIsGone(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	v1, listed := w.parentOf(t, tenant(1)).KeyID, w.record(t, id)
	w.rotateParent(t, tenant(1))
	w.rewrap(t, id, keyring.RewrapMoved)
	v3 := w.rotateParent(t, tenant(1))
	w.setState(t, v1, storage.StateShredded)
	did, err := w.cousin(t).NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), listed)
	if err != nil || did != keyring.RewrapMoved {
		t.Fatalf("rewrapped %d: %v", did, err)
	}
	w.wantUnder(t, id, v3)
}

// What another process has written meanwhile is not overwritten.
func TestRewrapOfAChildOverwritesNothing(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	w.rotateParent(t, tenant(1))
	stale := w.record(t, id)
	w.setState(t, id, storage.StateDisabled)
	did, err := w.NewRewrapping(keyring.RewrapOptions{}).Rewrap(t.Context(), stale)
	if err != nil || did != keyring.RewrapMoved || w.record(t, id).State != storage.StateDisabled {
		t.Fatalf("rewrapped %d: %v, state %v", did, err, w.record(t, id).State)
	}
}

// The policy changes between the wrapping and the writing: the key is not left
// where it no longer belongs.
func TestRewrapHeedsAPolicyThatChanges(t *testing.T) {
	k := memkek.New("test")
	var calls atomic.Int32
	parent := keyctx.KeyContext{"organization_id": "org_01"}
	policy := kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
		if len(kc) == 1 {
			return one(k), nil
		}
		if calls.Add(1) <= 2 { // when the key is made
			return one(k), nil
		}
		if calls.Load() == 3 { // when its rewrap is planned
			return kek.Choice{Parent: parent, Previous: []kek.Choice{one(k)}}, nil
		}
		return kek.Choice{Parent: keyctx.KeyContext{"user_id": "u_1"}, Previous: []kek.Choice{one(k)}}, nil
	})
	w := newWorldOn(t, k, memstore.New(), withPolicy(policy))
	id := active(t, w, user(1, 1))
	w.rewrap(t, id, keyring.RewrapMoved)
	w.wantUnder(t, id, w.parentOf(t, contextOf(keyctx.KeyContext{"user_id": "u_1"})).KeyID)
}

// A new key likewise.
func TestNewChildHeedsAPolicyThatChanges(t *testing.T) {
	k := memkek.New("test")
	var calls atomic.Int32
	policy := kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
		if len(kc) == 1 {
			return one(k), nil
		}
		if calls.Add(1) == 1 {
			return kek.Choice{Parent: keyctx.KeyContext{"organization_id": "org_01"}}, nil
		}
		return kek.Choice{Parent: keyctx.KeyContext{"user_id": "u_1"}}, nil
	})
	w := newWorldOn(t, k, memstore.New(), withPolicy(policy))
	w.wantUnder(t, active(t, w, user(1, 1)), w.parentOf(t, contextOf(keyctx.KeyContext{"user_id": "u_1"})).KeyID)
}

// Readers never notice children and parents being rotated and rewrapped under them.
func TestReadersWhileAFamilyMoves(t *testing.T) {
	w := newFamily(t)
	const users = 8
	ids := make([]keyctx.KeyID, users)
	for n := range ids {
		ids[n] = active(t, w, user(1, n))
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for n, id := range ids {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := errors.Join(tryByID(w.cousin(t), user(1, n), id), tryActive(w, user(1, n))); err != nil {
					t.Error(fmt.Errorf("user %d: %w", n, err))
					return
				}
			}
		})
	}
	for range 20 {
		newest := w.rotateParent(t, tenant(1))
		j := w.NewRewrapping(keyring.RewrapOptions{})
		for _, id := range ids {
			if _, err := j.Rewrap(t.Context(), w.record(t, id)); err != nil {
				t.Error(err)
			}
			w.wantUnder(t, id, newest)
		}
	}
	stop()
	wg.Wait()
	page, err := w.store.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{Hash: tenant(1).Hash}, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for i, rec := range page.Keys {
		want := int64(0)
		if i == len(page.Keys)-1 {
			want = users
		}
		if n, err := storage.CountChildren(t.Context(), w.store, "", rec.KeyID, 0); err != nil || n != want {
			t.Fatalf("version %d has %d children, %v, want %d", rec.Version, n, err, want)
		}
	}
}

// retiring is a store in which something happens just before a key is read.
type retiring struct {
	*memstore.Store
	before map[keyctx.KeyID]func()
}

func (s *retiring) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	if f := s.before[id]; f != nil {
		delete(s.before, id)
		f()
	}
	return s.Store.GetKey(ctx, id)
}

// Between a child's record and its parent's, as a reader reads them, the child is
// moved to another version and the one that it was under is gone: more than once.
func TestParentRetiredUnderAReader(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	s := &retiring{Store: w.store, before: map[keyctx.KeyID]func(){}}
	parent := w.parentOf(t, tenant(1)).KeyID
	moves := 0
	var move func()
	move = func() {
		old := parent
		parent = w.rotateParent(t, tenant(1))
		w.rewrap(t, id, keyring.RewrapMoved)
		if err := w.store.DeleteKey(context.Background(), old, w.record(t, old).Revision); err != nil {
			t.Error(err)
		}
		if moves++; moves < 3 {
			s.before[parent] = move
		}
	}
	for _, get := range []func(w *world) error{
		func(w *world) error { return tryByID(w, user(1, 1), id) },
		func(w *world) error { return tryActive(w, user(1, 1)) },
	} {
		moves = 0
		s.before[parent] = move
		cold := newWorldOn(t, w.kek, w.store, familyOf(t, w.kek), func(c *keyring.Config) { c.Store = s })
		if wantErr(t, get(cold), nil); moves != 3 {
			t.Fatalf("moved %d times", moves)
		}
	}
}
