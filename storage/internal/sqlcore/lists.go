package sqlcore

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

const hashLen = len(keyctx.Hash{})

// objectPage collects rows of objects, up to one more than a page has.
type objectPage struct {
	known    contexts
	envelope bool
	list     []storage.ObjectRecord
}

func (p *objectPage) row(scan func(...any) error) error {
	var row objectRow
	if err := scan(row.dest(p.envelope)...); err != nil {
		return err
	}
	rec, err := row.record(&p.known)
	p.list = append(p.list, rec)
	return err
}

// page cuts the list to limit rows; next makes the cursor for the last of them
// if there are more.
func (p *objectPage) page(limit int, next func(*storage.ObjectRecord) string) storage.ObjectPage {
	if len(p.list) <= limit {
		return storage.ObjectPage{Objects: p.list}
	}
	return storage.ObjectPage{Objects: p.list[:limit], Next: next(&p.list[limit-1])}
}

// columns are those of a list with or without envelopes.
func columns(envelope bool) string {
	if envelope {
		return "SELECT " + objectColumns + envelopeColumn + " FROM "
	}
	return "SELECT " + objectColumns + " FROM "
}

// ListObjects implements [storage.ObjectStore]: one statement in one context; up
// to one more for each 200 contexts elsewhere.
func (s *Store) ListObjects(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
	pos, err := q.CursorPosition(cursorDriver)
	if err == nil {
		err = q.Validate()
	}
	if err == nil && pos != nil && !isObjectPosition(q.Order, pos) {
		err = badPosition()
	}
	if err != nil {
		return storage.ObjectPage{}, s.fail(ctx, "list objects", err)
	}
	limit := storage.PageLimit(q.Limit)
	var page *objectPage
	err = s.objects(ctx, "list objects", func(db Querier) error {
		page = &objectPage{envelope: q.WithEnvelope}
		return s.objectWalk(q, pos, page, limit+1).run(ctx, db)
	})
	if err != nil {
		return storage.ObjectPage{}, err
	}
	return page.page(limit, func(r *storage.ObjectRecord) string {
		if q.Order == storage.OrderByUpdated {
			return q.NextCursor(cursorDriver, timePosition(r))
		}
		return q.NextCursor(cursorDriver, append(r.ContextHash[:], r.Name...))
	}), nil
}

func (s *Store) objectWalk(q storage.ObjectQuery, pos []byte, page *objectPage, want int) *walk {
	w := &walk{
		s: s, filter: q.Contexts, down: q.Descending, want: want,
		from: columns(q.WithEnvelope) + s.lang.listTables(), hash: "o.context_hash",
		row: page.row, rows: func() int { return len(page.list) },
		inContext: !(q.Contexts.All && q.Contexts.AnyNamespace) || q.NamePrefix != "" || !q.UpdatedAfter.IsZero(),
	}
	if pos != nil {
		w.last = (*keyctx.Hash)(pos[:hashLen])
		pos = pos[hashLen:]
	}
	w.order = "o.context_hash" + w.dir() + ", o.name" + w.dir()
	w.after = func(b *builder) { b.add(" AND o.name"+w.beyond()+"{bytes}", pos) }
	if q.Order == storage.OrderByUpdated {
		w.order = "o.context_hash" + w.dir() + ", o.updated_at" + w.dir() + ", o.object_id" + w.dir()
		w.after = func(b *builder) {
			later(b, w.beyond(), "o.updated_at", "o.object_id", "id", "time", b.time(positionTime(pos)), b.id(storage.ID(pos[8:])))
		}
	}
	w.where = func(b *builder) {
		if q.NamePrefix != "" {
			b.add(" AND o.name >= {bytes}", []byte(q.NamePrefix))
			if end := prefixEnd([]byte(q.NamePrefix)); end != nil {
				b.add(" AND o.name < {bytes}", end)
			}
		}
		if !q.UpdatedAfter.IsZero() {
			// As a record's time is compared uncut with it, cut is right: what is
			// later by less than a microsecond can't be stored.
			b.add(" AND o.updated_at > {time}", b.time(q.UpdatedAfter))
		}
		if !q.IncludeExpired {
			notExpired(b, "o", q.Now)
		}
	}
	return w
}

