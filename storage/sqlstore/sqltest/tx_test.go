package sqltest

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

func begin(t testing.TB, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	noError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func TestTxCommit(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		before := put(t, s, object(t, tenant(1), "before"))
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		a := object(t, tenant(1), "a")
		_, err := s.PutObject(ctx, a, storage.PutGuard{Now: base})
		noError(t, err)
		_, err = s.GetObject(ctx, ref(a))
		noError(t, err)
		_, err = s.DeleteObject(ctx, ref(before), storage.ID{})
		noError(t, err)
		if has(t, s, a) || !has(t, s, before) {
			t.Error("others see what isn't committed")
		}
		// What is refused changes nothing, and the transaction goes on.
		_, err = s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{IfAbsent: true, Now: base})
		wantErr(t, err, storage.ErrExists)
		_, err = s.PutObject(ctx, object(t, tenant(1), "b"), storage.PutGuard{IfVersion: a.VersionID, Now: base})
		wantErr(t, err, storage.ErrVersionConflict)
		_, err = s.PutObject(ctx, object(t, tenant(1), "c", func(r *storage.ObjectRecord) { r.ID = a.ID }), storage.PutGuard{})
		wantErr(t, err, storage.ErrExists)
		wantErr(t, s.ImportVersion(ctx, object(t, tenant(1), "a")), storage.ErrExists)
		_, err = s.PutObject(ctx, object(t, tenant(2), "new context"), storage.PutGuard{Now: base})
		noError(t, err)
		noError(t, tx.Commit())
		if !has(t, s, a) || has(t, s, before) || !has(t, s, object(t, tenant(2), "new context")) {
			t.Error("what was committed isn't there")
		}
	})
}

// TestTxRollback wants keys to outlive the transaction in which they were made,
// and objects not.
func TestTxRollback(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		k := key(t, tenant(1), 1)
		err := s.InsertKey(ctx, k)
		if e.dialect == sqlstore.SQLite {
			wantErr(t, err, sqlstore.ErrKeyInTx)
		} else {
			noError(t, err)
		}
		a := object(t, tenant(1), "a", expires(base.Add(time.Hour)))
		_, err = s.PutObject(ctx, a, storage.PutGuard{Now: base})
		noError(t, err)
		noError(t, s.ImportVersion(ctx, object(t, tenant(3), "b")))
		if _, err := s.LatestKey(ctx, k.ContextHash, k.Purpose); e.dialect != sqlstore.SQLite {
			noError(t, err)
		}
		noError(t, tx.Rollback())
		if has(t, s, a) || has(t, s, object(t, tenant(3), "b")) {
			t.Error("an object outlived the rollback")
		}
		_, err = s.GetKey(t.Context(), k.KeyID)
		if e.dialect != sqlstore.SQLite {
			noError(t, err)
		}
		put(t, s, a) // nothing is left of it
	})
}

// TestTxSQLiteHoldsTheLock wants a typed error, and at once, where the
// application's transaction has written already.
func TestTxSQLiteHoldsTheLock(t *testing.T) {
	where(t, func(d sqlstore.Dialect) bool { return !hasServer(d) }, func(t *testing.T, e engine) {
		s, db := e.store(t)
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		_, err := s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{Now: base})
		noError(t, err)
		started := time.Now()
		k := key(t, tenant(1), 1)
		wantErr(t, s.InsertKey(ctx, k), sqlstore.ErrKeyInTx)
		wantErr(t, s.UpdateKey(ctx, k), sqlstore.ErrKeyInTx)
		wantErr(t, s.DeleteKey(ctx, k.KeyID, 1), sqlstore.ErrKeyInTx)
		_, err = s.PutSystem(ctx, storage.SystemRecord{Name: "a"})
		wantErr(t, err, sqlstore.ErrKeyInTx)
		_, err = s.GetKey(ctx, k.KeyID) // reading is no trouble
		wantErr(t, err, storage.ErrNotFound)
		if took := time.Since(started); took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		noError(t, tx.Commit())
		noError(t, s.InsertKey(t.Context(), k))
	})
}

