package storagetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

func checkReplaceEnvelope(e *env) {
	kc := tenant("app", 1)
	oldKey, newKey := randomKeyID(), randomKeyID()
	rich := func(r *storage.ObjectRecord) {
		r.KeyID, r.Labels, r.UpdatedBy, r.UniqueName = oldKey, map[string]string{"a": "b"}, "someone", true
		r.ExpiresAt = base.Add(time.Hour).UnixMicro()
	}
	v1, v2, v3 := e.put(object(kc, "a", rich)), e.put(object(kc, "a", rich)), e.put(object(kc, "a", rich))
	b := e.put(object(kc, "b", sealedUnder(oldKey)))
	for _, r := range []*storage.ObjectRecord{&v2, &v3} { // an old one, and the current one
		err := e.s.ReplaceEnvelope(e.ctx, r.ID, r.VersionID, newKey, newKey, []byte("no"))
		e.is(err, storage.ErrVersionConflict)
		e.wantObject(storage.ObjectRef{ID: r.ID, Version: r.VersionID, Now: base}, *r)
		sealed := randomBytes(64)
		e.ok(e.s.ReplaceEnvelope(e.ctx, r.ID, r.VersionID, oldKey, newKey, sealed))
		r.KeyID, r.Envelope = newKey, sealed
		e.is(e.s.ReplaceEnvelope(e.ctx, r.ID, r.VersionID, oldKey, newKey, sealed), storage.ErrVersionConflict)
	}
	e.refused(e.s.ReplaceEnvelope(e.ctx, v1.ID, v1.VersionID, oldKey, keyctx.KeyID{}, nil))
	for _, r := range []storage.ObjectRecord{v1, v2, v3} {
		e.wantObject(storage.ObjectRef{ID: r.ID, Version: r.VersionID, Now: base}, r)
	}
	e.wantObject(byName(v3), v3)
	e.wantVersions(storage.VersionQuery{Object: v1.ID, WithEnvelope: true}, v1, v2, v3)
	e.wantByKey(storage.ByKeyQuery{KeyID: oldKey}, v1, b)
	e.wantByKey(storage.ByKeyQuery{KeyID: newKey}, v2, v3)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated, WithEnvelope: true}, v3, b)
	_, err := e.s.PutObject(e.ctx, object(tenant("app", 2), "a", unique), storage.PutGuard{Now: base})
	e.is(err, storage.ErrExists)
	// Under the same key: only the bytes change.
	e.ok(e.s.ReplaceEnvelope(e.ctx, b.ID, b.VersionID, oldKey, oldKey, nil))
	b.Envelope = nil
	e.wantObject(byName(b), b)
	e.wantByKey(storage.ByKeyQuery{KeyID: oldKey}, v1, b)
}

func checkReplaceEnvelopeRace(e *env) {
	r := e.put(object(tenant("", 1), "a"))
	keys := make([]keyctx.KeyID, 32)
	for i := range keys {
		keys[i] = randomKeyID()
	}
	won := e.oneWins(e.race(len(keys), func(s storage.Store, i int) error {
		return s.ReplaceEnvelope(e.ctx, r.ID, r.VersionID, r.KeyID, keys[i], keys[i][:])
	}), storage.ErrVersionConflict)
	r.KeyID, r.Envelope = keys[won], keys[won][:]
	e.wantObject(byName(r), r)
	for i, id := range keys {
		want := int64(0)
		if i == won {
			want = 1
		}
		if n, err := e.s.CountByKey(e.ctx, id); n != want || err != nil {
			e.errorf("%d versions under key %d, want %d, %v", n, i, want, err)
		}
	}
}