// ListVersions implements [storage.ObjectStore]: one statement.
func (s *Store) ListVersions(ctx context.Context, q storage.VersionQuery) (storage.ObjectPage, error) {
	pos, err := q.CursorPosition(cursorDriver)
	if err == nil && pos != nil && len(pos) != 8 {
		err = badPosition()
	}
	if err != nil {
		return storage.ObjectPage{}, s.fail(ctx, "list versions", err)
	}
	limit := storage.PageLimit(q.Limit)
	op, dir := " < ", " DESC"
	if q.Ascending {
		op, dir = " > ", ""
	}
	var page *objectPage
	err = s.objects(ctx, "list versions", func(db Querier) error {
		page = &objectPage{envelope: q.WithEnvelope}
		b := builder{lang: s.lang}
		b.add(columns(q.WithEnvelope)+versionTables+" WHERE v.object_id = {id}", b.id(q.Object))
		if pos != nil {
			b.add(" AND v.number"+op+"{int}", int64(binary.BigEndian.Uint64(pos)))
		}
		if !q.IncludeExpired {
			notExpired(&b, "o", q.Now)
			notExpired(&b, "v", q.Now)
		}
		b.add(fmt.Sprintf(" ORDER BY v.number%s LIMIT %d", dir, limit+1))
		return b.query(ctx, db, page.row)
	})
	if err != nil {
		return storage.ObjectPage{}, err
	}
	return page.page(limit, func(r *storage.ObjectRecord) string {
		return q.NextCursor(cursorDriver, binary.BigEndian.AppendUint64(nil, r.Number))
	}), nil
}

// ListByKey implements [storage.ObjectStore]: one statement.
func (s *Store) ListByKey(ctx context.Context, q storage.ByKeyQuery) (storage.ObjectPage, error) {
	pos, err := q.CursorPosition(cursorDriver)
	if err == nil && pos != nil && len(pos) != 24 {
		err = badPosition()
	}
	if err != nil {
		return storage.ObjectPage{}, s.fail(ctx, "list by key", err)
	}
	limit := storage.PageLimit(q.Limit)
	var page *objectPage
	err = s.objects(ctx, "list by key", func(db Querier) error {
		page = &objectPage{}
		b := builder{lang: s.lang}
		s.selectByKey(&b, q.KeyID, pos, limit+1)
		return b.query(ctx, db, page.row)
	})
	if err != nil {
		return storage.ObjectPage{}, err
	}
	return page.page(limit, func(r *storage.ObjectRecord) string {
		return q.NextCursor(cursorDriver, binary.BigEndian.AppendUint64(append([]byte(nil), r.ID[:]...), r.Number))
	}), nil
}

// selectByKey asks for versions under a key, after a position. PostgreSQL and
// SQLite are given the key in the comparison too: else they may walk along the
// primary key, which has the order, and look for the key's versions there.
func (s *Store) selectByKey(b *builder, id keyctx.KeyID, pos []byte, n int) {
	var object storage.ID
	var number int64
	if pos != nil {
		object, number = storage.ID(pos[:16]), int64(binary.BigEndian.Uint64(pos[16:]))
	}
	const order = " ORDER BY v.object_id, v.number"
	limit := fmt.Sprintf("%s LIMIT %d", order, n)
	if s.lang.Dialect == MySQL {
		b.add(columns(false)+versionTables+" WHERE v.key_id = {bytes}", id[:])
		later(b, " > ", "v.object_id", "v.number", "int", "id", b.id(object), number)
		b.add(limit)
		return
	}
	const where = " WHERE v.key_id = {bytes} AND (v.key_id, v.object_id, v.number) > ({bytes}, {id}, {int})"
	args := []any{id[:], id[:], b.id(object), number}
	if s.lang.Dialect == SQLite {
		b.add(columns(false)+versionTables+where+limit, args...)
		return
	}
	// Limited before it is joined: the join must not choose the order.
	b.add(columns(false)+"(SELECT * FROM {versions} v"+where+limit+") v CROSS JOIN LATERAL"+
		" (SELECT * FROM {objects} x WHERE x.object_id = v.object_id OFFSET 0) o"+order, args...)
}

