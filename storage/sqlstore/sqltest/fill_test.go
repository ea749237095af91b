package sqltest

import (
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// filled is a database with many rows, filled past the store: half of the
// objects are in one context, the others in one each; half of the contexts are
// in the namespace app. Object 0 has 2000 versions.
type filled struct {
	n      int
	hashes []keyctx.Hash
	full   []keyctx.KeyContext
	ids    []storage.ID
}

const manyVersions = 2000

// tables are those with many rows.
const tables = "vault_contexts, vault_context_pairs, vault_keys, vault_objects, vault_versions, vault_system"

// literal writes a value into a statement: this is a test, and the values are
// its own.
func literal(d sqlstore.Dialect, v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		if d == sqlstore.PostgreSQL {
			return `'\x` + hex.EncodeToString(v) + "'::bytea"
		}
		return "x'" + hex.EncodeToString(v) + "'"
	case storage.ID:
		if d == sqlstore.PostgreSQL {
			return "'" + v.String() + "'::uuid"
		}
		return literal(d, v[:])
	case time.Time:
		if d == sqlstore.PostgreSQL {
			return "'" + v.UTC().Format(time.RFC3339Nano) + "'::timestamptz"
		}
		return fmt.Sprint(v.UnixMicro())
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return fmt.Sprint(v)
}

func fill(t testing.TB, db *sql.DB, d sqlstore.Dialect, n int) *filled {
	t.Helper()
	f := &filled{n: n}
	for i := range n {
		kc := tenant(i)
		if i%2 == 1 {
			kc = kc.WithNamespace("app")
		}
		f.full = append(f.full, kc)
		f.hashes = append(f.hashes, hashOf(t, kc))
		id := storage.ID{0: 1, 6: 0x70, 8: 0x80}
		binary.BigEndian.PutUint32(id[12:], uint32(i))
		f.ids = append(f.ids, id)
	}
	started := time.Now()
	tx, err := db.Begin()
	noError(t, err)
	defer func() { _ = tx.Rollback() }()
	statements := append(f.numbers(t, d), f.inserts(d)...)
	for _, st := range statements {
		if _, err := tx.Exec(st); err != nil {
			t.Fatalf("%.80s: %v", st, err)
		}
	}
	noError(t, tx.Commit())
	analyze := map[sqlstore.Dialect]string{sqlstore.PostgreSQL: "VACUUM ANALYZE " + tables, sqlstore.SQLite: "ANALYZE", sqlstore.MySQL: "ANALYZE TABLE " + tables}
	rows, err := db.Query(analyze[d])
	noError(t, err)
	noError(t, rows.Close())
	t.Logf("filled in %v", time.Since(started))
	return f
}

// numbers fills a table with what differs from row to row: all else is made of
// it by the database itself.
func (f *filled) numbers(t testing.TB, d sqlstore.Dialect) (out []string) {
	t.Helper()
	bytes, id := "BLOB", "BLOB"
	switch d {
	case sqlstore.PostgreSQL:
		bytes, id = "bytea", "uuid"
		out = append(out, "SET LOCAL session_replication_role = replica") // no foreign keys: what is made is right
	case sqlstore.MySQL:
		bytes, id = "VARBINARY(512)", "BINARY(16)"
		out = append(out, "SET foreign_key_checks = 0, unique_checks = 0")
	}
	out = append(out, fmt.Sprintf("CREATE TABLE numbers (i INTEGER PRIMARY KEY, id %s, hash %s, ns %s, org %s, canonical %s, name %s, job %s)",
		id, bytes, bytes, bytes, bytes, bytes, bytes))
	var b strings.Builder
	for i, kc := range f.full {
		b.WriteString(map[bool]string{true: "INSERT INTO numbers VALUES (", false: ", ("}[b.Len() == 0])
		canonical, err := kc.AppendCanonical(nil)
		noError(t, err)
		b.WriteString(strconv.Itoa(i) + "," + literal(d, f.ids[i]))
		for _, v := range [][]byte{f.hashes[i][:], []byte(kc.Namespace()), []byte(kc["organization_id"]), canonical, f.name(i), fmt.Appendf(nil, "job/%07d", i)} {
			b.WriteString("," + literal(d, v))
		}
		b.WriteString(")")
		if b.Len() > 1<<19 || i == f.n-1 {
			out = append(out, b.String())
			b.Reset()
		}
	}
	return out
}

// inserts fill the tables.
func (f *filled) inserts(d sqlstore.Dialect) (out []string) {
	lit := func(v any) string { return literal(d, v) }
	at := fmt.Sprintf("%s + n.i * 1000000", lit(base))
	if d == sqlstore.PostgreSQL {
		at = lit(base) + " + n.i * interval '1 second'"
	}
	expires := "CASE WHEN n.i % 10 = 3 THEN " + at + " END"
	in := fmt.Sprintf("JOIN numbers c ON c.i = CASE WHEN n.i < %[1]d THEN 0 ELSE n.i - %[1]d END", f.n/2)
	insert := func(table, values, from string) {
		out = append(out, "INSERT INTO vault_"+table+" SELECT "+values+" FROM numbers n "+from)
	}
	insert("contexts", "n.hash, n.ns, n.canonical", "")
	insert("context_pairs", "'organization_id', n.org, n.ns, n.hash", "")
	insert("context_pairs", lit(keyctx.ReservedNamespace)+", n.ns, n.ns, n.hash", "WHERE n.i % 2 = 1")
	insert("context_pairs", "'env', "+lit([]byte("prod"))+", n.ns, n.hash", "") // very many contexts have it
	insert("keys", fmt.Sprintf("n.hash, n.hash, 1, 1, 4, 0, %s, CASE WHEN n.i %% 50 = 0 THEN %s END, %[3]s, %[3]s, NULL, 1",
		lit([]byte{1, 1, 0, 0, 0}), lit(f.hashes[1][:]), lit(base)), "")
	insert("system", "n.job, "+lit([]byte{})+", 1", "")
	insert("objects", fmt.Sprintf("n.id, c.hash, c.ns, n.name, CASE WHEN n.i %% 4 = 1 THEN n.name END, CASE WHEN n.i = 0 THEN %d ELSE 1 END, n.id, %s, %s, %s",
		manyVersions, lit(base), at, expires), in)
	rest := fmt.Sprintf("c.hash, 10, n.i %% 4 = 1, %s, %s, %s, %[4]s, %[4]s, %s", lit(base), at, expires, lit([]byte{}), lit(make([]byte, 100)))
	insert("versions", fmt.Sprintf("n.id, CASE WHEN n.i = 0 THEN %d ELSE 1 END, n.id, %s", manyVersions, rest), in)
	old := fmt.Sprintf("%s, n.i, n.id, %s, 10, n.i < 0, %s, %s, NULL, %[5]s, %[5]s, %s", lit(f.ids[0]), lit(f.hashes[0][:]), lit(base), at, lit([]byte{}), lit(make([]byte, 100)))
	insert("versions", old, fmt.Sprintf("WHERE n.i BETWEEN 1 AND %d", manyVersions-1))
	if d == sqlstore.MySQL {
		out = append(out, "SET foreign_key_checks = 1, unique_checks = 1")
	}
	return append(out, "DROP TABLE numbers")
}

// in is the context of object i.
func (f *filled) in(i int) int { return max(0, i-f.n/2) }

func (f *filled) name(i int) []byte { return fmt.Appendf(nil, "object/%07d", i) }
