package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// errSingleVersion refuses what ObjectStore doesn't offer.
var errSingleVersion = errors.New("a single version can't be deleted")

// object decodes a record of objects or history, and checks that it is where it
// belongs.
func (t *tx) object(value []byte, withEnvelope bool) (storage.ObjectRecord, error) {
	if withEnvelope {
		return t.s.decoder.ObjectRecord(value)
	}
	return t.s.decoder.ObjectMeta(value)
}

// currentAt returns the current version of the object with this key in objects,
// expired or not; ok is false if there is none.
func (t *tx) currentAt(key []byte, withEnvelope bool) (rec storage.ObjectRecord, ok bool, err error) {
	value := t.get(bucketObjects, key)
	if value == nil {
		return rec, false, nil
	}
	if rec, err = t.object(value, withEnvelope); err != nil {
		return rec, false, err
	}
	if !isAt(key, &rec) {
		return rec, false, fmt.Errorf("%w: an object's record is in another one's place", storage.ErrCorrupt)
	}
	return rec, true, nil
}

func isAt(key []byte, r *storage.ObjectRecord) bool {
	return len(key) == hashLen+len(r.Name) && keyctx.Hash(key) == r.ContextHash && string(key[hashLen:]) == r.Name
}

// currentByID is like currentAt for the object with this ID.
func (t *tx) currentByID(id storage.ID, withEnvelope bool) (rec storage.ObjectRecord, ok bool, err error) {
	key, err := t.indexGet(objectIDKey(id))
	if err != nil || key == nil {
		return rec, false, err
	}
	rec, ok, err = t.currentAt(key, withEnvelope)
	if err == nil && (!ok || rec.ID != id) {
		err = fmt.Errorf("%w: the index has object %s where it isn't", storage.ErrCorrupt, id)
	}
	return rec, ok, err
}

// find returns the current version of the object that ref names, or
// ErrNotFound if it isn't there or has expired.
func (t *tx) find(ref storage.ObjectRef, withEnvelope bool) (rec storage.ObjectRecord, err error) {
	var ok bool
	if ref.ID.IsZero() {
		rec, ok, err = t.currentAt(objectKey(ref.ContextHash, ref.Name), withEnvelope)
	} else {
		rec, ok, err = t.currentByID(ref.ID, withEnvelope)
	}
	if err == nil && (!ok || rec.Expired(ref.Now)) {
		err = storage.ErrNotFound
	}
	return rec, err
}

// old returns an older version of an object.
func (t *tx) old(object storage.ID, number uint64, withEnvelope bool) (storage.ObjectRecord, error) {
	value := t.get(bucketHistory, historyKey(object, number))
	if value == nil {
		return storage.ObjectRecord{}, fmt.Errorf("%w: version %d of object %s is gone", storage.ErrCorrupt, number, object)
	}
	rec, err := t.object(value, withEnvelope)
	if err == nil && (rec.ID != object || rec.Number != number) {
		err = fmt.Errorf("%w: a version's record is in another one's place", storage.ErrCorrupt)
	}
	return rec, err
}

// version returns the version of cur's object with this ID, current or not, or
// ErrNotFound.
func (t *tx) version(cur storage.ObjectRecord, version storage.ID, withEnvelope bool) (storage.ObjectRecord, error) {
	if version == cur.VersionID {
		return cur, nil
	}
	number, err := t.numberOf(cur.ID, version)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	if number == 0 {
		return storage.ObjectRecord{}, storage.ErrNotFound
	}
	rec, err := t.old(cur.ID, number, withEnvelope)
	if err == nil && rec.VersionID != version {
		err = fmt.Errorf("%w: the index has a version where it isn't", storage.ErrCorrupt)
	}
	return rec, err
}

