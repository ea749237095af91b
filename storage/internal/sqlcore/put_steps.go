package sqlcore

import (
	"context"
	"fmt"
	"math"

	"github.com/embedvault/vault/storage"
)

// lockedRow is an object's row under a lock.
type lockedRow struct {
	id, version      idOrNull
	hash, name, held []byte
	number           int64
	expires          timeColumn
}

func (r *lockedRow) dest() []any {
	return []any{&r.id, &r.hash, &r.name, &r.version, &r.number, &r.expires, &r.held}
}

// putLook locks the object, and looks at all that can refuse a put, in one
// statement that always gives a row. Parameters: 0 context hash, 1 name, 2
// object ID, 3 version ID.
//
// In MySQL it doesn't look for the IDs: to lock a row that isn't there is, at
// REPEATABLE READ, to lock the gap where it would be, and with it the puts of
// others. There the unique indexes refuse an ID that is taken.
func (d Dialect) putLook() string {
	versionTaken, idTaken, joins := "v.version_id IS NOT NULL", "x.object_id IS NOT NULL", `
LEFT JOIN {versions} v ON v.object_id = o.object_id AND v.version_id = {3 id}
LEFT JOIN {objects} x ON x.object_id = {2 id}`
	if d == MySQL {
		versionTaken, idTaken, joins = "FALSE", "FALSE", ""
	}
	return `SELECT o.object_id, o.context_hash, o.name, o.version_id, coalesce(o.number, 0), o.expires_at, o.unique_name,
	o.created_at, ` + versionTaken + ", " + idTaken + `,
	EXISTS (SELECT 1 FROM {contexts} c WHERE c.context_hash = {0 bytes})
FROM (SELECT 1 AS one) d
LEFT JOIN {objects} o ON o.context_hash = {0 bytes} AND o.name = {1 bytes}` + joins
}

// looked is what putLook found.
type looked struct {
	lockedRow
	created                           timeColumn
	versionTaken, idTaken, hasContext bool

	holder lockedRow // of the unique name, in another context
	held   bool
}

func (l *looked) there() bool { return l.hash != nil }

// putInSteps is a put for dialects that can't do it in one statement. It runs
// in a transaction, or between savepoints of one.
//
// In an application's transaction of MySQL's it looks without locks first, and
// locks only what is there: see putLook. If what wasn't there is there after
// all, a unique index refuses the put, and it looks again.
func (s *Store) putInSteps(ctx context.Context, q Querier, p *put) error {
	if s.lang.Dialect == MySQL && s.db.Joined(ctx) != nil {
		err := s.tryPut(ctx, q, p, true)
		if err == nil || isOurs(err) || s.class(err) != Unique {
			return err
		}
	}
	return s.tryPut(ctx, q, p, false)
}

func (s *Store) tryPut(ctx context.Context, q Querier, p *put, peek bool) error {
	rec := p.rec // a retry begins anew
	l, err := s.look(ctx, q, p, peek)
	if err != nil {
		return err
	}
	there := l.there()
	live := there && !expiredAt(l.expires, p.guard)
	if err := putError(l.verdict(p, there, live)); err != nil {
		if peek && !there { // by an old snapshot perhaps
			return s.tryPut(ctx, q, p, false)
		}
		return err
	}
	if err := s.evict(ctx, q, l, there && !live); err != nil {
		return err
	}
	rec.Number, rec.CreatedAt = 1, rec.UpdatedAt
	if live {
		rec.ID, rec.Number, rec.CreatedAt = storage.ID(l.id), uint64(l.number)+1, l.created.Time
		rec.UniqueName = rec.UniqueName || l.lockedRow.held != nil
	}
	if err := s.write(ctx, q, &rec, p, live, l.hasContext); err != nil {
		return err
	}
	if live && p.guard.Keep > 0 && l.number >= int64(p.guard.Keep) {
		if err := s.trim(ctx, q, rec.ID, p.guard.Keep); err != nil {
			return err
		}
	}
	p.result = rec
	return nil
}

