package storagetest

import (
	"slices"
	"strings"

	"github.com/embedvault/vault/storage"
)

var everything = storage.ContextFilter{All: true, AnyNamespace: true}

// pageShape checks what every page promises: it is full unless it is the last.
func (e *env) pageShape(rows, limit int, next string) {
	n := storage.PageLimit(limit)
	if rows > n || rows < n && next != "" {
		e.errorf("a page of %d rows for limit %d, with a next page: %v", rows, limit, next != "")
	}
	if len(next) > 1024 {
		e.errorf("a cursor of %d bytes", len(next))
	}
}

// pages reads all pages of a list.
func (e *env) pages(limit int, page func(cursor string) (storage.ObjectPage, error)) (all []storage.ObjectRecord) {
	cursor := ""
	for n := 0; ; n++ {
		p, err := page(cursor)
		e.ok(err)
		e.pageShape(len(p.Objects), limit, p.Next)
		all = append(all, p.Objects...)
		if cursor = p.Next; cursor == "" {
			return all
		}
		if n > 10_000 {
			e.fatalf("the list doesn't end")
		}
	}
}

func (e *env) objects(q storage.ObjectQuery) []storage.ObjectRecord {
	return e.pages(q.Limit, func(cursor string) (storage.ObjectPage, error) {
		q.Cursor = cursor
		return e.s.ListObjects(e.ctx, q)
	})
}

func (e *env) versions(q storage.VersionQuery) []storage.ObjectRecord {
	return e.pages(q.Limit, func(cursor string) (storage.ObjectPage, error) {
		q.Cursor = cursor
		return e.s.ListVersions(e.ctx, q)
	})
}

func (e *env) byKey(q storage.ByKeyQuery) []storage.ObjectRecord {
	return e.pages(q.Limit, func(cursor string) (storage.ObjectPage, error) {
		q.Cursor = cursor
		return e.s.ListByKey(e.ctx, q)
	})
}

// wantObjects wants the list to be these objects, in the order that q says.
func (e *env) wantObjects(q storage.ObjectQuery, want ...storage.ObjectRecord) {
	position := namePosition
	if q.Order == storage.OrderByUpdated {
		position = updatedPosition
	}
	e.wantRows(e.objects(q), want, position, q.Descending, q.WithEnvelope)
}

// wantVersions wants the list to be these versions, in the order that q says.
func (e *env) wantVersions(q storage.VersionQuery, want ...storage.ObjectRecord) {
	e.wantRows(e.versions(q), want, versionPosition, !q.Ascending, q.WithEnvelope)
}

func (e *env) wantByKey(q storage.ByKeyQuery, want ...storage.ObjectRecord) {
	e.wantRows(e.byKey(q), want, byKeyPosition, false, false)
}

func (e *env) wantRows(got, want []storage.ObjectRecord, position func(storage.ObjectRecord) string, descending, withEnvelope bool) {
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b storage.ObjectRecord) int { return strings.Compare(position(a), position(b)) })
	if descending {
		slices.Reverse(want)
	}
	if len(got) != len(want) {
		e.errorf("got %d rows, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if withEnvelope {
			e.same(got[i], want[i])
		} else {
			e.sameMeta(got[i], want[i])
		}
	}
}

func filterObjects(all []storage.ObjectRecord, want func(storage.ObjectRecord) bool) (out []storage.ObjectRecord) {
	for _, r := range all {
		if want(r) {
			out = append(out, r)
		}
	}
	return out
}

// listLimits are page sizes for a list of n rows.
func listLimits(n int) []int { return []int{0, 1, 2, 7, n - 1, n, n + 1} }
