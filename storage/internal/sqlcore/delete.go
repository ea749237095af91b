package sqlcore

import (
	"context"
	"errors"
	"fmt"

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
