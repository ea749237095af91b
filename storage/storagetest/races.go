package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/embedvault/vault/storage"
)

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