func TestTxPoolOfOne(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		db.SetMaxOpenConns(1)
		k := key(t, tenant(1), 1)
		noError(t, s.InsertKey(t.Context(), k))
		put(t, s, object(t, tenant(1), "a"))
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		started := time.Now()
		_, err := s.GetKey(ctx, k.KeyID)
		wantErr(t, err, sqlstore.ErrKeyInTx)
		wantErr(t, s.InsertKey(ctx, key(t, tenant(1), 2)), sqlstore.ErrKeyInTx)
		if took := time.Since(started); took > 4*time.Second {
			t.Errorf("it took %v", took)
		}
		_, err = s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{Now: base})
		noError(t, err)
		noError(t, tx.Commit())
		_, err = s.GetKey(t.Context(), k.KeyID)
		noError(t, err)
	})
}

// TestTxAllConnectionsHeld is a pool whose connections are all held by
// transactions that wait for a key: none would ever come free.
func TestTxAllConnectionsHeld(t *testing.T) {
	t.Parallel()
	e := engines[0]
	s, db := e.store(t)
	db.SetMaxOpenConns(2)
	one, two := begin(t, db), begin(t, db)
	errs := make(chan error, 2)
	for _, tx := range []*sql.Tx{one, two} {
		go func() { errs <- s.InsertKey(s.WithTx(t.Context(), tx), key(t, tenant(1), 1)) }()
	}
	for range 2 {
		wantErr(t, <-errs, sqlstore.ErrKeyInTx)
	}
}

func TestTxTwoStoresInOneContext(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s1, db1 := e.store(t)
		s2, db2 := e.store(t)
		tx1, tx2 := begin(t, db1), begin(t, db2)
		ctx := s2.WithTx(s1.WithTx(t.Context(), tx1), tx2)
		a := object(t, tenant(1), "a")
		for _, s := range []*sqlstore.Store{s1, s2} {
			_, err := s.PutObject(ctx, a, storage.PutGuard{Now: base})
			noError(t, err)
		}
		noError(t, tx1.Rollback())
		noError(t, tx2.Commit())
		if has(t, s1, a) || !has(t, s2, a) {
			t.Error("a transaction of one store was taken for the other's")
		}
	})
}

// TestTxSerializationFailure is an application at REPEATABLE READ whose snapshot
// is too old to write.
func TestTxSerializationFailure(t *testing.T) {
	where(t, func(d sqlstore.Dialect) bool { return d == sqlstore.PostgreSQL }, func(t *testing.T, e engine) {
		s, db := e.store(t)
		a := put(t, s, object(t, tenant(1), "a"))
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		noError(t, err)
		defer func() { _ = tx.Rollback() }()
		ctx := s.WithTx(t.Context(), tx)
		_, err = s.GetObject(ctx, ref(a))
		noError(t, err)
		put(t, s, object(t, tenant(1), "a"))
		_, err = s.PutObject(ctx, object(t, tenant(1), "a"), storage.PutGuard{Now: base})
		wantErr(t, err, sqlstore.ErrRetry)
	})
}

// TestTxSeesItsOwnExpiry replaces an expired object and evicts the expired
// holder of a unique name inside a transaction that is rolled back.
func TestTxReplacesExpired(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		old := put(t, s, object(t, tenant(1), "n", unique, expires(base.Add(time.Minute))))
		own := put(t, s, object(t, tenant(2), "n", expires(base.Add(time.Minute))))
		later := storage.PutGuard{Now: base.Add(time.Hour)}
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		got, err := s.PutObject(ctx, object(t, tenant(2), "n", unique), later)
		noError(t, err)
		if got.Number != 1 || got.ID == own.ID {
			t.Errorf("got number %d", got.Number)
		}
		_, err = s.GetObject(ctx, storage.ObjectRef{ID: old.ID})
		wantErr(t, err, storage.ErrNotFound)
		noError(t, tx.Rollback())
		for _, r := range []storage.ObjectRecord{old, own} {
			if _, err := s.GetObject(context.WithoutCancel(t.Context()), storage.ObjectRef{ID: r.ID}); err != nil {
				t.Error(err)
			}
		}
	})
}
