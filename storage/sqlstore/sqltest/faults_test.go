package sqltest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/mariaserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
	"github.com/embedvault/vault/storage/storagetest"
)

// TestCancelWhileWaiting ends ctx while a put waits for a lock: it returns
// soon, writes nothing, and leaves no connection or lock behind.
func TestCancelWhileWaiting(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		// Which mattn's driver waits for, whatever becomes of ctx.
		e.options = strings.NewReplacer("busy_timeout=5000", "busy_timeout=1000").Replace(e.options)
		s, db := e.store(t)
		a := put(t, s, object(t, tenant(1), "a"))
		tx := begin(t, db)
		_, err := s.PutObject(s.WithTx(t.Context(), tx), object(t, tenant(1), "a"), storage.PutGuard{Now: base})
		noError(t, err)
		for op, f := range map[string]func(context.Context) error{
			"put": func(ctx context.Context) error {
				_, err := s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{Now: base})
				return err
			},
			"delete": func(ctx context.Context) error { _, err := s.DeleteObject(ctx, ref(a), storage.ID{}); return err },
			"import": func(ctx context.Context) error {
				return s.ImportVersion(ctx, object(t, tenant(1), "a", func(r *storage.ObjectRecord) { r.ID, r.Number = a.ID, 9 }))
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			started := time.Now()
			err := f(ctx)
			cancel()
			if !isErr(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", op, err)
			}
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("%s took %v after its ctx had ended", op, took)
			}
		}
		if e.dialect == sqlstore.PostgreSQL {
			// A put is one statement, which the server would do if it had the lock
			// before the driver's request that it be cancelled.
			until(t, "no session waits for a lock", func() bool { return waiting(t, e, db) == 0 })
		}
		noError(t, tx.Rollback())
		until(t, "no connection is in use", func() bool { return db.Stats().InUse == 0 })
		page, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: a.ID})
		if err != nil || len(page.Objects) != 1 {
			t.Errorf("%d versions, %v", len(page.Objects), err)
		}
		put(t, s, object(t, tenant(1), "a"))
	})
}

// TestDeadlocksAreRetried has transactions of the application and the store's
// own calls lock the same two objects in all orders: the store's calls all
// succeed.
func TestDeadlocksAreRetried(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := e.store(t)
		names := []string{"a", "b"}
		later := storage.PutGuard{Now: base.Add(time.Hour)}
		for _, n := range names {
			put(t, s, object(t, tenant(1), n, unique, expires(base.Add(time.Minute))))
		}
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 15 {
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Error(err)
						return
					}
					for j := range 2 {
						_, err = s.PutObject(s.WithTx(t.Context(), tx), object(t, tenant(1), names[(i+j+w)%2], unique), later)
						if err != nil {
							break
						}
					}
					if err != nil && !isErr(err, sqlstore.ErrRetry) && !isErr(err, storage.ErrExists) {
						t.Error(err)
					}
					if err != nil || i%3 == 0 {
						_ = tx.Rollback()
					} else if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				for i := range 15 {
					_, err := s.PutObject(t.Context(), object(t, tenant(1), names[(i+w)%2]), storage.PutGuard{Now: later.Now, Keep: 2})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestUnreachable stops the server: nothing may look like an answer. When it is
// back, everything works without a new pool.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		srv := pgserver.Start(t, pgserver.Options{Durable: true})
		for _, driver := range []string{"pgx", "postgres"} {
			e := engine{driver: driver, dialect: sqlstore.PostgreSQL}
			dsn, err := srv.NewDatabase(t.Context())
			noError(t, err)
			unreachable(t, e, dsn, srv.Kill, srv.Start)
		}
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		srv := mariaserver.Start(t, mariaserver.Options{Durable: true})
		dsn, err := srv.NewDatabase(t.Context())
		noError(t, err)
		unreachable(t, engine{driver: "mysql", dialect: sqlstore.MySQL}, dsn, srv.Kill, srv.Start)
	})
}

func unreachable(t *testing.T, e engine, dsn string, kill, start func() error) {
	s, err := sqlstore.New(e.open(t, dsn), e.dialect)
	noError(t, err)
	noError(t, s.Migrate(t.Context()))
	k := key(t, tenant(7), 1)
	noError(t, s.InsertKey(t.Context(), k))
	// Puts go on while it is killed: what was acknowledged must be there.
	var acked []storage.ObjectRecord
	killed := make(chan error, 1)
	for i := 0; ; i++ {
		if i == 20 {
			go func() { killed <- kill() }()
		}
		r := object(t, tenant(7), fmt.Sprint("n", i))
		if _, err = s.PutObject(t.Context(), r, storage.PutGuard{Now: base}); err != nil {
			break
		}
		acked = append(acked, r)
	}
	wantErr(t, err, storage.ErrUnavailable)
	noError(t, <-killed)
	for op, err := range everyMethod(t.Context(), t, s) {
		if !isErr(err, storage.ErrUnavailable) || isErr(err, storage.ErrNotFound) {
			t.Errorf("%s: %v", op, err)
		}
	}
	wantErr(t, s.Ping(t.Context()), storage.ErrUnavailable)
	noError(t, start())
	for deadline := time.Now().Add(20 * time.Second); s.Ping(t.Context()) != nil && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // dead connections are left one by one
	}
	_, err = s.GetKey(t.Context(), k.KeyID)
	noError(t, err)
	for _, r := range acked {
		if !has(t, s, r) {
			t.Errorf("%s was acknowledged and is lost", r.Name)
		}
	}
}

