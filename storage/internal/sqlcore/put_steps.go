package sqlcore

import (
	"context"

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
const putLook = `SELECT o.object_id, o.context_hash, o.name, o.version_id, coalesce(o.number, 0), o.expires_at, o.unique_name,
	o.created_at, v.version_id IS NOT NULL, x.object_id IS NOT NULL,
	EXISTS (SELECT 1 FROM {contexts} c WHERE c.context_hash = {0 bytes})
FROM (SELECT 1 AS one) d
LEFT JOIN {objects} o ON o.context_hash = {0 bytes} AND o.name = {1 bytes}
LEFT JOIN {versions} v ON v.object_id = o.object_id AND v.version_id = {3 id}
LEFT JOIN {objects} x ON x.object_id = {2 id}`

// looked is what putLook found.
type looked struct {
	lockedRow
	created                           timeColumn
	versionTaken, idTaken, hasContext bool

	holder lockedRow // of the unique name, in another context
	held   bool
}

// putInSteps is a put for dialects that can't do it in one statement. It runs
// in a transaction, or between savepoints of one.
func (s *Store) putInSteps(ctx context.Context, q Querier, p *put) error {
	rec := p.rec // a retry begins anew
	d := s.lang.Dialect
	var l looked
	dest := append(l.dest(), &l.created, &l.versionTaken, &l.idTaken, &l.hasContext)
	if _, err := s.st.putLook.row(ctx, q, dest, p.kc.hash, []byte(rec.Name), d.id(rec.ID), d.id(rec.VersionID)); err != nil {
		return err
	}
	if rec.UniqueName {
		var err error
		l.held, err = s.st.lockHolder.row(ctx, q, l.holder.dest(), p.kc.namespace, []byte(rec.Name))
		if err != nil {
			return err
		}
		l.held = l.held && string(l.holder.hash) != string(p.kc.hash)
	}
	there := l.hash != nil
	live := there && !expiredAt(l.expires, p.guard)
	if err := putError(l.verdict(p, there, live)); err != nil {
		return err
	}
	if err := s.evict(ctx, q, &l, there && !live); err != nil {
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

func expiredAt(t timeColumn, g storage.PutGuard) bool {
	return t.us != 0 && t.us <= g.Now.UnixMicro()
}

func (l *looked) verdict(p *put, there, live bool) int64 {
	switch {
	case p.guard.IfAbsent && live:
		return putThere
	case !p.guard.IfVersion.IsZero() && (!live || storage.ID(l.version) != p.guard.IfVersion):
		return putOther
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
