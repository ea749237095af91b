package memstore

import (
	"context"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ReplaceEnvelope implements [storage.ObjectStore].
func (s *Store) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
	if err := s.begin(ctx, "ReplaceEnvelope"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if version.IsZero() || newKey.IsZero() {
		return fmt.Errorf("memstore: replace envelope of object %s: it needs a version and a new key", object)
	}
	rec := s.ids[object].version(version)
	if rec == nil {
		return fmt.Errorf("memstore: replace envelope of object %s: %w", object, storage.ErrNotFound)
	}
	if rec.KeyID != oldKey {
		return fmt.Errorf("memstore: replace envelope of object %s: %w: it is sealed under key %s", object, storage.ErrVersionConflict, rec.KeyID.Short())
	}
	rec.KeyID = newKey
	rec.Envelope = slices.Clone(envelope)
	return nil
}

// ImportVersion implements [storage.ObjectStore].
func (s *Store) ImportVersion(ctx context.Context, rec storage.ObjectRecord) error {
	if err := s.begin(ctx, "ImportVersion"); err != nil {
		return err
	}
	if err := rec.Validate(); err != nil {
		return fmt.Errorf("memstore: import version: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[place{rec.ContextHash, rec.Name}]
	if held := s.ids[rec.ID]; held != o || o != nil && o.current().ID != rec.ID {
		return fmt.Errorf("memstore: import version: %w: another object with the name or the ID", storage.ErrExists)
	}
	if holder := s.holder(rec); holder != nil && holder != o {
		return fmt.Errorf("memstore: import version: %w: another context holds the unique name", storage.ErrExists)
	}
	if o != nil {
		if done, err := checkImport(o, rec); done || err != nil {
			return err
		}
	}
	s.add(o, rec)
	return nil
}

// checkImport says whether the version is already there.
func checkImport(o *object, rec storage.ObjectRecord) (done bool, err error) {
	for _, v := range o.versions {
		if v.Number == rec.Number || v.VersionID == rec.VersionID {
			if v.Same(rec) {
				return true, nil
			}
			return false, fmt.Errorf("memstore: import version: %w: version %d with other contents", storage.ErrExists, v.Number)
		}
	}
	if rec.Number < o.current().Number {
		return false, fmt.Errorf("memstore: import version: %w: version %d comes after %d", storage.ErrVersionConflict, rec.Number, o.current().Number)
	}
	return false, nil
}
