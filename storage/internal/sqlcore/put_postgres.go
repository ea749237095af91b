package sqlcore

import (
	"context"
	"time"

	"github.com/embedvault/vault/storage"
)

// putPostgres is a whole put as one statement: correct at READ COMMITTED with
// any number of others at once.
//
// Everything is decided by what the statement's snapshot shows (cur, holder,
// verdict). Then the object's row is written only if it is still at the version
// that the snapshot showed (upd), or still isn't there (ins). Every put changes
// version_id, so that the versions that the snapshot shows are then all there
// are, and gone removes the right ones. If the row has moved on, nothing is
// written, and the call tries again behind a lock: see putLocked.
//
// Parameters: 0 object ID, 1 context hash, 2 namespace, 3 name, 4 unique name or
// null, 5 version ID, 6 key ID, 7 size, 8 expires at, 9 updated at, 10 updated
// by, 11 labels, 12 envelope, 13 if absent, 14 if version or null, 15 keep,
// 16 now or null, 17 canonical context, 18 its keys, 19 its values, 20 whether
// an expired holder of the name may be removed.
const putPostgres = `WITH cur AS MATERIALIZED (
	SELECT o.object_id, o.version_id, o.number, o.created_at, o.unique_name,
		coalesce(o.expires_at <= {16 time}, false) AS expired
	FROM {objects} o WHERE o.context_hash = {1 bytes} AND o.name = {3 bytes}
), holder AS MATERIALIZED (
	SELECT h.object_id, h.version_id, coalesce(h.expires_at <= {16 time}, false) AS expired
	FROM {objects} h WHERE h.namespace = {2 bytes} AND h.unique_name = {4 bytes} AND h.context_hash <> {1 bytes}
), verdict AS MATERIALIZED (
	SELECT CASE
		WHEN {13 bool} AND EXISTS (SELECT FROM cur WHERE NOT expired) THEN 1
		WHEN {14 id} IS NOT NULL AND NOT EXISTS (SELECT FROM cur WHERE NOT expired AND version_id = {14 id}) THEN 2
		WHEN EXISTS (SELECT FROM cur WHERE NOT expired AND number = 9223372036854775807) THEN 8
		WHEN EXISTS (SELECT FROM cur JOIN {versions} v ON v.object_id = cur.object_id AND v.version_id = {5 id}
			WHERE NOT cur.expired) THEN 3
		WHEN NOT EXISTS (SELECT FROM cur WHERE NOT expired OR object_id = {0 id})
			AND EXISTS (SELECT FROM {objects} x WHERE x.object_id = {0 id}) THEN 4
		WHEN EXISTS (SELECT FROM holder WHERE NOT expired) THEN 5
		WHEN EXISTS (SELECT FROM holder) AND NOT {20 bool} THEN 6
		ELSE 0
	END AS code
), evicted AS (
	DELETE FROM {objects} h USING holder x, verdict
	WHERE verdict.code = 0 AND h.object_id = x.object_id AND h.version_id = x.version_id
	RETURNING h.object_id
), clear AS MATERIALIZED (
	SELECT FROM verdict WHERE code = 0 AND (SELECT count(*) FROM holder) = (SELECT count(*) FROM evicted)
), fresh AS (
	INSERT INTO {contexts} (context_hash, namespace, canonical)
	SELECT {1 bytes}, {2 bytes}, {17 bytes} FROM clear WHERE NOT EXISTS (SELECT FROM cur)
	ON CONFLICT DO NOTHING RETURNING context_hash
), pairs AS (
	INSERT INTO {context_pairs} (pair_key, pair_value, namespace, context_hash)
	SELECT p.k, p.v, {2 bytes}, f.context_hash FROM fresh f, unnest({18 texts}, {19 blobs}) AS p (k, v)
	ON CONFLICT DO NOTHING
), upd AS (
	UPDATE {objects} o SET
		object_id = CASE WHEN cur.expired THEN {0 id} ELSE cur.object_id END,
		number = CASE WHEN cur.expired THEN 1 ELSE cur.number + 1 END,
		created_at = CASE WHEN cur.expired THEN {9 time} ELSE cur.created_at END,
		unique_name = CASE WHEN cur.expired THEN {4 bytes} ELSE coalesce({4 bytes}, cur.unique_name) END,
		version_id = {5 id}, updated_at = {9 time}, expires_at = {8 time}
	FROM cur, clear WHERE o.object_id = cur.object_id AND o.version_id = cur.version_id
	RETURNING o.object_id, o.number, o.created_at, o.unique_name, cur.object_id AS was, cur.expired
), ins AS (
	INSERT INTO {objects} (object_id, context_hash, namespace, name, unique_name, number, version_id, created_at, updated_at, expires_at)
	SELECT {0 id}, {1 bytes}, {2 bytes}, {3 bytes}, {4 bytes}, 1, {5 id}, {9 time}, {9 time}, {8 time}
	FROM clear WHERE NOT EXISTS (SELECT FROM cur)
	ON CONFLICT DO NOTHING RETURNING object_id, number, created_at, unique_name
), done AS (
	SELECT object_id, number, created_at, unique_name FROM upd UNION ALL SELECT object_id, number, created_at, unique_name FROM ins
), ver AS (
	INSERT INTO {versions} (object_id, number, version_id, key_id, size, unique_name, created_at, updated_at, expires_at, updated_by, labels, envelope)
	SELECT d.object_id, d.number, {5 id}, {6 bytes}, {7 int}, d.unique_name IS NOT NULL, d.created_at, {9 time}, {8 time},
		{10 bytes}, {11 bytes}, {12 bytes} FROM done d
), gone AS (
	DELETE FROM {versions} v USING upd WHERE v.object_id = upd.was AND (upd.expired OR {15 int} > 0 AND v.number <= (
		SELECT w.number FROM {versions} w WHERE w.object_id = upd.was ORDER BY w.number DESC
		OFFSET greatest({15 int} - 1, 0) LIMIT 1))
)
SELECT CASE WHEN verdict.code = 0 AND done.object_id IS NULL THEN 7 ELSE verdict.code END,
	done.object_id, coalesce(done.number, 0), done.created_at, done.unique_name IS NOT NULL
FROM verdict LEFT JOIN done ON true`