func checkByKey(e *env) {
	kc := tenant("app", 1)
	k1, k2 := randomKeyID(), randomKeyID()
	want := func(k1Rows, k2Rows []storage.ObjectRecord) {
		for id, rows := range map[keyctx.KeyID][]storage.ObjectRecord{k1: k1Rows, k2: k2Rows} {
			if n, err := e.s.CountByKey(e.ctx, id); n != int64(len(rows)) || err != nil {
				e.errorf("%d versions under the key, want %d, %v", n, len(rows), err)
			}
			e.wantByKey(storage.ByKeyQuery{KeyID: id}, rows...)
		}
	}
	rows := func(rs ...storage.ObjectRecord) []storage.ObjectRecord { return rs }
	under := sealedUnder
	a1 := e.put(object(kc, "a", under(k1)))
	want(rows(a1), nil)
	a2 := e.put(object(kc, "a", under(k1)))
	b1 := e.put(object(kc, "b", under(k1), expires(base)))
	want(rows(a1, a2, b1), nil) // old or expired, they are there
	a3 := e.put(object(kc, "a", under(k2)))
	c1 := e.put(object(tenant("", 2), "c", under(k2)))
	want(rows(a1, a2, b1), rows(a3, c1))
	a4 := e.put(object(kc, "a", under(k2)), storage.PutGuard{Keep: 3})
	want(rows(a2, b1), rows(a3, c1, a4))
	a5 := e.put(object(kc, "a", under(k1)), storage.PutGuard{Keep: 1})
	want(rows(a5, b1), rows(c1))
	_, err := e.s.PutObject(e.ctx, object(kc, "a", under(k2)), storage.PutGuard{IfAbsent: true})
	e.is(err, storage.ErrExists)
	want(rows(a5, b1), rows(c1))
	b2 := e.put(object(kc, "b", under(k2)), storage.PutGuard{Now: base}) // replaces it
	want(rows(a5), rows(c1, b2))
	_, err = e.s.DeleteObject(e.ctx, byName(a5), storage.ID{})
	e.ok(err)
	want(nil, rows(c1, b2))
}

