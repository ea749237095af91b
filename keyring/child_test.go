package keyring_test

import (
	"context"
	"errors"
	"fmt"
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

func TestChildIsWrappedUnderItsParent(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	parent := w.parentOf(t, tenant(1))
	if parent.Purpose != wrapping || parent.Version != 1 || len(parent.Wrappings) != 1 || parent.Wrappings[0].URI != w.kek.URI() {
		t.Fatalf("the parent: purpose %v, version %d, under %v", parent.Purpose, parent.Version, uris(parent))
	}
	w.wantUnder(t, id, parent.KeyID)
	wantCalls(t, w.kek, 1, 1) // the parent's, and the check of it
	active(t, w, user(1, 2))
	wantCalls(t, w.kek, 1, 1)

	other := w.cousin(t)
	wantBoth(t, other, user(1, 1), id, nil)
	wantCalls(t, other.kek, 0, 1)
	if _, err := w.store.LatestKey(t.Context(), tenant(1).Hash, data); !errors.Is(err, storage.ErrNotFound) {
		t.Fatalf("the parent has got a data key: %v", err)
	}
}

// The KMS is asked once for an organisation, however many users it has.
func TestUsersCostWhatTheirOrganisationsCost(t *testing.T) {
	const orgs, users = 10, 20_000
	size := func(c *keyring.Config) { c.Size = 2 * users }
	w := newFamily(t, size)
	ids := make([]keyctx.KeyID, users)
	atOnce(users, func(i int) { ids[i] = active(t, w, user(i%orgs, i)) })
	wantCalls(t, w.kek, orgs, orgs)

	cold := w.cousin(t, size)
	atOnce(users, func(i int) {
		if i/orgs%2 == 0 {
			active(t, cold, user(i%orgs, i))
		} else if err := tryByID(cold, user(i%orgs, i), ids[i]); err != nil {
			t.Error(err)
		}
	})
	wantCalls(t, cold.kek, 0, orgs)
	if n := w.stored(t); n != orgs+users {
		t.Fatalf("%d keys are stored, want %d", n, orgs+users)
	}
}

// atOnce calls f with 0 to n-1, 32 at a time.
func atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	for first := range 32 {
		wg.Go(func() {
			for i := first; i < n; i += 32 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// Cold loads of children and of their parent at the same time share one call.
func TestColdFamilySharesOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFamily(t)
		var ids []keyctx.KeyID
		for n := range 50 {
			ids = append(ids, active(t, w, user(1, n)))
		}
		parent := w.parentOf(t, tenant(1)).KeyID
		cold := w.cousin(t)
		cold.kek.SetLatency(time.Second)
		var wg sync.WaitGroup
		for n, id := range ids {
			wg.Go(func() { wantErr(t, tryByID(cold, user(1, n), id), nil) })
			wg.Go(func() { wantErr(t, tryActive(cold, user(1, n)), nil) })
			wg.Go(func() { wantErr(t, tryActive(cold, user(1, 100+n)), nil) }) // new ones
			wg.Go(func() {
				for _, get := range []func() (*keyring.Key, error){
					func() (*keyring.Key, error) { return cold.ByID(t.Context(), tenant(1), wrapping, parent) },
					func() (*keyring.Key, error) { return cold.Active(t.Context(), tenant(1), wrapping) },
				} {
					k, err := get()
					if err != nil {
						t.Error(err)
						return
					}
					k.Release()
				}
			})
		}
		wg.Wait()
		wantCalls(t, cold.kek, 0, 1)
	})
}

// One caller who leaves takes no one's load with it.
func TestColdChildOutlivesItsFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFamily(t)
		id := active(t, w, user(1, 1))
		cold := w.cousin(t)
		cold.kek.SetLatency(3 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { wantErr(t, tryActiveCtx(ctx, cold, user(1, 1)), context.Canceled) })
		synctest.Wait()
		wg.Go(func() { wantErr(t, tryActive(cold, user(1, 1)), nil) })
		wg.Go(func() { wantErr(t, tryByID(cold, user(1, 1), id), nil) })
		synctest.Wait()
		cancel()
		wg.Wait()
		wantCalls(t, cold.kek, 0, 1)
	})
}