// putPostgres tries without a lock first: two puts of one object at the same
// time are rare.
//
// An object that is there may ask for a unique name that another transaction
// takes meanwhile: then the index refuses the statement, and what would be left
// of the application's transaction is refused as well. Savepoints prevent that.
func (s *Store) putPostgres(ctx context.Context, op string, p *put) error {
	var code int64
	first := s.objects
	if p.rec.UniqueName && s.db.Joined(ctx) != nil {
		first = s.objectsTx
	}
	err := first(ctx, op, func(q Querier) (err error) {
		code, err = s.putStatement(ctx, q, p, false)
		return err
	})
	if err == nil && (code == putRaced || code == putMustEvict) {
		return s.objectsTx(ctx, op, func(q Querier) error { return s.putLocked(ctx, q, p) })
	}
	if err != nil {
		return err
	}
	return s.fail(ctx, op, putError(code))
}

// putLocked locks the object's row, if there is one, before the statement: it
// then sees what it waited for. What it does is undone if it isn't done.
func (s *Store) putLocked(ctx context.Context, q Querier, p *put) error {
	var row lockedRow
	if _, err := s.st.lockByName.row(ctx, q, row.dest(), p.kc.hash, []byte(p.rec.Name)); err != nil {
		return err
	}
	code, err := s.putStatement(ctx, q, p, true)
	if err != nil {
		return err
	}
	return putError(code)
}

func (s *Store) putStatement(ctx context.Context, q Querier, p *put, evict bool) (code int64, err error) {
	d, rec := s.lang.Dialect, p.rec
	var id idOrNull
	var created timeColumn
	var number int64
	var unique bool
	_, err = s.st.putPostgres.row(ctx, q, []any{&code, &id, &number, &created, &unique},
		d.id(rec.ID), p.kc.hash, p.kc.namespace, []byte(rec.Name), uniqueName(&rec), d.id(rec.VersionID), rec.KeyID[:], rec.Size,
		d.micros(rec.ExpiresAt), d.time(rec.UpdatedAt), []byte(rec.UpdatedBy), p.labels, envelopeOf(rec.Envelope),
		p.guard.IfAbsent, p.ifVersion(d), int64(p.guard.Keep), d.orNull(nowOf(p.guard)), p.kc.canonical, textList(p.kc.keys), blobList(p.kc.values), evict)
	if err != nil || code != putDone {
		return code, err
	}
	rec.ID, rec.Number, rec.CreatedAt, rec.UniqueName = storage.ID(id), uint64(number), created.Time, unique
	p.result = rec
	return code, nil
}

func (p *put) ifVersion(d Dialect) any {
	if p.guard.IfVersion.IsZero() {
		return nil
	}
	return d.id(p.guard.IfVersion)
}

// nowOf is the time that decides what has expired, cut as expiry times are.
func nowOf(g storage.PutGuard) time.Time {
	if g.Now.IsZero() {
		return time.Time{}
	}
	return storage.TruncateTime(g.Now)
}

// idOrNull is an idColumn that leaves NULL alone.
type idOrNull storage.ID

// Scan implements sql.Scanner.
func (c *idOrNull) Scan(src any) error {
	if src == nil {
		return nil
	}
	return (*idColumn)(c).Scan(src)
}
