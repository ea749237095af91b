// Package gormtest tests package vaultgorm on real servers and drivers. It is a module
// of its own, so that nobody who uses that package needs them.
package gormtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/libtnb/sqlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/mariaserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/shared"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

// engine is a database with a driver.
type engine struct {
	name     string
	driver   string // of database/sql
	dialect  fieldtest.Dialect
	database func(t testing.TB) string // makes an empty one, and returns its data source name
	open     func(dsn string) gorm.Dialector
}

var engines = []engine{
	{"postgres", "pgx", fieldtest.PostgreSQL, postgresDatabase, postgres.Open},
	{"mariadb", "mysql", fieldtest.MySQL, mariaDatabase, mysql.Open},
	{"sqlite", "sqlite", fieldtest.SQLite, sqliteFile, sqlite.Open},
}

// The servers are started by the first test that needs one, and stopped by TestMain.
var (
	pg    shared.Server[*pgserver.Server]
	maria shared.Server[*mariaserver.Server]
)

func TestMain(m *testing.M) {
	_ = mysqldriver.SetLogger(&mysqldriver.NopLogger{}) // it tells of every connection that is lost
	code := m.Run()
	pg.Close()
	maria.Close()
	os.Exit(code)
}

func postgresDatabase(t testing.TB) string {
	t.Helper()
	s := pg.Get(t, func() (*pgserver.Server, error) { return pgserver.New(pgserver.Options{}) })
	return must(s.NewDatabase(t.Context()))(t)
}

func mariaDatabase(t testing.TB) string {
	t.Helper()
	s := maria.Get(t, func() (*mariaserver.Server, error) { return mariaserver.New(mariaserver.Options{}) })
	return must(s.NewDatabase(t.Context()))(t) + "?parseTime=true"
}

func sqliteFile(t testing.TB) string {
	t.Helper()
	return "file:" + filepath.Join(t.TempDir(), "app.db") + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(20000)&_pragma=synchronous(OFF)&_txlock=immediate"
}

// env is a database that an application uses through GORM.
type env struct {
	e    engine
	db   *gorm.DB // with the tenant org_a in its ctx
	v    *vaulttest.Vault
	raw  *sql.DB // without GORM
	log  *buffer
	dsn  string
	ctx  context.Context
	more []any // models, for others on the same database
}

// buffer is a log that may be written by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var (
	orgA = vault.KeyContext{"organization_id": "org_a"}
	orgB = vault.KeyContext{"organization_id": "org_b"}
)

// options change how GORM is opened.
type options struct {
	gorm.Config
	plugin vaultgorm.Plugin
}

// each runs a test on every engine, with and without prepared statements, on a fresh
// database with the tables of the models.
func each(t *testing.T, models []any, f func(t *testing.T, e *env)) {
	t.Parallel()
	for _, en := range engines {
		for _, prepared := range []bool{false, true} {
			name := en.name
			if prepared {
				name += "-prepared"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f(t, newEnv(t, en, options{Config: gorm.Config{PrepareStmt: prepared}}, models...))
			})
		}
	}
}

// newEnv returns an empty database with the tables of models, of which it has them all
// registered.
func newEnv(t testing.TB, en engine, o options, models ...any) *env {
	t.Helper()
	e := &env{e: en, v: vaulttest.New(t), log: &buffer{}, dsn: en.database(t), more: models}
	e.ctx = vault.WithKeyContext(t.Context(), orgA)
	e.db = e.open(t, o, e.v.Vault)
	if len(models) > 0 {
		ok(t, e.db.AutoMigrate(models...))
	}
	e.raw = must(sql.Open(en.driver, e.dsn))(t)
	t.Cleanup(func() { _ = e.raw.Close() })
	return e
}

// open opens the database once more, with a vault.
func (e *env) open(t testing.TB, o options, v *vault.Vault) *gorm.DB {
	t.Helper()
	o.Logger = logger.New(log.New(e.log, "", 0), logger.Config{LogLevel: logger.Info, SlowThreshold: time.Nanosecond})
	db := must(gorm.Open(e.e.open(e.dsn), &o.Config))(t)
	pool := must(db.DB())(t)
	pool.SetMaxOpenConns(20)
	pool.SetMaxIdleConns(20)
	t.Cleanup(func() { _ = pool.Close() })
	o.plugin.Vault = v
	o.plugin.Models = append(o.plugin.Models, e.more...)
	ok(t, db.Use(o.plugin))
	return db.WithContext(e.ctx)
}

// column returns a column of a row as the database has it; id is in the column id.
func (e *env) column(t testing.TB, table, column, id string) []byte {
	t.Helper()
	q := "SELECT " + column + " FROM " + table + " WHERE id = ?"
	if e.e.dialect == fieldtest.PostgreSQL {
		q = "SELECT " + column + " FROM " + table + " WHERE id = $1"
	}
	var b []byte
	ok(t, e.raw.QueryRowContext(t.Context(), q, id).Scan(&b))
	return b
}

// exec changes the database behind GORM's back.
func (e *env) exec(t testing.TB, q string) {
	t.Helper()
	_, err := e.raw.ExecContext(t.Context(), q)
	ok(t, err)
}

func (e *env) sealed() int    { return len(e.v.Events(vault.FieldEncrypted)) }
func (e *env) decrypted() int { return e.v.Decryptions() }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

// is wants an error that matches class.
func is(t testing.TB, err, class error) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got error %v, want one that matches %q", err, class)
	}
}

// opens wants a field to hold a value; it is opened without help from ctx.
func opens[T comparable](t testing.TB, f vault.Encrypted[T], want T) {
	t.Helper()
	got, err := f.Open(t.Context())
	if err != nil || got != want {
		t.Fatalf("the field opens as %v, %v; want %v", got, err, want)
	}
}
