package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ReplaceEnvelope implements [storage.ObjectStore].
func (s *Store) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
	_, err := s.update(ctx, "replace envelope", func(r *snap, careful bool) (*writes, error) {
		if version.IsZero() || newKey.IsZero() {
			return nil, errors.New("it needs a version and a new key")
		}
		if err := s.fits(len(envelope)); err != nil {
			return nil, err
		}
		cur, err := r.currentByID(object)
		if err != nil {
			return nil, err
		}
		if cur == nil {
			return nil, storage.ErrNotFound
		}
		if careful { // the first attempt took for granted that there is no debris
			es, err := r.get(s.debrisKey(object))
			if err != nil {
				return nil, err
			}
			if es[0] != nil {
				return nil, debrisError{object}
			}
		}
		v, err := r.version(cur, version)
		if err != nil {
			return nil, err
		}
		if v.rec.KeyID != oldKey {
			return nil, fmt.Errorf("%w: it is sealed under key %s", storage.ErrVersionConflict, v.rec.KeyID.Short())
		}
		w := newWrites()
		v.rec.KeyID, v.rec.Envelope = newKey, envelope
		return w, s.planReplace(w, v, oldKey, v == cur)
	})
	return err
}

// planReplace plans to store v, whose key and envelope are new. What is removed
// with its object or by Keep is removed together with its entry in 'm', which
// is written here too: so one of the two fails if they meet.
func (s *Store) planReplace(w *writes, v *row, oldKey keyctx.KeyID, current bool) error {
	raw, body, err := encodeRow(v.rec, v.versions)
	if err != nil {
		return err
	}
	id, number := v.rec.ID, v.rec.Number
	at := place(v.rec.ContextHash, v.rec.Name)
	key := s.historyKey(id, number)
	if current {
		key = s.objectKey(at)
	}
	w.expect(key, v.revision)
	w.expect(s.debrisKey(id), 0)
	w.put(key, raw)
	if body != "" {
		w.put(s.bodyKey(id, number), body)
	} else if v.apart {
		w.del(s.bodyKey(id, number))
	}
	w.put(s.numberKey(id, number), numberValue(v.rec.VersionID, v.rec.KeyID))
	w.del(s.byKeyKey(oldKey, id, number))
	w.put(s.byKeyKey(v.rec.KeyID, id, number), at)
	return nil
}

// ImportVersion implements [storage.ObjectStore]. It takes two round trips, one
// or two if the version is there.
func (s *Store) ImportVersion(ctx context.Context, rec storage.ObjectRecord) error {
	_, err := s.update(ctx, "import version", func(r *snap, _ bool) (*writes, error) {
		if err := rec.Validate(); err != nil {
			return nil, err
		}
		if err := s.fits(len(rec.Envelope)); err != nil {
			return nil, err
		}
		return r.planImport(rec)
	})
	return err
}

func (r *snap) planImport(rec storage.ObjectRecord) (*writes, error) {
	s, at := r.s, place(rec.ContextHash, rec.Name)
	es, err := r.get(s.objectKey(at), s.objectIDKey(rec.ID), s.debrisKey(rec.ID), s.markerKey(tagContext, rec.ContextHash),
		s.uniqueKey(&rec), s.versionKey(rec.ID, rec.VersionID), s.numberKey(rec.ID, rec.Number))
	if err != nil {
		return nil, err
	}
	cur, err := s.currentRow(es[0])
	switch {
	case err != nil:
		return nil, err
	case es[2] != nil:
		return nil, debrisError{rec.ID}
	case es[1] != nil && string(es[1].Value) != at, cur != nil && cur.rec.ID != rec.ID:
		return nil, fmt.Errorf("%w: another object with the name or the ID", storage.ErrExists)
	}
	w := newWrites()
	w.expect(s.objectKey(at), modRevision(es[0]))
	w.expect(s.objectIDKey(rec.ID), modRevision(es[1]))
	w.expect(s.debrisKey(rec.ID), 0)
	if rec.UniqueName {
		w.expect(s.uniqueKey(&rec), modRevision(es[4]))
		if es[4] != nil {
			holder, _, err := decodeHolder(es[4])
			if err != nil {
				return nil, err
			}
			if holder != rec.ID {
				return nil, fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
			}
		}
	}
	if cur == nil {
		return w, s.add(w, &rec, 1, true, es[3])
	}
	done, err := r.checkImport(cur, &rec, es[5], es[6])
	if done || err != nil {
		return nil, err
	}
	w.expect(s.versionKey(rec.ID, rec.VersionID), 0)
	s.retire(w, cur)
	return w, s.add(w, &rec, cur.versions+1, false, es[3])
}

// checkImport reports whether the version is already there, and fails if
// another one is in its place or it comes too late.
func (r *snap) checkImport(cur *row, rec *storage.ObjectRecord, byID, byNumber *entry) (done bool, err error) {
	if byNumber != nil {
		there := cur
		if rec.Number != cur.rec.Number {
			es, err := r.get(r.s.historyKey(rec.ID, rec.Number))
			if err != nil {
				return false, err
			}
			if there, err = r.s.oldRow(es[0]); err != nil {
				return false, err
			}
			if there == nil {
				return false, fmt.Errorf("%w: version %d of object %s is gone", storage.ErrCorrupt, rec.Number, rec.ID)
			}
		}
		got, err := r.record(there, true)
		if err != nil || got.Same(*rec) {
			return err == nil, err
		}
	}
	switch {
	case byNumber != nil || byID != nil:
		return false, fmt.Errorf("%w: the version with other contents", storage.ErrExists)
	case rec.Number < cur.rec.Number:
		return false, fmt.Errorf("%w: version %d comes after %d", storage.ErrVersionConflict, rec.Number, cur.rec.Number)
	}
	return false, nil
}