// A load that everybody has left ends, and that of the parent with it.
func TestLeftChildLoadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFamily(t)
		active(t, w, user(1, 1))
		cold := w.cousin(t)
		cold.kek.SetFault(memkek.Hang)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { wantErr(t, tryActiveCtx(ctx, cold, user(1, 1)), context.Canceled) })
		synctest.Wait()
		if cold.kek.InFlight() != 1 {
			t.Fatal("the KEK isn't asked")
		}
		cancel()
		wg.Wait()
		synctest.Wait()
		if n := cold.kek.InFlight(); n != 0 {
			t.Fatalf("%d calls hang on", n)
		}
	})
}

// A chain as long as there can be: ten pairs, one less from link to link.
func TestDeepestChain(t *testing.T) {
	kc := keyctx.KeyContext{}
	for i := range keyctx.MaxPairs {
		kc[fmt.Sprint("k", i)] = "v"
	}
	k := memkek.New("test")
	asked := 0
	chain := kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
		asked++
		if len(kc) == 1 {
			return one(k), nil
		}
		parent := kc.Clone()
		delete(parent, fmt.Sprint("k", len(kc)-1))
		return kek.Choice{Parent: parent}, nil
	})
	w := newWorldOn(t, k, memstore.New(), withPolicy(chain))
	c := contextOf(kc)
	id := active(t, w, c)
	wantCalls(t, k, 1, 1)
	if n := w.stored(t); n != keyctx.MaxPairs {
		t.Fatalf("%d keys are stored, want one for each link", n)
	}
	asked = 0
	cold := newWorldOn(t, k.Peer(), w.store, withPolicy(chain))
	if err := tryByID(cold, c, id); err != nil {
		t.Fatal(err)
	}
	if asked != keyctx.MaxPairs {
		t.Fatalf("the policy was asked %d times", asked)
	}
	wantErr(t, cold.Verify(t.Context(), c), nil)

	// The state of the last ancestor is that of all.
	root := contextOf(keyctx.KeyContext{"k0": "v"})
	w.setState(t, w.parentOf(t, root).KeyID, storage.StateDisabled)
	wantBoth(t, newWorldOn(t, k.Peer(), w.store, withPolicy(chain)), c, id, keyring.ErrKeyDisabled)
}

// A namespace has its own parents, also for contexts of the same pairs.
func TestParentIsOfTheNamespace(t *testing.T) {
	k, s := memkek.New("test"), memstore.New()
	in := func(ns string) (*world, keyring.Context) {
		w := newWorldOn(t, k, s, familyOf(t, k), func(c *keyring.Config) { c.Namespace = ns })
		pairs := user(1, 1).Pairs
		hash, err := keyctx.HashIn(pairs, ns)
		if err != nil {
			t.Fatal(err)
		}
		return w, keyring.Context{Hash: hash, Pairs: pairs}
	}
	ids := map[keyctx.KeyID]bool{}
	for _, ns := range []string{"", "billing", "crm"} {
		w, c := in(ns)
		rec := w.record(t, active(t, w, c))
		parent := w.record(t, rec.ParentID)
		if parent.Context.Namespace() != ns || ids[parent.KeyID] {
			t.Fatalf("namespace %q: the parent's context has the pairs %d, namespace %q", ns, len(parent.Context), parent.Context.Namespace())
		}
		ids[parent.KeyID] = true
	}
}

