package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// putIn puts in the transaction. It gives up long before a server does that
// waits for a lock which it can't have.
func putIn(t testing.TB, s *sqlstore.Store, tx *sql.Tx, r storage.ObjectRecord) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
	defer cancel()
	_, err := s.PutObject(s.WithTx(ctx, tx), r, storage.PutGuard{Now: base})
	return err
}

// TestTxDeadlock provokes a real deadlock between two transactions of the
// application, and wants one of them to be told to try again.
func TestTxDeadlock(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := e.store(t)
		put(t, s, object(t, tenant(1), "a"))
		put(t, s, object(t, tenant(1), "b"))
		try := func(tx *sql.Tx, name string) error { return putIn(t, s, tx, object(t, tenant(1), name)) }
		one, two := begin(t, db), begin(t, db)
		noError(t, try(one, "a"))
		noError(t, try(two, "b"))
		first := make(chan error, 1)
		go func() {
			err := try(one, "b")
			first <- errors.Join(err, one.Rollback())
		}()
		err2 := errors.Join(try(two, "a"), two.Rollback())
		err1 := <-first
		retry := 0
		for _, err := range []error{err1, err2} {
			if isErr(err, sqlstore.ErrRetry) {
				retry++
			} else if err != nil {
				t.Error(err)
			}
			if isErr(err, storage.ErrVersionConflict) || isErr(err, storage.ErrExists) {
				t.Errorf("a deadlock was taken for an answer: %v", err)
			}
		}
		if retry != 1 {
			t.Errorf("%d of two transactions were told to try again: %v, %v", retry, err1, err2)
		}
	})
}

// TestTxLockTimeout has the application's transaction wait for a lock for
// longer than its connection's setting allows: it is told to try again.
func TestTxLockTimeout(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := e.store(t)
		put(t, s, object(t, tenant(1), "a"))
		one, two := begin(t, db), begin(t, db)
		noError(t, putIn(t, s, one, object(t, tenant(1), "a")))
		setting := "SET LOCAL lock_timeout = 100"
		if e.dialect == sqlstore.MySQL {
			setting = "SET innodb_lock_wait_timeout = 1" // in seconds
		}
		_, err := two.Exec(setting)
		noError(t, err)
		err = putIn(t, s, two, object(t, tenant(1), "a"))
		wantErr(t, err, sqlstore.ErrRetry)
		for _, answer := range []error{storage.ErrVersionConflict, storage.ErrExists, storage.ErrUnavailable, context.DeadlineExceeded} {
			if isErr(err, answer) {
				t.Errorf("%v matches %q", err, answer)
			}
		}
		noError(t, two.Rollback())
		noError(t, one.Commit())
	})
}

// TestTxPutsDontWait has two transactions of the application, at its database's
// default isolation, put different objects of one context, old ones and new
// ones: neither waits for the other.
func TestTxPutsDontWait(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := e.store(t)
		for _, name := range []string{"a", "b", "c", "d"} {
			put(t, s, object(t, tenant(1), name))
		}
		one, two := begin(t, db), begin(t, db)
		for _, names := range [][2]string{{"a", "b"}, {"d", "c"}, {"new-1", "new-2"}, {"new-4", "new-3"}} {
			noError(t, putIn(t, s, one, object(t, tenant(1), names[0])))
			noError(t, putIn(t, s, two, object(t, tenant(1), names[1])))
		}
		noError(t, putIn(t, s, one, object(t, tenant(1), "unique-1", unique)))
		noError(t, putIn(t, s, two, object(t, tenant(1), "unique-2", unique)))
		noError(t, two.Commit())
		noError(t, one.Commit())
		for _, name := range []string{"a", "b", "c", "d", "new-1", "new-2", "new-3", "new-4", "unique-1", "unique-2"} {
			if !has(t, s, object(t, tenant(1), name)) {
				t.Errorf("%s isn't there", name)
			}
		}
	})
}

// TestTxMeetsNewRows has another put commit an object after the application's
// transaction has read, and before it puts the same one: it adds a version, or
// is told to try again, and a guard sees what is there.
func TestTxMeetsNewRows(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := e.store(t)
		put(t, s, object(t, tenant(1), "old"))
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		_, err := s.GetObject(ctx, ref(object(t, tenant(1), "old"))) // the snapshot, where there is one
		noError(t, err)
		a := put(t, s, object(t, tenant(1), "a"))
		put(t, s, object(t, tenant(2), "held", unique))
		_, err = s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{IfAbsent: true, Now: base})
		wantErr(t, err, storage.ErrExists)
		_, err = s.PutObject(ctx, object(t, tenant(1), "held", unique), storage.PutGuard{Now: base})
		wantErr(t, err, storage.ErrExists)
		taken := object(t, tenant(1), "b", func(r *storage.ObjectRecord) { r.ID = a.ID })
		_, err = s.PutObject(ctx, taken, storage.PutGuard{Now: base})
		wantErr(t, err, storage.ErrExists)
		taken = object(t, tenant(1), "a", func(r *storage.ObjectRecord) { r.VersionID = a.VersionID })
		_, err = s.PutObject(ctx, taken, storage.PutGuard{Now: base})
		wantErr(t, err, storage.ErrExists)
		got, err := s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{IfVersion: a.VersionID, Now: base})
		noError(t, err)
		if got.ID != a.ID || got.Number != 2 {
			t.Errorf("got number %d", got.Number)
		}
		noError(t, tx.Commit())
		page, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: a.ID})
		if err != nil || len(page.Objects) != 2 || has(t, s, object(t, tenant(1), "b")) || has(t, s, object(t, tenant(1), "held")) {
			t.Errorf("%d versions, %v", len(page.Objects), err)
		}
	})
}