// GetObject implements [storage.ObjectStore].
func (s *Store) GetObject(ctx context.Context, ref storage.ObjectRef) (rec storage.ObjectRecord, err error) {
	err = s.view(ctx, "get object", func(t *tx) error {
		withEnvelope := !ref.NoEnvelope
		cur, err := t.find(ref, withEnvelope && ref.Version.IsZero())
		if err != nil || ref.Version.IsZero() {
			rec = cur
			return err
		}
		if ref.Version == cur.VersionID && withEnvelope {
			rec, _, err = t.currentAt(objectKey(cur.ContextHash, cur.Name), true)
			return err
		}
		if rec, err = t.version(cur, ref.Version, withEnvelope); err == nil && rec.Expired(ref.Now) {
			err = storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, nil
}

// GetObjects implements [storage.ObjectStore].
func (s *Store) GetObjects(ctx context.Context, context keyctx.Hash, names []string, now time.Time) (out []storage.ObjectRecord, err error) {
	if len(names) > storage.MaxNames {
		return nil, fmt.Errorf("boltstore: get objects: %d names, at most %d are allowed", len(names), storage.MaxNames)
	}
	err = s.view(ctx, "get objects", func(t *tx) error {
		seen := make(map[string]bool, len(names))
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			rec, ok, err := t.currentAt(objectKey(context, name), true)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			if ok && !rec.Expired(now) {
				out = append(out, rec)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteObject implements [storage.ObjectStore].
func (s *Store) DeleteObject(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (rec storage.ObjectRecord, err error) {
	err = s.update(ctx, "delete object", 0, func(t *tx) error {
		if !ref.Version.IsZero() {
			return errSingleVersion
		}
		cur, err := t.find(ref, false)
		if err != nil {
			return err
		}
		if !ifVersion.IsZero() && cur.VersionID != ifVersion {
			return fmt.Errorf("%w: the current version is another", storage.ErrVersionConflict)
		}
		rec = cur
		return t.remove(&cur)
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, nil
}

// remove removes the object whose current version is cur, all of it.
func (t *tx) remove(cur *storage.ObjectRecord) error {
	if err := t.removeHistory(cur, 0); err != nil {
		return err
	}
	t.unlinkCurrent(cur)
	t.indexDelete(byKeyKey(cur))
	t.indexDelete(objectIDKey(cur.ID))
	if err := t.del(bucketObjects, objectKey(cur.ContextHash, cur.Name)); err != nil {
		return err
	}
	if !t.hasPrefix(bucketObjects, cur.ContextHash[:]) {
		for _, k := range pairKeys(tagObjectPair, cur.Context, cur.ContextHash) {
			t.indexDelete(k)
		}
	}
	holder, err := t.indexGet(uniqueKey(cur))
	if err == nil && bytes.Equal(holder, cur.ID[:]) {
		t.indexDelete(uniqueKey(cur))
	}
	return err
}

// unlinkCurrent removes the entries that only a current version has.
func (t *tx) unlinkCurrent(cur *storage.ObjectRecord) {
	t.indexDelete(updatedKey(cur))
	if cur.ExpiresAt != 0 {
		t.indexDelete(expiryKey(cur))
	}
}

// removeHistory removes the older versions of cur's object but for the newest
// keep.
func (t *tx) removeHistory(cur *storage.ObjectRecord, keep int) error {
	var doomed [][]byte
	s := t.scan(bucketHistory, cur.ID[:], prefixEnd(cur.ID[:]), true)
	for n := 0; ; n++ {
		k, _ := s.next()
		if k == nil {
			break
		}
		if n >= keep {
			doomed = append(doomed, bytes.Clone(k))
		}
	}
	for _, k := range doomed {
		rec, err := t.object(t.get(bucketHistory, k), false)
		if err != nil {
			return err
		}
		t.indexDelete(byKeyKey(&rec))
		t.indexDelete(versionIDKey(rec.ID, rec.VersionID))
		if err := t.del(bucketHistory, k); err != nil {
			return err
		}
	}
	return nil
}