func TestClosedPool(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		noError(t, db.Close())
		_, err := s.GetKey(t.Context(), key(t, tenant(1), 1).KeyID)
		wantErr(t, err, storage.ErrClosed)
		_, err = s.PutObject(t.Context(), object(t, tenant(1), "a"), storage.PutGuard{})
		wantErr(t, err, storage.ErrClosed)
	})
}

// TestOddSettings runs the whole suite where the application's connections are
// set up in ways that change what times and text mean, and in the modes of pgx
// in which the server answers in text.
func TestOddSettings(t *testing.T) {
	t.Parallel()
	odd := []engine{
		{"postgres-pgx", "pgx", sqlstore.PostgreSQL, postgresDatabase, "&timezone=America/New_York&datestyle=German&bytea_output=escape&default_transaction_isolation=serializable"},
		{"postgres-exec", "pgx", sqlstore.PostgreSQL, postgresDatabase, "&default_query_exec_mode=exec&timezone=Asia/Kathmandu&default_transaction_isolation=repeatable%20read"},
		{"postgres-simple", "pgx", sqlstore.PostgreSQL, postgresDatabase, "&default_query_exec_mode=simple_protocol&timezone=Asia/Kolkata"},
		{"mariadb", "mysql", sqlstore.MySQL, mariaDatabase, "?parseTime=true&loc=" + url.QueryEscape("America/New_York") +
			"&time_zone=" + url.QueryEscape("'+05:30'") + "&sql_mode=" + url.QueryEscape("'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'") + "&clientFoundRows=true&collation=utf8mb4_general_ci"},
	}
	for _, e := range odd {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e.database(t)
			storagetest.Run(t, storagetest.Harness{
				New:          func(t *testing.T) storage.Store { s, _ := e.store(t); return s },
				CursorDriver: "sql",
			})
		})
	}
}

// TestPacketTooLarge is MariaDB with its default limit.
func TestPacketTooLarge(t *testing.T) {
	t.Parallel()
	srv := mariaserver.Start(t, mariaserver.Options{Settings: []string{"max-allowed-packet=1M"}})
	e := engine{driver: "mysql", dialect: sqlstore.MySQL, options: "?maxAllowedPacket=0", database: func(t testing.TB) string {
		dsn, err := srv.NewDatabase(t.Context())
		noError(t, err)
		return dsn
	}}
	s, _ := e.store(t)
	r := object(t, tenant(1), "a", func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 4<<20) })
	wantErr(t, putErr(t, s, r, storage.PutGuard{}), storage.ErrTooLarge)
	b := put(t, s, object(t, tenant(1), "b"))
	wantErr(t, s.ReplaceEnvelope(t.Context(), b.ID, b.VersionID, b.KeyID, b.KeyID, r.Envelope), storage.ErrTooLarge)
	if has(t, s, r) || !has(t, s, b) {
		t.Error("half of it was written")
	}
}

// TestErrorsNameNoValues looks for values in the errors that are met in daily
// work.
func TestErrorsNameNoValues(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		secret := func(r *storage.ObjectRecord) {
			r.Labels, r.UpdatedBy, r.Envelope = map[string]string{"label-xyzzy": "value-xyzzy"}, "actor-xyzzy", []byte("envelope-xyzzy")
		}
		a := object(t, tenant(1), "name-xyzzy", unique, secret)
		put(t, s, a)
		errs := []error{
			putErr(t, s, object(t, tenant(2), "name-xyzzy", unique, secret), storage.PutGuard{}),
			putErr(t, s, a, storage.PutGuard{}), putErr(t, s, a, storage.PutGuard{IfAbsent: true}),
			s.ImportVersion(t.Context(), object(t, tenant(2), "name-xyzzy", unique, secret)),
		}
		_, err := db.Exec("DROP TABLE vault_versions")
		noError(t, err)
		errs = append(errs, putErr(t, s, a, storage.PutGuard{}))
		for _, err := range errs {
			if err == nil || strings.Contains(err.Error(), "xyzzy") {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestClassifyHook uses a hook for errors that nobody knows.
func TestClassifyHook(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		var seen error
		db := e.open(t, e.database(t))
		s, err := sqlstore.New(db, e.dialect, sqlstore.Options{Classify: func(err error) sqlstore.Class {
			seen = err
			return sqlstore.Unavailable
		}})
		noError(t, err)
		_, err = s.GetSystem(t.Context(), "a")
		wantErr(t, err, storage.ErrUnavailable)
		if seen == nil || !errors.Is(err, seen) {
			t.Errorf("the hook saw %v, the error is %v", seen, err)
		}
	})
}
