package pgxtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/pgxstore"
)

func begin(t testing.TB, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	noError(t, err)
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func TestTxCommit(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	before := put(t, s, object(t, tenant(1), "before"))
	tx := begin(t, pool)
	ctx := s.WithTx(t.Context(), tx)
	a := object(t, tenant(1), "a")
	_, err := s.PutObject(ctx, a, now)
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
	wantErr(t, s.ImportVersion(ctx, object(t, tenant(1), "a")), storage.ErrExists)
	_, err = s.PutObject(ctx, object(t, tenant(2), "new context"), now)
	noError(t, err)
	noError(t, tx.Commit(t.Context()))
	if !has(t, s, a) || has(t, s, before) || !has(t, s, object(t, tenant(2), "new context")) {
		t.Error("what was committed isn't there")
	}
	idle(t, pool)
}

// TestTxNil takes the transaction out of ctx, also by what is nil to those who
// write it and not to Go.
func TestTxNil(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	in := s.WithTx(t.Context(), begin(t, pool))
	var none *pgxpool.Tx
	if !s.InTx(in) || s.InTx(s.WithTx(in, nil)) || s.InTx(s.WithTx(in, none)) {
		t.Error("nothing is taken for a transaction")
	}
}

// TestTxRollback wants keys and system records to outlive the transaction in
// which they were made, and objects not.
func TestTxRollback(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	tx := begin(t, pool)
	ctx := s.WithTx(t.Context(), tx)
	k := key(t, tenant(1), 1)
	noError(t, s.InsertKey(ctx, k))
	_, err := s.PutSystem(ctx, storage.SystemRecord{Name: "job", Value: []byte("1")})
	noError(t, err)
	a := object(t, tenant(1), "a", expires(base.Add(time.Hour)))
	_, err = s.PutObject(ctx, a, now)
	noError(t, err)
	noError(t, s.ImportVersion(ctx, object(t, tenant(3), "b")))
	_, err = s.LatestKey(ctx, k.ContextHash, k.Purpose)
	noError(t, err)
	noError(t, tx.Rollback(t.Context()))
	if has(t, s, a) || has(t, s, object(t, tenant(3), "b")) {
		t.Error("an object outlived the rollback")
	}
	_, err = s.GetKey(t.Context(), k.KeyID)
	noError(t, err)
	_, err = s.GetSystem(t.Context(), "job")
	noError(t, err)
	put(t, s, a) // nothing is left of it
	idle(t, pool)
}

// TestTxNested joins a nested transaction, and rolls only that back.
func TestTxNested(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	tx := begin(t, pool)
	a, b := object(t, tenant(1), "a"), object(t, tenant(1), "b")
	_, err := s.PutObject(s.WithTx(t.Context(), tx), a, now)
	noError(t, err)
	nested, err := tx.Begin(t.Context())
	noError(t, err)
	_, err = s.PutObject(s.WithTx(t.Context(), nested), b, now)
	noError(t, err)
	noError(t, nested.Rollback(t.Context()))
	noError(t, tx.Commit(t.Context()))
	if !has(t, s, a) || has(t, s, b) {
		t.Error("the nested transaction wasn't the one that was joined")
	}
}

// TestTxOfAnotherConnection joins a transaction that isn't the pool's, and takes
// it out of the ctx again.
func TestTxOfAnotherConnection(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	noError(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	tx, err := conn.Begin(t.Context())
	noError(t, err)
	ctx := s.WithTx(t.Context(), tx)
	a := object(t, tenant(1), "a")
	_, err = s.PutObject(ctx, a, now)
	noError(t, err)
	_, err = s.GetObject(s.WithTx(ctx, nil), ref(a))
	wantErr(t, err, storage.ErrNotFound)
	noError(t, tx.Commit(ctx))
	if !has(t, s, a) {
		t.Error("what was committed isn't there")
	}
	// A transaction that has ended is an error, and never the pool instead.
	_, err = s.PutObject(ctx, object(t, tenant(1), "b"), now)
	wantErr(t, err, pgx.ErrTxClosed)
	_, err = s.GetObject(ctx, ref(a))
	wantErr(t, err, pgx.ErrTxClosed)
}

// TestTxPoolOfOne is a pool whose only connection has the application's
// transaction: what would wait for another one fails at once.
func TestTxPoolOfOne(t *testing.T) {
	t.Parallel()
	s, pool := store(t, maxConns(1))
	tx := begin(t, pool)
	ctx := s.WithTx(t.Context(), tx)
	k := key(t, tenant(1), 1)
	started := time.Now()
	_, getErr := s.GetKey(ctx, k.KeyID)
	if took := time.Since(started); took > 4*time.Second {
		t.Fatalf("it took %v", took)
	}
	_, latestErr := s.LatestKey(ctx, k.ContextHash, k.Purpose)
	_, listErr := s.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{Hash: k.ContextHash}})
	_, systemErr := s.PutSystem(ctx, storage.SystemRecord{Name: "a"})
	for _, err := range []error{getErr, latestErr, listErr, systemErr, s.InsertKey(ctx, k), s.UpdateKey(ctx, k), s.DeleteKey(ctx, k.KeyID, 1)} {
		wantErr(t, err, pgxstore.ErrKeyInTx)
		if errors.Is(err, storage.ErrNotFound) {
			t.Errorf("%v: after that the vault would make a key", err)
		}
	}
	_, err := s.PutObject(ctx, object(t, tenant(1), "a"), now)
	noError(t, err)
	// More than a statement needs no second connection either.
	noError(t, s.ImportVersion(ctx, object(t, tenant(1), "b")))
	_, err = s.DeleteObject(ctx, ref(object(t, tenant(1), "b")), storage.ID{})
	noError(t, err)
	noError(t, tx.Commit(t.Context()))
	if !has(t, s, object(t, tenant(1), "a")) {
		t.Error("what was committed isn't there")
	}
	noError(t, s.InsertKey(t.Context(), k))
	noError(t, s.ImportVersion(t.Context(), object(t, tenant(1), "c"))) // its own transaction, on the one connection
}

