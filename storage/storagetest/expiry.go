package storagetest

import (
	"fmt"
	"time"

	"github.com/embedvault/vault/storage"
)

func checkExpiredReadsAsAbsent(e *env) {
	kc := tenant("app", 1)
	end := base.Add(time.Minute)
	before, at := end.Add(-time.Microsecond), end
	old := e.put(object(kc, "a"))
	a := e.put(object(kc, "a", expires(end)))
	b := e.put(object(kc, "b"))

	for _, ref := range []storage.ObjectRef{byName(a), {ID: a.ID}, {ID: a.ID, Version: a.VersionID}} {
		for _, now := range []time.Time{before, {}} { // with no Now nothing has expired
			ref.Now = now
			e.wantObject(ref, a)
		}
		for _, now := range []time.Time{at, at.Add(time.Hour)} {
			ref.Now = now
			e.wantNoObject(ref)
		}
	}
	// Its versions go with it, whatever they say themselves.
	e.wantObject(storage.ObjectRef{ID: a.ID, Version: old.VersionID, Now: before}, old)
	e.wantNoObject(storage.ObjectRef{ID: a.ID, Version: old.VersionID, Now: at})
	e.wantVersions(storage.VersionQuery{Object: a.ID, Now: before}, a, old)
	e.wantVersions(storage.VersionQuery{Object: a.ID, Now: at})
	e.wantVersions(storage.VersionQuery{Object: a.ID, Now: at, IncludeExpired: true}, a, old)

	for _, order := range []storage.Order{storage.OrderByName, storage.OrderByUpdated} {
		for _, f := range []storage.ContextFilter{{Hash: a.ContextHash}, {All: true, Namespace: "app"}, everything} {
			e.wantObjects(storage.ObjectQuery{Contexts: f, Order: order, Now: before}, a, b)
			e.wantObjects(storage.ObjectQuery{Contexts: f, Order: order, Now: at}, b)
			e.wantObjects(storage.ObjectQuery{Contexts: f, Order: order, Now: at, IncludeExpired: true}, a, b)
		}
	}
	got, err := e.s.GetObjects(e.ctx, hashOf(kc), []string{"a", "b"}, at)
	if err != nil || len(got) != 1 || got[0].Name != "b" {
		e.errorf("GetObjects gives %d objects, %v", len(got), err)
	}
	for _, ref := range []storage.ObjectRef{byName(a), {ID: a.ID}} {
		ref.Now = at
		_, err = e.s.DeleteObject(e.ctx, ref, storage.ID{})
		e.is(err, storage.ErrNotFound)
	}
	// It is still there for calls without a Now.
	if n, err := e.s.CountByKey(e.ctx, a.KeyID); n != 3 || err != nil {
		e.errorf("%d versions under the key, %v; want 3", n, err)
	}
	next := randomKeyID()
	e.ok(e.s.ReplaceEnvelope(e.ctx, a.ID, a.VersionID, a.KeyID, next, a.Envelope))
	ref := byName(a)
	ref.Now = before
	got2, err := e.s.DeleteObject(e.ctx, ref, a.VersionID)
	e.ok(err)
	a.KeyID = next
	e.sameMeta(got2, a)
}

func checkExpiredIsReplaced(e *env) {
	kc := tenant("", 1)
	for i, guard := range []storage.PutGuard{{}, {IfAbsent: true}, {Keep: 3}} {
		name := fmt.Sprint("n", i)
		e.put(object(kc, name, sealedUnder(randomKeyID())))
		old := e.put(object(kc, name, sealedUnder(randomKeyID()), expires(base.Add(time.Minute))))

		// Not yet, and not with a guard that doesn't hold.
		e.ok(errOf(e.s.PutObject(e.ctx, object(kc, name, expires(base.Add(time.Minute))), storage.PutGuard{Now: base})))
		guard.Now = base.Add(time.Minute)
		_, err := e.s.PutObject(e.ctx, object(kc, name), storage.PutGuard{IfVersion: old.VersionID, Now: guard.Now})
		e.is(err, storage.ErrVersionConflict)
		e.wantObject(storage.ObjectRef{ID: old.ID, Version: old.VersionID, Now: base}, old)

		next := object(kc, name)
		got := e.put(next, guard)
		if got.ID != next.ID || got.Number != 1 || !got.CreatedAt.Equal(next.UpdatedAt) {
			e.errorf("the new object has ID %v, number %d, created %v; want %v, 1, %v", got.ID, got.Number, got.CreatedAt, next.ID, next.UpdatedAt)
		}
		e.wantNoObject(storage.ObjectRef{ID: old.ID})
		e.wantVersions(storage.VersionQuery{Object: old.ID, IncludeExpired: true})
		e.wantVersions(storage.VersionQuery{Object: next.ID, IncludeExpired: true}, got)
		if n, err := e.s.CountByKey(e.ctx, old.KeyID); n != 0 || err != nil {
			e.errorf("the old object left %d versions under its key, %v", n, err)
		}
		e.wantObjects(storage.ObjectQuery{Contexts: everything, NamePrefix: name, IncludeExpired: true, Order: storage.OrderByUpdated}, got)
	}
	if swept, err := e.s.DeleteExpired(e.ctx, "", base.Add(time.Hour), 0); err != nil || len(swept) > 0 {
		e.errorf("the sweep found %d, %v", len(swept), err)
	}
}

