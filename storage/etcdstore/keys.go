package etcdstore

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// keyRow is a key record as it is stored.
type keyRow struct {
	rec      storage.KeyRecord
	key      string
	revision int64 // etcd's, of its last change
}

// keyRow decodes an entry of 'w', and checks that it is where it belongs.
func (s *Store) keyRow(e *entry) (*keyRow, error) {
	rec, err := s.decoder.KeyRecord(e.Value)
	if err == nil && s.key(tagKey, use(rec.ContextHash, rec.Purpose, rec.Version)) != string(e.Key) {
		err = fmt.Errorf("%w: a key's record is in another one's place", storage.ErrCorrupt)
	}
	return &keyRow{rec, string(e.Key), e.ModRevision}, err
}

// keyByID returns the record with this key ID, or ErrNotFound.
func (r *snap) keyByID(id keyctx.KeyID) (*keyRow, error) {
	es, err := r.get(r.s.keyIDKey(id))
	if err != nil {
		return nil, err
	}
	if es[0] == nil {
		return nil, fmt.Errorf("key %s: %w", id.Short(), storage.ErrNotFound)
	}
	if es, err = r.get(r.s.key(tagKey, string(es[0].Value))); err != nil {
		return nil, err
	}
	if es[0] != nil {
		k, err := r.s.keyRow(es[0])
		if err != nil || k.rec.KeyID == id {
			return k, err
		}
	}
	return nil, fmt.Errorf("%w: the index has key %s where it isn't", storage.ErrCorrupt, id.Short())
}

// keyAtRevision is keyByID for whoever wants to change it.
func (r *snap) keyAtRevision(id keyctx.KeyID, revision uint64) (*keyRow, error) {
	k, err := r.keyByID(id)
	if err == nil && k.rec.Revision != revision {
		err = fmt.Errorf("key %s: %w: it is at revision %d, not %d", id.Short(), storage.ErrVersionConflict, k.rec.Revision, revision)
	}
	return k, err
}

// GetKey implements [storage.KeyStore]. It takes two round trips.
func (s *Store) GetKey(ctx context.Context, id keyctx.KeyID) (rec storage.KeyRecord, err error) {
	err = s.view(ctx, "get key", func(r *snap) error {
		k, err := r.keyByID(id)
		if err == nil {
			rec = k.rec
		}
		return err
	})
	return rec, err
}

// LatestKey implements [storage.KeyStore]. It takes one round trip. etcd looks
// at all versions of the key and sends one.
func (s *Store) LatestKey(ctx context.Context, context keyctx.Hash, purpose keyctx.Purpose) (rec storage.KeyRecord, err error) {
	all := prefixSpan(s.key(tagKey, string(context[:]), string([]byte{byte(purpose)})))
	err = s.view(ctx, "latest key", func(r *snap) error {
		a, err := r.do(read{span: all, last: true})
		if err != nil {
			return err
		}
		if len(a[0].entries) == 0 {
			return fmt.Errorf("%s key of context %s: %w", purpose, context.Short(), storage.ErrNotFound)
		}
		k, err := s.keyRow(a[0].entries[0])
		if err == nil {
			rec = k.rec
		}
		return err
	})
	return rec, err
}

// InsertKey implements [storage.KeyStore]. It takes two round trips.
func (s *Store) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	rec.Revision = 1
	_, err := s.update(ctx, "insert key", func(r *snap, _ bool) (*writes, error) {
		value, err := storage.AppendKeyRecord(nil, rec)
		if err != nil {
			return nil, err
		}
		if err := s.fits(len(value)); err != nil {
			return nil, err
		}
		at := use(rec.ContextHash, rec.Purpose, rec.Version)
		key, byID := s.key(tagKey, at), s.keyIDKey(rec.KeyID)
		es, err := r.get(key, byID, s.markerKey(tagKeyContext, rec.ContextHash))
		if err != nil {
			return nil, err
		}
		if es[0] != nil || es[1] != nil {
			return nil, fmt.Errorf("key %s: %w", rec.KeyID.Short(), storage.ErrExists)
		}
		w := newWrites()
		w.expect(key, 0)
		w.expect(byID, 0)
		w.put(key, string(value))
		w.put(byID, at)
		if !rec.ParentID.IsZero() {
			w.put(s.parentKey(&rec), "")
		}
		s.linkContext(w, tagKeyContext, rec.Context, rec.ContextHash, es[2])
		return w, nil
	})
	return err
}

// UpdateKey implements [storage.KeyStore]. It ignores changes of what never
// changes.
func (s *Store) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	_, err := s.update(ctx, "update key", func(r *snap, _ bool) (*writes, error) {
		if err := rec.Validate(); err != nil {
			return nil, err
		}
		k, err := r.keyAtRevision(rec.KeyID, rec.Revision)
		if err != nil {
			return nil, err
		}
		w := newWrites()
		return w, s.replaceKey(w, k, rec)
	})
	return err
}

// replaceKey adds to w what replaces a key's record.
func (s *Store) replaceKey(w *writes, k *keyRow, rec storage.KeyRecord) error {
	old, next := k.rec, rec
	next.Context, next.ContextHash = old.Context, old.ContextHash
	next.Purpose, next.Version, next.CreatedAt = old.Purpose, old.Version, old.CreatedAt
	next.Revision = old.Revision + 1
	value, err := storage.AppendKeyRecord(nil, next)
	if err != nil {
		return err
	}
	w.expect(k.key, k.revision)
	w.put(k.key, string(value))
	if next.ParentID != old.ParentID {
		if !old.ParentID.IsZero() {
			w.del(s.parentKey(&old))
		}
		if !next.ParentID.IsZero() {
			w.put(s.parentKey(&next), "")
		}
	}
	return nil
}

// DeleteKey implements [storage.KeyStore].
func (s *Store) DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) error {
	_, err := s.update(ctx, "delete key", func(r *snap, _ bool) (*writes, error) {
		k, err := r.keyAtRevision(id, revision)
		if err != nil {
			return nil, err
		}
		w := newWrites()
		w.expect(k.key, k.revision)
		w.del(k.key)
		w.del(s.keyIDKey(id))
		if !k.rec.ParentID.IsZero() {
			w.del(s.parentKey(&k.rec))
		}
		return w, r.unlinkContext(w, tagKeyContext, k.rec.Context, k.rec.ContextHash, k.key)
	})
	return err
}
