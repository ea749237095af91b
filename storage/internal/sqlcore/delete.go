package sqlcore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/storage"
)

// DeleteObject implements [storage.ObjectStore]: a transaction that locks the
// object, reads it and removes it.
func (s *Store) DeleteObject(ctx context.Context, ref storage.ObjectRef, ifVersion storage.ID) (rec storage.ObjectRecord, err error) {
	if !ref.Version.IsZero() {
		return storage.ObjectRecord{}, s.fail(ctx, "delete object", errors.New("a single version can't be deleted"))
	}
	err = s.objectsTx(ctx, "delete object", func(q Querier) error {
		rec, err = s.delete(ctx, q, ref, ifVersion)
		return err
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, nil
}

func (s *Store) delete(ctx context.Context, q Querier, ref storage.ObjectRef, ifVersion storage.ID) (rec storage.ObjectRecord, err error) {
	var at lockedRow
	there := false
	if ref.ID.IsZero() {
		there, err = s.st.lockByName.row(ctx, q, at.dest(), ref.ContextHash[:], []byte(ref.Name))
	} else {
		there, err = s.st.lockByID.row(ctx, q, at.dest(), s.lang.id(ref.ID))
	}
	switch {
	case err != nil:
		return rec, err
	case !there || at.expires.us != 0 && at.expires.us <= ref.Now.UnixMicro():
		return rec, storage.ErrNotFound
	case !ifVersion.IsZero() && storage.ID(at.version) != ifVersion:
		return rec, fmt.Errorf("%w: the current version is another", storage.ErrVersionConflict)
	}
	return s.take(ctx, q, storage.ID(at.id), &contexts{})
}

// take removes a locked object and returns what it was.
func (s *Store) take(ctx context.Context, q Querier, id storage.ID, known *contexts) (storage.ObjectRecord, error) {
	var row objectRow
	there, err := s.st.currentForImport.row(ctx, q, row.dest(false), s.lang.id(id))
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	if !there {
		return storage.ObjectRecord{}, fmt.Errorf("%w: object %s has no current version", storage.ErrCorrupt, id)
	}
	rec, err := row.record(known)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, s.remove(ctx, q, id)
}

// DeleteExpired implements [storage.ObjectStore]: a transaction for each 50
// objects. If it fails in the middle, those that were removed are returned with
// no error: the next call meets it again.
func (s *Store) DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) ([]storage.ObjectRecord, error) {
	const chunk = 50
	n := storage.PageLimit(limit)
	var out []storage.ObjectRecord
	for len(out) < n {
		var some []storage.ObjectRecord
		want := min(chunk, n-len(out))
		err := s.objectsTx(ctx, "delete expired objects", func(q Querier) (err error) {
			some, err = s.sweep(ctx, q, namespace, now, want)
			return err
		})
		if err != nil {
			if len(out) > 0 && ctx.Err() == nil {
				return out, nil
			}
			return nil, err
		}
		out = append(out, some...)
		if len(some) < want {
			break
		}
	}
	return out, nil
}

// sweep removes up to want objects, those first that expired first.
func (s *Store) sweep(ctx context.Context, q Querier, namespace string, now time.Time, want int) (out []storage.ObjectRecord, err error) {
	var ids []storage.ID
	err = s.st.expired.query(ctx, q, func(scan func(...any) error) error {
		var row lockedRow
		err := scan(row.dest()...)
		ids = append(ids, storage.ID(row.id))
		return err
	}, []byte(namespace), s.lang.time(now), int64(want))
	var known contexts
	for _, id := range ids {
		if err != nil {
			break
		}
		var rec storage.ObjectRecord
		rec, err = s.take(ctx, q, id, &known)
		out = append(out, rec)
	}
	return out, err
}
