package sqltest

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// Run them with
//
//	go test -run '^$' -bench . -benchtime 2000x
//	go test -run '^$' -bench List -bench.rows 1000000
var benchRows = flag.Int("bench.rows", 100_000, "objects for BenchmarkList")

func benched() []engine { return []engine{engines[0], engines[3], engines[4]} }

func kilobyte(r *storage.ObjectRecord) { r.Envelope = make([]byte, 1024) }

// onConns runs f b.N times on as many goroutines as there are connections.
func onConns(b *testing.B, db *sql.DB, conns int, f func(i int) error) {
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range conns {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// bare finds the statement that a call issues, to run it without the store.
func bare(b *testing.B, e engine, dsn, prefix string, call func(s storage.Store)) recorded {
	b.Helper()
	db, r := e.recording(b, dsn)
	s, err := sqlstore.New(db, e.dialect)
	noError(b, err)
	r.take()
	call(s)
	for _, st := range r.take() {
		if strings.HasPrefix(st.text, prefix) {
			return st
		}
	}
	b.Fatal("the statement was not seen")
	return recorded{}
}

func BenchmarkPut(b *testing.B) {
	for _, e := range benched() {
		for _, conns := range []int{1, 16} {
			if e.dialect == sqlstore.SQLite && conns > 1 {
				continue
			}
			b.Run(fmt.Sprintf("%s/conns=%d/store", e.name, conns), func(b *testing.B) {
				s, db := e.store(b)
				kc := tenant(1)
				put(b, s, object(b, kc, "first", kilobyte))
				onConns(b, db, conns, func(i int) error {
					return putErr(b, s, object(b, kc, fmt.Sprint("n", i), kilobyte), storage.PutGuard{Now: base})
				})
			})
			if e.dialect != sqlstore.PostgreSQL {
				continue // it is several statements there
			}
			b.Run(fmt.Sprintf("%s/conns=%d/bare", e.name, conns), func(b *testing.B) {
				dsn := e.database(b)
				db := e.open(b, dsn)
				s, err := sqlstore.New(db, e.dialect)
				noError(b, err)
				noError(b, s.Migrate(b.Context()))
				kc := tenant(1)
				st := bare(b, e, dsn, "WITH cur", func(s storage.Store) { put(b, s, object(b, kc, "first", kilobyte)) })
				onConns(b, db, conns, func(i int) error {
					args := values(st)
					r := object(b, kc, fmt.Sprint("n", i), kilobyte)
					args[0], args[3], args[5] = r.ID.String(), []byte(r.Name), r.VersionID.String()
					var code, number int64
					var id, created any
					var unique bool
					return db.QueryRowContext(context.Background(), st.text, args...).Scan(&code, &id, &number, &created, &unique)
				})
			})
			b.Run(fmt.Sprintf("%s/conns=%d/insert", e.name, conns), func(b *testing.B) {
				db := e.open(b, e.database(b))
				_, err := db.Exec("CREATE TABLE plain (hash bytea, name bytea, id uuid, value bytea, PRIMARY KEY (hash, name))")
				noError(b, err)
				onConns(b, db, conns, func(i int) error {
					r := object(b, tenant(1), fmt.Sprint("n", i), kilobyte)
					_, err := db.Exec("INSERT INTO plain VALUES ($1, $2, $3, $4)", r.ContextHash[:], []byte(r.Name), r.ID.String(), r.Envelope)
					return err
				})
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 1000
	for _, e := range benched() {
		for _, conns := range []int{1, 16} {
			dsn := e.database(b)
			db := e.open(b, dsn)
			s, err := sqlstore.New(db, e.dialect)
			noError(b, err)
			noError(b, s.Migrate(b.Context()))
			kc := tenant(1)
			for i := range n {
				put(b, s, object(b, kc, fmt.Sprint("n", i), kilobyte))
			}
			hash := hashOf(b, kc)
			name := func(i int) string { return fmt.Sprint("n", i%n) }
			b.Run(fmt.Sprintf("%s/conns=%d/store", e.name, conns), func(b *testing.B) {
				onConns(b, db, conns, func(i int) error {
					_, err := s.GetObject(context.Background(), storage.ObjectRef{ContextHash: hash, Name: name(i)})
					return err
				})
			})
			st := bare(b, e, dsn, "SELECT", func(s storage.Store) {
				_, err := s.GetObject(b.Context(), storage.ObjectRef{ContextHash: hash, Name: "n0"})
				noError(b, err)
			})
			b.Run(fmt.Sprintf("%s/conns=%d/bare", e.name, conns), func(b *testing.B) {
				onConns(b, db, conns, func(i int) error {
					rows, err := db.QueryContext(context.Background(), st.text, hash[:], []byte(name(i)))
					if err != nil {
						return err
					}
					defer func() { _ = rows.Close() }()
					var d [16]any
					dest := make([]any, len(d))
					for j := range d {
						dest[j] = &d[j]
					}
					for rows.Next() {
						if err := rows.Scan(dest...); err != nil {
							return err
						}
					}
					return rows.Err()
				})
			})
		}
	}
}

// BenchmarkList reads the first and the last full page.
func BenchmarkList(b *testing.B) {
	for _, e := range benched() {
		s, db := e.store(b)
		f := fill(b, db, e.dialect, *benchRows)
		for name, c := range map[string]storage.ContextFilter{
			"one context": {Hash: f.hashes[0]}, "all": {All: true, AnyNamespace: true}, "match": {Match: keyctx.KeyContext{"env": "prod"}},
		} {
			q := storage.ObjectQuery{Contexts: c, Limit: 100}
			first, last := q, q
			big := q
			big.Limit = 1000
			for {
				page, err := s.ListObjects(b.Context(), big)
				noError(b, err)
				if len(page.Objects) >= q.Limit { // the last page must be full
					last.Cursor = big.Cursor
				}
				if big.Cursor = page.Next; page.Next == "" {
					break
				}
			}
			for which, q := range map[string]storage.ObjectQuery{"first": first, "last": last} {
				b.Run(fmt.Sprintf("%s/%s/%s", e.name, name, which), func(b *testing.B) {
					for b.Loop() {
						if _, err := s.ListObjects(b.Context(), q); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
