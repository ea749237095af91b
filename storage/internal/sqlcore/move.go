package sqlcore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ReplaceEnvelope implements [storage.ObjectStore]: one statement, and a look
// if it changes nothing.
func (s *Store) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
	op := "replace envelope of object " + object.String()
	if version.IsZero() || newKey.IsZero() {
		return s.fail(ctx, op, errors.New("it needs a version and a new key"))
	}
	if err := checkSizes(1, len(envelope)); err != nil {
		return s.fail(ctx, op, err)
	}
	d := s.lang.Dialect
	return s.objects(ctx, op, func(q Querier) error {
		n, err := s.st.replaceEnvelope.exec(ctx, q, d.id(object), d.id(version), oldKey[:], newKey[:], envelopeOf(envelope))
		if err != nil || n > 0 {
			return err
		}
		var key, was []byte
		there, err := s.st.keyOfVersion.row(ctx, q, []any{&key, &was}, d.id(object), d.id(version))
		switch {
		case err != nil:
			return err
		case !there:
			return storage.ErrNotFound
		case oldKey == newKey && padded(key) == oldKey && bytes.Equal(was, envelope):
			return nil // MySQL doesn't count rows that were as they were to be
		}
		return fmt.Errorf("%w: it is sealed under key %s", storage.ErrVersionConflict, keyctx.KeyID(padded(key)).Short())
	})
}

// ImportVersion implements [storage.ObjectStore]: a transaction of 4 to 8
// statements.
func (s *Store) ImportVersion(ctx context.Context, rec storage.ObjectRecord) error {
	op := "import version"
	if err := errors.Join(rec.Validate(), checkSizes(rec.Number, len(rec.Envelope))); err != nil {
		return s.fail(ctx, op, err)
	}
	kc, err := argsOf(rec.Context, rec.ContextHash)
	if err != nil {
		return s.fail(ctx, op, err)
	}
	labels, err := encodeLabels(rec.Labels)
	if err != nil {
		return s.fail(ctx, op, err)
	}
	p := &put{rec: rec, kc: kc, labels: labels}
	return s.objectsTx(ctx, op, func(q Querier) error { return s.importVersion(ctx, q, p) })
}

func (s *Store) importVersion(ctx context.Context, q Querier, p *put) error {
	rec := &p.rec
	var at lockedRow
	there, err := s.st.lockByName.row(ctx, q, at.dest(), p.kc.hash, []byte(rec.Name))
	if err != nil {
		return err
	}
	if there && storage.ID(at.id) != rec.ID {
		return fmt.Errorf("%w: another object with the name", storage.ErrExists)
	}
	if err := s.checkImported(ctx, q, p, there); err != nil {
		return err
	}
	if there {
		done, err := s.importedBefore(ctx, q, rec, at.number)
		if done || err != nil {
			return err
		}
	}
	hasContext := false
	if !there {
		if hasContext, err = s.contextThere(ctx, q, p.kc.hash); err != nil {
			return err
		}
	}
	if there && at.held != nil && !rec.UniqueName {
		// As for all stores that keep it per version: the name is held on.
		return s.writeHeld(ctx, q, p, at.held)
	}
	return s.write(ctx, q, rec, p, there, hasContext)
}

// checkImported refuses an ID and a unique name that other objects have.
func (s *Store) checkImported(ctx context.Context, q Querier, p *put, there bool) error {
	if !there {
		var other lockedRow
		taken, err := s.st.lockByID.row(ctx, q, other.dest(), s.lang.id(p.rec.ID))
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%w: another object with the ID", storage.ErrExists)
		}
	}
	if !p.rec.UniqueName {
		return nil
	}
	var holder lockedRow
	held, err := s.st.lockHolder.row(ctx, q, holder.dest(), p.kc.namespace, []byte(p.rec.Name))
	if err == nil && held && storage.ID(holder.id) != p.rec.ID {
		err = fmt.Errorf("%w: another context holds the unique name", storage.ErrExists)
	}
	return err
}

// importedBefore reports whether the version is already there, and fails if
// another one is in its place or it comes too late.
func (s *Store) importedBefore(ctx context.Context, q Querier, rec *storage.ObjectRecord, current int64) (done bool, err error) {
	d := s.lang.Dialect
	want := rec.Clone()
	want.CreatedAt, want.UpdatedAt = storage.TruncateTime(want.CreatedAt), storage.TruncateTime(want.UpdatedAt)
	same, other := false, false
	err = s.st.importVersions.query(ctx, q, func(scan func(...any) error) error {
		var row objectRow
		if err := scan(row.dest(true)...); err != nil {
			return err
		}
		got, err := row.record(&contexts{})
		if err == nil && got.Same(want) {
			same = true
		} else {
			other = true
		}
		return err
	}, d.id(rec.ID), int64(rec.Number), d.id(rec.VersionID))
	switch {
	case err != nil:
		return false, err
	case other:
		return false, fmt.Errorf("%w: the version with other contents", storage.ErrExists)
	case same:
		return true, nil
	case int64(rec.Number) < current:
		return false, fmt.Errorf("%w: version %d comes after %d", storage.ErrVersionConflict, rec.Number, current)
	}
	return false, nil
}

// writeHeld is write where the object holds its name and this version doesn't
// say so.
func (s *Store) writeHeld(ctx context.Context, q Querier, p *put, held []byte) error {
	if err := s.write(ctx, q, &p.rec, p, true, true); err != nil {
		return err
	}
	b := builder{lang: s.lang}
	b.add("UPDATE {objects} SET unique_name = {bytes} WHERE object_id = {id}", held, s.lang.id(p.rec.ID))
	_, err := q.Exec(ctx, b.text.String(), b.bind...)
	return err
}

// CountByKey implements [storage.ObjectStore].
func (s *Store) CountByKey(ctx context.Context, id keyctx.KeyID) (n int64, err error) {
	err = s.objects(ctx, "count by key "+id.Short(), func(q Querier) error {
		_, err := s.st.countByKey.row(ctx, q, []any{&n}, id[:])
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
