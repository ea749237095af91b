package sqltest

import (
	"context"
	"database/sql"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// unavailable wants an error that can't be taken for an answer.
func unavailable(t testing.TB, what string, err error) {
	t.Helper()
	if !isErr(err, storage.ErrUnavailable) {
		t.Errorf("%s: got %v", what, err)
	}
	for _, answer := range []error{storage.ErrNotFound, storage.ErrExists, sqlstore.ErrNotMigrated, sqlstore.ErrRetry} {
		if isErr(err, answer) {
			t.Errorf("%s: %v matches %q", what, err, answer)
		}
	}
}

// TestNoConnection has a server that answers, and refuses.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	postgres, maria := postgresDatabase(t), mariaDatabase(t)
	for _, c := range []struct {
		what, driver string
		dialect      sqlstore.Dialect
		dsn          string
	}{
		{"no such database", "pgx", sqlstore.PostgreSQL, strings.Replace(postgres, "/test", "/nothing", 1)},
		{"no such role", "pgx", sqlstore.PostgreSQL, strings.Replace(postgres, "postgres@", "nobody@", 1)},
		{"no TLS", "pgx", sqlstore.PostgreSQL, strings.Replace(postgres, "sslmode=disable", "sslmode=require", 1)},
		{"no such database", "postgres", sqlstore.PostgreSQL, strings.Replace(postgres, "/test", "/nothing", 1)},
		{"no such role", "postgres", sqlstore.PostgreSQL, strings.Replace(postgres, "postgres@", "nobody@", 1)},
		{"no TLS", "postgres", sqlstore.PostgreSQL, strings.Replace(postgres, "sslmode=disable", "sslmode=require", 1)},
		{"no TLS", "mysql", sqlstore.MySQL, maria + "?tls=true"},
		{"no such database", "mysql", sqlstore.MySQL, strings.Replace(maria, "/test", "/nothing", 1)},
		{"no such user", "mysql", sqlstore.MySQL, strings.Replace(maria, "root@", "nobody:x@", 1)},
	} {
		s, err := sqlstore.New(engine{driver: c.driver}.open(t, c.dsn), c.dialect)
		noError(t, err)
		_, err = s.LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
		unavailable(t, c.driver+": "+c.what, err)
	}
}

// TestConnectTimeout is a server that takes connections and says nothing: the
// driver gives up by a deadline of its own, which isn't the caller's.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer func() { _ = l.Close() }()
	cfg, err := pgx.ParseConfig("postgres://postgres@" + l.Addr().String() + "/postgres?sslmode=disable")
	noError(t, err)
	cfg.ConnectTimeout = 200 * time.Millisecond
	for name, c := range map[string]struct {
		db      *sql.DB
		dialect sqlstore.Dialect
	}{
		"pgx":   {stdlib.OpenDB(*cfg), sqlstore.PostgreSQL},
		"mysql": {engine{driver: "mysql"}.open(t, "root@tcp("+l.Addr().String()+")/?timeout=200ms&readTimeout=200ms"), sqlstore.MySQL},
	} {
		s, err := sqlstore.New(c.db, c.dialect)
		noError(t, err)
		unavailable(t, name+": ping", s.Ping(t.Context()))
		_, err = s.LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
		unavailable(t, name+": a key", err)
		unavailable(t, name+": import", s.ImportVersion(t.Context(), object(t, tenant(1), "a")))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err = s.LatestKey(ctx, hashOf(t, tenant(1)), 1)
		cancel()
		wantErr(t, err, context.DeadlineExceeded)
		noError(t, c.db.Close())
	}
}

// TestReadOnlyFile opens SQLite's file for reading: what is there can be read,
// and a write is none that the records refuse.
func TestReadOnlyFile(t *testing.T) {
	where(t, func(d sqlstore.Dialect) bool { return !hasServer(d) }, func(t *testing.T, e engine) {
		dsn := e.database(t)
		db := e.open(t, dsn)
		s, err := sqlstore.New(db, e.dialect)
		noError(t, err)
		noError(t, s.Migrate(t.Context()))
		a := put(t, s, object(t, tenant(1), "a"))
		e.options = strings.Replace(e.options, "?", "?mode=ro&", 1)
		s, err = sqlstore.New(e.open(t, dsn), e.dialect)
		noError(t, err)
		if !has(t, s, a) {
			t.Error("it can't be read")
		}
		unavailable(t, "put", putErr(t, s, object(t, tenant(1), "b"), storage.PutGuard{}))
		unavailable(t, "key", s.InsertKey(t.Context(), key(t, tenant(1), 1)))
		unavailable(t, "envelope", s.ReplaceEnvelope(t.Context(), a.ID, a.VersionID, a.KeyID, key(t, tenant(1), 1).KeyID, nil))
	})
}
