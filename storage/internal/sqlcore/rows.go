package sqlcore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// idColumn reads an ID: PostgreSQL's drivers give a UUID as text or bytes.
type idColumn storage.ID

// Scan implements sql.Scanner.
func (c *idColumn) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return (*storage.ID)(c).UnmarshalText([]byte(v))
	case [16]byte:
		*c = v
		return nil
	case []byte:
		if len(v) == len(c) {
			copy(c[:], v)
			return nil
		}
		return (*storage.ID)(c).UnmarshalText(v)
	}
	return fmt.Errorf("an ID is a %T", src)
}

// timeColumn reads a time, or microseconds; NULL gives the zero time and 0.
type timeColumn struct {
	time.Time
	us int64
}

// Scan implements sql.Scanner.
func (c *timeColumn) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*c = timeColumn{}
		return nil
	case time.Time:
		*c = timeColumn{storage.TruncateTime(v), v.UnixMicro()}
		return nil
	case int64:
		*c = timeColumn{time.UnixMicro(v).UTC(), v}
		return nil
	case []byte: // some drivers' integers
		us, err := strconv.ParseInt(string(v), 10, 64)
		*c = timeColumn{time.UnixMicro(us).UTC(), us}
		return err
	}
	return fmt.Errorf("a time is a %T", src)
}

// contexts checks and decodes canonical contexts; it remembers the last one,
// since lists are in the order of contexts.
type contexts struct {
	hash keyctx.Hash
	last keyctx.KeyContext
}

// get gives a context of its own to every caller. canonical is nil if the row
// is missing.
func (c *contexts) get(hash, canonical []byte) (keyctx.Hash, keyctx.KeyContext, error) {
	if canonical == nil {
		return keyctx.Hash{}, nil, fmt.Errorf("%w: %w", storage.ErrCorrupt, errNoContext)
	}
	if sha256.Sum256(canonical) != keyctx.Hash(padded(hash)) {
		return keyctx.Hash{}, nil, fmt.Errorf("%w: the context is another one's", storage.ErrCorrupt)
	}
	if h := keyctx.Hash(hash); c.last == nil || c.hash != h {
		kc, err := keyctx.ParseCanonical(canonical)
		if err != nil {
			return keyctx.Hash{}, nil, fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
		}
		c.hash, c.last = h, kc
	}
	return c.hash, c.last.Clone(), nil
}

// padded makes 32 bytes of what may be damaged: the wrong length matches no
// hash.
func padded(b []byte) (h [32]byte) {
	if len(b) == len(h) {
		copy(h[:], b)
	}
	return h
}

func corrupt(what string, err error) error {
	return fmt.Errorf("%w: %s: %w", storage.ErrCorrupt, what, err)
}

// keyRow is a row of keyColumns.
type keyRow struct {
	id, hash, canonical, wrappings, parent    []byte
	purpose, version, state, before, revision int64
	created, changed, rewrapped               timeColumn
}

// keyColumns have the context in a subquery, here and in objectColumns: a join
// would be turned round by PostgreSQL for lists, to read all contexts before the
// page's. A context that is missing must not look like a key that is.
const keyColumns = `k.key_id, k.context_hash, (SELECT c.canonical FROM {contexts} c WHERE c.context_hash = k.context_hash), k.purpose, k.version, k.state, k.state_before,
	k.wrappings, k.parent_id, k.created_at, k.state_changed_at, k.rewrapped_at, k.revision`

func (r *keyRow) dest() []any {
	return []any{&r.id, &r.hash, &r.canonical, &r.purpose, &r.version, &r.state, &r.before,
		&r.wrappings, &r.parent, &r.created, &r.changed, &r.rewrapped, &r.revision}
}

func (r *keyRow) record(known *contexts) (rec storage.KeyRecord, err error) {
	if rec.ContextHash, rec.Context, err = known.get(r.hash, r.canonical); err != nil {
		return storage.KeyRecord{}, err
	}
	rec.KeyID = padded(r.id)
	rec.ParentID = padded(r.parent)
	rec.Purpose, rec.Version = keyctx.Purpose(r.purpose), uint32(r.version)
	rec.State, rec.StateBefore = storage.State(r.state), storage.State(r.before)
	rec.CreatedAt, rec.StateChangedAt, rec.RewrappedAt = r.created.Time, r.changed.Time, r.rewrapped.Time
	rec.Revision = uint64(r.revision)
	err = decodeWrappings(r.wrappings, &rec)
	if err == nil && (r.version>>32 != 0 || (r.purpose|r.state|r.before)>>8 != 0 || r.revision <= 0) {
		err = errors.New("a number is out of range")
	}
	if err == nil {
		err = rec.Validate()
	}
	if err != nil {
		return storage.KeyRecord{}, corrupt("key "+rec.KeyID.Short(), err)
	}
	return rec, nil
}