// look looks and locks; if peek is true it locks nothing where nothing is.
func (s *Store) look(ctx context.Context, q Querier, p *put, peek bool) (*looked, error) {
	d := s.lang.Dialect
	first, holder := s.st.putLook, s.st.lockHolder
	if peek {
		first, holder = s.st.putPeek, s.st.peekHolder
	}
	l := &looked{}
	dest := append(l.dest(), &l.created, &l.versionTaken, &l.idTaken, &l.hasContext)
	args := []any{p.kc.hash, []byte(p.rec.Name), d.id(p.rec.ID), d.id(p.rec.VersionID)}
	_, err := first.row(ctx, q, dest, args...)
	if err == nil && peek && l.there() {
		_, err = s.st.putLook.row(ctx, q, dest, args...)
	}
	if err != nil || !p.rec.UniqueName {
		return l, err
	}
	args = []any{p.kc.namespace, []byte(p.rec.Name)}
	l.held, err = holder.row(ctx, q, l.holder.dest(), args...)
	if err == nil && peek && l.held {
		l.held, err = s.st.lockHolder.row(ctx, q, l.holder.dest(), args...)
	}
	l.held = l.held && string(l.holder.hash) != string(p.kc.hash)
	return l, err
}

func expiredAt(t timeColumn, g storage.PutGuard) bool {
	return t.us != 0 && t.us <= g.Now.UnixMicro()
}

func (l *looked) verdict(p *put, there, live bool) int64 {
	switch {
	case p.guard.IfAbsent && live:
		return putThere
	case !p.guard.IfVersion.IsZero() && (!live || storage.ID(l.version) != p.guard.IfVersion):
		return putOther
	case live && l.number == math.MaxInt64:
		return putHighest
	case live && l.versionTaken:
		return putVersionID
	case !live && l.idTaken && !(there && storage.ID(l.id) == p.rec.ID):
		return putObjectID
	case l.held && !expiredAt(l.holder.expires, p.guard):
		return putName
	}
	return putDone
}

// evict removes what has expired and is in the way.
func (s *Store) evict(ctx context.Context, q Querier, l *looked, self bool) error {
	if self {
		if err := s.remove(ctx, q, storage.ID(l.id)); err != nil {
			return err
		}
	}
	if l.held {
		return s.remove(ctx, q, storage.ID(l.holder.id))
	}
	return nil
}

// remove removes an object and its versions. SQLite has foreign keys only where
// the application turned them on.
func (s *Store) remove(ctx context.Context, q Querier, id storage.ID) error {
	if _, err := s.st.deleteVersions.exec(ctx, q, s.lang.id(id)); err != nil {
		return err
	}
	_, err := s.st.deleteObject.exec(ctx, q, s.lang.id(id))
	return err
}

// write adds rec as the current version; live says that the object is there.
func (s *Store) write(ctx context.Context, q Querier, rec *storage.ObjectRecord, p *put, live, hasContext bool) error {
	d := s.lang.Dialect
	if !live {
		if !hasContext {
			if err := s.addContext(ctx, q, p.kc); err != nil {
				return err
			}
		}
		_, err := s.st.insertObject.exec(ctx, q, d.id(rec.ID), p.kc.hash, p.kc.namespace, []byte(rec.Name), uniqueName(rec),
			int64(rec.Number), d.id(rec.VersionID), d.time(rec.CreatedAt), d.time(rec.UpdatedAt), d.micros(rec.ExpiresAt))
		if err != nil {
			return err
		}
	} else {
		_, err := s.st.updateObject.exec(ctx, q, d.id(rec.ID), uniqueName(rec), int64(rec.Number), d.id(rec.VersionID),
			d.time(rec.CreatedAt), d.time(rec.UpdatedAt), d.micros(rec.ExpiresAt))
		if err != nil {
			return err
		}
	}
	_, err := s.st.insertVersion.exec(ctx, q, d.id(rec.ID), int64(rec.Number), d.id(rec.VersionID), rec.KeyID[:], rec.Size, rec.UniqueName,
		d.time(rec.CreatedAt), d.time(rec.UpdatedAt), d.micros(rec.ExpiresAt), []byte(rec.UpdatedBy), p.labels, envelopeOf(rec.Envelope))
	if err != nil && d == MySQL && s.class(err) == Unique {
		return fmt.Errorf("%w: %w", putError(putVersionID), untold{err}) // the number is free: the object is locked
	}
	return err
}

// trim removes all but the newest keep versions.
func (s *Store) trim(ctx context.Context, q Querier, id storage.ID, keep int) error {
	var from int64
	more, err := s.st.keepFrom.row(ctx, q, []any{&from}, s.lang.id(id), int64(keep))
	if err != nil || !more {
		return err
	}
	_, err = s.st.trimVersions.exec(ctx, q, s.lang.id(id), from)
	return err
}