func checkByKeyPaging(e *env) {
	id := randomKeyID()
	var all []storage.ObjectRecord
	for i := range 15 {
		kc := tenant("", i%4)
		name := fmt.Sprint("n", i%6)
		all = append(all, e.put(object(kc, name, sealedUnder(id))))
		e.put(object(kc, name, sealedUnder(randomKeyID())))
		all = append(all, e.put(object(kc, name, sealedUnder(id))))
	}
	for _, limit := range listLimits(len(all)) {
		e.wantByKey(storage.ByKeyQuery{KeyID: id, Limit: limit}, all...)
	}
	// What the list is for: moving what it shows to another key on the way.
	q := storage.ByKeyQuery{KeyID: id, Limit: 4}
	next := randomKeyID()
	moved := 0
	for range 100 {
		page, err := e.s.ListByKey(e.ctx, q)
		e.ok(err)
		for _, r := range page.Objects {
			e.ok(e.s.ReplaceEnvelope(e.ctx, r.ID, r.VersionID, id, next, []byte("again")))
			moved++
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if n, err := e.s.CountByKey(e.ctx, id); moved != len(all) || n != 0 || err != nil {
		e.errorf("moved %d of %d, %d are left, %v", moved, len(all), n, err)
	}
}

// imported is a version to import.
func imported(kc keyctx.KeyContext, name string, id storage.ID, number uint64, change ...func(*storage.ObjectRecord)) storage.ObjectRecord {
	r := object(kc, name, change...)
	r.ID, r.Number = id, number
	r.CreatedAt = base.Add(-time.Hour)
	return r
}

func checkImportVersion(e *env) {
	kc := tenant("app", 1)
	id := storage.NewID(base)
	// Numbers start anywhere and have gaps: history is limited by Keep.
	v3 := imported(kc, "a", id, 3, sealedUnder(randomKeyID()), expires(base.Add(-time.Hour)))
	v4 := imported(kc, "a", id, 4, func(r *storage.ObjectRecord) { r.Labels = map[string]string{"l": "v"} })
	v9 := imported(kc, "a", id, 9, unique, expires(base.Add(time.Hour)))
	for _, r := range []storage.ObjectRecord{v3, v4, v4, v3, v9, v4, v9} { // the same again does nothing
		e.ok(e.s.ImportVersion(e.ctx, r))
	}
	e.wantVersions(storage.VersionQuery{Object: id, WithEnvelope: true, IncludeExpired: true}, v3, v4, v9)
	e.wantObject(byName(v9), v9)
	e.wantObject(storage.ObjectRef{ID: id, Version: v4.VersionID, Now: base}, v4)
	e.wantObjects(storage.ObjectQuery{Contexts: storage.ContextFilter{Match: tenant("", 1), Namespace: "app"}, Order: storage.OrderByUpdated}, v9)
	e.wantByKey(storage.ByKeyQuery{KeyID: v3.KeyID}, v3)
	e.wantByKey(storage.ByKeyQuery{KeyID: v9.KeyID}, v4, v9)

	// It is an object like any other from then on.
	_, err := e.s.PutObject(e.ctx, object(tenant("app", 2), "a", unique), storage.PutGuard{Now: base})
	e.is(err, storage.ErrExists)
	v10 := e.put(object(kc, "a"), storage.PutGuard{IfVersion: v9.VersionID, Keep: 3, Now: base})
	if v10.ID != id || v10.Number != 10 || !v10.CreatedAt.Equal(v9.CreatedAt) || !v10.UniqueName {
		e.errorf("the next version is %s", describe(v10))
	}
	e.wantVersions(storage.VersionQuery{Object: id, WithEnvelope: true}, v4, v9, v10)
	expired := imported(kc, "x", storage.NewID(base), 1, expires(base))
	e.ok(e.s.ImportVersion(e.ctx, expired))
	swept, err := e.s.DeleteExpired(e.ctx, "app", base, 0)
	if err != nil || len(swept) != 1 {
		e.errorf("swept %d, %v", len(swept), err)
	}
}

func checkImportRefused(e *env) {
	kc := tenant("app", 1)
	id := storage.NewID(base)
	v2, v5 := imported(kc, "a", id, 2), imported(kc, "a", id, 5, unique)
	e.ok(e.s.ImportVersion(e.ctx, v2))
	e.ok(e.s.ImportVersion(e.ctx, v5))
	changed := func(r storage.ObjectRecord, f func(*storage.ObjectRecord)) storage.ObjectRecord {
		r = r.Clone()
		f(&r)
		return r
	}
	for name, r := range map[string]storage.ObjectRecord{
		"another envelope":             changed(v5, func(r *storage.ObjectRecord) { r.Envelope[0] ^= 1 }),
		"another envelope, older":      changed(v2, func(r *storage.ObjectRecord) { r.Envelope = nil }),
		"another key":                  changed(v5, func(r *storage.ObjectRecord) { r.KeyID = randomKeyID() }),
		"another time":                 changed(v5, func(r *storage.ObjectRecord) { r.UpdatedAt = later() }),
		"another creation":             changed(v5, func(r *storage.ObjectRecord) { r.CreatedAt = later() }),
		"other labels":                 changed(v5, func(r *storage.ObjectRecord) { r.Labels = map[string]string{"": ""} }),
		"another actor":                changed(v2, func(r *storage.ObjectRecord) { r.UpdatedBy = "x" }),
		"another size":                 changed(v2, func(r *storage.ObjectRecord) { r.Size++ }),
		"another expiry":               changed(v5, func(r *storage.ObjectRecord) { r.ExpiresAt = 1 }),
		"not unique":                   changed(v5, func(r *storage.ObjectRecord) { r.UniqueName = false }),
		"another version ID":           changed(v5, func(r *storage.ObjectRecord) { r.VersionID = storage.NewID(base) }),
		"the version ID at 7":          changed(v5, func(r *storage.ObjectRecord) { r.Number = 7 }),
		"the older version ID at 7":    changed(v2, func(r *storage.ObjectRecord) { r.Number = 7 }),
		"the version ID at 3":          changed(v5, func(r *storage.ObjectRecord) { r.Number = 3 }),
		"another object with the name": imported(kc, "a", storage.NewID(base), 1),
		"another name with the ID":     imported(kc, "b", id, 6),
		"another context with the ID":  imported(tenant("app", 2), "a", id, 6),
		"a unique name that is held":   imported(tenant("app", 2), "a", storage.NewID(base), 1, unique),
	} {
		if err := e.s.ImportVersion(e.ctx, r); err == nil {
			e.errorf("%s was imported", name)
		} else {
			e.is(err, storage.ErrExists)
		}
	}
	for _, number := range []uint64{1, 3, 4} { // late
		e.is(e.s.ImportVersion(e.ctx, imported(kc, "a", id, number)), storage.ErrVersionConflict)
	}
	e.wantVersions(storage.VersionQuery{Object: id, WithEnvelope: true, IncludeExpired: true}, v2, v5)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true}, v5)
}

