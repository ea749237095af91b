package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// checkEvery is how many rows a list passes before it looks at its ctx.
const checkEvery = 256

// errFull ends the collection of a page.
var errFull = errors.New("the page is full")

// pager collects a page and one row more, which says whether another page
// follows.
type pager[T any] struct {
	ctx   context.Context
	limit int
	seen  int
	rows  []T
	last  []byte // the position of the last row of the page
	more  bool
}

func newPager[T any](ctx context.Context, limit int) *pager[T] {
	return &pager[T]{ctx: ctx, limit: storage.PageLimit(limit)}
}

// pass counts a row that was looked at.
func (p *pager[T]) pass() error {
	if p.seen++; p.seen%checkEvery == 0 {
		return p.ctx.Err()
	}
	return nil
}

// add adds a row; errFull says that it was the one too many. It copies
// position.
func (p *pager[T]) add(position []byte, row T) error {
	if len(p.rows) == p.limit {
		p.more = true
		return errFull
	}
	p.last = append(p.last[:0], position...)
	p.rows = append(p.rows, row)
	return nil
}

// end forgets errFull.
func (p *pager[T]) end(err error) error {
	if err == errFull {
		return nil
	}
	return err
}

// ListObjects implements [storage.ObjectStore].
func (s *Store) ListObjects(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
	pos, err := q.CursorPosition(driver)
	if err == nil {
		err = q.Validate()
	}
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("boltstore: list objects: %w", err)
	}
	var page storage.ObjectPage
	err = s.view(ctx, "list objects", func(t *tx) error {
		p := newPager[storage.ObjectRecord](ctx, q.Limit)
		if err := p.end(t.listObjects(q, pos, p)); err != nil {
			return err
		}
		page.Objects = p.rows
		if p.more {
			page.Next = q.NextCursor(driver, p.last)
		}
		return nil
	})
	return page, err
}

func (t *tx) listObjects(q storage.ObjectQuery, pos []byte, p *pager[storage.ObjectRecord]) error {
	cs, err := t.contexts(q.Contexts, bucketObjects, tagObjectPair, q.Descending)
	if err != nil {
		return err
	}
	from := cs.first()
	if pos != nil {
		if len(pos) < hashLen {
			return storage.ErrInvalidCursor
		}
		from = keyctx.Hash(pos)
	}
	for more := true; more; {
		h, ok := cs.seek(from)
		if !ok {
			return nil
		}
		if err := p.pass(); err != nil {
			return err
		}
		if q.Order == storage.OrderByUpdated {
			err = t.listUpdated(q, h, pos, p)
		} else {
			err = t.listNames(q, h, pos, p)
		}
		if err != nil {
			return err
		}
		from, more = cs.following(h)
	}
	return nil
}

// bounds narrows [lo, hi) to what comes after the position pos, nil for the
// first page.
func bounds(lo, hi, pos []byte, down bool) (newLo, newHi []byte) {
	switch {
	case pos == nil:
	case down && (hi == nil || bytes.Compare(pos, hi) < 0):
		hi = pos
	case !down && bytes.Compare(pos, lo) >= 0:
		lo = after(pos)
	}
	return lo, hi
}

// listNames adds the objects of one context in the order of their names.
func (t *tx) listNames(q storage.ObjectQuery, h keyctx.Hash, pos []byte, p *pager[storage.ObjectRecord]) error {
	prefix := objectKey(h, q.NamePrefix)
	lo, hi := bounds(prefix, prefixEnd(prefix), pos, q.Descending)
	s := t.scan(bucketObjects, lo, hi, q.Descending)
	for {
		k, v := s.next()
		if k == nil {
			return nil
		}
		if err := p.pass(); err != nil {
			return err
		}
		rec, err := t.object(v, q.WithEnvelope)
		if err == nil && !isAt(k, &rec) {
			err = fmt.Errorf("%w: an object's record is in another one's place", storage.ErrCorrupt)
		}
		if err == nil && shown(&q, &rec) {
			err = p.add(k, rec)
		}
		if err != nil {
			return err
		}
	}
}

