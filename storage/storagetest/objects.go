package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

func checkObjectRoundTrip(e *env) {
	wide := tenant("app", 1, "user_id", "ユーザー", "z", strings.Repeat("v", keyctx.MaxValueLen))
	for _, r := range []storage.ObjectRecord{
		object(tenant("", 1), "a"),
		object(tenant("", 1), strings.Repeat("é", storage.MaxNameLen/2)),
		object(keyctx.KeyContext{keyctx.ReservedScope: keyctx.ScopeGlobal}, "own"),
		object(wide, "wide", expires(base.Add(time.Hour)), unique, func(r *storage.ObjectRecord) {
			r.Size = 1<<63 - 1
			r.UpdatedBy = strings.Repeat("ä", 1000)
			r.Labels = map[string]string{"": "", "env": "prod", "ключ": strings.Repeat("w", 4096), "x": "\x00\xff"}
			r.Envelope = randomBytes(100_000)
		}),
		object(wide, "empty", func(r *storage.ObjectRecord) { r.Envelope, r.Size = nil, 0 }),
	} {
		id := r.ID
		r = e.put(r)
		if r.ID != id || r.Number != 1 || !r.CreatedAt.Equal(r.UpdatedAt) {
			e.errorf("a new object has ID %v, number %d, created %v; want %v, 1, %v", r.ID, r.Number, r.CreatedAt, id, r.UpdatedAt)
		}
		for _, ref := range []storage.ObjectRef{
			byName(r),
			{ID: r.ID, Now: base},
			{ID: r.ID, ContextHash: hashOf(tenant("", 9)), Name: "ignored", Now: base},
			{ID: r.ID, Version: r.VersionID, Now: base},
			{ContextHash: r.ContextHash, Name: r.Name, Version: r.VersionID, Now: base},
		} {
			e.wantObject(ref, r)
			ref.NoEnvelope = true
			got, err := e.s.GetObject(e.ctx, ref)
			e.ok(err)
			e.sameMeta(got, r)
		}
	}
}

func checkObjectVersions(e *env) {
	kc := tenant("", 1)
	var versions []storage.ObjectRecord
	for i := range 5 {
		versions = append(versions, e.put(object(kc, "a", func(r *storage.ObjectRecord) {
			r.UpdatedBy = fmt.Sprint("user ", i)
			r.Labels = map[string]string{"i": fmt.Sprint(i)}
			if i%2 == 0 {
				r.KeyID = randomKeyID()
			}
		})))
	}
	e.put(object(kc, "b"))
	e.put(object(tenant("app", 1), "a"))
	first := versions[0]
	for i, r := range versions {
		if r.ID != first.ID || !r.CreatedAt.Equal(first.CreatedAt) || r.Number != uint64(i+1) {
			e.errorf("version %d has ID %v, created %v, number %d", i+1, r.ID, r.CreatedAt, r.Number)
		}
		e.wantObject(storage.ObjectRef{ID: r.ID, Version: r.VersionID, Now: base}, r)
		ref := byName(r)
		ref.Version = r.VersionID
		e.wantObject(ref, r)
	}
	e.wantObject(byName(first), versions[4])
	e.wantObject(storage.ObjectRef{ID: first.ID, Now: base}, versions[4])
}

func checkObjectNotFound(e *env) {
	r := e.put(object(tenant("app", 1), "a"))
	e.put(object(tenant("app", 1), "a"))
	other := e.put(object(tenant("", 1), "b"))
	none := storage.NewID(base)
	for _, ref := range []storage.ObjectRef{
		{ContextHash: r.ContextHash, Name: "b"},
		{ContextHash: r.ContextHash, Name: "A"},
		{ContextHash: r.ContextHash, Name: ""},
		{ContextHash: other.ContextHash, Name: "a"},
		{ContextHash: r.ContextHash, Name: "a", Version: none},
		{ContextHash: r.ContextHash, Name: "a", Version: other.VersionID},
		{ID: none},
		{ID: none, ContextHash: r.ContextHash, Name: "a"},
		{ID: r.VersionID},
		{ID: r.ID, Version: none},
		{ID: r.ID, Version: other.VersionID},
		{ID: other.ID, Version: r.VersionID},
		{},
	} {
		e.wantNoObject(ref)
		ref.Version = storage.ID{}
		if ref.ID != r.ID && ref.ID != other.ID && (ref.Name != "a" || ref.ContextHash != r.ContextHash || !ref.ID.IsZero()) {
			_, err := e.s.DeleteObject(e.ctx, ref, storage.ID{})
			e.is(err, storage.ErrNotFound)
		}
	}
	e.is(e.s.ReplaceEnvelope(e.ctx, none, r.VersionID, r.KeyID, randomKeyID(), nil), storage.ErrNotFound)
	e.is(e.s.ReplaceEnvelope(e.ctx, r.ID, none, r.KeyID, randomKeyID(), nil), storage.ErrNotFound)
	e.is(e.s.ReplaceEnvelope(e.ctx, r.ID, other.VersionID, r.KeyID, randomKeyID(), nil), storage.ErrNotFound)
	page, err := e.s.ListVersions(e.ctx, storage.VersionQuery{Object: none})
	if err != nil || len(page.Objects) > 0 || page.Next != "" {
		e.errorf("the versions of no object: %v, %v", page, err)
	}
	if n, err := e.s.CountByKey(e.ctx, randomKeyID()); n != 0 || err != nil {
		e.errorf("the versions under no key: %d, %v", n, err)
	}
}

