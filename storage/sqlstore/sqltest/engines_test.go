// Package sqltest tests package sqlstore on real servers, with the drivers that
// its comment names. It is a module of its own, so that nobody who uses that
// package needs them. Its packages pgserver and mariaserver start the servers.
package sqltest

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/mariaserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/shared"
	"github.com/embedvault/vault/storage/storagetest"
)

// engine is a database with a driver.
type engine struct {
	name    string
	driver  string
	dialect sqlstore.Dialect

	// database makes an empty database and returns its data source name.
	database func(t testing.TB) string
	options  string // added to it
}

// The servers are started by the first test that needs one, and stopped by
// TestMain.
var (
	postgres shared.Server[*pgserver.Server]
	maria    shared.Server[*mariaserver.Server]
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(migrateChild); dsn != "" {
		os.Exit(runMigrateChild(dsn))
	}
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it tells of every connection that is lost
	code := m.Run()
	postgres.Close()
	maria.Close()
	os.Exit(code)
}

func postgresServer(t testing.TB) *pgserver.Server {
	t.Helper()
	return postgres.Get(t, func() (*pgserver.Server, error) {
		return pgserver.New(pgserver.Options{Settings: []string{"deadlock_timeout=50ms"}})
	})
}

func mariaServer(t testing.TB) *mariaserver.Server {
	t.Helper()
	return maria.Get(t, func() (*mariaserver.Server, error) { return mariaserver.New(mariaserver.Options{}) })
}

func postgresDatabase(t testing.TB) string {
	t.Helper()
	dsn, err := postgresServer(t).NewDatabase(t.Context())
	noError(t, err)
	return dsn
}

func mariaDatabase(t testing.TB) string {
	t.Helper()
	dsn, err := mariaServer(t).NewDatabase(t.Context())
	noError(t, err)
	return dsn
}

func sqliteFile(t testing.TB) string {
	t.Helper()
	return "file:" + filepath.Join(t.TempDir(), "vault.db")
}

// engines are all that is tested.
var engines = []engine{
	{"postgres-pgx", "pgx", sqlstore.PostgreSQL, postgresDatabase, ""},
	{"postgres-pq", "postgres", sqlstore.PostgreSQL, postgresDatabase, ""},
	{"mariadb", "mysql", sqlstore.MySQL, mariaDatabase, ""},
	{"mariadb-interpolated", "mysql", sqlstore.MySQL, mariaDatabase, "?interpolateParams=true"},
	{"sqlite-modernc", "sqlite", sqlstore.SQLite, sqliteFile, "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)"},
}

// open opens a pool on a data source name.
func (e engine) open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(e.driver, dsn+e.options)
	noError(t, err)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// store returns a migrated store on a new database, with its pool.
func (e engine) store(t testing.TB, opts ...sqlstore.Options) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := e.open(t, e.database(t))
	s, err := sqlstore.New(db, e.dialect, opts...)
	noError(t, err)
	noError(t, s.Migrate(t.Context()))
	return s, db
}

// each runs a test on every engine, beside other tests: half of the work is the
// servers', and some tests wait.
func each(t *testing.T, f func(t *testing.T, e engine)) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			f(t, e)
		})
	}
}

// where runs a test on the engines whose dialect it is for.
func where(t *testing.T, is func(d sqlstore.Dialect) bool, f func(t *testing.T, e engine)) {
	t.Parallel()
	for _, e := range engines {
		if is(e.dialect) {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				f(t, e)
			})
		}
	}
}

// hasServer says whether a database has more than one writer at a time.
func hasServer(d sqlstore.Dialect) bool { return d != sqlstore.SQLite }

func TestStore(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		e.database(t) // once: where the server is missing, one skip says it all
		dsns := map[storage.Store]string{}
		again := func(t *testing.T, s storage.Store) storage.Store {
			db := e.open(t, dsns[s])
			other, err := sqlstore.New(db, e.dialect)
			noError(t, err)
			dsns[other] = dsns[s]
			return other
		}
		storagetest.Run(t, storagetest.Harness{
			New: func(t *testing.T) storage.Store {
				dsn := e.database(t)
				s, err := sqlstore.New(e.open(t, dsn), e.dialect)
				noError(t, err)
				noError(t, s.Migrate(t.Context()))
				dsns[s] = dsn
				return s
			},
			Reopen:       again,
			Second:       again,
			CursorDriver: "sql",
		})
	})
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
