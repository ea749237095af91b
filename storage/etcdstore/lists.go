package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// fewEntries is how many entries one request asks for at least.
const fewEntries = 16

// errFull ends the collection of a page.
var errFull = errors.New("the page is full")

// full forgets errFull.
func full(err error) error {
	if err == errFull {
		return nil
	}
	return err
}

// pager collects a page and one row more, which says whether another page
// follows.
type pager[T any] struct {
	limit int
	rows  []T
	last  string // the position of the last row of the page
	more  bool
}

func newPager[T any](limit int) *pager[T] { return &pager[T]{limit: storage.PageLimit(limit)} }

// add adds a row; errFull says that it was the one too many.
func (p *pager[T]) add(position string, row T) error {
	if len(p.rows) == p.limit {
		p.more = true
		return errFull
	}
	p.last = position
	p.rows = append(p.rows, row)
	return nil
}

// want is how many entries to ask for: as many rows as are still wanted, or a
// few, as some may not be shown.
func (p *pager[T]) want() int { return max(p.limit+1-len(p.rows), fewEntries) }

// ListObjects implements [storage.ObjectStore]. A page of one context or of all
// contexts takes a round trip, and by time or backwards one more for every 128
// rows; a page of the contexts that match takes one for every 64 contexts, too.
func (s *Store) ListObjects(ctx context.Context, q storage.ObjectQuery) (page storage.ObjectPage, err error) {
	pos, err := q.CursorPosition(driver)
	if err == nil && pos != nil && len(pos) < hashLen {
		err = storage.ErrInvalidCursor
	}
	if err == nil {
		err = q.Validate()
	}
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("etcdstore: list objects: %w", err)
	}
	err = s.view(ctx, "list objects", func(r *snap) error {
		l := &objectList{snap: r, q: &q, pos: string(pos), pager: newPager[*row](q.Limit)}
		l.order()
		if err := full(l.run()); err != nil {
			return err
		}
		rows, err := r.records(l.rows, q.WithEnvelope)
		page = storage.ObjectPage{Objects: rows} // nothing of an earlier attempt
		if l.more {
			page.Next = q.NextCursor(driver, []byte(l.last))
		}
		return err
	})
	if err != nil {
		return storage.ObjectPage{}, err
	}
	return page, nil
}

// objectList is a page of objects being read, through the entries with one tag.
type objectList struct {
	*snap
	*pager[*row]
	q   *storage.ObjectQuery
	pos string // of the last page's last row; "": first page

	tag     byte // of the entries of objects
	context byte // of those of contexts
}

func (l *objectList) order() {
	switch down, byTime := l.q.Descending, l.q.Order == storage.OrderByUpdated; {
	case down && byTime:
		l.tag, l.context = tagUpdatedDown, tagContextDown
	case down:
		l.tag, l.context = tagNameDown, tagContextDown
	case byTime:
		l.tag, l.context = tagUpdated, tagContext
	default:
		l.tag, l.context = tagObject, tagContext
	}
}

// entryKey turns the position of a row into the key of its entry.
func (l *objectList) entryKey(pos string) string {
	switch l.tag {
	case tagNameDown:
		return l.s.key(l.tag, turned(pos[:hashLen]), turnedName(pos[hashLen:]))
	case tagUpdatedDown:
		return l.s.key(l.tag, turned(pos))
	}
	return l.s.key(l.tag, pos)
}

// hash is a context's hash in the form in which it sorts.
func (l *objectList) hash(h string) string {
	if l.q.Descending {
		return turned(h)
	}
	return h
}

// within is where a context's entries are that the query asks for.
func (l *objectList) within(hash string) span {
	prefix := l.s.key(l.tag, hash)
	sp := prefixSpan(prefix)
	switch l.tag {
	case tagObject:
		sp = prefixSpan(prefix + l.q.NamePrefix)
	case tagNameDown:
		sp = prefixSpan(prefix + turnedPrefix(l.q.NamePrefix))
	case tagUpdated:
		if !l.q.UpdatedAfter.IsZero() {
			sp.lo = prefix + laterThan(l.q.UpdatedAfter)
		}
	case tagUpdatedDown:
		if !l.q.UpdatedAfter.IsZero() {
			sp.hi = prefix + turned(laterThan(l.q.UpdatedAfter)) + strings.Repeat("\xff", idLen+1)
		}
	}
	return l.rest(sp)
}

// rest leaves out what earlier pages have shown.
func (l *objectList) rest(sp span) span {
	if l.pos == "" {
		return sp
	}
	return sp.from(after(l.entryKey(l.pos)))
}

func (l *objectList) run() error {
	f := l.q.Contexts
	switch {
	case f.Hash != (keyctx.Hash{}):
		return l.scan(l.within(l.hash(string(f.Hash[:]))), l.want, l.visit)
	case f.All && f.AnyNamespace && l.q.NamePrefix == "" && l.q.UpdatedAfter.IsZero():
		return l.scan(l.rest(prefixSpan(l.s.key(l.tag))), l.want, l.visit)
	}
	from := ""
	if l.pos != "" {
		from = l.hash(l.pos[:hashLen])
	}
	return l.scanContexts(l.contexts(f, l.context, from), l.within, l.want, l.visit)
}

// visit adds the rows that entries are of.
func (l *objectList) visit(entries []*entry) error {
	rows, err := l.load(entries)
	for i, w := range rows {
		if err == nil && w == nil {
			err = fmt.Errorf("%w: the index has an object where it isn't", storage.ErrCorrupt)
		}
		if err != nil {
			return err
		}
		pos := place(w.rec.ContextHash, w.rec.Name)
		if l.q.Order == storage.OrderByUpdated {
			pos = updated(&w.rec)
		}
		if l.entryKey(pos) != string(entries[i].Key) && l.tag != tagObject {
			return fmt.Errorf("%w: the index has an object where it isn't", storage.ErrCorrupt)
		}
		if l.shown(&w.rec) {
			err = l.add(pos, w)
		}
	}
	return err
}

func (l *objectList) shown(r *storage.ObjectRecord) bool {
	return (l.q.IncludeExpired || !r.Expired(l.q.Now)) && strings.HasPrefix(r.Name, l.q.NamePrefix) &&
		l.q.Contexts.Matches(r.Context, r.ContextHash)
}

// load returns the rows that entries are, or are entries of.
func (l *objectList) load(entries []*entry) (rows []*row, err error) {
	if l.tag != tagObject {
		keys := make([]string, len(entries))
		for i, e := range entries {
			hash := string(e.Key[len(l.s.key(l.tag)):][:hashLen])
			keys[i] = l.s.objectKey(l.hash(hash) + string(e.Value))
		}
		if entries, err = l.get(keys...); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		w, err := l.s.currentRow(e)
		if err != nil {
			return nil, err
		}
		rows = append(rows, w)
	}
	return rows, nil
}
