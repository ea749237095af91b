package keyring_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// attacked is a family of two organisations, and what an attacker who writes to the
// database knows of it.
type attacked struct {
	*world
	child, sibling, other storage.KeyRecord // user(1, 1)'s, user(1, 2)'s and user(2, 1)'s
	parent, otherParent   storage.KeyRecord
	orgData               storage.KeyRecord // the data key of tenant(1)
}

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	a := &attacked{world: newFamily(t)}
	a.child = a.record(t, active(t, a.world, user(1, 1)))
	a.sibling = a.record(t, active(t, a.world, user(1, 2)))
	a.other = a.record(t, active(t, a.world, user(2, 1)))
	a.orgData = a.record(t, active(t, a.world, tenant(1)))
	a.parent, a.otherParent = a.parentOf(t, tenant(1)), a.parentOf(t, tenant(2))
	return a
}

// putUnder makes a record say that a key wraps it.
func putUnder(id keyctx.KeyID) func(*storage.KeyRecord) {
	return func(r *storage.KeyRecord) {
		r.ParentID, r.Quorum = id, keyctx.AnyOf
		r.Wrappings[0].URI = "vault-key:" + id.String()
	}
}

// What someone who writes to the database does to a child's record, or its parent's,
// is refused with little work, and by a rewrap too, which writes nothing.
func TestHostileFamilies(t *testing.T) {
	for name, c := range map[string]struct {
		attack func(a *attacked, t *testing.T)
		want   error
	}{
		"another tenant's parent": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(a.otherParent.KeyID))
		}, kek.ErrPolicy},
		"another tenant's parent and child": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Wrappings, r.ParentID = a.other.Wrappings, a.other.ParentID })
		}, kek.ErrPolicy},
		"the parent's data key": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(a.orgData.KeyID))
		}, kek.ErrPolicy},
		"the parent's data key, relabelled": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(a.orgData.KeyID))
			a.edit(t, a.orgData.KeyID, func(r *storage.KeyRecord) { r.Purpose = wrapping })
		}, kek.ErrCorrupt},
		"another tenant's parent, relabelled": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(a.otherParent.KeyID))
			a.edit(t, a.otherParent.KeyID, func(r *storage.KeyRecord) { r.ContextHash, r.Context = a.parent.ContextHash, a.parent.Context })
		}, kek.ErrCorrupt},
		"itself": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(a.child.KeyID))
		}, kek.ErrPolicy},
		"a cycle of children": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(a.sibling.KeyID))
			a.edit(t, a.sibling.KeyID, putUnder(a.child.KeyID))
		}, kek.ErrPolicy},
		"a parent under its child": {func(a *attacked, t *testing.T) {
			a.edit(t, a.parent.KeyID, putUnder(a.child.KeyID))
		}, kek.ErrPolicy},
		"a parent under itself": {func(a *attacked, t *testing.T) {
			a.edit(t, a.parent.KeyID, putUnder(a.parent.KeyID))
		}, kek.ErrPolicy},
		"a missing parent": {func(a *attacked, t *testing.T) {
			if err := a.store.DeleteKey(t.Context(), a.parent.KeyID, a.parent.Revision); err != nil {
				t.Fatal(err)
			}
		}, keyring.ErrKeyNotFound},
		"a parent that never was": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, putUnder(keyctx.KeyID{1}))
		}, keyring.ErrKeyNotFound},
		"a sibling's bytes": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Wrappings = a.sibling.Wrappings })
		}, kek.ErrCorrupt},
		"bytes cut short": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Wrappings[0].Wrapped = r.Wrappings[0].Wrapped[:84] })
		}, kek.ErrCorrupt},
		"no bytes": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Wrappings[0].Wrapped = nil })
		}, kek.ErrCorrupt},
		"a bit of the bytes": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Wrappings[0].Wrapped[60] ^= 1 })
		}, kek.ErrCorrupt},
		"a URI that is none": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Wrappings[0].URI = "vault-key:" })
		}, kek.ErrPolicy},
		"a URI in capitals": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) {
				r.Wrappings[0].URI = "vault-key:" + string(bytes.ToUpper([]byte(a.parent.KeyID.String())))
			})
		}, kek.ErrPolicy},
		"all-of": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.Quorum = keyctx.AllOf })
		}, kek.ErrPolicy},
		"a KEK beside the parent": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) {
				r.Wrappings = append(r.Wrappings, keyctx.Wrapping{URI: a.kek.URI(), Wrapped: []byte{1}})
			})
		}, kek.ErrPolicy},
		"a KEK where the policy gives a parent": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) {
				r.ParentID, r.Wrappings[0].URI = keyctx.KeyID{}, a.kek.URI()
			})
		}, kek.ErrPolicy},
		"no word of the parent": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.ParentID = keyctx.KeyID{} })
		}, storage.ErrCorrupt},
		"word of another parent": {func(a *attacked, t *testing.T) {
			a.edit(t, a.child.KeyID, func(r *storage.KeyRecord) { r.ParentID = a.otherParent.KeyID })
		}, storage.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttacked(t)
			cold := a.cousin(t)
			c.attack(a, t)
			before := a.stored(t)
			a.store.ResetCalls()
			wantErr(t, tryByID(cold, user(1, 1), a.child.KeyID), c.want)
			wantErr(t, tryActive(cold, user(1, 1)), c.want)
			if n := a.store.Calls(""); n > 12 {
				t.Errorf("%d calls to the store", n)
			}
			if cold.kek.Unwraps() > 2 {
				t.Errorf("%d calls to the KMS", cold.kek.Unwraps())
			}
			if a.stored(t) != before {
				t.Fatal("a key was made")
			}
			if a.record(t, a.child.KeyID).State == storage.StateActive { // what is not there can't be rewrapped
				wantRewrapRefused(t, cold, a.child.KeyID)
			}
			wantErr(t, tryByID(cold, user(2, 1), a.other.KeyID), nil2(name, "another tenant's parent, relabelled", kek.ErrPolicy))
		})
	}
}

