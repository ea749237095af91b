package sqlcore

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// GetKey implements [storage.KeyStore].
func (s *Store) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	return s.oneKey(ctx, "get key "+id.Short(), s.st.getKey, id[:])
}

// LatestKey implements [storage.KeyStore].
func (s *Store) LatestKey(ctx context.Context, context keyctx.Hash, purpose keyctx.Purpose) (storage.KeyRecord, error) {
	op := fmt.Sprintf("latest %s key of context %s", purpose, context.Short())
	return s.oneKey(ctx, op, s.st.latestKey, context[:], int64(purpose))
}

func (s *Store) oneKey(ctx context.Context, op string, st stmt, args ...any) (rec storage.KeyRecord, err error) {
	err = s.keys(ctx, op, false, func(q Session) error {
		var row keyRow
		ok, err := st.row(ctx, q, row.dest(), args...)
		if err != nil {
			return err
		}
		if !ok {
			return storage.ErrNotFound
		}
		rec, err = row.record(&contexts{})
		return err
	})
	return rec, err
}

// InsertKey implements [storage.KeyStore]: one statement in PostgreSQL; a
// transaction elsewhere if the context is new, else one statement after a look.
func (s *Store) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	op := "insert key " + rec.KeyID.Short()
	if err := rec.Validate(); err != nil {
		return s.fail(ctx, op, err)
	}
	kc, err := argsOf(rec.Context, rec.ContextHash)
	if err != nil {
		return s.fail(ctx, op, err)
	}
	args, err := s.keyArgs(&rec)
	if err != nil {
		return s.fail(ctx, op, err)
	}
	return s.keys(ctx, op, true, func(q Session) error {
		fresh, err := s.insertKey(ctx, q, kc, args)
		if err == nil && !fresh {
			err = storage.ErrExists
		}
		return err
	})
}

// keyArgs are the parameters of a key's columns.
func (s *Store) keyArgs(rec *storage.KeyRecord) ([]any, error) {
	wrappings, err := encodeWrappings(rec)
	if err != nil {
		return nil, err
	}
	var parent any
	if !rec.ParentID.IsZero() {
		parent = rec.ParentID[:]
	}
	d := s.lang.Dialect
	return []any{rec.KeyID[:], rec.ContextHash[:], int64(rec.Purpose), int64(rec.Version), int64(rec.State), int64(rec.StateBefore),
		wrappings, parent, d.time(rec.CreatedAt), d.time(rec.StateChangedAt), d.orNull(storage.TruncateTime(rec.RewrappedAt))}, nil
}

func (s *Store) insertKey(ctx context.Context, q Session, kc contextArgs, args []any) (bool, error) {
	if s.lang.Dialect == PostgreSQL {
		args = append(args[:len(args):len(args)], kc.namespace, kc.canonical, textList(kc.keys), blobList(kc.values))
		if s.db.Joined(ctx) != nil {
			return s.insert(ctx, q, s.st.insertKeyBeside, args...)
		}
		return s.insert(ctx, q, s.st.insertKey, args...)
	}
	there, err := s.contextThere(ctx, q, kc.hash)
	if err != nil {
		return false, err
	}
	if there {
		return s.insert(ctx, q, s.st.insertKey, args...)
	}
	fresh := false
	err = s.inTx(ctx, q, func(q Querier) error {
		if err := s.addContextBeside(ctx, q, kc); err != nil {
			return err
		}
		fresh, err = s.insert(ctx, q, s.st.insertKey, args...)
		return err
	})
	return fresh, err
}

// addContextBeside is addContext, which the application's transaction must not
// wait for if it is what addContext waits for: it has the context's new row. If
// it is cut off nothing was committed.
func (s *Store) addContextBeside(ctx context.Context, q Querier, kc contextArgs) error {
	if s.db.Joined(ctx) == nil {
		return s.addContext(ctx, q, kc)
	}
	return s.patiently(ctx, "the context's row", func(ctx context.Context) error { return s.addContext(ctx, q, kc) })
}

// UpdateKey implements [storage.KeyStore]. What never changes is ignored.
func (s *Store) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	op := "update key " + rec.KeyID.Short()
	if err := rec.Validate(); err != nil {
		return s.fail(ctx, op, err)
	}
	args, err := s.keyArgs(&rec)
	if err != nil {
		return s.fail(ctx, op, err)
	}
	args = swapArgs(&rec, args)
	return s.keys(ctx, op, true, func(q Session) error {
		return s.swap(ctx, q, s.st.updateKey, s.st.keyRevision, args, rec.KeyID[:], rec.Revision)
	})
}

// swapArgs are the parameters of updateKey: from state on, without created_at.
func swapArgs(rec *storage.KeyRecord, args []any) []any {
	return []any{rec.KeyID[:], int64(rec.Revision), args[4], args[5], args[6], args[7], args[9], args[10]}
}

// DeleteKey implements [storage.KeyStore].
func (s *Store) DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) error {
	return s.keys(ctx, "delete key "+id.Short(), true, func(q Session) error {
		return s.swap(ctx, q, s.st.deleteKey, s.st.keyRevision, []any{id[:], int64(revision)}, id[:], revision)
	})
}

// swap runs a statement that changes the row with this name if it is at the
// revision. If it changes none, a look says why.
func (s *Store) swap(ctx context.Context, q Querier, change, look stmt, args []any, name any, revision uint64) error {
	n, err := change.exec(ctx, q, args...)
	if err != nil || n > 0 {
		return err
	}
	var at int64
	there, err := look.row(ctx, q, []any{&at}, name)
	switch {
	case err != nil:
		return err
	case !there:
		return storage.ErrNotFound
	}
	return fmt.Errorf("%w: it is at revision %d, not %d", storage.ErrVersionConflict, at, revision)
}
