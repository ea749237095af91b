package storagetest

import (
	"slices"

	"github.com/embedvault/vault/storage"
)

func checkGuardIfAbsent(e *env) {
	ifAbsent := storage.PutGuard{IfAbsent: true, Now: base}
	a := e.put(object(tenant("", 1), "a"), ifAbsent)
	_, err := e.s.PutObject(e.ctx, object(tenant("", 1), "a"), ifAbsent)
	e.is(err, storage.ErrExists)
	e.wantVersions(storage.VersionQuery{Object: a.ID}, a)
	e.put(object(tenant("", 1), "b"), ifAbsent)
	e.put(object(tenant("app", 1), "a"), ifAbsent)
	_, err = e.s.DeleteObject(e.ctx, byName(a), storage.ID{})
	e.ok(err)
	again := e.put(object(tenant("", 1), "a"), ifAbsent)
	if again.ID == a.ID || again.Number != 1 {
		e.errorf("the new object has ID %v, number %d", again.ID, again.Number)
	}
}

func checkGuardIfVersion(e *env) {
	kc := tenant("", 1)
	ifVersion := func(id storage.ID) storage.PutGuard { return storage.PutGuard{IfVersion: id, Now: base} }
	_, err := e.s.PutObject(e.ctx, object(kc, "a"), ifVersion(storage.NewID(base)))
	e.is(err, storage.ErrVersionConflict)
	e.wantNoObject(storage.ObjectRef{ContextHash: hashOf(kc), Name: "a"})

	v1 := e.put(object(kc, "a"))
	b := e.put(object(kc, "b"))
	v2 := e.put(object(kc, "a"), ifVersion(v1.VersionID))
	for _, stale := range []storage.ID{v1.VersionID, b.VersionID, v1.ID, storage.NewID(base)} {
		_, err := e.s.PutObject(e.ctx, object(kc, "a"), ifVersion(stale))
		e.is(err, storage.ErrVersionConflict)
	}
	e.wantVersions(storage.VersionQuery{Object: v1.ID}, v2, v1)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated}, v2, b)
	v3 := e.put(object(kc, "a"), ifVersion(v2.VersionID))
	e.wantVersions(storage.VersionQuery{Object: v1.ID}, v3, v2, v1)
}

func checkKeep(e *env) {
	kc := tenant("", 1)
	var all []storage.ObjectRecord
	put := func(keep int) {
		all = append(all, e.put(object(kc, "a", sealedUnder(randomKeyID())), storage.PutGuard{Keep: keep}))
	}
	left := func(n int) {
		want := slices.Clone(all[len(all)-n:])
		slices.Reverse(want)
		e.wantVersions(storage.VersionQuery{Object: all[0].ID}, want...)
		for i, r := range all {
			ref := storage.ObjectRef{ID: r.ID, Version: r.VersionID, Now: base}
			count, err := e.s.CountByKey(e.ctx, r.KeyID)
			e.ok(err)
			if i < len(all)-n {
				e.wantNoObject(ref)
			} else {
				e.wantObject(ref, r)
			}
			if kept := i >= len(all)-n; kept != (count == 1) {
				e.errorf("version %d of %d, of which %d are kept, is there %d times", r.Number, len(all), n, count)
			}
		}
	}
	put(0)
	put(2)
	left(2)
	put(0)
	put(0)
	left(4)
	put(3)
	left(3)
	put(3)
	left(3)
	put(10)
	left(4)
	put(2)
	left(2)
	put(1)
	left(1)
	put(1)
	left(1)
	put(0)
	left(2)

	// A put that is refused removes nothing.
	_, err := e.s.PutObject(e.ctx, object(kc, "a"), storage.PutGuard{IfAbsent: true, Keep: 1})
	e.is(err, storage.ErrExists)
	left(2)
	// Others' versions stay.
	b := e.put(object(kc, "b"))
	b2 := e.put(object(kc, "b"))
	put(1)
	left(1)
	e.wantVersions(storage.VersionQuery{Object: b.ID}, b2, b)
}
