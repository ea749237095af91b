package boltstore

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// keyAt returns the record with this key in keys; ok is false if there is none.
func (t *tx) keyAt(key []byte) (rec storage.KeyRecord, ok bool, err error) {
	value := t.get(bucketKeys, key)
	if value == nil {
		return rec, false, nil
	}
	rec, err = t.key(key, value)
	return rec, err == nil, err
}

// key decodes a record of keys, and checks that it is where it belongs.
func (t *tx) key(key, value []byte) (storage.KeyRecord, error) {
	rec, err := t.s.decoder.KeyRecord(value)
	if err == nil && string(keyKey(rec.ContextHash, rec.Purpose, rec.Version)) != string(key) {
		err = fmt.Errorf("%w: a key's record is in another one's place", storage.ErrCorrupt)
	}
	return rec, err
}

// keyByID returns the record with this key ID, or ErrNotFound.
func (t *tx) keyByID(id keyctx.KeyID) (storage.KeyRecord, error) {
	key, err := t.indexGet(keyIDKey(id))
	if err != nil {
		return storage.KeyRecord{}, err
	}
	if key == nil {
		return storage.KeyRecord{}, fmt.Errorf("key %s: %w", id.Short(), storage.ErrNotFound)
	}
	rec, ok, err := t.keyAt(key)
	if err == nil && (!ok || rec.KeyID != id) {
		err = fmt.Errorf("%w: the index has key %s where it isn't", storage.ErrCorrupt, id.Short())
	}
	return rec, err
}

// keyAtRevision is keyByID for whoever wants to change it.
func (t *tx) keyAtRevision(id keyctx.KeyID, revision uint64) (storage.KeyRecord, error) {
	rec, err := t.keyByID(id)
	if err == nil && rec.Revision != revision {
		err = fmt.Errorf("key %s: %w: it is at revision %d, not %d", id.Short(), storage.ErrVersionConflict, rec.Revision, revision)
	}
	return rec, err
}

// GetKey implements [storage.KeyStore].
func (s *Store) GetKey(ctx context.Context, id keyctx.KeyID) (rec storage.KeyRecord, err error) {
	err = s.view(ctx, "get key", func(t *tx) (err error) {
		rec, err = t.keyByID(id)
		return err
	})
	if err != nil {
		return storage.KeyRecord{}, err
	}
	return rec, nil
}

// LatestKey implements [storage.KeyStore].
func (s *Store) LatestKey(ctx context.Context, context keyctx.Hash, purpose keyctx.Purpose) (rec storage.KeyRecord, err error) {
	err = s.view(ctx, "latest key", func(t *tx) (err error) {
		prefix := append(context[:], byte(purpose))
		k, v := t.scan(bucketKeys, prefix, prefixEnd(prefix), true).next()
		if k == nil {
			return fmt.Errorf("%s key of context %s: %w", purpose, context.Short(), storage.ErrNotFound)
		}
		rec, err = t.key(k, v)
		return err
	})
	if err != nil {
		return storage.KeyRecord{}, err
	}
	return rec, nil
}

// InsertKey implements [storage.KeyStore].
func (s *Store) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	rec.Revision = 1
	return s.update(ctx, "insert key", 0, func(t *tx) error {
		value, err := storage.AppendKeyRecord(nil, rec)
		if err != nil {
			return err
		}
		key := keyKey(rec.ContextHash, rec.Purpose, rec.Version)
		other, err := t.indexGet(keyIDKey(rec.KeyID))
		if err != nil {
			return err
		}
		if other != nil || t.get(bucketKeys, key) != nil {
			return fmt.Errorf("key %s: %w", rec.KeyID.Short(), storage.ErrExists)
		}
		if !t.hasPrefix(bucketKeys, rec.ContextHash[:]) {
			for _, k := range pairKeys(tagKeyPair, rec.Context, rec.ContextHash) {
				t.indexPut(k, nothing)
			}
		}
		t.indexPut(keyIDKey(rec.KeyID), key)
		if !rec.ParentID.IsZero() {
			t.indexPut(parentKey(&rec), nothing)
		}
		return t.put(bucketKeys, key, value)
	})
}

// UpdateKey implements [storage.KeyStore]. It ignores changes of what never
// changes.
func (s *Store) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	return s.update(ctx, "update key", 0, func(t *tx) error {
		u, err := t.planKey(rec)
		if err != nil {
			return err
		}
		return t.replaceKey(u)
	})
}

// keyUpdate is one record that replaces another.
type keyUpdate struct {
	old, next storage.KeyRecord
	value     []byte // of next
}

