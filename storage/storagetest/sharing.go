package storagetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// scribble overwrites everything that a record refers to.
func scribble(r *storage.ObjectRecord) {
	for k := range r.Context {
		r.Context[k] = "scribbled"
	}
	r.Context["more"] = "pairs"
	for k := range r.Labels {
		r.Labels[k] = "scribbled"
	}
	for i := range r.Envelope {
		r.Envelope[i] ^= 0xff
	}
}

func scribbleKey(r *storage.KeyRecord) {
	for k := range r.Context {
		r.Context[k] = "scribbled"
	}
	for _, ws := range [][]keyctx.Wrapping{r.Wrappings, r.Previous[0].Wrappings} {
		for i := range ws {
			ws[i].URI = "scribbled"
			for j := range ws[i].Wrapped {
				ws[i].Wrapped[j] ^= 0xff
			}
		}
	}
	r.Previous[0].Quorum = 0
}

func labelled(r *storage.ObjectRecord) { r.Labels = map[string]string{"a": "b", "c": "d"} }

// checkSharesNothingGiven overwrites what it gave to the store, when the call
// has returned, and wants it not to have been changed by the call.
func checkSharesNothingGiven(e *env) {
	kc := tenant("app", 1)
	given := object(kc, "a", labelled)
	untouched := given.Clone()
	want := e.put(given)
	want = want.Clone()
	e.same(given, untouched)
	scribble(&given)
	e.wantObject(byName(untouched), want)

	imp := imported(kc, "b", storage.NewID(base), 1, labelled)
	untouched = imp.Clone()
	e.ok(e.s.ImportVersion(e.ctx, imp))
	e.same(imp, untouched)
	scribble(&imp)
	e.wantObject(byName(untouched), untouched)

	sealed := randomBytes(32)
	want.KeyID, want.Envelope = randomKeyID(), slices.Clone(sealed)
	e.ok(e.s.ReplaceEnvelope(e.ctx, want.ID, want.VersionID, keyOf(want.ContextHash), want.KeyID, sealed))
	if !slices.Equal(sealed, want.Envelope) {
		e.errorf("ReplaceEnvelope changed the envelope it was given")
	}
	clear(sealed)
	e.wantObject(byName(want), want)

	k := wideKey(kc)
	wantKey := k.Clone()
	e.ok(e.s.InsertKey(e.ctx, k))
	e.sameKey(k, wantKey)
	scribbleKey(&k)
	e.sameKey(e.getKey(wantKey.KeyID), wantKey)
	k = wantKey.Clone()
	e.ok(e.s.UpdateKey(e.ctx, k))
	e.sameKey(k, wantKey)
	scribbleKey(&k)
	wantKey.Revision = 2
	e.sameKey(e.getKey(wantKey.KeyID), wantKey)

	value := []byte("value")
	rev := e.putSystem("s", value, 0)
	clear(value)
	e.wantSystem("s", []byte("value"), rev)

	names := []string{"b", "a", "b", "x"}
	namesWere := slices.Clone(names)
	match := tenant("", 1)
	_, err := e.s.GetObjects(e.ctx, want.ContextHash, names, base)
	e.ok(err)
	q := storage.ObjectQuery{Contexts: storage.ContextFilter{Match: match, Namespace: "app"}, Limit: 1}
	_, err = e.s.ListObjects(e.ctx, q)
	e.ok(err)
	_, err = e.s.ListKeys(e.ctx, storage.KeyQuery{Contexts: q.Contexts})
	e.ok(err)
	if !slices.Equal(names, namesWere) || !maps.Equal(match, tenant("", 1)) {
		e.errorf("a call changed the names or the match that it was given")
	}
}

