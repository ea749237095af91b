package pgxtest

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/pgxstore"
)

// unavailable wants an error that can't be taken for an answer.
func unavailable(t testing.TB, err error) {
	t.Helper()
	wantErr(t, err, storage.ErrUnavailable)
	for _, answer := range []error{storage.ErrNotFound, storage.ErrExists, storage.ErrVersionConflict, pgxstore.ErrNotMigrated, pgxstore.ErrRetry} {
		if errors.Is(err, answer) {
			t.Errorf("%v matches %q", err, answer)
		}
	}
}

// TestCancelWhileWaiting ends ctx while calls wait for a lock: they return soon,
// write nothing, and leave no connection or lock behind.
func TestCancelWhileWaiting(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	a := put(t, s, object(t, tenant(1), "a"))
	tx := begin(t, pool)
	_, err := s.PutObject(s.WithTx(t.Context(), tx), object(t, tenant(1), "a"), now)
	noError(t, err)
	mine := begin(t, pool)
	_, err = s.PutObject(s.WithTx(t.Context(), mine), object(t, tenant(1), "before"), now)
	noError(t, err)
	for op, f := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error {
			_, err := s.PutObject(ctx, object(t, tenant(1), "a"), now)
			return err
		},
		"delete": func(ctx context.Context) error { _, err := s.DeleteObject(ctx, ref(a), storage.ID{}); return err },
		"put in a transaction": func(ctx context.Context) error {
			_, err := s.PutObject(s.WithTx(ctx, mine), object(t, tenant(1), "a"), now)
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		returned := make(chan error, 1)
		go func() { returned <- f(ctx) }()
		waiting(t, pool, 1)
		started := time.Now()
		cancel()
		err := <-returned
		wantErr(t, err, context.Canceled)
		if errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", op, err)
		}
		if took := time.Since(started); took > 10*time.Second {
			t.Errorf("%s took %v after its ctx had ended", op, took)
		}
		waiting(t, pool, 0)
	}
	// The connection of the application's transaction is gone, and what it did
	// as well.
	if err := mine.Commit(t.Context()); err == nil {
		t.Error("a transaction was committed after its ctx had ended in the middle")
	}
	noError(t, tx.Rollback(t.Context()))
	idle(t, pool)
	page, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: a.ID})
	noError(t, err)
	if len(page.Objects) != 1 || has(t, s, object(t, tenant(1), "before")) {
		t.Errorf("%d versions", len(page.Objects))
	}
	put(t, s, object(t, tenant(1), "a"))
}

// waiting waits until n sessions wait for locks.
func waiting(t testing.TB, pool *pgxpool.Pool, n int) {
	t.Helper()
	const query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	got := -1
	for deadline := time.Now().Add(30 * time.Second); got != n; time.Sleep(5 * time.Millisecond) {
		noError(t, pool.QueryRow(t.Context(), query).Scan(&got))
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions wait for locks, want %d", got, n)
		}
	}
}

// TestNotAcknowledgedBeforeCommit has the database refuse a put when it commits:
// by then it has sent the rows that say that all is done.
func TestNotAcknowledgedBeforeCommit(t *testing.T) {
	t.Parallel()
	for _, m := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(m.String(), func(t *testing.T) {
			s, pool := store(t, mode(m))
			put(t, s, object(t, tenant(1), "a"))
			for _, st := range []string{
				"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'P0009'; END $$",
				"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON vault_versions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
			} {
				_, err := pool.Exec(t.Context(), st)
				noError(t, err)
			}
			b := object(t, tenant(1), "b")
			_, err := s.PutObject(t.Context(), b, now)
			var said *pgconn.PgError
			if !errors.As(err, &said) || said.Code != "P0009" {
				t.Errorf("got %v", err)
			}
			err = s.ImportVersion(t.Context(), b) // a transaction of the store's
			if !errors.As(err, &said) || said.Code != "P0009" {
				t.Errorf("got %v", err)
			}
			if has(t, s, b) {
				t.Error("it is there")
			}
			idle(t, pool)
		})
	}
}