// nil2 is nil, save for one name.
func nil2(name, but string, err error) error {
	if name == but {
		return err
	}
	return nil
}

// wantRewrapRefused fails if a rewrap, even a forced one, makes something of a record
// that can't be read.
func wantRewrapRefused(t *testing.T, w *world, id keyctx.KeyID) {
	t.Helper()
	before := w.record(t, id)
	did, err := w.NewRewrapping(keyring.RewrapOptions{Force: true}).Rewrap(context.Background(), before)
	if err == nil || did != 0 || w.record(t, id).Revision != before.Revision {
		t.Fatalf("a rewrap did %d: %v", did, err)
	}
}

// The other way about: a parent's URI where the policy gives KEKs.
func TestParentWhereThePolicyGivesKEKs(t *testing.T) {
	a := newAttacked(t)
	plain := newWorldOn(t, a.kek.Peer(), a.store)
	wantBoth(t, plain, user(1, 1), a.child.KeyID, kek.ErrPolicy)
	plain.rewrapErr(t, a.child.KeyID, kek.ErrPolicy)
	if plain.kek.Calls() != 0 {
		t.Fatal("a KEK was called")
	}
}

// Tenant B, who holds its own KEK, makes a parent's key of its choosing for tenant A,
// and a child's under it.
func TestForgedParentIsRefused(t *testing.T) {
	kekA, kekB := memkek.New("a"), memkek.New("b")
	policy := withPolicy(under(t, byTenant{"org_01": one(kekA), "org_02": one(kekB)}, "organization_id"))
	w := newWorldOn(t, kekA, memstore.New(), policy)
	id := active(t, w, user(1, 1))

	secret := bytes.Repeat([]byte{0x42}, 32)
	key := func(c keyring.Context, p keyctx.Purpose, version uint32) *envelope.Key {
		k, err := envelope.NewKey(secret, c.Hash, p, version)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	insert := func(c keyring.Context, k *envelope.Key, p keyctx.Purpose, parent keyctx.KeyID, uri string, wrapped []byte) {
		err := w.store.InsertKey(t.Context(), storage.KeyRecord{
			KeyID: k.ID(), Context: c.Pairs, ContextHash: c.Hash, Purpose: p, Version: 2, State: storage.StateActive,
			Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: uri, Wrapped: wrapped}}, ParentID: parent,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	parent, child := key(tenant(1), wrapping, 2), key(user(1, 1), data, 2)
	binding := func(c keyring.Context, k *envelope.Key, p keyctx.Purpose) kek.Binding {
		return kek.Binding{KeyID: k.ID(), ContextHash: c.Hash, Purpose: p, Version: 2, Context: c.Pairs}
	}
	blob, err := kekB.Wrap(t.Context(), secret, binding(tenant(1), parent, wrapping))
	if err != nil {
		t.Fatal(err)
	}
	under, err := parent.WrapChild(child, binding(user(1, 1), child, data).AppendBytes(nil))
	if err != nil {
		t.Fatal(err)
	}
	insert(tenant(1), parent, wrapping, keyctx.KeyID{}, kekB.URI(), blob)
	insert(user(1, 1), child, data, parent.ID(), "vault-key:"+parent.ID().String(), under)

	victim := newWorldOn(t, kekA, w.store, policy)
	kekA.ResetCounts()
	kekB.ResetCounts()
	wantBoth(t, victim, user(1, 1), child.ID(), kek.ErrPolicy)
	wantErr(t, tryActive(victim, user(1, 2)), kek.ErrPolicy)
	if kekA.Calls() != 0 || kekB.Calls() != 0 {
		t.Fatal("a KEK was called before the policy had agreed")
	}
	wantErr(t, tryByID(victim, user(1, 1), id), nil)
}

// A database that was put back to an earlier time: a parent's row says what an
// earlier version said, or isn't there. Nothing is made in its place.
func TestRolledBackParent(t *testing.T) {
	w := newFamily(t)
	active(t, w, user(1, 1))
	v1 := w.parentOf(t, tenant(1))
	v2 := w.rotateParent(t, tenant(1))
	id := active(t, w, user(1, 2))
	good := w.record(t, v2)

	w.edit(t, v2, func(r *storage.KeyRecord) { r.Wrappings = v1.Wrappings })
	wantBoth(t, w.cousin(t), user(1, 2), id, kek.ErrCorrupt)
	w.edit(t, v2, func(r *storage.KeyRecord) { r.Wrappings, r.Version = v1.Wrappings, v1.Version })
	wantBoth(t, w.cousin(t), user(1, 2), id, kek.ErrCorrupt)

	if err := w.store.DeleteKey(t.Context(), v2, good.Revision); err != nil {
		t.Fatal(err)
	}
	before := w.stored(t)
	wantBoth(t, w.cousin(t), user(1, 2), id, keyring.ErrKeyNotFound)
	if w.stored(t) != before {
		t.Fatal("a key was made")
	}
}

// A chain of records that is longer than there can be, or has no end, is followed
// only as far as the policy leads; where the store alone is asked there is a limit.
func TestEndlessChainInRecords(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) { c.KeepBlocks = true })
	k, err := w.Active(t.Context(), user(1, 1), data)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	last := k.ID()
	for n := range 40 {
		id := active(t, w, user(2, n))
		w.edit(t, last, putUnder(id))
		last = id
	}
	w.edit(t, last, putUnder(k.ID()))

	policy := withPolicy(under(t, kek.Fixed(w.kek), "organization_id").MovingIn())
	cold := w.peer(t, policy)
	w.store.ResetCalls()
	_, err = cold.FromBlock(t.Context(), user(1, 1), k.ID(), k.Block())
	wantErr(t, err, storage.ErrCorrupt)
	wantBoth(t, cold, user(1, 1), k.ID(), kek.ErrPolicy)
	if n := w.store.Calls(""); n > 30 {
		t.Fatalf("%d calls to the store", n)
	}
}

