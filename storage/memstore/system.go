package memstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/embedvault/vault/storage"
)

// GetSystem implements [storage.SystemStore].
func (s *Store) GetSystem(ctx context.Context, name string) (storage.SystemRecord, error) {
	if err := s.begin(ctx, "GetSystem"); err != nil {
		return storage.SystemRecord{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.system[name]
	if !ok {
		return storage.SystemRecord{}, fmt.Errorf("memstore: get system record: %w", storage.ErrNotFound)
	}
	rec.Value = slices.Clone(rec.Value)
	return rec, nil
}

// PutSystem implements [storage.SystemStore].
func (s *Store) PutSystem(ctx context.Context, rec storage.SystemRecord) (uint64, error) {
	if err := s.begin(ctx, "PutSystem"); err != nil {
		return 0, err
	}
	if err := rec.Validate(); err != nil {
		return 0, fmt.Errorf("memstore: put system record: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.systemAt(rec.Name, rec.Revision); err != nil {
		return 0, fmt.Errorf("memstore: put system record %s: %w", rec.Name, err)
	}
	s.revision++
	rec.Revision = s.revision
	rec.Value = slices.Clone(rec.Value)
	s.system[rec.Name] = rec
	return rec.Revision, nil
}

// systemAt checks that the record is at that revision; 0: isn't there.
func (s *Store) systemAt(name string, revision uint64) error {
	old, ok := s.system[name]
	switch {
	case revision == 0 && ok:
		return storage.ErrExists
	case revision == 0:
		return nil
	case !ok:
		return storage.ErrNotFound
	case old.Revision != revision:
		return fmt.Errorf("%w: it is at revision %d, not %d", storage.ErrVersionConflict, old.Revision, revision)
	}
	return nil
}

// DeleteSystem implements [storage.SystemStore].
func (s *Store) DeleteSystem(ctx context.Context, name string, revision uint64) error {
	if err := s.begin(ctx, "DeleteSystem"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.system[name]
	switch {
	case !ok:
		return fmt.Errorf("memstore: delete system record: %w", storage.ErrNotFound)
	case old.Revision != revision:
		return fmt.Errorf("memstore: delete system record %s: %w: it is at revision %d, not %d", name, storage.ErrVersionConflict, old.Revision, revision)
	}
	delete(s.system, name)
	return nil
}

// ListSystem implements [storage.SystemStore].
func (s *Store) ListSystem(ctx context.Context, prefix, after string, limit int) ([]storage.SystemRecord, error) {
	if err := s.begin(ctx, "ListSystem"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows rows[storage.SystemRecord]
	for name, rec := range s.system {
		if strings.HasPrefix(name, prefix) && name > after {
			rows.add(name, rec)
		}
	}
	page, _ := rows.page(nil, false, limit)
	out := make([]storage.SystemRecord, len(page))
	for i, row := range page {
		out[i] = row.value
		out[i].Value = slices.Clone(out[i].Value)
	}
	return out, nil
}
