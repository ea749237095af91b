package vaultpgxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/pgxstore"
	"github.com/embedvault/vault/vaultpgx"
	"github.com/embedvault/vault/vaulttest"
)

// TestRetryAfterSerializationFailure gives the same arguments again, in the same batch
// too, after the server made the transaction fail.
func TestRetryAfterSerializationFailure(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.db.Exec(f.ctx, insert, "1", email("old@example.org", "1"), nil, nil)
	noError(t, err)
	args := []any{email("new@example.org", "1"), ssn("078-05-1120", "1")}
	const update = "UPDATE people SET email = $1, ssn = $2"
	b := &pgx.Batch{}
	b.Queue(update, args...)

	serializable := pgx.TxOptions{IsoLevel: pgx.Serializable}
	loser, err := f.db.BeginTx(f.ctx, serializable)
	noError(t, err)
	var n int
	noError(t, loser.QueryRow(f.ctx, "SELECT count(*) FROM people").Scan(&n)) // its snapshot
	_, err = f.db.Exec(f.ctx, "UPDATE people SET name = 'in between'")
	noError(t, err)
	var first *pgconn.PgError
	if _, err = loser.Exec(f.ctx, update, args...); !errors.As(err, &first) || first.Code != "40001" {
		t.Fatalf("the transaction isn't the loser: %v", err)
	}
	noError(t, loser.Rollback(f.ctx))

	var seen [][]byte
	for range 2 {
		noError(t, pgx.BeginTxFunc(f.ctx, f.db, serializable, func(tx pgx.Tx) error {
			_, err := tx.Exec(f.ctx, update, args...)
			if err != nil {
				return err
			}
			return tx.SendBatch(f.ctx, b).Close()
		}))
		var raw []byte
		noError(t, f.pool.QueryRow(f.ctx, "SELECT email FROM people").Scan(&raw))
		seen = append(seen, raw)
	}
	if bytes.Equal(seen[0], seen[1]) {
		t.Error("what is pending was not sealed anew")
	}
	var e vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people").Scan(&e))
	wantOpens(t, e.At("people", "email", "1"), "new@example.org")
}

// TestSavepoint rolls back a part of a transaction, and writes the same again.
func TestSavepoint(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := email("ann@example.org", "1")
	noError(t, pgx.BeginFunc(f.ctx, f.db, func(tx pgx.Tx) error {
		failed := errors.New("not this time")
		err := pgx.BeginFunc(f.ctx, tx, func(sp pgx.Tx) error {
			if _, err := sp.Exec(f.ctx, insert, "1", e, nil, nil); err != nil {
				return err
			}
			return failed
		})
		wantError(t, err, failed)
		_, err = tx.Exec(f.ctx, insert, "1", e, nil, nil)
		return err
	}))
	var got vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people").Scan(&got))
	wantOpens(t, got.At("people", "email", "1"), "ann@example.org")
	_, err := vaultpgx.Wrap(f.v.Vault, beginner{f.pool}).BeginTx(f.ctx, pgx.TxOptions{})
	wantError(t, err, errors.ErrUnsupported)
}

// beginner has no BeginTx.
type beginner struct{ vaultpgx.Conn }

// TestConnectionLost has the server end the session in the middle of what is done with
// it: an error, and the same arguments work afterwards.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := email("ann@example.org", "1")
	lose := func(tx pgx.Tx) {
		if _, err := f.pool.Exec(f.ctx, "SELECT pg_terminate_backend($1)", tx.Conn().PgConn().PID()); err != nil {
			t.Error(err) // on pgx's goroutine, too
		}
	}
	b := &pgx.Batch{}
	b.Queue(insert, "1", e, nil, nil)
	for name, do := range map[string]func(tx pgx.Tx) error{
		"Exec": func(tx pgx.Tx) error {
			lose(tx)
			_, err := tx.Exec(f.ctx, insert, "1", e, nil, nil)
			return err
		},
		"Query": func(tx pgx.Tx) error {
			lose(tx)
			rows, _ := tx.Query(f.ctx, insert+" RETURNING email", "1", e, nil, nil)
			_, err := pgx.CollectRows(rows, pgx.RowTo[vault.Encrypted[string]])
			return err
		},
		"QueryRow": func(tx pgx.Tx) error {
			lose(tx)
			return tx.QueryRow(f.ctx, insert+" RETURNING email", "1", e, nil, nil).Scan(new(vault.Encrypted[string]))
		},
		"batch": func(tx pgx.Tx) error {
			lose(tx)
			return tx.SendBatch(f.ctx, b).Close()
		},
		"copy": func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromSlice(20000, func(i int) ([]any, error) {
				if i == 500 {
					lose(tx)
				}
				id := fmt.Sprint("c", i)
				return []any{id, "acme", email("ann@example.org", id), nil, nil}, nil
			}))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := f.db.Begin(f.ctx)
			noError(t, err)
			if err := do(tx); err == nil {
				t.Error("nobody noticed")
			}
			if err := tx.Commit(f.ctx); err == nil {
				t.Error("it was committed")
			}
		})
	}
	if n := f.count(t, "people"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
	noError(t, f.db.SendBatch(f.ctx, b).Close())
	var got vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people").Scan(&got))
	wantOpens(t, got.At("people", "email", "1"), "ann@example.org")
}

// TestPoolOfOne has the vault's keys in the same database, behind the same single
// connection: what is sealed is sealed before the connection is taken.
func TestPoolOfOne(t *testing.T) {
	t.Parallel()
	// Only what hangs waits for it to end.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for name, write := range writes {
		switch name {
		case "another rewriter", "Begin", "BeginTx", "WrapTx", "a connection", "prepared", "batch with a transaction":
			continue // they hold the connection before there is anything to seal
		}
		t.Run(name, func(t *testing.T) {
			f := setup(t, func(c *pgxpool.Config) { c.MaxConns = 1 })
			store, err := pgxstore.New(f.pool)
			noError(t, err)
			noError(t, store.Migrate(ctx))
			f.v = vaulttest.New(t, func(c *vault.Config) { c.Store = store })
			f.db, f.ctx = vaultpgx.Wrap(f.v.Vault, f.pool), acme(ctx)
			e := email("ann@example.org", "1")
			noError(t, write(f, "1", e, ssn("078-05-1120", "1"), vaultpgx.IndexOf(emailIndex, "ann@example.org")))
			rows, _ := f.db.Query(f.ctx, "SELECT email FROM people WHERE email_bidx = $1", vaultpgx.Lookup(emailIndex, "ann@example.org"))
			got, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[vault.Encrypted[string]])
			noError(t, err)
			wantOpens(t, got.At("people", "email", "1"), "ann@example.org")
		})
	}
}

// TestEnded cancels before and while it is sealed: the error is ctx's, nothing is sent.
func TestEnded(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	_, err := f.db.Exec(ctx, insert, "1", email("ann@example.org", "1"), nil, nil)
	wantError(t, err, context.Canceled)
	if n := f.count(t, "people"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}