func TestNoStoreNoParent(t *testing.T) {
	k := memkek.New("test")
	w := newWorldOn(t, k, nil, familyOf(t, k), func(c *keyring.Config) { c.Store = nil })
	wantErr(t, tryActive(w, user(1, 1)), keyring.ErrNoStore)
	wantErr(t, w.Verify(t.Context(), user(1, 1)), keyring.ErrNoStore)
	wantErr(t, tryActive(w, tenant(1)), nil)
	if k.Wraps() != 1 {
		t.Fatalf("%d wraps, want the tenant's alone", k.Wraps())
	}
}

// Where envelopes are to carry their keys no key is made under a parent; what is
// there is read.
func TestNoSelfContainedUnderAParent(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	self := w.cousin(t, func(c *keyring.Config) { c.KeepBlocks = true })
	wantErr(t, tryActive(self, user(1, 2)), keyring.ErrNoSelfContained)
	if n := w.stored(t); n != 2 {
		t.Fatalf("%d keys are stored, want 2", n)
	}
	wantErr(t, tryByID(self, user(1, 1), id), nil)
	k, err := self.Active(t.Context(), user(1, 1), data)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	if k.Block() != nil {
		t.Fatal("a key under a parent has a block")
	}
	wantErr(t, tryActive(self, tenant(1)), nil)
}

// An envelope from before its context came under a parent opens by its own block,
// unless the store says that the parent is no longer to be used; and no new one is
// made of its key.
func TestOldEnvelopeUnderAParent(t *testing.T) {
	keep := func(c *keyring.Config) { c.KeepBlocks = true }
	w := newWorld(t, keep)
	k, err := w.Active(t.Context(), user(1, 1), data)
	if err != nil {
		t.Fatal(err)
	}
	id, block := k.ID(), k.Block()
	k.Release()
	in := withPolicy(under(t, kek.Fixed(w.kek), "organization_id").MovingIn())
	fromBlock := func(w *world) error {
		k, err := w.FromBlock(t.Context(), user(1, 1), id, block)
		if err == nil {
			k.Release()
		}
		return err
	}
	self := w.peer(t, in, keep)
	wantErr(t, fromBlock(self), nil)
	k, err = self.Active(t.Context(), user(1, 1), data)
	if err != nil {
		t.Fatal(err)
	}
	if k.Release(); k.Block() != nil {
		t.Fatal("a context under a parent gives its envelopes a block")
	}

	moved := w.peer(t, in)
	moved.rewrap(t, id, keyring.RewrapMoved)
	wantErr(t, fromBlock(w.peer(t, in)), nil)
	w.setState(t, w.record(t, id).ParentID, storage.StateDisabled)
	wantErr(t, fromBlock(w.peer(t, in)), keyring.ErrKeyDisabled)
	w.setState(t, w.record(t, id).ParentID, storage.StateShredded)
	wantErr(t, fromBlock(w.peer(t, in)), keyring.ErrKeyShredded)
	wantErr(t, fromBlock(w.peer(t, familyOf(t, w.kek))), keyring.ErrKeyShredded)
}

// Without Previous the KEKs of a block count for nothing.
func TestOldEnvelopeNeedsPrevious(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) { c.Store = nil })
	k, err := w.Active(t.Context(), user(1, 1), data)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	cousin := newFamily(t)
	_, err = cousin.FromBlock(t.Context(), user(1, 1), k.ID(), k.Block())
	wantErr(t, err, kek.ErrPolicy)
}

func TestRotatedParentKeepsChildrenReadable(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	v1 := w.parentOf(t, tenant(1)).KeyID
	v2 := w.rotateParent(t, tenant(1))
	if v1 == v2 || w.record(t, v1).State != storage.StateDecryptOnly {
		t.Fatal("the parent wasn't rotated")
	}
	for _, r := range []*world{w, w.cousin(t)} {
		wantBoth(t, r, user(1, 1), id, nil)
	}
	w.wantUnder(t, id, v1)
	w.wantUnder(t, active(t, w, user(1, 2)), v2)
	k, err := w.Rotate(t.Context(), user(1, 1), data)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	w.wantUnder(t, k.ID(), v2)
}