// TestTxUniqueNameRace has two transactions of the application ask for one
// unique name: who comes second waits, is refused when the first one has
// committed, and the rest of its transaction is none the worse for it.
func TestTxUniqueNameRace(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		for _, there := range []bool{true, false} {
			s, db := e.store(t)
			r := object(t, tenant(1), "n", unique)
			if there {
				put(t, s, object(t, tenant(1), "n"))
			}
			put(t, s, object(t, tenant(2), "other"))
			one, two := begin(t, db), begin(t, db)
			noError(t, putIn(t, s, one, object(t, tenant(2), "n", unique)))
			second := make(chan error, 1)
			go func() { second <- putIn(t, s, two, r) }()
			waits(t, e, db)
			noError(t, one.Commit())
			wantErr(t, <-second, storage.ErrExists)
			noError(t, putIn(t, s, two, object(t, tenant(1), "after")))
			noError(t, two.Commit())
			if has(t, s, r) != there || !has(t, s, object(t, tenant(1), "after")) || !has(t, s, object(t, tenant(2), "n")) {
				t.Error("what was committed isn't there")
			}
		}
	})
}

// waits waits until a session waits for a lock in this database.
func waits(t testing.TB, e engine, db *sql.DB) {
	t.Helper()
	until(t, "a session waits for a lock", func() bool { return waiting(t, e, db) > 0 })
}

// waiting is how many sessions wait for a lock in this database.
func waiting(t testing.TB, e engine, db *sql.DB) (n int) {
	t.Helper()
	query := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	if e.dialect == sqlstore.MySQL {
		query = "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND COMMAND <> 'Sleep' AND TIME_MS > 200"
	}
	noError(t, db.QueryRow(query).Scan(&n))
	return n
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}

// TestTxKeyAfterObject adds an object of a new context in the application's
// transaction, and then a key of the same context, which goes past it and would
// wait for the context's row until the transaction ends, which waits for the
// key: the database doesn't see that as a deadlock.
func TestTxKeyAfterObject(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		if e.name == "mariadb-interpolated" {
			e.options += "&innodb_lock_wait_timeout=1" // it waits in pieces
		}
		s, db := e.store(t)
		tx := begin(t, db)
		limited, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		ctx := s.WithTx(limited, tx)
		_, err := s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{Now: base})
		noError(t, err)
		noError(t, s.ImportVersion(ctx, object(t, tenant(2), "b")))
		keys := []storage.KeyRecord{key(t, tenant(1), 1), key(t, tenant(2), 1)}
		errs := make(chan error, len(keys))
		for _, k := range keys {
			go func() { errs <- s.InsertKey(ctx, k) }()
		}
		for range keys {
			err := <-errs
			wantErr(t, err, sqlstore.ErrKeyInTx)
			if isErr(err, storage.ErrUnavailable) || limited.Err() != nil {
				t.Error(err)
			}
		}
		// The transaction is none the worse for it.
		_, err = s.PutObject(ctx, object(t, tenant(1), "c"), storage.PutGuard{Now: base})
		noError(t, err)
		noError(t, tx.Commit())
		if !has(t, s, object(t, tenant(1), "a")) || !has(t, s, object(t, tenant(2), "b")) {
			t.Error("what was committed isn't there")
		}
		for _, k := range keys {
			_, err := s.GetKey(t.Context(), k.KeyID)
			wantErr(t, err, storage.ErrNotFound)
			noError(t, s.InsertKey(t.Context(), k))
		}
	})
}

// TestTxImportsTheSame has two transactions import the very same version: the
// second waits for the first, and then has nothing to do.
func TestTxImportsTheSame(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := e.store(t)
		put(t, s, object(t, tenant(1), "else"))
		r := object(t, tenant(1), "a", func(r *storage.ObjectRecord) { r.CreatedAt, r.Number = r.UpdatedAt, 1 })
		one, two := begin(t, db), begin(t, db)
		noError(t, s.ImportVersion(s.WithTx(t.Context(), one), r))
		done := make(chan error, 1)
		go func() { done <- s.ImportVersion(s.WithTx(t.Context(), two), r) }()
		until(t, "the second waits", func() bool { return waiting(t, e, db) == 1 })
		noError(t, one.Commit())
		noError(t, <-done)
		noError(t, two.Commit())
		other := r
		other.Size++
		tx := begin(t, db)
		wantErr(t, s.ImportVersion(s.WithTx(t.Context(), tx), other), storage.ErrExists)
	})
}
