package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ReplaceEnvelope implements [storage.ObjectStore].
func (s *Store) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
	return s.update(ctx, "replace envelope", len(envelope), func(t *tx) error {
		if version.IsZero() || newKey.IsZero() {
			return errors.New("it needs a version and a new key")
		}
		cur, ok, err := t.currentByID(object, false)
		if err != nil {
			return err
		}
		if !ok {
			return storage.ErrNotFound
		}
		rec, err := t.version(cur, version, false)
		if err != nil {
			return err
		}
		if rec.KeyID != oldKey {
			return fmt.Errorf("%w: it is sealed under key %s", storage.ErrVersionConflict, rec.KeyID.Short())
		}
		was := byKeyKey(&rec)
		rec.KeyID, rec.Envelope = newKey, envelope
		value, err := storage.AppendObjectRecord(nil, rec)
		if err != nil {
			return err
		}
		t.indexDelete(was)
		t.indexPut(byKeyKey(&rec), nothing)
		if rec.Number == cur.Number {
			return t.put(bucketObjects, objectKey(rec.ContextHash, rec.Name), value)
		}
		return t.put(bucketHistory, historyKey(rec.ID, rec.Number), value)
	})
}

// ImportVersion implements [storage.ObjectStore].
func (s *Store) ImportVersion(ctx context.Context, rec storage.ObjectRecord) error {
	return s.update(ctx, "import version", len(rec.Envelope), func(t *tx) error {
		return t.importVersion(rec)
	})
}

func (t *tx) importVersion(rec storage.ObjectRecord) error {
	value, err := storage.AppendObjectRecord(nil, rec)
	if err != nil {
		return err
	}
	key := objectKey(rec.ContextHash, rec.Name)
	place, err := t.indexGet(objectIDKey(rec.ID))
	if err != nil {
		return err
	}
	cur, there, err := t.currentAt(key, false)
	if err != nil {
		return err
	}
	if place != nil && !bytes.Equal(place, key) || there && cur.ID != rec.ID {
		return fmt.Errorf("%w: another object with the name or the ID", storage.ErrExists)
	}
	holder, held, err := t.holder(&rec)
	if err != nil {
		return err
	}
	if held && holder.ID != rec.ID {
		return fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
	}
	if !there {
		return t.add(&rec, value, true)
	}
	done, err := t.checkImport(&cur, &rec, value)
	if done || err != nil {
		return err
	}
	if err := t.retire(&cur, 0); err != nil {
		return err
	}
	return t.add(&rec, value, false)
}

// checkImport reports whether the version is already there, and fails if
// another one is in its place or it comes too late. A record has one encoding,
// so that the same bytes are the same version.
func (t *tx) checkImport(cur, rec *storage.ObjectRecord, value []byte) (done bool, err error) {
	var there []byte
	switch {
	case rec.Number == cur.Number:
		there = t.get(bucketObjects, objectKey(cur.ContextHash, cur.Name))
	case rec.Number < cur.Number:
		there = t.get(bucketHistory, historyKey(cur.ID, rec.Number))
	}
	number, err := t.numberOf(cur.ID, rec.VersionID)
	switch {
	case err != nil:
		return false, err
	case there != nil && bytes.Equal(there, value):
		return true, nil
	case there != nil, number != 0, rec.VersionID == cur.VersionID:
		return false, fmt.Errorf("%w: the version with other contents", storage.ErrExists)
	case rec.Number < cur.Number:
		return false, fmt.Errorf("%w: version %d comes after %d", storage.ErrVersionConflict, rec.Number, cur.Number)
	}
	return false, nil
}