// What a parent's state says of it it says of its children.
func TestStateOfTheParent(t *testing.T) {
	for state, want := range map[storage.State]error{
		storage.StateDecryptOnly: nil,
		storage.StateDisabled:    keyring.ErrKeyDisabled,
		storage.StateShredded:    keyring.ErrKeyShredded,
	} {
		t.Run(state.String(), func(t *testing.T) {
			w := newFamily(t)
			id := active(t, w, user(1, 1))
			other := active(t, w, user(2, 1))
			w.setState(t, w.parentOf(t, tenant(1)).KeyID, state)
			cold := w.cousin(t)
			wantErr(t, tryByID(cold, user(1, 1), id), want)
			wantBoth(t, cold, user(2, 1), other, nil)
			if state == storage.StateDisabled {
				wantErr(t, tryActive(cold, user(1, 1)), want)
				wantErr(t, tryActive(cold, user(1, 2)), want) // none is made under it
				w.setState(t, w.parentOf(t, tenant(1)).KeyID, storage.StateActive)
				wantBoth(t, cold, user(1, 1), id, nil)
			}
		})
	}
}

// A child whose own state is worse than its parent's has its own.
func TestOwnStateUnderAParent(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	w.setState(t, id, storage.StateDisabled)
	wantBoth(t, w.cousin(t), user(1, 1), id, keyring.ErrKeyDisabled)
	wantErr(t, tryActive(w.cousin(t), user(1, 2)), nil)
}

// An organisation that was shredded is used again: its users get new keys, and the
// old ones stay dead.
func TestShreddedParentUsedAgain(t *testing.T) {
	w := newFamily(t)
	id := active(t, w, user(1, 1))
	v1 := w.parentOf(t, tenant(1)).KeyID
	w.setState(t, v1, storage.StateShredded)
	cold := w.cousin(t)
	wantErr(t, tryByID(cold, user(1, 1), id), keyring.ErrKeyShredded)
	again := active(t, cold, user(1, 1))
	if again == id || w.record(t, again).Version != 2 {
		t.Fatalf("version %d", w.record(t, again).Version)
	}
	v2 := w.parentOf(t, tenant(1))
	if v2.KeyID == v1 || v2.Version != 2 {
		t.Fatalf("the parent's newest version is %d", v2.Version)
	}
	w.wantUnder(t, again, v2.KeyID)
	wantErr(t, tryByID(cold, user(1, 1), id), keyring.ErrKeyShredded)
	wantErr(t, tryByID(w.cousin(t), user(1, 1), again), nil)
	wantErr(t, tryByID(w.cousin(t), user(1, 1), id), keyring.ErrKeyShredded)
}

// That a parent can't be had for any other reason makes no new child.
func TestOnlyATombstoneMakesANewChild(t *testing.T) {
	w := newFamily(t)
	active(t, w, user(1, 1))
	parent := w.parentOf(t, tenant(1))
	for name, c := range map[string]struct {
		breaks func(cold *world)
		want   error
	}{
		"denied":      {func(cold *world) { cold.kek.SetFault(memkek.Denied) }, kek.ErrDenied},
		"unavailable": {func(cold *world) { cold.kek.SetFault(memkek.Unavailable) }, kek.ErrUnavailable},
		"garbage":     {func(cold *world) { cold.kek.SetFault(memkek.Garbage) }, kek.ErrCorrupt},
		"disabled":    {func(*world) { w.setState(t, parent.KeyID, storage.StateDisabled) }, keyring.ErrKeyDisabled},
		"gone": {func(*world) {
			if err := w.store.DeleteKey(t.Context(), parent.KeyID, w.record(t, parent.KeyID).Revision); err != nil {
				t.Fatal(err)
			}
		}, keyring.ErrKeyNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				_ = w.store.InsertKey(t.Context(), parent)
				w.edit(t, parent.KeyID, func(r *storage.KeyRecord) { r.State = storage.StateActive })
			}()
			cold := w.cousin(t)
			c.breaks(cold)
			before := w.stored(t)
			wantErr(t, tryActive(cold, user(1, 1)), c.want)
			if w.stored(t) != before {
				t.Fatal("a key was made")
			}
		})
	}
}

