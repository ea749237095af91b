package storagetest

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// cursorHead is what comes before the position in a cursor of NextCursor's.
const cursorHead = 9

// checkForgedCursors makes cursors up, as whoever is let near a list may: places
// where another query's rows are, signed for one's own query. A store refuses
// them or goes on from there, and shows nothing but what the query selects.
func checkForgedCursors(e *env) {
	mine, theirs := tenant("", 1), tenant("other", 2)
	parent := randomKeyID()
	for i := range 4 {
		for _, kc := range []keyctx.KeyContext{mine, theirs, tenant("", 3)} {
			e.put(object(kc, fmt.Sprint("n", i)))
			e.put(object(kc, "versions"))
			e.insert(key(kc, keyctx.PurposeData, uint32(i+1), func(r *storage.KeyRecord) { r.ParentID = parent }))
		}
	}
	if e.h.CursorDriver == "" {
		e.ownCursors()
		return
	}
	for _, f := range []storage.ContextFilter{
		{Match: mine},
		{Match: mine, AnyNamespace: true},
		{All: true},
		{Hash: hashOf(mine)},
	} {
		e.forgedObjects(f)
		e.forgedKeys(f, parent)
	}
	e.forgedByKey(mine, theirs)
	e.forgedVersions(mine, theirs)
	e.forgedSystem()
	e.forgedJunk(mine)
}

// ownCursors wants a harness without CursorDriver to be of a store that makes
// its cursors by other means.
func (e *env) ownCursors() {
	page, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, Limit: 1})
	e.ok(err)
	if b, err := base64.RawURLEncoding.DecodeString(page.Next); err == nil && len(b) > cursorHead && b[0] == 1 {
		e.errorf("the cursors are NextCursor's: Harness.CursorDriver must have the name it is given")
	}
}

// position is what a cursor of the store holds.
func (e *env) position(cursor string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) <= cursorHead {
		e.fatalf("Harness.CursorDriver is given, and the cursor isn't NextCursor's: %q", cursor)
	}
	return b[cursorHead:]
}

// named wants the harness to have said the right name.
func (e *env) named(cursor, again string) {
	if cursor != again {
		e.fatalf("Harness.CursorDriver isn't the name that the store gives NextCursor")
	}
}

// only wants a page to be refused, or to be of rows that the query selects.
func (e *env) only(err error, what string, others int) {
	if err != nil {
		e.is(err, storage.ErrInvalidCursor)
	} else if others > 0 {
		e.errorf("%s: a cursor that was made up shows %d rows that the query doesn't select", what, others)
	}
}

// forgedObjects starts f's lists at every place of everybody's.
func (e *env) forgedObjects(f storage.ContextFilter) {
	for _, q := range []storage.ObjectQuery{
		{}, {Descending: true}, {WithEnvelope: true}, {NamePrefix: "n"},
		{Order: storage.OrderByUpdated}, {Order: storage.OrderByUpdated, Descending: true},
		{Order: storage.OrderByUpdated, UpdatedAfter: base.Add(-time.Hour)},
	} {
		all, own := q, q
		all.Contexts, all.Limit, own.Contexts = everything, 1, f
		for {
			page, err := e.s.ListObjects(e.ctx, all)
			e.ok(err)
			if page.Next == "" {
				break
			}
			pos := e.position(page.Next)
			e.named(page.Next, all.NextCursor(e.h.CursorDriver, pos))
			all.Cursor, own.Cursor = page.Next, own.NextCursor(e.h.CursorDriver, pos)
			got, err := e.s.ListObjects(e.ctx, own)
			others := filterObjects(got.Objects, func(r storage.ObjectRecord) bool { return !f.Matches(r.Context, r.ContextHash) })
			e.only(err, "objects", len(others))
		}
	}
}

// forgedKeys is forgedObjects for keys, all of them and the children of one.
func (e *env) forgedKeys(f storage.ContextFilter, parent keyctx.KeyID) {
	for _, q := range []storage.KeyQuery{
		{}, {Purpose: keyctx.PurposeData}, {State: storage.StateActive}, {ParentID: parent},
	} {
		all, own := q, q
		all.Contexts, all.Limit, own.Contexts = everything, 1, f
		for {
			page, err := e.s.ListKeys(e.ctx, all)
			e.ok(err)
			if page.Next == "" {
				break
			}
			pos := e.position(page.Next)
			e.named(page.Next, all.NextCursor(e.h.CursorDriver, pos))
			all.Cursor, own.Cursor = page.Next, own.NextCursor(e.h.CursorDriver, pos)
			got, err := e.s.ListKeys(e.ctx, own)
			others := 0
			for i := range got.Keys {
				if !own.Selects(&got.Keys[i]) {
					others++
				}
			}
			e.only(err, "keys", others)
		}
	}
}