// objectRow is a row of objectColumns, and of the envelope where it was asked
// for.
type objectRow struct {
	id, version                              idColumn
	hash, canonical, name, key, by, labels   []byte
	created, updated, expires, objectExpires timeColumn
	number, size                             int64
	unique                                   bool
	envelope                                 []byte
}

const objectColumns = "o.object_id, o.context_hash, (" + objectContext + `), o.name, o.expires_at, v.version_id, v.number, v.key_id, v.size,
	v.unique_name, v.created_at, v.updated_at, v.expires_at, v.updated_by, v.labels`

const objectContext = "SELECT c.canonical FROM {contexts} c WHERE c.context_hash = o.context_hash"

// objectTables joins what objectColumns needs, for current versions.
const objectTables = `{objects} o
	JOIN {versions} v ON v.object_id = o.object_id AND v.number = o.number`

// listTables is objectTables for lists. For a page of 1000 PostgreSQL may think
// it cheaper to read all versions at once; it is told to look each up.
func (d Dialect) listTables() string {
	if d != PostgreSQL {
		return objectTables
	}
	return `{objects} o CROSS JOIN LATERAL
	(SELECT * FROM {versions} x WHERE x.object_id = o.object_id AND x.number = o.number OFFSET 0) v`
}

// versionTables is like objectTables for all versions.
const versionTables = `{versions} v
	JOIN {objects} o ON o.object_id = v.object_id`

const envelopeColumn = ", v.envelope"

func (r *objectRow) dest(withEnvelope bool) []any {
	d := []any{&r.id, &r.hash, &r.canonical, &r.name, &r.objectExpires, &r.version, &r.number, &r.key, &r.size,
		&r.unique, &r.created, &r.updated, &r.expires, &r.by, &r.labels}
	if withEnvelope {
		d = append(d, &r.envelope)
	}
	return d
}

// objectExpired reports whether the object, by its current version, has
// expired.
func (r *objectRow) objectExpired(now time.Time) bool {
	return r.objectExpires.us != 0 && r.objectExpires.us <= now.UnixMicro()
}

func (r *objectRow) record(known *contexts) (rec storage.ObjectRecord, err error) {
	if rec.ContextHash, rec.Context, err = known.get(r.hash, r.canonical); err != nil {
		return storage.ObjectRecord{}, err
	}
	rec.ID, rec.VersionID, rec.KeyID = storage.ID(r.id), storage.ID(r.version), padded(r.key)
	rec.Name, rec.UpdatedBy = string(r.name), string(r.by)
	rec.CreatedAt, rec.UpdatedAt, rec.ExpiresAt = r.created.Time, r.updated.Time, r.expires.us
	rec.UniqueName, rec.Number, rec.Size = r.unique, uint64(r.number), r.size
	if len(r.envelope) > 0 {
		rec.Envelope = r.envelope
	}
	rec.Labels, err = decodeLabels(r.labels)
	if err == nil {
		err = checkObject(&rec, r.number)
	}
	if err != nil {
		return storage.ObjectRecord{}, corrupt("object "+rec.ID.String(), err)
	}
	return rec, nil
}

// checkObject is the part of [storage.ObjectRecord.Validate] that the columns'
// types and the context's check leave.
func checkObject(rec *storage.ObjectRecord, number int64) error {
	switch {
	case rec.ID.IsZero() || rec.VersionID.IsZero() || rec.KeyID.IsZero():
		return errors.New("no object, version or key ID")
	case number <= 0 || rec.Size < 0 || rec.ExpiresAt < 0:
		return errors.New("a number is out of range")
	case len(rec.Name) == 0 || len(rec.Name) > storage.MaxNameLen:
		return fmt.Errorf("a name of %d bytes", len(rec.Name))
	}
	return nil
}
