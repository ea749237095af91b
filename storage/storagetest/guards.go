package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

func checkGuardIfAbsentRace(e *env) {
	for round := range 4 {
		recs := make([]storage.ObjectRecord, 64)
		for i := range recs {
			recs[i] = object(tenant("", 1), fmt.Sprint("race", round))
		}
		won := recs[e.oneWins(e.race(len(recs), func(s storage.Store, i int) error {
			_, err := s.PutObject(e.ctx, recs[i], storage.PutGuard{IfAbsent: true, Now: base})
			return err
		}), storage.ErrExists)]
		won.Number, won.CreatedAt = 1, won.UpdatedAt
		e.wantObject(byName(won), won)
		e.wantVersions(storage.VersionQuery{Object: won.ID}, won)
		for _, r := range recs {
			if r.ID != won.ID {
				e.wantNoObject(storage.ObjectRef{ID: r.ID})
			}
		}
	}
}

func checkGuardIfVersionRace(e *env) {
	kc := tenant("", 1)
	cur := e.put(object(kc, "a"))
	for range 4 {
		recs := make([]storage.ObjectRecord, 32)
		for i := range recs {
			recs[i] = object(kc, "a")
		}
		won := recs[e.oneWins(e.race(len(recs), func(s storage.Store, i int) error {
			_, err := s.PutObject(e.ctx, recs[i], storage.PutGuard{IfVersion: cur.VersionID, Now: base})
			return err
		}), storage.ErrVersionConflict)]
		next := e.get(cur.ID)
		if next.VersionID != won.VersionID || next.Number != cur.Number+1 {
			e.errorf("after the race version %d is current, want the winner as %d", next.Number, cur.Number+1)
		}
		cur = next
	}
}

// checkPutRace wants every put of many at once to become a version of its own.
func checkPutRace(e *env) {
	kc := tenant("", 1)
	recs := make([]storage.ObjectRecord, 64)
	for i := range recs {
		recs[i] = object(kc, "a")
	}
	numbers := make([]uint64, len(recs))
	for _, err := range e.race(len(recs), func(s storage.Store, i int) error {
		got, err := s.PutObject(e.ctx, recs[i], storage.PutGuard{})
		numbers[i] = got.Number
		return err
	}) {
		e.ok(err)
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != uint64(i+1) {
			e.fatalf("64 puts gave the numbers %v", numbers)
		}
	}
	cur, err := e.s.GetObject(e.ctx, storage.ObjectRef{ContextHash: hashOf(kc), Name: "a"})
	e.ok(err)
	if got := e.versions(storage.VersionQuery{Object: cur.ID}); len(got) != len(recs) {
		e.errorf("64 puts left %d versions", len(got))
	}
	if n, err := e.s.CountByKey(e.ctx, cur.KeyID); n != 64 || err != nil {
		e.errorf("64 puts left %d versions under the key, %v", n, err)
	}
}

// checkPutDeleteRace wants puts and deletes of one object to leave all that
// finds it in agreement.
func checkPutDeleteRace(e *env) {
	kc := tenant("app", 1)
	name := storage.ObjectRef{ContextHash: hashOf(kc), Name: "a"}
	for _, err := range e.race(60, func(s storage.Store, i int) error {
		if i%3 != 2 {
			_, err := s.PutObject(e.ctx, object(kc, "a", unique, expires(base.Add(time.Hour))), storage.PutGuard{Keep: 2})
			return err
		}
		_, err := s.DeleteObject(e.ctx, name, storage.ID{})
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		return err
	}) {
		e.ok(err)
	}
	last := e.put(object(kc, "a"))
	versions := e.versions(storage.VersionQuery{Object: last.ID})
	if n, err := e.s.CountByKey(e.ctx, last.KeyID); n != int64(len(versions)) || err != nil {
		e.errorf("%d versions, %d of them under their key, %v", len(versions), n, err)
	}
	e.wantObjects(storage.ObjectQuery{Contexts: everything}, last)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated}, last)
	_, err := e.s.DeleteObject(e.ctx, name, storage.ID{})
	e.ok(err)
	e.wantObjects(storage.ObjectQuery{Contexts: everything, IncludeExpired: true})
	e.put(object(tenant("app", 2), "a", unique))
	if n, err := e.s.CountByKey(e.ctx, last.KeyID); n != 0 || err != nil {
		e.errorf("%d versions under the key of a deleted object, %v", n, err)
	}
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

// checkNeverHalfAWrite reads while an object is written: its parts must always
// be of one put, and the newest version that was seen must not go away.
func checkNeverHalfAWrite(e *env) {
	kc := tenant("", 1)
	mark := func(i int) func(*storage.ObjectRecord) {
		return func(r *storage.ObjectRecord) {
			r.UpdatedBy = fmt.Sprint(i)
			r.Labels = map[string]string{"i": fmt.Sprint(i)}
			r.Envelope = fmt.Appendf(nil, "%10d%s", i, make([]byte, i%7*3000))
		}
	}
	first := e.put(object(kc, "a", mark(0)))
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	const writes = 150
	errs := e.race(5, func(s storage.Store, who int) error {
		if who == 0 {
			defer stop()
			for i := range writes {
				if _, err := s.PutObject(e.ctx, object(kc, "a", mark(i)), storage.PutGuard{Keep: 1 + i%4}); err != nil {
					return err
				}
			}
			return nil
		}
		for last := uint64(0); ctx.Err() == nil; {
			r, err := s.GetObject(e.ctx, storage.ObjectRef{ID: first.ID})
			if err != nil {
				return fmt.Errorf("get: %w", err)
			}
			if err := whole(r); err != nil || r.Number < last {
				return fmt.Errorf("version %d after %d: %w", r.Number, last, err)
			}
			last = r.Number
			page, err := s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated, WithEnvelope: true})
			if err != nil || len(page.Objects) != 1 || whole(page.Objects[0]) != nil {
				return fmt.Errorf("the list has %d objects: %w", len(page.Objects), err)
			}
		}
		return nil
	})
	for _, err := range errs {
		e.ok(err)
	}
}

func whole(r storage.ObjectRecord) error {
	if r.UpdatedBy != r.Labels["i"] || len(r.Envelope) < 10 || fmt.Sprintf("%10s", r.UpdatedBy) != string(r.Envelope[:10]) {
		return fmt.Errorf("actor %q, label %q, envelope %.10q", r.UpdatedBy, r.Labels["i"], r.Envelope)
	}
	return nil
}
