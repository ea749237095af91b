// Package vaultsqltest tests package vaultsql on real databases, with the drivers that
// its engines name, and with sqlx. It is a module of its own, so that nobody who uses
// vaultsql needs them.
package vaultsqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	"modernc.org/sqlite"

	"github.com/embedvault/vault/storage/sqlstore/sqltest/mariaserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/shared"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

// engine is a database with a driver.
type engine struct {
	name    string
	bind    string // the driver's name for sqlx
	dialect fieldtest.Dialect

	// connector makes an empty database, and returns the driver's connector.
	connector func(t testing.TB) driver.Connector
}

// engines are all that is tested; mattn_test.go adds one.
var engines = []engine{
	{"postgres-pgx", "pgx", fieldtest.PostgreSQL, pgxConnector(pgx.QueryExecModeCacheStatement)},
	{"postgres-pgx-simple", "pgx", fieldtest.PostgreSQL, pgxConnector(pgx.QueryExecModeSimpleProtocol)},
	{"postgres-pq", "postgres", fieldtest.PostgreSQL, func(t testing.TB) driver.Connector {
		return must(pq.NewConnector(postgresDatabase(t)))(t)
	}},
	{"mariadb", "mysql", fieldtest.MySQL, mysqlConnector("")},
	{"mariadb-interpolated", "mysql", fieldtest.MySQL, mysqlConnector("?interpolateParams=true")},
	{"sqlite-modernc", "sqlite3", fieldtest.SQLite, func(t testing.TB) driver.Connector {
		return opener{&sqlite.Driver{}, sqliteFile(t) + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(60000)&_pragma=synchronous(OFF)&_txlock=immediate"}
	}},
}

func pgxConnector(mode pgx.QueryExecMode) func(t testing.TB) driver.Connector {
	return func(t testing.TB) driver.Connector {
		cfg := must(pgx.ParseConfig(postgresDatabase(t)))(t)
		cfg.DefaultQueryExecMode = mode
		return stdlib.GetConnector(*cfg)
	}
}

func mysqlConnector(options string) func(t testing.TB) driver.Connector {
	return func(t testing.TB) driver.Connector {
		cfg := must(mysql.ParseDSN(mariaDatabase(t) + options))(t)
		return must(mysql.NewConnector(cfg))(t)
	}
}

// opener is a connector of a driver that has none.
type opener struct {
	d   driver.Driver
	dsn string
}

func (o opener) Connect(context.Context) (driver.Conn, error) { return o.d.Open(o.dsn) }

func (o opener) Driver() driver.Driver { return o.d }

func sqliteFile(t testing.TB) string {
	t.Helper()
	return "file:" + filepath.Join(t.TempDir(), "app.db")
}

// open opens a pool.
func open(t testing.TB, c driver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(c)
	db.SetMaxIdleConns(10)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// migrate makes the suite's tables.
func (e engine) migrate(t testing.TB, db *sql.DB) {
	t.Helper()
	for _, statement := range fieldtest.Schema(e.dialect) {
		must(db.ExecContext(t.Context(), statement))(t)
	}
}

// kill ends all connections to a database but the one it is asked over.
func (e engine) kill(ctx context.Context, db *sql.DB) error {
	switch e.dialect {
	case fieldtest.PostgreSQL:
		_, err := db.ExecContext(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		return err
	case fieldtest.MySQL:
		return killMySQL(ctx, db)
	}
	return nil
}

func killMySQL(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var ids []int64
	rows, err := conn.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
	if err != nil {
		return err
	}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, id := range ids {
		var gone *mysql.MySQLError
		if _, err := conn.ExecContext(ctx, "KILL ?", id); err != nil && !errors.As(err, &gone) {
			return err
		}
	}
	return nil
}

// The servers are started by the first test that needs one, and stopped by TestMain.
var (
	postgres shared.Server[*pgserver.Server]
	maria    shared.Server[*mariaserver.Server]
)

func TestMain(m *testing.M) {
	_ = mysql.SetLogger(&mysql.NopLogger{}) // it tells of every connection that is lost
	code := m.Run()
	postgres.Close()
	maria.Close()
	os.Exit(code)
}

func postgresDatabase(t testing.TB) string {
	t.Helper()
	s := postgres.Get(t, func() (*pgserver.Server, error) { return pgserver.New(pgserver.Options{}) })
	return must(s.NewDatabase(t.Context()))(t)
}

func mariaDatabase(t testing.TB) string {
	t.Helper()
	s := maria.Get(t, func() (*mariaserver.Server, error) { return mariaserver.New(mariaserver.Options{}) })
	return must(s.NewDatabase(t.Context()))(t)
}

func must[V any](v V, err error) func(t testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// each runs a test on every engine, beside other tests.
func each(t *testing.T, f func(t *testing.T, e engine)) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			f(t, e)
		})
	}
}
