package pgxtest

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/pgxstore"
	"github.com/embedvault/vault/storage/sqlstore"
	"github.com/embedvault/vault/storage/storagetest"
)

// sqlStore is package sqlstore's on the same database.
func sqlStore(t testing.TB, dsn string) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	noError(t, err)
	db.SetMaxOpenConns(20)
	t.Cleanup(func() { _ = db.Close() })
	s, err := sqlstore.New(db, sqlstore.PostgreSQL)
	noError(t, err)
	return s, db
}

// TestBothStoresRace runs the suite with sqlstore as the second store on the
// database: all guards hold between the two.
func TestBothStoresRace(t *testing.T) {
	t.Parallel()
	h := harness(database)
	dsns := map[storage.Store]string{}
	h.New = func(t *testing.T) storage.Store {
		dsn := database(t)
		other, _ := sqlStore(t, dsn)
		noError(t, other.Migrate(t.Context())) // the other one, this time
		s := on(t, open(t, dsn))
		dsns[s] = dsn
		return s
	}
	h.Second = func(t *testing.T, s storage.Store) storage.Store {
		other, _ := sqlStore(t, dsns[s])
		dsns[other] = dsns[s]
		return other
	}
	h.Reopen = h.Second // what the one has written, the other reads
	server(t)
	storagetest.Run(t, h)
}

// TestEitherMigrates wants the same schema from both, and each to find nothing
// to do after the other, also at the same time.
func TestEitherMigrates(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"pgxstore", "sqlstore", "both"} {
		t.Run(first, func(t *testing.T) {
			dsn := database(t)
			pool := open(t, dsn)
			s := on(t, pool)
			other, _ := sqlStore(t, dsn)
			if s.Schema() != other.Schema() {
				t.Error("the schemas differ")
			}
			migrate := []func(context.Context) error{s.Migrate, other.Migrate}
			if first == "both" {
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						if err := migrate[i%2](t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}
			if first == "sqlstore" {
				migrate[0], migrate[1] = migrate[1], migrate[0]
			}
			noError(t, migrate[0](t.Context()))
			before := dump(t, pool)
			noError(t, migrate[1](t.Context()))
			if after := dump(t, pool); after != before {
				t.Errorf("it was\n%s\nand is now\n%s", before, after)
			}
			put(t, s, object(t, tenant(1), "a"))
			put(t, other, object(t, tenant(1), "b"))
			if !has(t, s, object(t, tenant(1), "b")) || !has(t, other, object(t, tenant(1), "a")) {
				t.Error("one doesn't see what the other put")
			}
		})
	}
}

// dump describes the tables as the database knows them, and when they were made.
func dump(t testing.TB, pool *pgxpool.Pool) (s string) {
	t.Helper()
	noError(t, pool.QueryRow(t.Context(), `SELECT string_agg(c.oid::text || ' ' || c.relname || ' ' || a.attname || ' ' ||
		format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull, E'\n' ORDER BY c.relname, a.attnum)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relname LIKE 'vault\_%'`).Scan(&s))
	return s
}

// TestCursorsOfEither goes through a list with both stores in turn.
func TestCursorsOfEither(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	other, _ := sqlStore(t, pool.Config().ConnString())
	for i := range 25 {
		put(t, s, object(t, tenant(i%3), fmt.Sprintf("o%02d", i)))
	}
	seen := map[storage.ID]bool{}
	stores := [2]storage.Store{s, other}
	q := storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, Limit: 4, Order: storage.OrderByUpdated}
	for i := 0; ; i++ {
		page, err := stores[i%2].ListObjects(t.Context(), q)
		noError(t, err)
		for _, r := range page.Objects {
			seen[r.ID] = true
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	if len(seen) != 25 {
		t.Errorf("%d of 25 objects", len(seen))
	}
}

// TestBothInOneContext has a transaction of each store in one ctx: neither takes
// the other's.
func TestBothInOneContext(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	other, db := sqlStore(t, pool.Config().ConnString())
	third := on(t, pool)
	tx := begin(t, pool)
	otherTx, err := db.BeginTx(t.Context(), nil)
	noError(t, err)
	defer func() { _ = otherTx.Rollback() }()
	ctx := other.WithTx(s.WithTx(t.Context(), tx), otherTx)
	for i, st := range []storage.Store{s, other, third} {
		_, err := st.PutObject(ctx, object(t, tenant(i), "a"), now)
		noError(t, err)
	}
	noError(t, tx.Rollback(t.Context()))
	noError(t, otherTx.Commit())
	for i, want := range []bool{false, true, true} { // the third was in none
		if has(t, s, object(t, tenant(i), "a")) != want {
			t.Errorf("object of store %d: there is %v", i, !want)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	_, err := pool.Exec(t.Context(), "UPDATE vault_schema_version SET version = 2")
	noError(t, err)
	wantErr(t, s.Migrate(t.Context()), pgxstore.ErrNewerSchema)
}

func TestNotMigrated(t *testing.T) {
	t.Parallel()
	s := on(t, open(t, database(t)))
	_, err := s.LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
	wantErr(t, err, pgxstore.ErrNotMigrated)
	_, err = s.PutObject(t.Context(), object(t, tenant(1), "a"), now)
	wantErr(t, err, pgxstore.ErrNotMigrated)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	pool := open(t, database(t))
	for i, o := range []pgxstore.Options{{}, {TablePrefix: "select"}, {Schema: "user"}, {Schema: "tenant_2", TablePrefix: "t"}} {
		s := on(t, pool, o)
		noError(t, s.Migrate(t.Context()))
		noError(t, s.Migrate(t.Context()))
		if has(t, s, object(t, tenant(1), "a")) {
			t.Errorf("store %d shares a table with another", i)
		}
		put(t, s, object(t, tenant(1), "a"))
	}
	for _, bad := range []pgxstore.Options{{TablePrefix: "a-b"}, {Schema: `a"`}, {Schema: "public;"}} {
		if _, err := pgxstore.New(pool, bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if _, err := pgxstore.New(nil); err == nil {
		t.Error("no pool was taken for one")
	}
	if _, err := pgxstore.New(pool, pgxstore.Options{}, pgxstore.Options{}); err == nil {
		t.Error("two Options were taken")
	}
}

// TestSchemaText runs what Schema gives, as a whole, and wants a database with
// which Migrate has nothing to do.
func TestSchemaText(t *testing.T) {
	t.Parallel()
	pool := open(t, database(t))
	s := on(t, pool)
	_, err := pool.Exec(t.Context(), s.Schema())
	noError(t, err)
	before := dump(t, pool)
	noError(t, s.Migrate(t.Context()))
	if dump(t, pool) != before {
		t.Error("Migrate changed it")
	}
	put(t, s, object(t, tenant(1), "a", expires(base.Add(time.Hour))))
}
