package etcdstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/embedvault/vault/storage"
)

// ListVersions implements [storage.ObjectStore].
func (s *Store) ListVersions(ctx context.Context, q storage.VersionQuery) (page storage.ObjectPage, err error) {
	pos, err := q.CursorPosition(driver)
	if err == nil && pos != nil && len(pos) != 8 {
		err = storage.ErrInvalidCursor
	}
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("etcdstore: list versions: %w", err)
	}
	err = s.view(ctx, "list versions", func(r *snap) error {
		l := &versionList{snap: r, q: &q, pager: newPager[*row](q.Limit)}
		if pos != nil {
			l.pos, l.paged = binary.BigEndian.Uint64(pos), true
		}
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

// versionList is a page of versions being read.
type versionList struct {
	*snap
	*pager[*row]
	q     *storage.VersionQuery
	pos   uint64
	paged bool // pos is of the last page's last row
}

func (l *versionList) run() error {
	cur, err := l.currentByID(l.q.Object)
	if err != nil || cur == nil || !l.q.IncludeExpired && cur.rec.Expired(l.q.Now) {
		return err
	}
	es, err := l.get(l.s.debrisKey(l.q.Object))
	if err != nil {
		return err
	}
	gone, err := decodeNumber(es[0])
	if err != nil {
		return err
	}
	if l.q.Ascending {
		return l.up(cur, gone)
	}
	return l.down(cur, gone)
}

func (l *versionList) addRow(w *row) error {
	if !l.q.IncludeExpired && w.rec.Expired(l.q.Now) {
		return nil
	}
	return l.add(u64(w.rec.Number), w)
}

// down lists the current version and then the older ones, in the order of their
// keys.
func (l *versionList) down(cur *row, gone uint64) error {
	first := cur.rec.Number
	if l.paged {
		first = l.pos
	}
	if !l.paged || l.pos > cur.rec.Number {
		if err := l.addRow(cur); err != nil {
			return err
		}
	}
	id := l.q.Object
	// Turned numbers: what is older comes later, and what is gone last.
	sp := span{after(l.s.historyKey(id, first)), l.s.historyKey(id, gone)}
	return l.scan(sp, l.want, l.visit)
}

func (l *versionList) visit(entries []*entry) error {
	for _, e := range entries {
		w, err := l.s.oldRow(e)
		if err == nil && w == nil {
			err = fmt.Errorf("%w: a version of object %s is gone", storage.ErrCorrupt, l.q.Object)
		}
		if err == nil {
			err = l.addRow(w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// up lists the older versions through the index by number, and then the
// current one.
func (l *versionList) up(cur *row, gone uint64) error {
	id := l.q.Object
	sp := span{after(l.s.numberKey(id, max(gone, l.pos))), l.s.numberKey(id, cur.rec.Number)}
	err := l.scan(sp, l.want, func(entries []*entry) error {
		keys := make([]string, len(entries))
		for i, e := range entries {
			v, err := decodeNumbered(e)
			if err != nil {
				return err
			}
			keys[i] = l.s.historyKey(id, v.number)
		}
		rows, err := l.get(keys...)
		if err != nil {
			return err
		}
		return l.visit(rows)
	})
	if err != nil || l.paged && l.pos >= cur.rec.Number {
		return err
	}
	return l.addRow(cur)
}