// TestConnectTimeout is a server that takes connections and says nothing: pgx
// gives up by a deadline of its own, which isn't the caller's.
func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	server(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer func() { _ = l.Close() }()
	pool := open(t, "postgres://postgres@"+l.Addr().String()+"/postgres?sslmode=disable", func(c *pgxpool.Config) {
		c.ConnConfig.ConnectTimeout = 200 * time.Millisecond
	})
	s := on(t, pool)
	unavailable(t, s.Ping(t.Context()))
	_, err = s.LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
	unavailable(t, err)
	unavailable(t, s.ImportVersion(t.Context(), object(t, tenant(1), "a")))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.LatestKey(ctx, hashOf(t, tenant(1)), 1)
	wantErr(t, err, context.DeadlineExceeded)
}

// TestNoConnection has a server that answers, and refuses, or doesn't do what
// the pool asks of every connection.
func TestNoConnection(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	for name, bad := range map[string]string{
		"no such database": strings.Replace(dsn, "/test", "/nothing", 1),
		"no such role":     strings.Replace(dsn, "postgres@", "nobody@", 1),
		"no TLS":           strings.Replace(dsn, "sslmode=disable", "sslmode=require", 1),
	} {
		_, err := on(t, open(t, bad)).LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
		unavailable(t, err)
		var failed *pgconn.ConnectError
		if !errors.As(err, &failed) {
			t.Errorf("%s: pgx's error is lost: %v", name, err)
		}
	}
}

// TestConnectionEnded has the server end connections: one that is in a
// transaction of the application's, and one that such a transaction left idle.
func TestConnectionEnded(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	tx := begin(t, pool)
	ctx := s.WithTx(t.Context(), tx)
	_, err := s.PutObject(ctx, object(t, tenant(1), "a"), now)
	noError(t, err)
	_, err = pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", int32(tx.Conn().PgConn().PID()))
	noError(t, err)
	_, err = s.GetObject(ctx, ref(object(t, tenant(1), "a")))
	unavailable(t, err)
	if err := tx.Commit(t.Context()); err == nil || has(t, s, object(t, tenant(1), "a")) {
		t.Error("it was committed")
	}

	tx = begin(t, pool)
	ctx = s.WithTx(t.Context(), tx)
	_, err = tx.Exec(t.Context(), "SET LOCAL idle_in_transaction_session_timeout = 50")
	noError(t, err)
	gone(t, pool, tx.Conn().PgConn().PID())
	_, err = s.GetObject(ctx, ref(object(t, tenant(1), "a")))
	unavailable(t, err)
	_ = tx.Rollback(t.Context())
	put(t, s, object(t, tenant(1), "a"))
	idle(t, pool)
}

// TestLateDenial is a session that the server ends with an error when it is
// used next, such as after a time-out of idle sessions.
func TestLateDenial(t *testing.T) {
	t.Parallel()
	s, pool := store(t, maxConns(1), func(c *pgxpool.Config) {
		c.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false }
	})
	var pid uint32
	noError(t, pool.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid))
	_, err := pool.Exec(t.Context(), "SET idle_session_timeout = 50")
	noError(t, err)
	gone(t, open(t, server(t).DSN()), pid)
	_, err = s.LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
	unavailable(t, err)
	noError(t, s.InsertKey(t.Context(), key(t, tenant(1), 1)))
}

// gone waits until the server has ended a session.
func gone(t testing.TB, pool *pgxpool.Pool, pid uint32) {
	t.Helper()
	n := 1
	for deadline := time.Now().Add(30 * time.Second); n > 0; time.Sleep(10 * time.Millisecond) {
		noError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", int32(pid)).Scan(&n))
		if time.Now().After(deadline) {
			t.Fatal("the session doesn't end")
		}
	}
}

func TestClosedPool(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	pool.Close()
	_, err := s.LatestKey(t.Context(), hashOf(t, tenant(1)), 1)
	wantErr(t, err, storage.ErrClosed)
	wantErr(t, s.Ping(t.Context()), storage.ErrClosed)
	_, err = s.PutObject(t.Context(), object(t, tenant(1), "a"), now)
	wantErr(t, err, storage.ErrClosed)
	wantErr(t, s.ImportVersion(t.Context(), object(t, tenant(1), "a")), storage.ErrClosed)
}