// checkSharesNothingReturned overwrites what the store returned, and asks again.
func checkSharesNothingReturned(e *env) {
	kc := tenant("app", 1)
	e.put(object(kc, "a", labelled))
	want := e.put(object(kc, "a", labelled)).Clone()
	k := wideKey(kc)
	wantKey := e.insert(k).Clone()
	rev := e.putSystem("s", []byte("value"), 0)
	match := storage.ContextFilter{Match: tenant("", 1), Namespace: "app"}
	one := func(r storage.ObjectRecord, err error) ([]storage.ObjectRecord, error) {
		return []storage.ObjectRecord{r}, err
	}
	page := func(p storage.ObjectPage, err error) ([]storage.ObjectRecord, error) { return p.Objects, err }
	for name, get := range map[string]func() ([]storage.ObjectRecord, error){
		"GetObject": func() ([]storage.ObjectRecord, error) { return one(e.s.GetObject(e.ctx, byName(want))) },
		"GetObject by ID": func() ([]storage.ObjectRecord, error) {
			return one(e.s.GetObject(e.ctx, storage.ObjectRef{ID: want.ID, NoEnvelope: true}))
		},
		"GetObjects": func() ([]storage.ObjectRecord, error) {
			return e.s.GetObjects(e.ctx, want.ContextHash, []string{"a"}, base)
		},
		"ListObjects": func() ([]storage.ObjectRecord, error) {
			return page(e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: match, WithEnvelope: true}))
		},
		"ListVersions": func() ([]storage.ObjectRecord, error) {
			return page(e.s.ListVersions(e.ctx, storage.VersionQuery{Object: want.ID, WithEnvelope: true}))
		},
		"ListByKey": func() ([]storage.ObjectRecord, error) {
			return page(e.s.ListByKey(e.ctx, storage.ByKeyQuery{KeyID: want.KeyID}))
		},
	} {
		rs, err := get()
		e.ok(err)
		for i := range rs {
			scribble(&rs[i])
		}
		got, err := e.s.GetObject(e.ctx, byName(want))
		e.ok(err)
		if !got.Same(want) {
			e.errorf("what %s returned is the store's own", name)
		}
	}
	put, err := e.s.PutObject(e.ctx, object(kc, "b", labelled), storage.PutGuard{})
	e.ok(err)
	wantB := put.Clone()
	scribble(&put)
	got, err := e.s.GetObject(e.ctx, storage.ObjectRef{ID: wantB.ID, NoEnvelope: true})
	e.ok(err)
	e.sameMeta(got, wantB)

	r := e.getKey(wantKey.KeyID)
	scribbleKey(&r)
	r, err = e.s.LatestKey(e.ctx, wantKey.ContextHash, wantKey.Purpose)
	e.ok(err)
	e.sameKey(r, wantKey)
	scribbleKey(&r)
	keys := e.keys(storage.KeyQuery{Contexts: match})
	e.sameKey(keys[0], wantKey)
	scribbleKey(&keys[0])
	e.sameKey(e.getKey(wantKey.KeyID), wantKey)

	s, err := e.s.GetSystem(e.ctx, "s")
	e.ok(err)
	clear(s.Value)
	list, err := e.s.ListSystem(e.ctx, "", "", 0)
	e.ok(err)
	clear(list[0].Value)
	e.wantSystem("s", []byte("value"), rev)
}

