package boltstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// CountByKey implements [storage.ObjectStore]. It counts entries of the index,
// one by one.
func (s *Store) CountByKey(ctx context.Context, id keyctx.KeyID) (n int64, err error) {
	err = s.view(ctx, "count by key", func(t *tx) error {
		prefix := tagged(tagByKey, id[:])
		scan, err := t.scanIndex(prefix, prefixEnd(prefix), false)
		if err != nil {
			return err
		}
		for k, _ := scan.next(); k != nil; k, _ = scan.next() {
			if n++; n%checkEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	return n, err
}

// ListByKey implements [storage.ObjectStore].
func (s *Store) ListByKey(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error) {
	pos, err := q.CursorPosition(driver)
	if err != nil {
		return storage.ObjectPage{}, fmt.Errorf("boltstore: list by key: %w", err)
	}
	var page storage.ObjectPage
	err = s.view(ctx, "list by key", func(t *tx) error {
		p := newPager[storage.ObjectRecord](ctx, q.Limit)
		if err := p.end(t.listByKey(q, pos, p)); err != nil {
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

func (t *tx) listByKey(q storage.ByKeyQuery, pos []byte, p *pager[storage.ObjectRecord]) error {
	prefix := tagged(tagByKey, q.KeyID[:])
	if pos != nil {
		pos = append(prefix[:len(prefix):len(prefix)], pos...)
	}
	lo, hi := bounds(prefix, prefixEnd(prefix), pos, false)
	scan, err := t.scanIndex(lo, hi, false)
	if err != nil {
		return err
	}
	for {
		k, _ := scan.next()
		if k == nil {
			return nil
		}
		rest := k[len(prefix):]
		if len(rest) != idLen+8 {
			return fmt.Errorf("%w: an entry of the index by key", storage.ErrCorrupt)
		}
		rec, err := t.numbered(storage.ID(rest), binary.BigEndian.Uint64(rest[idLen:]))
		if err == nil && rec.KeyID != q.KeyID {
			err = fmt.Errorf("%w: the index has a version under another key", storage.ErrCorrupt)
		}
		if err == nil {
			err = p.add(rest, rec)
		}
		if err == nil {
			err = p.pass()
		}
		if err != nil {
			return err
		}
	}
}

// numbered returns a version that the index says is there, without its
// envelope.
func (t *tx) numbered(object storage.ID, number uint64) (storage.ObjectRecord, error) {
	cur, ok, err := t.currentByID(object, false)
	switch {
	case err != nil:
		return cur, err
	case !ok:
		return cur, fmt.Errorf("%w: the index has an object that is gone", storage.ErrCorrupt)
	case cur.Number == number:
		return cur, nil
	}
	return t.old(object, number, false)
}

// DeleteExpired implements [storage.ObjectStore]. It removes the longest
// expired first.
func (s *Store) DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) (out []storage.ObjectRecord, err error) {
	err = s.update(ctx, "delete expired", 0, func(t *tx) error {
		out = nil // it may be run again
		prefix := tagged(tagExpiry, part(namespace))
		// Up to the last ID at the last microsecond that counts.
		hi := append(prefix[:len(prefix):len(prefix)], sortable(now.UnixMicro()+1)...)
		scan, err := t.scanIndex(prefix, hi, false)
		if err != nil {
			return err
		}
		for len(out) < storage.PageLimit(limit) {
			k, _ := scan.next()
			if k == nil {
				break
			}
			rec, ok, err := t.currentByID(storage.ID(k[len(hi):]), false)
			if err == nil && (!ok || !rec.Expired(now) || rec.Context.Namespace() != namespace) {
				err = fmt.Errorf("%w: the index has an object that hasn't expired", storage.ErrCorrupt)
			}
			if err != nil {
				return err
			}
			out = append(out, rec)
		}
		for i := range out { // not before the scan has ended: bbolt's cursors don't like it
			if err := t.remove(&out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