func errOf(_ storage.ObjectRecord, err error) error { return err }

// checkExpiredVersion is about an old version that has expired in an object
// that hasn't.
func checkExpiredVersion(e *env) {
	kc := tenant("", 1)
	v1 := e.put(object(kc, "a", expires(base.Add(time.Minute))))
	v2 := e.put(object(kc, "a"), storage.PutGuard{Now: base})
	now := base.Add(time.Minute)
	ref := storage.ObjectRef{ID: v1.ID, Version: v1.VersionID, Now: base}
	e.wantObject(ref, v1)
	ref.Now = now
	e.wantNoObject(ref)
	e.wantObject(storage.ObjectRef{ID: v1.ID, Now: now}, v2)
	e.wantVersions(storage.VersionQuery{Object: v1.ID, Now: base}, v2, v1)
	e.wantVersions(storage.VersionQuery{Object: v1.ID, Now: now}, v2)
	e.wantVersions(storage.VersionQuery{Object: v1.ID, Now: now, IncludeExpired: true, Ascending: true, Limit: 1}, v1, v2)
	if swept, err := e.s.DeleteExpired(e.ctx, "", now, 0); err != nil || len(swept) > 0 {
		e.errorf("the sweep took %d objects, %v", len(swept), err)
	}
	v3 := e.put(object(kc, "a"), storage.PutGuard{Now: now})
	if v3.ID != v1.ID || v3.Number != 3 {
		e.errorf("the third version has number %d", v3.Number)
	}
}

func checkDeleteExpired(e *env) {
	const each = 12
	for _, ns := range []string{"", "app", "app2"} {
		for i := range each {
			kc := tenant(ns, i%3)
			name := fmt.Sprint("gone", i)
			e.put(object(kc, name))
			e.put(object(kc, name, expires(base.Add(time.Duration(i)*time.Second))), storage.PutGuard{Now: base.Add(-time.Hour)})
		}
		e.put(object(tenant(ns, 1), "stays"))
		e.put(object(tenant(ns, 1), "later", expires(base.Add(time.Hour))))
	}
	sweep := func(ns string, now time.Time, limit, want int) {
		swept, err := e.s.DeleteExpired(e.ctx, ns, now, limit)
		e.ok(err)
		if len(swept) != want {
			e.errorf("swept %d of %q, want %d", len(swept), ns, want)
		}
		for _, r := range swept {
			if !r.Expired(now) || r.Context.Namespace() != ns || r.Number != 2 || r.Envelope != nil {
				e.errorf("swept %s", describe(r))
			}
			e.wantNoObject(storage.ObjectRef{ID: r.ID})
			e.wantVersions(storage.VersionQuery{Object: r.ID, IncludeExpired: true})
		}
	}
	sweep("ap", base.Add(time.Minute), 0, 0)
	sweep("app", base.Add(-time.Second), 0, 0)
	sweep("app", base.Add(4*time.Second), 2, 2)
	sweep("app", base.Add(4*time.Second), -1, 3)
	sweep("app", base.Add(4*time.Second), 5000, 0)
	sweep("app", base.Add(5*time.Second-time.Microsecond), 0, 0)
	sweep("app", base.Add(time.Minute), 0, each-5)
	sweep("app", base.Add(time.Minute), 0, 0)
	left := func(ns string) int {
		return len(e.objects(storage.ObjectQuery{Contexts: storage.ContextFilter{All: true, Namespace: ns}, IncludeExpired: true}))
	}
	if a, b, c := left(""), left("app"), left("app2"); a != each+2 || b != 2 || c != each+2 {
		e.errorf("%d, %d and %d objects are left, want %d, 2 and %d", a, b, c, each+2, each+2)
	}
	sweep("", base.Add(time.Minute), 0, each)
}
