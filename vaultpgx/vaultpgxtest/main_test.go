// Package vaultpgxtest tests package vaultpgx on a real PostgreSQL server. It is a
// module of its own, so that nobody who uses that package needs what the tests do.
package vaultpgxtest

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/shared"
	"github.com/embedvault/vault/vaultpgx"
	"github.com/embedvault/vault/vaulttest"
)

// server is that of all tests: started by the first that needs it, stopped by TestMain.
var server shared.Server[*pgserver.Server]

func TestMain(m *testing.M) {
	code := m.Run()
	server.Close()
	os.Exit(code)
}

// database makes an empty database and returns its URL. Without a server a test fails.
func database(t testing.TB) string {
	t.Helper()
	s := server.Get(t, func() (*pgserver.Server, error) { return pgserver.New(pgserver.Options{}) })
	dsn, err := s.NewDatabase(t.Context())
	noError(t, err)
	return dsn
}

// open opens a pool of up to 5 connections, unless change says otherwise.
func open(t testing.TB, dsn string, change ...func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(dsn)
	noError(t, err)
	cfg.MaxConns = 5
	for _, f := range change {
		f(cfg)
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), cfg)
	noError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

const schema = `
CREATE TABLE people (
	id         text PRIMARY KEY,
	org_id     text NOT NULL,
	name       text,
	email      bytea,
	email_bidx bytea,
	ssn        bytea,
	UNIQUE (org_id, email_bidx)
);
CREATE TABLE odd (id text PRIMARY KEY, note text, number int, doc jsonb, many bytea[]);`

// person is a whole row, as sqlc generates it.
type person struct {
	ID        string                  `db:"id"`
	OrgID     string                  `db:"org_id" vault:"context:organization_id=OrgID"`
	Name      *string                 `db:"name"`
	Email     vault.Encrypted[string] `db:"email" vault:"index:email_bidx,email@1,unique"`
	EmailBidx []byte                  `db:"email_bidx"`
	SSN       vault.Encrypted[string] `db:"ssn"`
}

var emailIndex = vault.Index{Table: "people", Column: "email", Normaliser: "email@1"}

// fixture is a database with the tables, and a vault of its own.
type fixture struct {
	v    *vaulttest.Vault
	dsn  string
	pool *pgxpool.Pool // not wrapped
	db   *vaultpgx.DB
	ctx  context.Context // with the key context of acme
}

func setup(t testing.TB, change ...func(*pgxpool.Config)) *fixture {
	t.Helper()
	f := &fixture{v: vaulttest.New(t), dsn: database(t)}
	f.pool = open(t, f.dsn, change...)
	f.db = vaultpgx.Wrap(f.v.Vault, f.pool)
	f.ctx = acme(t.Context())
	_, err := f.pool.Exec(t.Context(), schema, pgx.QueryExecModeSimpleProtocol)
	noError(t, err)
	return f
}

func (f *fixture) table(t testing.TB) *vaultpgx.Table {
	t.Helper()
	table, err := vaultpgx.NewTable[person](f.v.Vault, "people")
	noError(t, err)
	return table
}

// assertSealed looks for plaintext in every column that is to be sealed.
func (f *fixture) assertSealed(t testing.TB, plaintexts ...string) {
	t.Helper()
	db, err := sql.Open("pgx", f.dsn)
	noError(t, err)
	defer func() { _ = db.Close() }()
	vaulttest.AssertSealed(t, db, "people", "email", plaintexts...)
	vaulttest.AssertSealed(t, db, "people", "ssn", plaintexts...)
}

var _ = stdlib.GetDefaultDriver // registers the driver "pgx"

func acme(ctx context.Context) context.Context   { return org(ctx, "acme") }
func globex(ctx context.Context) context.Context { return org(ctx, "globex") }

func org(ctx context.Context, id string) context.Context {
	return vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": id})
}

// email and ssn are fields in their places.
func email(s, id string) vault.Encrypted[string] { return vault.Seal(s).At("people", "email", id) }
func ssn(s, id string) vault.Encrypted[string]   { return vault.Seal(s).At("people", "ssn", id) }

func mode(m pgx.QueryExecMode) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = m }
}

var modes = []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
	pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// wantOpens opens a field with a ctx that says nothing: all it needs is in it.
func wantOpens(t testing.TB, e vault.Encrypted[string], want string) {
	t.Helper()
	got, err := e.Open(context.WithoutCancel(context.Background()))
	if err != nil || got != want {
		t.Errorf("opened %q, %v; want %q", got, err, want)
	}
}

// count is how many rows a table has.
func (f *fixture) count(t testing.TB, table string) int {
	t.Helper()
	var n int
	noError(t, f.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n))
	return n
}