// Policies that say what can't be are errors, and no guess.
func TestPolicyWithoutARealParent(t *testing.T) {
	index := contextOf(keyctx.KeyContext{"organization_id": "org_01", "vault:index": "2"})
	for name, c := range map[string]struct {
		context keyring.Context
		parent  keyctx.KeyContext
	}{
		"itself":         {tenant(1), tenant(1).Pairs},
		"another":        {user(1, 1), tenant(2).Pairs},
		"wider":          {tenant(1), user(1, 1).Pairs},
		"empty":          {user(1, 1), keyctx.KeyContext{}},
		"reserved alone": {index, keyctx.KeyContext{"vault:index": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, withPolicy(kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
				return kek.Choice{Parent: c.parent}, nil
			})))
			wantErr(t, tryActive(w, c.context), kek.ErrPolicy)
			wantErr(t, w.Verify(t.Context(), c.context), kek.ErrPolicy)
			if w.stored(t) != 0 {
				t.Fatal("a key was made")
			}
		})
	}
}

// A panic of the policy for the parent is its error.
func TestPolicyPanicsForTheParent(t *testing.T) {
	k := memkek.New("test")
	w := newWorldOn(t, k, memstore.New(), withPolicy(under(t, kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
		panic("policy")
	}), "organization_id")))
	wantErr(t, tryActive(w, user(1, 1)), kek.ErrUnavailable)
}

