package storagetest

import (
	"time"

	"github.com/embedvault/vault/storage"
)

func checkUniqueName(e *env) {
	first := e.put(object(tenant("app", 1), "login", unique))
	refused := object(tenant("app", 2), "login", unique)
	_, err := e.s.PutObject(e.ctx, refused, storage.PutGuard{})
	e.is(err, storage.ErrExists)
	_, err = e.s.PutObject(e.ctx, refused, storage.PutGuard{IfAbsent: true})
	e.is(err, storage.ErrExists)
	e.wantNoObject(byName(refused))
	e.wantNoObject(storage.ObjectRef{ID: refused.ID})
	e.wantObjects(storage.ObjectQuery{Contexts: everything}, first)
	if n, err := e.s.CountByKey(e.ctx, refused.KeyID); n != 0 || err != nil {
		e.errorf("the refused put left %d versions under its key, %v", n, err)
	}
	page, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: storage.ContextFilter{Match: tenant("", 2), Namespace: "app"}})
	if err != nil || len(page.Objects) > 0 {
		e.errorf("the refused put left its context: %v, %v", page.Objects, err)
	}

	// Its own context goes on, another namespace and another name don't matter,
	// and whoever doesn't ask for uniqueness isn't stopped by it.
	second := e.put(object(tenant("app", 1), "login", unique))
	third := e.put(object(tenant("app", 1), "login"))
	if third.ID != first.ID || third.Number != 3 || !third.UniqueName {
		e.errorf("the third version has ID %v, number %d, unique %v", third.ID, third.Number, third.UniqueName)
	}
	e.wantVersions(storage.VersionQuery{Object: first.ID}, third, second, first)
	e.put(object(tenant("", 1), "login", unique))
	e.put(object(tenant("app2", 1), "login", unique))
	e.put(object(tenant("app", 1), "Login", unique))
	plain := e.put(object(tenant("app", 3), "login"))
	if plain.UniqueName {
		e.errorf("a name became unique that nobody asked to be")
	}
	_, err = e.s.PutObject(e.ctx, object(tenant("app", 3), "login", unique), storage.PutGuard{})
	e.is(err, storage.ErrExists)
	e.wantVersions(storage.VersionQuery{Object: plain.ID}, plain)
	_, err = e.s.PutObject(e.ctx, object(tenant("app", 2), "login", unique), storage.PutGuard{})
	e.is(err, storage.ErrExists)

	// A later version may make the name unique.
	e.put(object(tenant("app", 4), "late"))
	e.put(object(tenant("app", 4), "late", unique))
	_, err = e.s.PutObject(e.ctx, object(tenant("app", 5), "late", unique), storage.PutGuard{})
	e.is(err, storage.ErrExists)
}

func checkUniqueNameFreed(e *env) {
	// By deleting.
	a := e.put(object(tenant("app", 1), "n", unique))
	_, err := e.s.DeleteObject(e.ctx, byName(a), storage.ID{})
	e.ok(err)
	b := e.put(object(tenant("app", 2), "n", unique, expires(base.Add(time.Minute))), storage.PutGuard{Now: base})
	_, err = e.s.PutObject(e.ctx, object(tenant("app", 1), "n", unique), storage.PutGuard{Now: base})
	e.is(err, storage.ErrExists)

	// By expiry: the holder is removed by whoever takes the name over.
	c := e.put(object(tenant("app", 1), "n", unique), storage.PutGuard{Now: base.Add(time.Minute)})
	e.wantNoObject(storage.ObjectRef{ID: b.ID})
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true}, c)
	_, err = e.s.PutObject(e.ctx, object(tenant("app", 2), "n", unique), storage.PutGuard{Now: base.Add(time.Minute)})
	e.is(err, storage.ErrExists)

	// By being replaced, in the same context, by one that doesn't want it.
	d := e.put(object(tenant("app", 3), "m", unique, expires(base)))
	e.put(object(tenant("app", 3), "m"), storage.PutGuard{Now: base})
	e.wantNoObject(storage.ObjectRef{ID: d.ID})
	e.put(object(tenant("app", 4), "m", unique), storage.PutGuard{Now: base})

	// By the sweep.
	e.put(object(tenant("app", 5), "s", unique, expires(base)))
	swept, err := e.s.DeleteExpired(e.ctx, "app", base, 0)
	if err != nil || len(swept) != 1 {
		e.errorf("swept %d, %v", len(swept), err)
	}
	e.put(object(tenant("app", 6), "s", unique))
}

func checkUniqueNameRace(e *env) {
	recs := make([]storage.ObjectRecord, 32)
	for i := range recs {
		recs[i] = object(tenant("app", i), "n", unique)
	}
	won := recs[e.oneWins(e.race(len(recs), func(s storage.Store, i int) error {
		_, err := s.PutObject(e.ctx, recs[i], storage.PutGuard{})
		return err
	}), storage.ErrExists)]
	won.Number, won.CreatedAt = 1, won.UpdatedAt
	e.wantObjects(storage.ObjectQuery{Contexts: everything}, won)
}