func checkObjectInvalid(e *env) {
	kc := tenant("", 1)
	bad := map[string]func(*storage.ObjectRecord){
		"no ID":           func(r *storage.ObjectRecord) { r.ID = storage.ID{} },
		"no version ID":   func(r *storage.ObjectRecord) { r.VersionID = storage.ID{} },
		"no key ID":       func(r *storage.ObjectRecord) { r.KeyID = keyctx.KeyID{} },
		"no context":      func(r *storage.ObjectRecord) { r.Context = nil },
		"another context": func(r *storage.ObjectRecord) { r.Context = tenant("app", 1) },
		"no name":         func(r *storage.ObjectRecord) { r.Name = "" },
		"a long name":     func(r *storage.ObjectRecord) { r.Name = strings.Repeat("n", storage.MaxNameLen+1) },
		"a negative size": func(r *storage.ObjectRecord) { r.Size = -1 },
		"negative expiry": func(r *storage.ObjectRecord) { r.ExpiresAt = -1 },
		"the year 10000":  func(r *storage.ObjectRecord) { r.UpdatedAt = base.AddDate(8000, 0, 0) },
	}
	for name, f := range bad {
		_, err := e.s.PutObject(e.ctx, object(kc, "a", f), storage.PutGuard{})
		if err == nil {
			e.errorf("an object with %s was put", name)
		}
		if err := e.s.ImportVersion(e.ctx, object(kc, "a", func(r *storage.ObjectRecord) { r.Number = 1; f(r) })); err == nil {
			e.errorf("an object with %s was imported", name)
		}
	}
	e.refused(e.s.ImportVersion(e.ctx, object(kc, "a"))) // number 0
	guard := storage.PutGuard{IfAbsent: true, IfVersion: storage.NewID(base)}
	_, err := e.s.PutObject(e.ctx, object(kc, "a"), guard)
	e.refused(err)
	_, err = e.s.PutObject(e.ctx, object(kc, "a"), storage.PutGuard{Keep: -1})
	e.refused(err)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true})
}

func checkObjectTimes(e *env) {
	zone := time.FixedZone("", -7*3600)
	for i, at := range []time.Time{
		base.Add(123_456_789), base.Add(999), base.Add(1000), base.In(zone),
		time.Date(1960, 2, 3, 4, 5, 6, 7_777, zone), time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		r := object(tenant("", 1), fmt.Sprint("t", i), func(r *storage.ObjectRecord) { r.UpdatedAt = at })
		stored := e.put(r)
		if want := at.UnixMicro(); stored.UpdatedAt.UnixMicro() != want || stored.CreatedAt.UnixMicro() != want {
			e.errorf("%v became %v, created %v", at, stored.UpdatedAt, stored.CreatedAt)
		}
		e.wantObject(byName(r), stored)
	}
}

// checkObjectSameIDs wants IDs that are taken to be refused: what happens when
// a caller that doesn't know whether its put was done tries it again.
func checkObjectSameIDs(e *env) {
	kc := tenant("", 1)
	v1 := e.put(object(kc, "a"))
	v2 := e.put(object(kc, "a"))
	for _, taken := range []storage.ObjectRecord{v1, v2} {
		_, err := e.s.PutObject(e.ctx, object(kc, "a", func(r *storage.ObjectRecord) { r.VersionID = taken.VersionID }), storage.PutGuard{})
		e.is(err, storage.ErrExists)
	}
	_, err := e.s.PutObject(e.ctx, object(kc, "b", func(r *storage.ObjectRecord) { r.ID = v1.ID }), storage.PutGuard{})
	e.is(err, storage.ErrExists)
	e.wantObject(byName(v1), v2)
	e.wantObjects(storage.ObjectQuery{Contexts: everything}, v2)
	e.wantVersions(storage.VersionQuery{Object: v1.ID}, v2, v1)
}