// Round trips go to the KEK of the last parent, and make no key.
func TestVerifyUnderAParent(t *testing.T) {
	w := newFamily(t)
	wantErr(t, w.Verify(t.Context(), user(1, 1)), nil)
	wantCalls(t, w.kek, 1, 1)
	w.kek.SetFault(memkek.Denied)
	wantErr(t, w.Verify(t.Context(), user(1, 1)), kek.ErrDenied)
	if w.stored(t) != 0 {
		t.Fatal("a key was made")
	}
}

func TestCountChildren(t *testing.T) {
	w := newFamily(t)
	for n := range 5 {
		active(t, w, user(1, n))
	}
	active(t, w, user(2, 1))
	parent := w.parentOf(t, tenant(1)).KeyID
	w.setState(t, active(t, w, user(1, 0)), storage.StateShredded)
	for limit, want := range map[int64]int64{0: 4, 2: 2, 9: 4} {
		if n, err := storage.CountChildren(t.Context(), w.store, "", parent, limit); err != nil || n != want {
			t.Fatalf("limit %d: %d, %v, want %d", limit, n, err, want)
		}
	}
	for name, c := range map[string]struct {
		namespace string
		id        keyctx.KeyID
		want      error
	}{
		"a child has none":  {"", active(t, w, user(1, 1)), nil},
		"another namespace": {"billing", parent, nil},
		"no ID":             {"", keyctx.KeyID{}, storage.ErrNotFound},
	} {
		n, err := storage.CountChildren(t.Context(), w.store, c.namespace, c.id, 0)
		if wantErr(t, err, c.want); n != 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
	failStore(w.store, errCut, "ListKeys")
	_, err := storage.CountChildren(t.Context(), w.store, "", parent, 0)
	wantErr(t, err, storage.ErrUnavailable)
}

// With a cache that holds hardly anything, parents come and go under their children
// all the time, and nobody is given what was zeroed.
func TestFamiliesInATinyCache(t *testing.T) {
	w := newFamily(t)
	const orgs, users = 3, 30
	ids := make([]keyctx.KeyID, users)
	for n := range ids {
		ids[n] = active(t, w, user(n%orgs, n))
	}
	tiny := w.cousin(t, func(c *keyring.Config) { c.Size = 1 })
	atOnce(3000, func(i int) {
		n := i * 7 % users
		switch {
		case i%3 == 0:
			active(t, tiny, user(n%orgs, n))
		case i%50 == 1:
			active(t, tiny, user(n%orgs, users+i))
		default:
			if err := tryByID(tiny, user(n%orgs, n), ids[n]); err != nil {
				t.Error(err)
			}
		}
	})
	if n := tiny.Stats().Cached; n > 1 {
		t.Fatalf("%d keys are cached", n)
	}
}

// Where the event of a parent's making has to be recorded and isn't, its child isn't
// made either; the next time the parent is there.
func TestParentsEventIsNotRecorded(t *testing.T) {
	failing := errors.New("no room")
	fails := true
	w := newFamily(t, func(c *keyring.Config) {
		c.OnEvent = func(context.Context, keyring.Event) error {
			if fails {
				return failing
			}
			return nil
		}
	})
	wantErr(t, tryActive(w, user(1, 1)), failing)
	if n := w.stored(t); n != 1 {
		t.Fatalf("%d keys are stored, want the parent", n)
	}
	fails = false
	w.wantUnder(t, active(t, w, user(1, 1)), w.parentOf(t, tenant(1)).KeyID)
	if n := w.stored(t); n != 2 {
		t.Fatalf("%d keys are stored, want 2", n)
	}
}
