package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// find returns the current version of the object that ref names, or
// ErrNotFound if it isn't there or has expired.
func (r *snap) find(ref storage.ObjectRef) (w *row, err error) {
	if ref.ID.IsZero() {
		var es []*entry
		if es, err = r.get(r.s.objectKey(place(ref.ContextHash, ref.Name))); err == nil {
			w, err = r.s.currentRow(es[0])
		}
	} else {
		w, err = r.currentByID(ref.ID)
	}
	if err == nil && (w == nil || w.rec.Expired(ref.Now)) {
		err = storage.ErrNotFound
	}
	return w, err
}

// version returns the version of cur's object with this ID, current or not, or
// ErrNotFound.
func (r *snap) version(cur *row, version storage.ID) (*row, error) {
	if version == cur.rec.VersionID {
		return cur, nil
	}
	id := cur.rec.ID
	es, err := r.get(r.s.versionKey(id, version), r.s.debrisKey(id))
	if err != nil {
		return nil, err
	}
	number, err := decodeNumber(es[0])
	if err != nil {
		return nil, err
	}
	gone, err := decodeNumber(es[1])
	if err != nil {
		return nil, err
	}
	if number <= gone { // 0 if there is none
		return nil, storage.ErrNotFound
	}
	es, err = r.get(r.s.historyKey(id, number))
	if err != nil {
		return nil, err
	}
	w, err := r.s.oldRow(es[0])
	if err == nil && (w == nil || w.rec.VersionID != version) {
		err = fmt.Errorf("%w: the index has a version where it isn't", storage.ErrCorrupt)
	}
	return w, err
}

// GetObject implements [storage.ObjectStore]. By name it takes one round trip,
// by ID two, and one more for an envelope of over 4 KiB.
func (s *Store) GetObject(ctx context.Context, ref storage.ObjectRef) (rec storage.ObjectRecord, err error) {
	err = s.view(ctx, "get object", func(r *snap) error {
		w, err := r.find(ref)
		if err == nil && !ref.Version.IsZero() {
			if w, err = r.version(w, ref.Version); err == nil && w.rec.Expired(ref.Now) {
				err = storage.ErrNotFound
			}
		}
		if err == nil {
			rec, err = r.record(w, !ref.NoEnvelope)
		}
		return err
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, nil
}

// GetObjects implements [storage.ObjectStore]. It takes a round trip for every
// 128 names.
func (s *Store) GetObjects(ctx context.Context, context keyctx.Hash, names []string, now time.Time) (out []storage.ObjectRecord, err error) {
	if len(names) > storage.MaxNames {
		return nil, fmt.Errorf("etcdstore: get objects: %d names, at most %d are allowed", len(names), storage.MaxNames)
	}
	seen := make(map[string]bool, len(names))
	var keys []string
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			keys = append(keys, s.objectKey(place(context, name)))
		}
	}
	err = s.view(ctx, "get objects", func(r *snap) error {
		es, err := r.get(keys...)
		if err != nil {
			return err
		}
		var rows []*row
		for _, e := range es {
			w, err := s.currentRow(e)
			if err != nil {
				return err
			}
			if w != nil && !w.rec.Expired(now) {
				rows = append(rows, w)
			}
		}
		out, err = r.records(rows, true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteObject implements [storage.ObjectStore].
func (s *Store) DeleteObject(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (rec storage.ObjectRecord, err error) {
	debris := false
	_, err = s.update(ctx, "delete object", func(r *snap, _ bool) (*writes, error) {
		if !ref.Version.IsZero() {
			return nil, errors.New("a single version can't be deleted")
		}
		cur, err := r.find(ref)
		if err != nil {
			return nil, err
		}
		if !ifVersion.IsZero() && cur.rec.VersionID != ifVersion {
			return nil, fmt.Errorf("%w: the current version is another", storage.ErrVersionConflict)
		}
		w := newWrites()
		rec = cur.rec
		rec.Envelope = nil
		debris, err = r.remove(w, cur, false)
		return w, err
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	if debris {
		_ = s.clear(ctx, rec.ID) // it is gone; what is left of it goes another time, if not now
	}
	return rec, nil
}