// ListKeys implements [storage.KeyStore], with statements as [Store.ListObjects]
// has them.
func (s *Store) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	pos, err := q.CursorPosition(cursorDriver)
	if err == nil {
		err = q.Validate()
	}
	if err == nil && pos != nil && len(pos) != hashLen+5 {
		err = badPosition()
	}
	if err != nil {
		return storage.KeyPage{}, s.fail(ctx, "list keys", err)
	}
	limit := storage.PageLimit(q.Limit)
	var list []storage.KeyRecord
	err = s.keys(ctx, "list keys", false, func(db Session) error {
		list = nil
		var known contexts
		w := s.keyWalk(q, pos, limit+1)
		w.rows = func() int { return len(list) }
		w.row = func(scan func(...any) error) error {
			var row keyRow
			if err := scan(row.dest()...); err != nil {
				return err
			}
			rec, err := row.record(&known)
			list = append(list, rec)
			return err
		}
		return w.run(ctx, db)
	})
	if err != nil {
		return storage.KeyPage{}, err
	}
	if len(list) <= limit {
		return storage.KeyPage{Keys: list}, nil
	}
	last := &list[limit-1]
	next := binary.BigEndian.AppendUint32(append(last.ContextHash[:], byte(last.Purpose)), last.Version)
	return storage.KeyPage{Keys: list[:limit], Next: q.NextCursor(cursorDriver, next)}, nil
}

func (s *Store) keyWalk(q storage.KeyQuery, pos []byte, want int) *walk {
	byParent := !q.ParentID.IsZero()
	w := &walk{
		s: s, filter: q.Contexts, want: want,
		from: "SELECT " + keyColumns + " FROM {keys} k",
		hash: "k.context_hash", order: "k.context_hash, k.purpose, k.version",
		inContext: !(q.Contexts.All && q.Contexts.AnyNamespace) && !byParent,
	}
	if pos != nil {
		w.last = (*keyctx.Hash)(pos[:hashLen])
		w.after = func(b *builder) {
			later(b, " > ", "k.purpose", "k.version", "int", "int", int64(pos[hashLen]), int64(binary.BigEndian.Uint32(pos[hashLen+1:])))
		}
	}
	w.where = func(b *builder) {
		if q.Purpose != 0 {
			b.add(" AND k.purpose = {int}", int64(q.Purpose))
		}
		if q.State != 0 {
			b.add(" AND k.state = {int}", int64(q.State))
		}
		if byParent {
			b.add(" AND k.parent_id = {bytes}", q.ParentID[:])
			selected(b, q.Contexts, "k.context_hash")
		}
	}
	return w
}

// selected adds a filter by namespace or pairs as a condition: for the children
// of a key, which are found by their parent, and for a cursor's context. hash is
// that of the context, a column or a parameter with this value: then the
// conditions are looked at once for all rows.
func selected(b *builder, f storage.ContextFilter, hash string, value ...any) {
	if f.Hash != (keyctx.Hash{}) || f.AnyNamespace && len(f.Match) == 0 {
		return
	}
	if !f.AnyNamespace {
		b.add(" AND (SELECT y.namespace FROM {contexts} y WHERE y.context_hash = "+hash, value...)
		b.add(") = {bytes}", []byte(f.Namespace))
	}
	for k, v := range f.Match {
		b.add(" AND (SELECT count(*) FROM {contexts} y JOIN {context_pairs} x ON x.namespace = y.namespace AND x.context_hash = y.context_hash")
		b.add(" WHERE y.context_hash = "+hash, value...)
		b.add(" AND x.pair_key = {text} AND x.pair_value = {bytes}) = 1", k, []byte(v))
	}
}
