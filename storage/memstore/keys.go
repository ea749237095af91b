package memstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// key is a key record, with where it is kept: the record itself may have been
// edited.
type key struct {
	storage.KeyRecord
	use     use
	version uint32
}

// use is what the versions of one context key have in common.
type use struct {
	context keyctx.Hash
	purpose keyctx.Purpose
}

func byVersion(k *key, version uint32) int { return cmp.Compare(k.version, version) }

// GetKey implements [storage.KeyStore].
func (s *Store) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	if err := s.begin(ctx, "GetKey"); err != nil {
		return storage.KeyRecord{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[id]
	if !ok {
		return storage.KeyRecord{}, fmt.Errorf("memstore: get key %s: %w", id.Short(), storage.ErrNotFound)
	}
	return k.Clone(), nil
}

// LatestKey implements [storage.KeyStore].
func (s *Store) LatestKey(ctx context.Context, context keyctx.Hash, purpose keyctx.Purpose) (storage.KeyRecord, error) {
	if err := s.begin(ctx, "LatestKey"); err != nil {
		return storage.KeyRecord{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ks := s.uses[use{context, purpose}]
	if len(ks) == 0 {
		return storage.KeyRecord{}, fmt.Errorf("memstore: latest %s key of context %s: %w", purpose, context.Short(), storage.ErrNotFound)
	}
	return ks[len(ks)-1].Clone(), nil
}

// InsertKey implements [storage.KeyStore].
func (s *Store) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	if err := s.begin(ctx, "InsertKey"); err != nil {
		return err
	}
	if err := rec.Validate(); err != nil {
		return fmt.Errorf("memstore: insert key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := use{rec.ContextHash, rec.Purpose}
	at, taken := slices.BinarySearchFunc(s.uses[u], rec.Version, byVersion)
	if s.keys[rec.KeyID] != nil || taken {
		return fmt.Errorf("memstore: insert key %s: %w", rec.KeyID.Short(), storage.ErrExists)
	}
	k := &key{stored(rec), u, rec.Version}
	k.Revision = 1
	s.keys[rec.KeyID] = k
	s.uses[u] = slices.Insert(s.uses[u], at, k)
	return nil
}

// stored is a copy of rec as it is kept.
func stored(rec storage.KeyRecord) storage.KeyRecord {
	rec = rec.Clone()
	rec.CreatedAt = storage.TruncateTime(rec.CreatedAt)
	rec.StateChangedAt = storage.TruncateTime(rec.StateChangedAt)
	rec.RewrappedAt = storage.TruncateTime(rec.RewrappedAt)
	for i := range rec.Previous {
		rec.Previous[i].Until = storage.TruncateTime(rec.Previous[i].Until)
	}
	return rec
}

// UpdateKey implements [storage.KeyStore].
func (s *Store) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	if err := s.begin(ctx, "UpdateKey"); err != nil {
		return err
	}
	if err := rec.Validate(); err != nil {
		return fmt.Errorf("memstore: update key: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.keyAt(rec.KeyID, rec.Revision)
	if err != nil {
		return fmt.Errorf("memstore: update key %s: %w", rec.KeyID.Short(), err)
	}
	next := stored(rec)
	next.Context, next.ContextHash = old.Context, old.ContextHash
	next.Purpose, next.Version, next.CreatedAt = old.Purpose, old.Version, old.CreatedAt
	next.Revision = old.Revision + 1
	old.KeyRecord = next
	return nil
}

func (s *Store) keyAt(id keyctx.KeyID, revision uint64) (*key, error) {
	k := s.keys[id]
	if k == nil {
		return nil, storage.ErrNotFound
	}
	if k.Revision != revision {
		return nil, fmt.Errorf("%w: it is at revision %d, not %d", storage.ErrVersionConflict, k.Revision, revision)
	}
	return k, nil
}

// DeleteKey implements [storage.KeyStore].
func (s *Store) DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) error {
	if err := s.begin(ctx, "DeleteKey"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.keyAt(id, revision)
	if err != nil {
		return fmt.Errorf("memstore: delete key %s: %w", id.Short(), err)
	}
	delete(s.keys, id)
	i := slices.Index(s.uses[k.use], k)
	s.uses[k.use] = slices.Delete(s.uses[k.use], i, i+1)
	return nil
}

// ListKeys implements [storage.KeyStore].
func (s *Store) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	if err := s.begin(ctx, "ListKeys"); err != nil {
		return storage.KeyPage{}, err
	}
	pos, err := q.CursorPosition(driver)
	if err := firstError(q.Validate(), err); err != nil {
		return storage.KeyPage{}, fmt.Errorf("memstore: list keys: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows rows[*storage.KeyRecord]
	for _, k := range s.keys {
		if q.Selects(&k.KeyRecord) {
			rows.add(keyPosition(k), &k.KeyRecord)
		}
	}
	page, more := rows.page(pos, false, q.Limit)
	var out storage.KeyPage
	for _, row := range page {
		out.Keys = append(out.Keys, row.value.Clone())
	}
	if more {
		out.Next = q.NextCursor(driver, []byte(page[len(page)-1].position))
	}
	return out, nil
}

func keyPosition(k *key) string {
	b := append(k.use.context[:], byte(k.use.purpose))
	return string(binary.BigEndian.AppendUint32(b, k.version))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
