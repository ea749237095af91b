package storagetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// checkCursors wants a store to refuse every cursor but those that it made for
// the query.
func checkCursors(e *env) {
	long := strings.Repeat("\U0010ffff", storage.MaxNameLen/4-1)
	kc := tenant(strings.Repeat("n", keyctx.MaxValueLen), 1)
	keyID := keyOf(hashOf(kc))
	var first storage.ObjectRecord
	for i := range 5 {
		first = e.put(object(kc, fmt.Sprint(long, i)))
		e.put(object(kc, "versions"))
		e.insert(key(kc, keyctx.PurposeData, uint32(i+1)))
	}
	versions, err := e.s.GetObject(e.ctx, storage.ObjectRef{ContextHash: first.ContextHash, Name: "versions"})
	e.ok(err)

	type list struct {
		name string
		call func(cursor string, now time.Time, limit int) (next string, err error)
	}
	objects := func(q storage.ObjectQuery) func(string, time.Time, int) (string, error) {
		return func(cursor string, now time.Time, limit int) (string, error) {
			q.Cursor, q.Now, q.Limit = cursor, now, limit
			page, err := e.s.ListObjects(e.ctx, q)
			return page.Next, err
		}
	}
	lists := []list{
		{"by name", objects(storage.ObjectQuery{Contexts: everything})},
		{"by name in a namespace", objects(storage.ObjectQuery{Contexts: storage.ContextFilter{All: true, Namespace: kc.Namespace()}})},
		{"by name in one context", objects(storage.ObjectQuery{Contexts: storage.ContextFilter{Hash: first.ContextHash}})},
		{"by name, matching", objects(storage.ObjectQuery{Contexts: storage.ContextFilter{Match: tenant("", 1), Namespace: kc.Namespace()}})},
		{"by name down", objects(storage.ObjectQuery{Contexts: everything, Descending: true})},
		{"by name with prefix", objects(storage.ObjectQuery{Contexts: everything, NamePrefix: "\xf4"})},
		{"by time", objects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated})},
		{"by time, later", objects(storage.ObjectQuery{Contexts: everything, Order: storage.OrderByUpdated, UpdatedAfter: base.Add(-time.Hour)})},
		{"versions", func(cursor string, now time.Time, limit int) (string, error) {
			page, err := e.s.ListVersions(e.ctx, storage.VersionQuery{Object: versions.ID, Cursor: cursor, Now: now, Limit: limit})
			return page.Next, err
		}},
		{"versions up", func(cursor string, now time.Time, limit int) (string, error) {
			page, err := e.s.ListVersions(e.ctx, storage.VersionQuery{Object: versions.ID, Ascending: true, Cursor: cursor, Now: now, Limit: limit})
			return page.Next, err
		}},
		{"by key", func(cursor string, _ time.Time, limit int) (string, error) {
			page, err := e.s.ListByKey(e.ctx, storage.ByKeyQuery{KeyID: keyID, Cursor: cursor, Limit: limit})
			return page.Next, err
		}},
		{"keys", func(cursor string, _ time.Time, limit int) (string, error) {
			page, err := e.s.ListKeys(e.ctx, storage.KeyQuery{Contexts: everything, Cursor: cursor, Limit: limit})
			return page.Next, err
		}},
		{"data keys", func(cursor string, _ time.Time, limit int) (string, error) {
			page, err := e.s.ListKeys(e.ctx, storage.KeyQuery{Contexts: everything, Purpose: keyctx.PurposeData, Cursor: cursor, Limit: limit})
			return page.Next, err
		}},
	}
	cursors := make([]string, len(lists))
	for i, l := range lists {
		next, err := l.call("", base, 2)
		e.ok(err)
		if next == "" || len(next) > 1024 {
			e.fatalf("list %s gave a cursor of %d bytes", l.name, len(next))
		}
		cursors[i] = next
		// Limit and Now may change on the way.
		if _, err := l.call(next, base.Add(time.Hour), 1); err != nil {
			e.errorf("list %s refused its own cursor: %v", l.name, err)
		}
	}
	for i, l := range lists {
		for j, c := range cursors {
			if i != j {
				_, err := l.call(c, base, 2)
				e.isCursorError(err, fmt.Sprintf("list %s, the cursor of list %s", l.name, lists[j].name))
			}
		}
		for _, c := range damagedCursors(cursors[i]) {
			_, err := l.call(c, base, 2)
			e.isCursorError(err, fmt.Sprintf("list %s, cursor %.80q", l.name, c))
		}
	}
}

func damagedCursors(c string) []string {
	flipped := []byte(c)
	flipped[len(flipped)/2] ^= 1
	return []string{
		"0", "x", "null", "\x00", "\xff\xfe", " ", "AAAA", "AQ", strings.Repeat("A", 1025), strings.Repeat("A", 100_000),
		c + "A", c + "=", c + "\n", " " + c, c[1:], c[:len(c)-1], c[:1], c + c, string(flipped), "' OR 1=1 --",
	}
}

func (e *env) isCursorError(err error, what string) {
	if err == nil {
		e.errorf("%s: it was taken", what)
		return
	}
	e.is(err, storage.ErrInvalidCursor)
}

func checkQueriesInvalid(e *env) {
	r := e.put(object(tenant("app", 1), "a"))
	e.insert(key(tenant("app", 1), keyctx.PurposeData, 1))
	match := keyctx.KeyContext{"organization_id": "org_01"}
	for _, f := range []storage.ContextFilter{
		{}, // an empty match must not become everything
		{Match: keyctx.KeyContext{}},
		{Namespace: "app"},
		{AnyNamespace: true},
		{All: true, Match: match},
		{All: true, Hash: r.ContextHash},
		{Hash: r.ContextHash, Match: match},
		{Match: keyctx.KeyContext{"": "x"}},
		{Match: keyctx.KeyContext{"organization_id": ""}},
		{Match: keyctx.KeyContext{keyctx.ReservedNamespace: "app"}},
	} {
		_, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: f})
		e.refused(err)
		_, err = e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: f, Order: storage.OrderByUpdated})
		e.refused(err)
		_, err = e.s.ListKeys(e.ctx, storage.KeyQuery{Contexts: f})
		e.refused(err)
	}
	_, err := e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, UpdatedAfter: base})
	e.refused(err)
	_, err = e.s.ListObjects(e.ctx, storage.ObjectQuery{Contexts: everything, Order: 9})
	e.refused(err)
	_, err = e.s.ListKeys(e.ctx, storage.KeyQuery{Contexts: everything, Purpose: 9})
	e.refused(err)
	_, err = e.s.ListKeys(e.ctx, storage.KeyQuery{Contexts: everything, State: 9})
	e.refused(err)
}