// Errors name no pair's value.
func TestFamilyErrorsNameNoValues(t *testing.T) {
	a := newAttacked(t)
	a.edit(t, a.child.KeyID, putUnder(a.otherParent.KeyID))
	err := tryByID(a.cousin(t), user(1, 1), a.child.KeyID)
	for _, value := range []string{"org_01", "org_02", "u_1"} {
		if bytes.Contains([]byte(err.Error()), []byte(value)) {
			t.Errorf("%q has the value %s", err, value)
		}
	}
}

// Tenant B knows its own parent's key, since it holds the KEK of it, and wraps a key
// of its choosing for a user of tenant A under it. Everything fits but whose parent
// that is.
func TestOwnParentForAnotherTenantsUser(t *testing.T) {
	kekA, kekB := memkek.New("a"), &unbound{URIText: "plain:b"}
	policy := withPolicy(under(t, byTenant{"org_01": one(kekA), "org_02": one(kekB)}, "organization_id"))
	w := newWorldOn(t, kekA, memstore.New(), policy)
	active(t, w, user(1, 1))
	active(t, w, user(2, 1))

	rec := w.parentOf(t, tenant(2))
	parent, err := envelope.NewKey(rec.Wrappings[0].Wrapped, rec.ContextHash, wrapping, rec.Version)
	if err != nil || parent.ID() != rec.KeyID {
		t.Fatalf("the attacker doesn't know its own parent: %v", err)
	}
	victim := user(1, 1)
	child, err := envelope.NewKey(bytes.Repeat([]byte{0x42}, 32), victim.Hash, data, 2)
	if err != nil {
		t.Fatal(err)
	}
	b := kek.Binding{KeyID: child.ID(), ContextHash: victim.Hash, Purpose: data, Version: 2}
	wrapped, err := parent.WrapChild(child, b.AppendBytes(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = w.store.InsertKey(t.Context(), storage.KeyRecord{
		KeyID: child.ID(), Context: victim.Pairs, ContextHash: victim.Hash, Purpose: data, Version: 2, State: storage.StateActive,
		Quorum: keyctx.AnyOf, ParentID: rec.KeyID,
		Wrappings: []keyctx.Wrapping{{URI: keyctx.ParentURI(rec.KeyID), Wrapped: wrapped}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cold := newWorldOn(t, kekA, w.store, policy)
	wantBoth(t, cold, victim, child.ID(), kek.ErrPolicy)
	wantErr(t, tryByID(w, victim, child.ID()), kek.ErrPolicy)
	cold.rewrapErr(t, child.ID(), kek.ErrPolicy)
}