// forgedByKey starts the list of one key at the places of another's.
func (e *env) forgedByKey(mine, theirs keyctx.KeyContext) {
	for _, of := range [][2]keyctx.KeyContext{{mine, theirs}, {theirs, mine}} {
		all := storage.ByKeyQuery{KeyID: keyOf(hashOf(of[1])), Limit: 1}
		own := storage.ByKeyQuery{KeyID: keyOf(hashOf(of[0]))}
		for {
			page, err := e.s.ListByKey(e.ctx, all)
			e.ok(err)
			if page.Next == "" {
				break
			}
			all.Cursor, own.Cursor = page.Next, own.NextCursor(e.h.CursorDriver, e.position(page.Next))
			got, err := e.s.ListByKey(e.ctx, own)
			others := filterObjects(got.Objects, func(r storage.ObjectRecord) bool { return r.KeyID != own.KeyID })
			e.only(err, "by key", len(others))
		}
	}
}

// forgedVersions starts the list of one object's versions at the places of
// another's.
func (e *env) forgedVersions(mine, theirs keyctx.KeyContext) {
	object := func(kc keyctx.KeyContext) storage.ID {
		r, err := e.s.GetObject(e.ctx, storage.ObjectRef{ContextHash: hashOf(kc), Name: "versions"})
		e.ok(err)
		return r.ID
	}
	for _, up := range []bool{false, true} {
		all := storage.VersionQuery{Object: object(theirs), Ascending: up, Limit: 1}
		own := storage.VersionQuery{Object: object(mine), Ascending: up}
		for {
			page, err := e.s.ListVersions(e.ctx, all)
			e.ok(err)
			if page.Next == "" {
				break
			}
			all.Cursor, own.Cursor = page.Next, own.NextCursor(e.h.CursorDriver, e.position(page.Next))
			got, err := e.s.ListVersions(e.ctx, own)
			others := filterObjects(got.Objects, func(r storage.ObjectRecord) bool { return r.ID != own.Object })
			e.only(err, "versions", len(others))
		}
	}
}

// forgedSystem starts the list of one prefix before, between and after others.
func (e *env) forgedSystem() {
	for _, name := range []string{"a/1", "b/1", "b/2", "c/1"} {
		_, err := e.s.PutSystem(e.ctx, storage.SystemRecord{Name: name, Value: []byte("x")})
		e.ok(err)
	}
	for after, want := range map[string]int{"": 2, "a/0": 2, "a/1": 2, "b/1": 1, "b/2": 0, "c/0": 0} {
		recs, err := e.s.ListSystem(e.ctx, "b/", after, 0)
		e.ok(err)
		if len(recs) != want {
			e.errorf("after %q there are %d records with the prefix, want %d", after, len(recs), want)
		}
		for _, r := range recs {
			if r.Name[:2] != "b/" {
				e.errorf("record %q is in the list of another prefix", r.Name)
			}
		}
	}
}

// forgedJunk starts lists at places that no row can have.
func (e *env) forgedJunk(kc keyctx.KeyContext) {
	f := storage.ContextFilter{Match: kc}
	r, err := e.s.GetObject(e.ctx, storage.ObjectRef{ContextHash: hashOf(kc), Name: "versions"})
	e.ok(err)
	for _, n := range []int{1, 5, 8, 16, 24, 31, 32, 33, 37, 40, 56, 57, 64, 500, 750} {
		for _, fill := range []string{"\x00", "\x7f", "\x80", "\xff"} {
			pos := []byte(strings.Repeat(fill, n))
			for _, q := range []storage.ObjectQuery{{}, {Descending: true}, {Order: storage.OrderByUpdated}, {Order: storage.OrderByUpdated, Descending: true}} {
				for _, q.Contexts = range []storage.ContextFilter{f, everything} {
					q.Cursor = q.NextCursor(e.h.CursorDriver, pos)
					_, err := e.s.ListObjects(e.ctx, q)
					e.only(err, "objects", 0)
				}
			}
			for _, q := range []storage.KeyQuery{{Contexts: f}, {Contexts: everything}, {Contexts: f, ParentID: r.KeyID}} {
				q.Cursor = q.NextCursor(e.h.CursorDriver, pos)
				_, err := e.s.ListKeys(e.ctx, q)
				e.only(err, "keys", 0)
			}
			for _, q := range []storage.VersionQuery{{Object: r.ID}, {Object: r.ID, Ascending: true}} {
				q.Cursor = q.NextCursor(e.h.CursorDriver, pos)
				_, err := e.s.ListVersions(e.ctx, q)
				e.only(err, "versions", 0)
			}
			q := storage.ByKeyQuery{KeyID: r.KeyID}
			q.Cursor = q.NextCursor(e.h.CursorDriver, pos)
			_, err := e.s.ListByKey(e.ctx, q)
			e.only(err, "by key", 0)
		}
	}
}
