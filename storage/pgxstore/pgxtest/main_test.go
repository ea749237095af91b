// Package pgxtest tests package pgxstore on a real PostgreSQL server. It is a
// module of its own, so that nobody who uses that package needs what the tests
// do.
package pgxtest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/pgxstore"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/storage/storagetest"
)

// shared is the server of all tests that don't stop theirs: started by the
// first that needs it, stopped by TestMain.
var shared struct {
	once sync.Once
	s    *pgserver.Server
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.s != nil {
		shared.s.Close()
	}
	os.Exit(code)
}

func server(t testing.TB) *pgserver.Server {
	t.Helper()
	shared.once.Do(func() { shared.s, shared.err = pgserver.New(pgserver.Options{}) })
	absent(t, shared.err, pgserver.ErrMissing)
	return shared.s
}

// absent skips a test whose server isn't installed, or fails it.
func absent(t testing.TB, err, missing error) {
	t.Helper()
	if errors.Is(err, missing) && os.Getenv("VAULT_TEST_REQUIRE") != "1" {
		t.Skip(err)
	}
	noError(t, err)
}

// database makes an empty database and returns its URL.
func database(t testing.TB) string {
	t.Helper()
	dsn, err := server(t).NewDatabase(t.Context())
	noError(t, err)
	return dsn
}

// open opens a pool of up to 20 connections, unless change says otherwise.
func open(t testing.TB, dsn string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	noError(t, err)
	cfg.MaxConns = 20
	for _, f := range change {
		f(cfg)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	noError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func maxConns(n int32) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.MaxConns = n }
}

func mode(m pgx.QueryExecMode) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = m }
}

// on returns a store on the pool. Whether there are tables is another matter.
func on(t testing.TB, pool *pgxpool.Pool, opts ...pgxstore.Options) *pgxstore.Store {
	t.Helper()
	s, err := pgxstore.New(pool, opts...)
	noError(t, err)
	return s
}

// store returns a migrated store on a new database, with its pool.
func store(t testing.TB, change ...func(*pgxpool.Config)) (*pgxstore.Store, *pgxpool.Pool) {
	t.Helper()
	pool := open(t, database(t), change...)
	s := on(t, pool)
	noError(t, s.Migrate(t.Context()))
	return s, pool
}

// TestStore runs the suite in the mode that differs most from the others in what
// pgx sends, the races between two pools. TestBothStoresRace runs it in pgx's
// default mode, TestStoreBehindPgBouncer in the one for poolers. What remains
// sends the same as the default, and asks for types more often.
func TestStore(t *testing.T) {
	t.Parallel()
	server(t) // where it is missing, one skip says it all
	storagetest.Run(t, harness(database, mode(pgx.QueryExecModeSimpleProtocol)))
}

// harness makes stores on databases of their own.
func harness(database func(testing.TB) string, change ...func(*pgxpool.Config)) storagetest.Harness {
	dsns := map[storage.Store]string{}
	again := func(t *testing.T, s storage.Store) storage.Store {
		other := on(t, open(t, dsns[s], change...))
		dsns[other] = dsns[s]
		return other
	}
	return storagetest.Harness{
		New: func(t *testing.T) storage.Store {
			dsn := database(t)
			s := on(t, open(t, dsn, change...))
			noError(t, s.Migrate(t.Context()))
			dsns[s] = dsn
			return s
		},
		Reopen:       again,
		Second:       again,
		CursorDriver: "sql",
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want one that matches %q", err, want)
	}
}

// idle waits until no connection of the pool is in use: one that is given up
// takes a moment.
func idle(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for pool.Stat().AcquiredConns() > 0 {
		if ctx.Err() != nil {
			t.Fatalf("%d connections are in use", pool.Stat().AcquiredConns())
		}
		time.Sleep(5 * time.Millisecond)
	}
}
