package etcdstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// byKey is an entry of 'k'.
type byKey struct {
	object storage.ID
	number uint64
	place  string // of the object
}

func decodeByKey(e *entry, skip int) (b byKey, err error) {
	rest := e.Key[skip:]
	if len(rest) != idLen+8 || len(e.Value) <= hashLen {
		return b, fmt.Errorf("%w: an entry of the index by key", storage.ErrCorrupt)
	}
	return byKey{storage.ID(rest), binary.BigEndian.Uint64(rest[idLen:]), string(e.Value)}, nil
}

// debris returns, by object, the number up to which versions are gone. There is
// hardly ever any.
func (r *snap) debris() (map[storage.ID]uint64, error) {
	gone := map[storage.ID]uint64{}
	all := prefixSpan(r.s.key(tagDebris))
	err := r.scan(all, func() int { return maxEntries }, func(es []*entry) error {
		for _, e := range es {
			n, err := decodeNumber(e)
			if err == nil && len(e.Key) != len(all.lo)+idLen {
				err = fmt.Errorf("%w: an entry of debris", storage.ErrCorrupt)
			}
			if err != nil {
				return err
			}
			gone[storage.ID(e.Key[len(all.lo):])] = n
		}
		return nil
	})
	return gone, err
}

// CountByKey implements [storage.ObjectStore]. It takes one round trip: etcd
// counts the entries in memory. While there is debris it reads them, 1024 at
// a time.
func (s *Store) CountByKey(ctx context.Context, id keyctx.KeyID) (n int64, err error) {
	all := prefixSpan(s.key(tagByKey, string(id[:])))
	err = s.view(ctx, "count by key", func(r *snap) error {
		a, err := r.do(read{span: all, countOnly: true}, read{span: prefixSpan(s.key(tagDebris)), limit: 1})
		if err != nil {
			return err
		}
		if n = a[0].count; len(a[1].entries) == 0 {
			return nil
		}
		gone, err := r.debris()
		if err != nil {
			return err
		}
		n = 0
		return r.scan(all, func() int { return maxEntries }, func(es []*entry) error {
			for _, e := range es {
				b, err := decodeByKey(e, len(all.lo))
				if err != nil {
					return err
				}
				if b.number > gone[b.object] {
					n++
				}
			}
			return nil
		})
	})
	return n, err
}

// ListByKey implements [storage.ObjectStore]. It takes a round trip for every
// 64 rows.
func (s *Store) ListByKey(ctx context.Context, q storage.ByKeyQuery) (page storage.ObjectPage, err error) {
	pos, err := q.CursorPosition(driver)
	if err == nil && pos != nil && len(pos) != idLen+8 {
		err = storage.ErrInvalidCursor
	}
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("etcdstore: list by key: %w", err)
	}
	prefix := s.key(tagByKey, string(q.KeyID[:]))
	err = s.view(ctx, "list by key", func(r *snap) error {
		gone, err := r.debris()
		if err != nil {
			return err
		}
		p := newPager[*row](q.Limit)
		sp := prefixSpan(prefix)
		if pos != nil {
			sp = sp.from(after(prefix + string(pos)))
		}
		err = r.scan(sp, p.want, func(es []*entry) error {
			return r.addByKey(p, q.KeyID, es, len(prefix), gone)
		})
		if err = full(err); err != nil {
			return err
		}
		rows, err := r.records(p.rows, false)
		page = storage.ObjectPage{Objects: rows} // nothing of an earlier attempt
		if p.more {
			page.Next = q.NextCursor(driver, []byte(p.last))
		}
		return err
	})
	if err != nil {
		return storage.ObjectPage{}, err
	}
	return page, nil
}

// addByKey adds the versions that entries of 'k' are of. Whether one is current
// they don't say: both places are looked at.
func (r *snap) addByKey(p *pager[*row], id keyctx.KeyID, es []*entry, skip int, gone map[storage.ID]uint64) error {
	var wanted []byKey
	var keys []string
	for _, e := range es {
		b, err := decodeByKey(e, skip)
		if err != nil {
			return err
		}
		if b.number > gone[b.object] {
			wanted = append(wanted, b)
			keys = append(keys, r.s.historyKey(b.object, b.number), r.s.objectKey(b.place))
		}
	}
	found, err := r.get(keys...)
	if err != nil {
		return err
	}
	for i, b := range wanted {
		w, err := r.s.oldRow(found[2*i])
		if err == nil && w == nil {
			w, err = r.s.currentRow(found[2*i+1])
		}
		if err == nil && (w == nil || w.rec.ID != b.object || w.rec.Number != b.number || w.rec.KeyID != id) {
			err = fmt.Errorf("%w: the index has a version where it isn't", storage.ErrCorrupt)
		}
		if err == nil {
			err = p.add(string(b.object[:])+u64(b.number), w)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
