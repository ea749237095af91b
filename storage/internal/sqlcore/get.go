package sqlcore

import (
	"context"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// The bits of an index in statements.get.
const (
	getByID     = 1
	getVersion  = 2
	getEnvelope = 4
)

func getText(byID, version, envelope bool) string {
	s := "SELECT " + objectColumns
	if envelope {
		s += envelopeColumn
	}
	on := "v.number = o.number"
	switch {
	case version && byID:
		on = "v.version_id = {1 id}"
	case version:
		on = "v.version_id = {2 id}"
	}
	s += " FROM {objects} o JOIN {versions} v ON v.object_id = o.object_id AND " + on + " WHERE "
	if byID {
		return s + "o.object_id = {0 id}"
	}
	return s + "o.context_hash = {0 bytes} AND o.name = {1 bytes}"
}

// GetObject implements [storage.ObjectStore]: one statement.
func (s *Store) GetObject(ctx context.Context, ref storage.ObjectRef) (rec storage.ObjectRecord, err error) {
	err = s.objects(ctx, "get object", func(q Querier) error {
		rec, err = s.get(ctx, q, ref)
		return err
	})
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	return rec, nil
}

func (s *Store) get(ctx context.Context, q Querier, ref storage.ObjectRef) (storage.ObjectRecord, error) {
	var which int
	args := make([]any, 0, 3)
	if ref.ID.IsZero() {
		args = append(args, ref.ContextHash[:], []byte(ref.Name))
	} else {
		which |= getByID
		args = append(args, s.lang.id(ref.ID))
	}
	if !ref.Version.IsZero() {
		which |= getVersion
		args = append(args, s.lang.id(ref.Version))
	}
	if !ref.NoEnvelope {
		which |= getEnvelope
	}
	var row objectRow
	ok, err := s.st.get[which].row(ctx, q, row.dest(!ref.NoEnvelope), args...)
	if err != nil {
		return storage.ObjectRecord{}, err
	}
	now := ref.Now.UnixMicro()
	if !ok || row.objectExpired(ref.Now) || row.expires.us != 0 && row.expires.us <= now {
		return storage.ObjectRecord{}, storage.ErrNotFound
	}
	return row.record(&contexts{})
}

// getManyChunk is how many names one statement asks for, where each is a
// parameter.
const getManyChunk = 256

// GetObjects implements [storage.ObjectStore]: one statement in PostgreSQL, one
// for each 256 names elsewhere.
func (s *Store) GetObjects(ctx context.Context, context keyctx.Hash, names []string, now time.Time) (out []storage.ObjectRecord, err error) {
	if len(names) > storage.MaxNames {
		err := fmt.Errorf("%d names, at most %d are allowed", len(names), storage.MaxNames)
		return nil, s.fail(ctx, "get objects", err)
	}
	var wanted [][]byte
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !seen[name] {
			seen[name] = true
			wanted = append(wanted, []byte(name))
		}
	}
	err = s.objects(ctx, "get objects", func(q Querier) error {
		out, err = s.getMany(ctx, q, context, wanted, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Store) getMany(ctx context.Context, q Querier, context keyctx.Hash, wanted [][]byte, now time.Time) (out []storage.ObjectRecord, err error) {
	chunk := getManyChunk
	if s.lang.Dialect == PostgreSQL {
		chunk = storage.MaxNames
	}
	var known contexts
	for ; len(wanted) > 0 && err == nil; wanted = wanted[min(chunk, len(wanted)):] {
		b := builder{lang: s.lang}
		s.selectMany(&b, context, wanted[:min(chunk, len(wanted))])
		err = b.query(ctx, q, func(scan func(...any) error) error {
			var row objectRow
			if err := scan(row.dest(true)...); err != nil || row.objectExpired(now) {
				return err
			}
			rec, err := row.record(&known)
			out = append(out, rec)
			return err
		})
	}
	return out, err
}

// selectMany asks for objects by name. PostgreSQL looks up each name of a list:
// for "name = ANY (…)", or a plain join, it may look at all of the context.
func (s *Store) selectMany(b *builder, context keyctx.Hash, names [][]byte) {
	if s.lang.Dialect != PostgreSQL {
		b.add("SELECT "+objectColumns+envelopeColumn+" FROM "+objectTables+" WHERE o.context_hash = {bytes} AND ", context[:])
		b.in("o.name", names)
		return
	}
	b.add("SELECT "+objectColumns+envelopeColumn+` FROM unnest({blobs}) AS n (name)
	CROSS JOIN LATERAL (SELECT * FROM {objects} x WHERE x.context_hash = {bytes} AND x.name = n.name OFFSET 0) o
	CROSS JOIN LATERAL (SELECT * FROM {versions} x WHERE x.object_id = o.object_id AND x.number = o.number OFFSET 0) v`, blobList(names), context[:])
}