// listUpdated adds the objects of one context in the order of their last put.
func (t *tx) listUpdated(q storage.ObjectQuery, h keyctx.Hash, pos []byte, p *pager[storage.ObjectRecord]) error {
	lo, hi := bounds(updatedAfter(h, q.UpdatedAfter), prefixEnd(h[:]), pos, q.Descending)
	if hi == nil {
		hi = bytes.Repeat([]byte{0xff}, len(h)+8+idLen+1)
	}
	s, err := t.scanIndex(tagged(tagUpdated, lo), tagged(tagUpdated, hi), q.Descending)
	if err != nil {
		return err
	}
	for {
		k, name := s.next()
		if k == nil {
			return nil
		}
		if err := p.pass(); err != nil {
			return err
		}
		if !strings.HasPrefix(string(name), q.NamePrefix) {
			continue
		}
		rec, ok, err := t.currentAt(objectKey(h, string(name)), q.WithEnvelope)
		if err == nil && (!ok || !bytes.Equal(updatedPosition(&rec), k[1:])) {
			err = fmt.Errorf("%w: the index has an object where it isn't", storage.ErrCorrupt)
		}
		if err == nil && shown(&q, &rec) {
			err = p.add(k[1:], rec)
		}
		if err != nil {
			return err
		}
	}
}

func shown(q *storage.ObjectQuery, r *storage.ObjectRecord) bool {
	return (q.IncludeExpired || !r.Expired(q.Now)) && q.Contexts.Matches(r.Context, r.ContextHash)
}

// ListVersions implements [storage.ObjectStore].
func (s *Store) ListVersions(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
	pos, err := q.CursorPosition(driver)
	if err == nil && pos != nil && len(pos) != 8 {
		err = storage.ErrInvalidCursor
	}
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("boltstore: list versions: %w", err)
	}
	var page storage.ObjectPage
	err = s.view(ctx, "list versions", func(t *tx) error {
		p := newPager[storage.ObjectRecord](ctx, q.Limit)
		if err := p.end(t.listVersions(q, pos, p)); err != nil {
			return err
		}
		page.Objects = p.rows
		if p.more {
			page.Next = q.NextCursor(driver, p.last)
		}
		return nil
	})
	return page, err
}

func (t *tx) listVersions(q storage.VersionQuery, pos []byte, p *pager[storage.ObjectRecord]) error {
	cur, ok, err := t.currentByID(q.Object, q.WithEnvelope)
	if err != nil || !ok || !q.IncludeExpired && cur.Expired(q.Now) {
		return err
	}
	add := func(rec storage.ObjectRecord) error {
		if !q.IncludeExpired && rec.Expired(q.Now) {
			return nil
		}
		return p.add(binary.BigEndian.AppendUint64(nil, rec.Number), rec)
	}
	passed := pos != nil && !q.Ascending && binary.BigEndian.Uint64(pos) <= cur.Number
	if !q.Ascending && !passed {
		if err := add(cur); err != nil {
			return err
		}
	}
	if pos != nil {
		pos = append(q.Object[:], pos...)
	}
	lo, hi := bounds(q.Object[:], prefixEnd(q.Object[:]), pos, !q.Ascending)
	s := t.scan(bucketHistory, lo, hi, !q.Ascending)
	for k, v := s.next(); k != nil; k, v = s.next() {
		rec, err := t.object(v, q.WithEnvelope)
		if err == nil {
			err = add(rec)
		}
		if err == nil {
			err = p.pass()
		}
		if err != nil {
			return err
		}
	}
	if q.Ascending && (pos == nil || binary.BigEndian.Uint64(pos[idLen:]) < cur.Number) {
		return add(cur)
	}
	return nil
}