// checkCopyStore copies a store into another one by what the interfaces offer,
// twice, and wants both to be the same.
func checkCopyStore(e *env) {
	e.directory()
	e.keyring()
	for i := range 10 {
		kc := tenant("app", i%3)
		for range i {
			e.put(object(kc, fmt.Sprint("v", i), func(r *storage.ObjectRecord) { r.UniqueName = i == 5 }), storage.PutGuard{Keep: 4})
		}
	}
	e.put(object(tenant("", 1), "expired", expires(base.Add(-time.Hour))))
	from := e.s
	to := e.h.New(e.t)
	all := storage.ObjectQuery{Contexts: everything, IncludeExpired: true, Limit: 7}
	versions := func(r storage.ObjectRecord) storage.VersionQuery {
		return storage.VersionQuery{Object: r.ID, Ascending: true, WithEnvelope: true, IncludeExpired: true, Limit: 3}
	}
	objects, keys := e.objects(all), e.keys(storage.KeyQuery{Contexts: everything})
	for range 2 {
		for _, r := range objects {
			e.s = from
			for _, v := range e.versions(versions(r)) {
				e.ok(to.ImportVersion(e.ctx, v))
			}
		}
	}
	for _, k := range keys {
		e.ok(to.InsertKey(e.ctx, k))
	}
	for _, r := range objects {
		e.s = from
		want := e.versions(versions(r))
		e.s = to
		e.wantVersions(versions(r), want...)
	}
	e.wantObjects(all, objects...)
	e.wantKeys(storage.KeyQuery{Contexts: everything}, keys...)
	slices.Reverse(objects)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true, Order: storage.OrderByUpdated, Descending: true}, objects...)
}

// checkImportHighest imports the highest number that the store takes. There is
// none after it: a put is refused, and what is there stays.
func checkImportHighest(e *env) {
	r := object(tenant("", 1), "a", func(r *storage.ObjectRecord) { r.Number, r.CreatedAt = math.MaxUint64, base })
	err := e.s.ImportVersion(e.ctx, r)
	if errors.Is(err, storage.ErrTooLarge) {
		r.Number = math.MaxInt64
		err = e.s.ImportVersion(e.ctx, r)
	}
	e.ok(err)
	for _, guard := range []storage.PutGuard{{Now: base}, {Now: base, Keep: 1}, {Now: base, IfVersion: r.VersionID}} {
		_, err := e.s.PutObject(e.ctx, object(tenant("", 1), "a", unique), guard)
		e.refused(err)
		e.wantObject(byName(r), r)
	}
	_, err = e.s.DeleteObject(e.ctx, byName(r), storage.ID{})
	e.ok(err)
	e.put(object(tenant("", 1), "a"))
}