func checkObjectLarge(e *env) {
	n := largeEnvelope
	if e.h.MaxEnvelope > 0 {
		n = min(n, e.h.MaxEnvelope)
	}
	large := func(r *storage.ObjectRecord) { r.Envelope = randomBytes(n) }
	a := e.put(object(tenant("", 1), "a", large))
	b := e.put(object(tenant("", 1), "b"))
	e.wantObject(byName(a), a)
	e.wantObject(byName(b), b)
	a2 := e.put(object(tenant("", 1), "a", large))
	e.wantObject(storage.ObjectRef{ID: a.ID, Version: a.VersionID, Now: base}, a)
	e.wantObject(byName(a), a2)
	e.ok(e.s.ReplaceEnvelope(e.ctx, b.ID, b.VersionID, b.KeyID, b.KeyID, a.Envelope))
	b.Envelope = a.Envelope
	e.wantObject(byName(b), b)
}

func checkObjectTooLarge(e *env) {
	large := func(r *storage.ObjectRecord) { r.Envelope = randomBytes(max(largeEnvelope, 2*e.h.MaxEnvelope)) }
	r := object(tenant("", 1), "a", large)
	_, err := e.s.PutObject(e.ctx, r, storage.PutGuard{})
	e.is(err, storage.ErrTooLarge)
	e.wantNoObject(byName(r))
	b := e.put(object(tenant("", 1), "b"))
	e.is(e.s.ReplaceEnvelope(e.ctx, b.ID, b.VersionID, b.KeyID, randomKeyID(), r.Envelope), storage.ErrTooLarge)
	e.wantObject(byName(b), b)
}

func checkObjectGetMany(e *env) {
	kc := tenant("app", 1)
	want := map[string]storage.ObjectRecord{}
	names := []string{"absent"}
	for i := range 30 {
		name := fmt.Sprint("n", i)
		e.put(object(kc, name))
		r := e.put(object(kc, name))
		if i%3 != 0 {
			names = append(names, name, name) // twice: each is given once
			want[name] = r
		}
	}
	e.put(object(kc, "gone", expires(base)))
	e.put(object(tenant("", 1), "elsewhere"))
	names = append(names, "gone", "elsewhere", "")
	got, err := e.s.GetObjects(e.ctx, hashOf(kc), names, base)
	e.ok(err)
	for _, r := range got {
		w, ok := want[r.Name]
		if !ok {
			e.errorf("got %q, which was not wanted or was given before", r.Name)
			continue
		}
		delete(want, r.Name)
		e.same(r, w)
	}
	if len(want) > 0 {
		e.errorf("%d objects were not given", len(want))
	}
	if got, err := e.s.GetObjects(e.ctx, hashOf(kc), nil, base); err != nil || len(got) > 0 {
		e.errorf("no names: got %d objects, %v", len(got), err)
	}
	many := make([]string, storage.MaxNames)
	for i := range many {
		many[i] = fmt.Sprint("m", i)
	}
	if _, err := e.s.GetObjects(e.ctx, hashOf(kc), many, base); err != nil {
		e.errorf("%d names: %v", len(many), err)
	}
	_, err = e.s.GetObjects(e.ctx, hashOf(kc), append(many, "one more"), base)
	e.refused(err)
}

func checkObjectDelete(e *env) {
	kc := tenant("", 1)
	v1 := e.put(object(kc, "a"))
	v2 := e.put(object(kc, "a"))
	b := e.put(object(kc, "b"))
	_, err := e.s.DeleteObject(e.ctx, storage.ObjectRef{ID: v1.ID, Version: v1.VersionID}, storage.ID{})
	e.refused(err)
	for _, guard := range []storage.ID{v1.VersionID, b.VersionID, storage.NewID(base)} {
		_, err = e.s.DeleteObject(e.ctx, byName(v1), guard)
		e.is(err, storage.ErrVersionConflict)
	}
	e.wantVersions(storage.VersionQuery{Object: v1.ID}, v2, v1)

	got, err := e.s.DeleteObject(e.ctx, byName(v1), v2.VersionID)
	e.ok(err)
	e.sameMeta(got, v2)
	for _, ref := range []storage.ObjectRef{byName(v1), {ID: v1.ID}, {ID: v1.ID, Version: v1.VersionID}} {
		e.wantNoObject(ref)
	}
	e.wantVersions(storage.VersionQuery{Object: v1.ID, IncludeExpired: true})
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true}, b)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated}, b)
	_, err = e.s.DeleteObject(e.ctx, byName(v1), storage.ID{})
	e.is(err, storage.ErrNotFound)
	_, err = e.s.DeleteObject(e.ctx, storage.ObjectRef{ID: v1.ID}, v2.VersionID)
	e.is(err, storage.ErrNotFound)

	again := e.put(object(kc, "a"))
	if again.ID == v1.ID || again.Number != 1 {
		e.errorf("the name's next object has ID %v, number %d", again.ID, again.Number)
	}
	e.wantVersions(storage.VersionQuery{Object: again.ID}, again)
	_, err = e.s.DeleteObject(e.ctx, storage.ObjectRef{ID: again.ID}, storage.ID{})
	e.ok(err)
	e.wantObjects(storage.ObjectQuery{Contexts: everything}, b)
}