// checkCancelledWritesNothing calls everything with a ctx that has ended.
func checkCancelledWritesNothing(e *env) {
	kc := tenant("", 1)
	r := e.put(object(kc, "a"))
	gone := e.put(object(kc, "gone", expires(base)))
	k := e.insert(key(kc, keyctx.PurposeData, 1))
	rev := e.putSystem("s", []byte("value"), 0)

	cancelled, cancel := context.WithCancel(e.ctx)
	cancel()
	late, cancel2 := context.WithDeadline(e.ctx, time.Now().Add(-time.Hour))
	defer cancel2()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{cancelled, context.Canceled}, {late, context.DeadlineExceeded}} {
		ctx := c.ctx
		newKey := k
		newKey.State = storage.StateShredded
		for op, f := range map[string]func() error{
			"PutObject":    func() error { return errOf(e.s.PutObject(ctx, object(kc, "a"), storage.PutGuard{})) },
			"DeleteObject": func() error { return errOf(e.s.DeleteObject(ctx, byName(r), storage.ID{})) },
			"DeleteExpired": func() error {
				_, err := e.s.DeleteExpired(ctx, "", base.Add(time.Hour), 0)
				return err
			},
			"ReplaceEnvelope": func() error {
				return e.s.ReplaceEnvelope(ctx, r.ID, r.VersionID, r.KeyID, randomKeyID(), nil)
			},
			"ImportVersion": func() error { return e.s.ImportVersion(ctx, imported(kc, "b", storage.NewID(base), 1)) },
			"InsertKey":     func() error { return e.s.InsertKey(ctx, key(kc, keyctx.PurposeData, 2)) },
			"UpdateKey":     func() error { return e.s.UpdateKey(ctx, newKey) },
			"DeleteKey":     func() error { return e.s.DeleteKey(ctx, k.KeyID, 1) },
			"PutSystem": func() error {
				_, err := e.s.PutSystem(ctx, storage.SystemRecord{Name: "s", Revision: rev})
				return err
			},
			"DeleteSystem": func() error { return e.s.DeleteSystem(ctx, "s", rev) },
			"GetKey":       func() error { _, err := e.s.GetKey(ctx, k.KeyID); return err },
			"LatestKey": func() error {
				_, err := e.s.LatestKey(ctx, k.ContextHash, k.Purpose)
				return err
			},
			"ListKeys":  func() error { _, err := e.s.ListKeys(ctx, storage.KeyQuery{Contexts: everything}); return err },
			"GetObject": func() error { return errOf(e.s.GetObject(ctx, byName(r))) },
			"GetObjects": func() error {
				_, err := e.s.GetObjects(ctx, r.ContextHash, []string{"a"}, base)
				return err
			},
			"ListObjects": func() error {
				_, err := e.s.ListObjects(ctx, storage.ObjectQuery{Contexts: everything})
				return err
			},
			"ListVersions": func() error { _, err := e.s.ListVersions(ctx, storage.VersionQuery{Object: r.ID}); return err },
			"ListByKey":    func() error { _, err := e.s.ListByKey(ctx, storage.ByKeyQuery{KeyID: r.KeyID}); return err },
			"CountByKey":   func() error { _, err := e.s.CountByKey(ctx, r.KeyID); return err },
			"GetSystem":    func() error { _, err := e.s.GetSystem(ctx, "s"); return err },
			"ListSystem":   func() error { _, err := e.s.ListSystem(ctx, "", "", 0); return err },
		} {
			if err := f(); err == nil {
				e.errorf("%s with a ctx that has ended did its work", op)
			} else {
				e.is(fmt.Errorf("%s: %w", op, err), c.want)
			}
		}
	}
	e.wantVersions(storage.VersionQuery{Object: r.ID, WithEnvelope: true}, r)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true}, r, gone)
	e.wantKeys(storage.KeyQuery{Contexts: everything}, k)
	e.wantSystem("s", []byte("value"), rev)
}

// checkReopen wants everything to be there when the database is opened again.
func checkReopen(e *env) {
	objects, keys := e.directory(), e.keyring()
	v1 := e.put(object(tenant("app", 1), "v", unique))
	v2 := e.put(object(tenant("app", 1), "v", expires(base.Add(time.Hour))))
	keys = append(keys, e.insert(wideKey(tenant("app", 9))))
	rev := e.putSystem("s", []byte("value"), 0)
	page, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, Limit: 10})
	e.ok(err)

	for range 2 {
		e.s = e.h.Reopen(e.t, e.s)
		e.wantObjects(storage.ObjectQuery{Contexts: everything, WithEnvelope: true}, append(objects, v2)...)
		e.wantObjects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated}, append(objects, v2)...)
		e.wantVersions(storage.VersionQuery{Object: v1.ID, WithEnvelope: true}, v1, v2)
		e.wantKeys(storage.KeyQuery{Contexts: everything}, keys...)
		e.wantSystem("s", []byte("value"), rev)
		_, err := e.s.PutObject(e.ctx, object(tenant("app", 2), "v", unique), storage.PutGuard{Now: base})
		e.is(err, storage.ErrExists)
		// A cursor is good in another process, too.
		rest, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, Cursor: page.Next, Limit: 1000})
		if err != nil || len(rest.Objects) != len(objects)+1-10 {
			e.errorf("the old cursor gave %d objects, %v", len(rest.Objects), err)
		}
	}
	v3 := e.put(object(tenant("app", 1), "v"), storage.PutGuard{Now: base})
	e.wantVersions(storage.VersionQuery{Object: v1.ID}, v1, v2, v3)
}