// TestTxAllConnectionsHeld is a pool whose connections are all held by
// transactions that wait for a key: none would ever come free.
func TestTxAllConnectionsHeld(t *testing.T) {
	t.Parallel()
	s, pool := store(t, maxConns(2))
	txs := []pgx.Tx{begin(t, pool), begin(t, pool)}
	errs := make(chan error, len(txs))
	for _, tx := range txs {
		go func() { errs <- s.InsertKey(s.WithTx(t.Context(), tx), key(t, tenant(1), 1)) }()
	}
	for range txs {
		wantErr(t, <-errs, pgxstore.ErrKeyInTx)
	}
	// If it is the ctx that ends, that is the error.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.InsertKey(s.WithTx(ctx, txs[0]), key(t, tenant(1), 1))
	wantErr(t, err, context.DeadlineExceeded)
	if errors.Is(err, pgxstore.ErrKeyInTx) || errors.Is(err, storage.ErrUnavailable) {
		t.Error(err)
	}
}

// TestTxKeyAfterObject adds an object of a new context in the application's
// transaction, and then a key of the same context, which goes past it and would
// wait for the context's row until the transaction ends, which waits for the
// key: PostgreSQL doesn't see that as a deadlock.
func TestTxKeyAfterObject(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	tx := begin(t, pool)
	limited, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	ctx := s.WithTx(limited, tx)
	_, err := s.PutObject(ctx, object(t, tenant(1), "a"), now)
	noError(t, err)
	k := key(t, tenant(1), 1)
	err = s.InsertKey(ctx, k)
	wantErr(t, err, pgxstore.ErrKeyInTx)
	if errors.Is(err, storage.ErrUnavailable) || limited.Err() != nil {
		t.Error(err)
	}
	_, err = s.PutObject(ctx, object(t, tenant(1), "b"), now) // the transaction is none the worse for it
	noError(t, err)
	noError(t, tx.Commit(t.Context()))
	_, err = s.GetKey(t.Context(), k.KeyID)
	wantErr(t, err, storage.ErrNotFound)
	noError(t, s.InsertKey(t.Context(), k))
	if !has(t, s, object(t, tenant(1), "b")) {
		t.Error("what was committed isn't there")
	}
	idle(t, pool)
}

// TestTxSerializationFailure is an application at REPEATABLE READ whose snapshot
// is too old to write.
func TestTxSerializationFailure(t *testing.T) {
	t.Parallel()
	s, pool := store(t)
	a := put(t, s, object(t, tenant(1), "a"))
	tx, err := pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	noError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	ctx := s.WithTx(t.Context(), tx)
	_, err = s.GetObject(ctx, ref(a))
	noError(t, err)
	put(t, s, object(t, tenant(1), "a"))
	_, err = s.PutObject(ctx, object(t, tenant(1), "a"), now)
	wantErr(t, err, pgxstore.ErrRetry)
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("a transaction that failed was committed")
	}
}

// TestVaultInTx is what an application does, with a pool that has no connection
// to spare after Prepare.
func TestVaultInTx(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, pool := store(t, maxConns(1))
	v, err := vault.New(vault.Config{Store: s, KEK: memkek.New("test")})
	noError(t, err)
	kc := vault.KeyContext{"organization_id": "org_acme"}
	_, err = pool.Exec(ctx, "CREATE TABLE integrations (organization text, service text)")
	noError(t, err)
	connect := func(commit bool) error {
		tx := begin(t, pool)
		_, err := tx.Exec(ctx, "INSERT INTO integrations VALUES ($1, $2)", "org_acme", "mail")
		if err == nil {
			_, err = v.Put(s.WithTx(ctx, tx), kc, "mail/api-key", []byte("secret"))
		}
		if err != nil || !commit {
			return errors.Join(err, tx.Rollback(ctx))
		}
		return tx.Commit(ctx)
	}
	wantErr(t, connect(true), pgxstore.ErrKeyInTx)
	noError(t, v.Prepare(ctx, kc))
	noError(t, connect(false))
	_, err = v.Get(ctx, kc, "mail/api-key")
	wantErr(t, err, vault.ErrNotFound)
	noError(t, connect(true))
	got, err := v.Get(ctx, kc, "mail/api-key")
	noError(t, err)
	var rows int
	noError(t, pool.QueryRow(ctx, "SELECT count(*) FROM integrations").Scan(&rows))
	if string(got.Value) != "secret" || rows != 1 {
		t.Errorf("got %d bytes, %d rows", len(got.Value), rows)
	}
}