// planKey checks all that can refuse an UpdateKey, and writes nothing.
func (t *tx) planKey(rec storage.KeyRecord) (u keyUpdate, err error) {
	if err := rec.Validate(); err != nil {
		return u, err
	}
	if u.old, err = t.keyAtRevision(rec.KeyID, rec.Revision); err != nil {
		return u, err
	}
	u.next = rec
	u.next.Context, u.next.ContextHash = u.old.Context, u.old.ContextHash
	u.next.Purpose, u.next.Version, u.next.CreatedAt = u.old.Purpose, u.old.Version, u.old.CreatedAt
	u.next.Revision = u.old.Revision + 1
	u.value, err = storage.AppendKeyRecord(nil, u.next)
	return u, err
}

func (t *tx) replaceKey(u keyUpdate) error {
	if u.next.ParentID != u.old.ParentID {
		if !u.old.ParentID.IsZero() {
			t.indexDelete(parentKey(&u.old))
		}
		if !u.next.ParentID.IsZero() {
			t.indexPut(parentKey(&u.next), nothing)
		}
	}
	return t.put(bucketKeys, keyKey(u.next.ContextHash, u.next.Purpose, u.next.Version), u.value)
}

// DeleteKey implements [storage.KeyStore].
func (s *Store) DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) error {
	return s.update(ctx, "delete key", 0, func(t *tx) error {
		rec, err := t.keyAtRevision(id, revision)
		if err != nil {
			return err
		}
		t.indexDelete(keyIDKey(id))
		if !rec.ParentID.IsZero() {
			t.indexDelete(parentKey(&rec))
		}
		if err := t.del(bucketKeys, keyKey(rec.ContextHash, rec.Purpose, rec.Version)); err != nil {
			return err
		}
		if !t.hasPrefix(bucketKeys, rec.ContextHash[:]) {
			for _, k := range pairKeys(tagKeyPair, rec.Context, rec.ContextHash) {
				t.indexDelete(k)
			}
		}
		return nil
	})
}

// ListKeys implements [storage.KeyStore].
func (s *Store) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	pos, err := q.CursorPosition(driver)
	if err == nil && pos != nil && len(pos) < hashLen {
		err = storage.ErrInvalidCursor
	}
	if err == nil {
		err = q.Validate()
	}
	if err != nil {
		return storage.KeyPage{}, fmt.Errorf("boltstore: list keys: %w", err)
	}
	var page storage.KeyPage
	err = s.view(ctx, "list keys", func(t *tx) error {
		p := newPager[storage.KeyRecord](ctx, q.Limit)
		list := t.listKeys
		if !q.ParentID.IsZero() {
			list = t.listChildren
		}
		if err := p.end(list(q, pos, p)); err != nil {
			return err
		}
		page.Keys = p.rows
		if p.more {
			page.Next = q.NextCursor(driver, p.last)
		}
		return nil
	})
	return page, err
}

func (t *tx) listKeys(q storage.KeyQuery, pos []byte, p *pager[storage.KeyRecord]) error {
	cs, err := t.contexts(q.Contexts, bucketKeys, tagKeyPair, false)
	if err != nil {
		return err
	}
	from := cs.first()
	if pos != nil {
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
		lo, hi := bounds(h[:], prefixEnd(h[:]), pos, false)
		s := t.scan(bucketKeys, lo, hi, false)
		for k, v := s.next(); k != nil; k, v = s.next() {
			rec, err := t.key(k, v)
			if err == nil {
				err = addKey(p, q, k, rec)
			}
			if err != nil {
				return err
			}
		}
		from, more = cs.following(h)
	}
	return nil
}

// listChildren lists the keys that have a parent through their own index.
func (t *tx) listChildren(q storage.KeyQuery, pos []byte, p *pager[storage.KeyRecord]) error {
	prefix := tagged(tagParent, q.ParentID[:])
	if pos != nil {
		pos = append(prefix[:len(prefix):len(prefix)], pos...)
	}
	lo, hi := bounds(prefix, prefixEnd(prefix), pos, false)
	s, err := t.scanIndex(lo, hi, false)
	if err != nil {
		return err
	}
	for k, _ := s.next(); k != nil; k, _ = s.next() {
		key := k[len(prefix):]
		rec, ok, err := t.keyAt(key)
		if err == nil && !ok {
			err = fmt.Errorf("%w: the index has a key where it isn't", storage.ErrCorrupt)
		}
		if err == nil {
			err = addKey(p, q, key, rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addKey adds a record, if q asks for it.
func addKey(p *pager[storage.KeyRecord], q storage.KeyQuery, position []byte, rec storage.KeyRecord) error {
	if err := p.pass(); err != nil {
		return err
	}
	if !q.Selects(&rec) {
		return nil
	}
	return p.add(position, rec)
}
