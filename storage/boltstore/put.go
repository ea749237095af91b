package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/embedvault/vault/storage"
)

// PutObject implements [storage.ObjectStore].
func (s *Store) PutObject(ctx context.Context, rec storage.ObjectRecord, guard storage.PutGuard) (stored storage.ObjectRecord, err error) {
	err = s.update(ctx, "put object", len(rec.Envelope), func(t *tx) (err error) {
		stored, err = t.putObject(rec, guard)
		return err
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return stored, nil
}

// putObject checks first everything that can refuse the put, and then writes.
func (t *tx) putObject(rec storage.ObjectRecord, guard storage.PutGuard) (storage.ObjectRecord, error) {
	p, err := t.planPut(rec, guard)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	for i := range p.expired {
		if err := t.remove(&p.expired[i]); err != nil {
			return storage.ObjectRecord{}, err
		}
	}
	if p.live {
		if err := t.retire(&p.cur, guard.Keep); err != nil {
			return storage.ObjectRecord{}, err
		}
	}
	stored := p.rec
	stored.Envelope = nil
	stored = stored.Clone()
	stored.CreatedAt, stored.UpdatedAt = storage.TruncateTime(stored.CreatedAt), storage.TruncateTime(stored.UpdatedAt)
	return stored, t.add(&p.rec, p.value, !p.live)
}

// putPlan is a put that nothing refuses.
type putPlan struct {
	rec     storage.ObjectRecord   // as it will be stored
	value   []byte                 // its encoding
	cur     storage.ObjectRecord   // the version it follows, if live
	live    bool                   // the object is there
	expired []storage.ObjectRecord // objects to be removed first
}

// planPut reads and checks, and writes nothing.
func (t *tx) planPut(rec storage.ObjectRecord, guard storage.PutGuard) (p putPlan, err error) {
	if err := guard.Validate(); err != nil {
		return p, err
	}
	cur, there, err := t.currentAt(objectKey(rec.ContextHash, rec.Name), false)
	if err != nil {
		return p, err
	}
	if there && cur.Expired(guard.Now) {
		p.expired = append(p.expired, cur)
	} else {
		p.cur, p.live = cur, there
	}
	if err := checkGuard(&p.cur, p.live, guard); err != nil {
		return p, err
	}
	rec.CreatedAt, rec.Number = rec.UpdatedAt, 1
	if p.live {
		rec.ID, rec.CreatedAt, rec.Number = cur.ID, cur.CreatedAt, cur.Number+1
		rec.UniqueName = rec.UniqueName || cur.UniqueName
	}
	p.rec = rec
	if p.value, err = storage.AppendObjectRecord(nil, rec); err != nil {
		return p, err
	}
	if p.live {
		err = t.checkNewVersion(&cur, rec.VersionID)
	} else {
		err = t.checkNewObject(rec.ID, p.expired)
	}
	if err == nil {
		err = t.planName(&p, guard)
	}
	return p, err
}

// planName checks that no other object holds the name as a unique one. One
// that has expired is to be removed.
func (t *tx) planName(p *putPlan, guard storage.PutGuard) error {
	holder, held, err := t.holder(&p.rec)
	switch {
	case err != nil || !held || holder.ContextHash == p.rec.ContextHash:
		return err // its own context's is the object itself, or is being replaced
	case !holder.Expired(guard.Now):
		return fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
	}
	p.expired = append(p.expired, holder)
	return nil
}

func checkGuard(cur *storage.ObjectRecord, live bool, guard storage.PutGuard) error {
	switch {
	case guard.IfAbsent && live:
		return fmt.Errorf("%w: the object", storage.ErrExists)
	case guard.IfVersion.IsZero():
		return nil
	case !live:
		return fmt.Errorf("%w: there is no such object", storage.ErrVersionConflict)
	case cur.VersionID != guard.IfVersion:
		return fmt.Errorf("%w: the current version is another", storage.ErrVersionConflict)
	}
	return nil
}

// checkNewVersion refuses a version ID that the object has.
func (t *tx) checkNewVersion(cur *storage.ObjectRecord, version storage.ID) error {
	number, err := t.numberOf(cur.ID, version)
	if err != nil {
		return err
	}
	if version == cur.VersionID || number != 0 {
		return fmt.Errorf("%w: the version ID", storage.ErrExists)
	}
	return nil
}

// checkNewObject refuses an object ID that another object has, save one that
// is to be removed.
func (t *tx) checkNewObject(id storage.ID, removed []storage.ObjectRecord) error {
	if len(removed) > 0 && id == removed[0].ID {
		return nil
	}
	key, err := t.indexGet(objectIDKey(id))
	if err == nil && key != nil {
		err = fmt.Errorf("%w: the object ID", storage.ErrExists)
	}
	return err
}

// numberOf returns the number of an older version, 0 if there is none with
// that ID.
func (t *tx) numberOf(object, version storage.ID) (uint64, error) {
	v, err := t.indexGet(versionIDKey(object, version))
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: a version's number", storage.ErrCorrupt)
	}
	return binary.BigEndian.Uint64(v), nil
}

// holder returns the object that holds rec's name as a unique one, if rec
// wants it to be unique.
func (t *tx) holder(rec *storage.ObjectRecord) (holder storage.ObjectRecord, ok bool, err error) {
	if !rec.UniqueName {
		return holder, false, nil
	}
	id, err := t.indexGet(uniqueKey(rec))
	if err != nil || id == nil {
		return holder, false, err
	}
	if len(id) != idLen {
		return holder, false, fmt.Errorf("%w: the holder of a unique name", storage.ErrCorrupt)
	}
	return t.currentByID(storage.ID(id), false)
}

// retire makes room for a new version of the object: the current one becomes
// history, as far as keep versions (0: all) include it.
func (t *tx) retire(cur *storage.ObjectRecord, keep int) error {
	t.unlinkCurrent(cur)
	if keep > 0 {
		// Of the versions that stay, one is new and one, if two stay, is cur.
		if err := t.removeHistory(cur, max(keep-2, 0)); err != nil {
			return err
		}
	}
	if keep == 1 {
		t.indexDelete(byKeyKey(cur))
		return nil
	}
	value := bytes.Clone(t.get(bucketObjects, objectKey(cur.ContextHash, cur.Name)))
	number := binary.BigEndian.AppendUint64(nil, cur.Number)
	t.indexPut(versionIDKey(cur.ID, cur.VersionID), number)
	return t.put(bucketHistory, historyKey(cur.ID, cur.Number), value)
}

// add makes rec the current version. fresh is set if it is the object's first.
func (t *tx) add(rec *storage.ObjectRecord, value []byte, fresh bool) error {
	key := objectKey(rec.ContextHash, rec.Name)
	if fresh {
		if !t.hasPrefix(bucketObjects, rec.ContextHash[:]) {
			for _, k := range pairKeys(tagObjectPair, rec.Context, rec.ContextHash) {
				t.indexPut(k, nothing)
			}
		}
		t.indexPut(objectIDKey(rec.ID), key)
	}
	t.indexPut(updatedKey(rec), []byte(rec.Name))
	t.indexPut(byKeyKey(rec), nothing)
	if rec.ExpiresAt != 0 {
		t.indexPut(expiryKey(rec), nothing)
	}
	if rec.UniqueName {
		t.indexPut(uniqueKey(rec), bytes.Clone(rec.ID[:]))
	}
	return t.put(bucketObjects, key, value)
}
