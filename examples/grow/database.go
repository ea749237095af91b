package main

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/embedvault/vault/storage/sqlstore"
)

// openDatabase opens PostgreSQL, or a SQLite file in dir if there is no URL.
func openDatabase(databaseURL, dir string) (*sql.DB, sqlstore.Dialect, error) {
	if databaseURL != "" {
		db, err := sql.Open("pgx", databaseURL)
		if err != nil {
			return nil, 0, err
		}
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16) // the copy's workers come back for theirs at once
		return db, sqlstore.PostgreSQL, nil
	}
	file := url.URL{
		Scheme: "file", OmitHost: true, Path: filepath.ToSlash(filepath.Join(dir, "vault.sqlite")),
		RawQuery: url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)"}}.Encode(),
	}
	db, err := sql.Open("sqlite", file.String())
	if err != nil {
		return nil, 0, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer: others would only wait, and longer than for a connection
	return db, sqlstore.SQLite, nil
}

// openStore makes the vault's tables, or brings them up to date.
func openStore(ctx context.Context, db *sql.DB, d sqlstore.Dialect) (*sqlstore.Store, error) {
	s, err := sqlstore.New(db, d)
	if err != nil {
		return nil, err
	}
	return s, s.Migrate(ctx)
}
