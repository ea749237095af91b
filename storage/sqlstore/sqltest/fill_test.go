package sqltest

import (
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
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

// literal writes a value into a statement: this is a test, and the values are
// its own.
func literal(d sqlstore.Dialect, v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		if d == sqlstore.PostgreSQL {
			return `'\x` + hex.EncodeToString(v) + "'"
		}
		return "x'" + hex.EncodeToString(v) + "'"
	case storage.ID:
		if d == sqlstore.PostgreSQL {
			return "'" + v.String() + "'"
		}
		return literal(d, v[:])
	case time.Time:
		if d == sqlstore.PostgreSQL {
			return "'" + v.UTC().Format(time.RFC3339Nano) + "'"
		}
		return fmt.Sprint(v.UnixMicro())
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return fmt.Sprint(v)
}

// load inserts n rows, many at a time.
func load(t testing.TB, tx *sql.Tx, d sqlstore.Dialect, table string, n int, row func(i int) []any) {
	t.Helper()
	var b strings.Builder
	for i := 0; i < n; i++ {
		if b.Len() == 0 {
			b.WriteString("INSERT INTO vault_" + table + " VALUES ")
		} else {
			b.WriteString(",")
		}
		for j, v := range row(i) {
			b.WriteString(map[bool]string{true: "(", false: ","}[j == 0])
			b.WriteString(literal(d, v))
		}
		b.WriteString(")")
		if b.Len() > 1<<19 || i == n-1 {
			_, err := tx.Exec(b.String())
			noError(t, err)
			b.Reset()
		}
	}
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
	tx, err := db.Begin()
	noError(t, err)
	defer func() { _ = tx.Rollback() }()
	started := time.Now()
	f.keys(t, tx, d)
	f.objects(t, tx, d)
	noError(t, tx.Commit())
	t.Logf("filled in %v", time.Since(started))
	analyze := map[sqlstore.Dialect]string{sqlstore.PostgreSQL: "VACUUM ANALYZE", sqlstore.SQLite: "ANALYZE",
		sqlstore.MySQL: "ANALYZE TABLE vault_contexts, vault_context_pairs, vault_keys, vault_objects, vault_versions, vault_system"}
	rows, err := db.Query(analyze[d])
	noError(t, err)
	noError(t, rows.Close())
	return f
}

func (f *filled) keys(t testing.TB, tx *sql.Tx, d sqlstore.Dialect) {
	load(t, tx, d, "contexts", f.n, func(i int) []any {
		canonical, err := f.full[i].AppendCanonical(nil)
		noError(t, err)
		return []any{f.hashes[i][:], []byte(f.full[i].Namespace()), canonical}
	})
	pair := func(k string) func(i int) []any {
		return func(i int) []any {
			return []any{k, []byte(f.full[i][k]), []byte(f.full[i].Namespace()), f.hashes[i][:]}
		}
	}
	load(t, tx, d, "context_pairs", f.n, pair("organization_id"))
	load(t, tx, d, "context_pairs", f.n/2, func(i int) []any { return pair(keyctx.ReservedNamespace)(2*i + 1) })
	// A pair that very many contexts have.
	load(t, tx, d, "context_pairs", f.n, func(i int) []any {
		return []any{"env", []byte("prod"), []byte(f.full[i].Namespace()), f.hashes[i][:]}
	})
	wrappings := []byte{1, 1, 0, 0, 0}
	load(t, tx, d, "keys", f.n, func(i int) []any {
		var parent any
		if i%50 == 0 {
			parent = f.hashes[1][:]
		}
		return []any{f.hashes[i][:], f.hashes[i][:], 1, 1, 4, 0, wrappings, parent, base, base, nil, 1}
	})
	load(t, tx, d, "system", f.n, func(i int) []any { return []any{fmt.Appendf(nil, "job/%07d", i), []byte{}, 1} })
}

// in is the context of object i.
func (f *filled) in(i int) int { return max(0, i-f.n/2) }

func (f *filled) number(i int) int {
	if i == 0 {
		return manyVersions
	}
	return 1
}

func (f *filled) name(i int) []byte { return fmt.Appendf(nil, "object/%07d", i) }

func (f *filled) objects(t testing.TB, tx *sql.Tx, d sqlstore.Dialect) {
	at := func(i int) time.Time { return base.Add(time.Duration(i) * time.Second) }
	expires := func(i int) any {
		if i%10 == 3 {
			return at(i)
		}
		return nil
	}
	load(t, tx, d, "objects", f.n, func(i int) []any {
		c := f.in(i)
		var unique any
		if i%4 == 1 {
			unique = f.name(i)
		}
		return []any{f.ids[i], f.hashes[c][:], []byte(f.full[c].Namespace()), f.name(i), unique, f.number(i), f.ids[i], base, at(i), expires(i)}
	})
	version := func(i, number int, id storage.ID) []any {
		unique := any(i%4 == 1)
		if d == sqlstore.SQLite {
			unique = map[bool]int{true: 1}[i%4 == 1]
		}
		return []any{f.ids[i], number, id, f.hashes[f.in(i)][:], 10, unique, base, at(i), expires(i), []byte{}, []byte{}, make([]byte, 100)}
	}
	load(t, tx, d, "versions", f.n, func(i int) []any { return version(i, f.number(i), f.ids[i]) })
	load(t, tx, d, "versions", manyVersions-1, func(i int) []any {
		id := storage.ID{0: 2}
		binary.BigEndian.PutUint32(id[12:], uint32(i))
		return version(0, i+1, id)
	})
}
