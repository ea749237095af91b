package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/embedvault/vault/storage/sqlstore"
)

// openDatabase opens the application's database: PostgreSQL, or SQLite if no URL is
// configured.
func openDatabase(cfg config) (*sql.DB, sqlstore.Dialect, error) {
	if cfg.databaseURL == "" {
		db, err := openSQLite(cfg.dir)
		return db, sqlstore.SQLite, err
	}
	db, err := sql.Open("pgx", cfg.databaseURL)
	if err != nil {
		return nil, 0, err
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, sqlstore.PostgreSQL, nil
}

// openSQLite opens the file in dir. A transaction is a writer from its beginning:
// one that becomes a writer halfway fails if another has written meanwhile.
func openSQLite(dir string) (*sql.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	dsn := url.URL{
		Scheme: "file", OmitHost: true, Path: filepath.ToSlash(filepath.Join(dir, "app.db")),
		RawQuery: url.Values{
			"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "foreign_keys(1)"},
			"_txlock": {"immediate"},
		}.Encode(),
	}
	return sql.Open("sqlite", dsn.String())
}

// schema is the application's own, in what both databases understand. There is no
// secret in it: those are in the vault's tables, encrypted.
const schema = `
CREATE TABLE IF NOT EXISTS tenants (
	id   TEXT PRIMARY KEY,
	name TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tokens (
	token_hash TEXT PRIMARY KEY,
	tenant_id  TEXT NOT NULL REFERENCES tenants (id)
);
CREATE TABLE IF NOT EXISTS integrations (
	tenant_id  TEXT PRIMARY KEY REFERENCES tenants (id),
	account    TEXT NOT NULL UNIQUE,
	updated_at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS payments (
	tenant_id  TEXT NOT NULL REFERENCES tenants (id),
	id         TEXT NOT NULL,
	account    TEXT NOT NULL,
	amount     BIGINT NOT NULL CHECK (amount > 0),
	currency   TEXT NOT NULL,
	status     TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'declined', 'unknown')),
	reference  TEXT NOT NULL DEFAULT '',
	created_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id)
)`

// migrate makes the vault's tables and the application's. Yours may have a tool for
// that: [sqlstore.Store.Schema] has the statements of the vault's.
func (a *app) migrate(ctx context.Context, d sqlstore.Dialect) error {
	if err := a.store.Migrate(ctx); err != nil {
		return err
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if d == sqlstore.PostgreSQL { // two processes that start at once must not make the same table
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext('webapp'))"); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, schema); err != nil {
		return err
	}
	return tx.Commit()
}

// isUnique tells whether a unique index forbade the statement.
func isUnique(err error) bool {
	return sqlState(err) == "23505" ||
		sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_UNIQUE || sqliteCode(err) == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
}

// sqlState returns PostgreSQL's code of an error, or "".
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// sqliteCode returns SQLite's code of an error, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
