package vaultpgx

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/embedvault/vault"
)

// Conn is what *pgxpool.Pool, *pgxpool.Conn, *pgx.Conn and [pgx.Tx] have in common.
type Conn interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Begin(ctx context.Context) (pgx.Tx, error)
}

// DB is a pool or a connection of pgx that seals encrypted fields among the arguments
// of its statements, and binds those that its rows are scanned into. It is what sqlc's
// New takes, and pgx.BeginFunc and pgx.BeginTxFunc. It is as safe for concurrent use as
// what it wraps.
type DB struct{ wrapped }

var _ Conn = (*DB)(nil)

// Wrap returns db with v's encryption. v may be nil: then [vault.WithVault] says which
// vault. Neither is closed by it, and whoever uses db itself bypasses it: a field that
// isn't sealed is refused there, with [vault.ErrPending].
func Wrap(v *vault.Vault, db Conn) *DB { return &DB{wrapped{db, sealer{v}}} }

// WrapTx is [Wrap] for a transaction that was begun on what isn't wrapped. Those that a
// [DB] begins are wrapped.
func WrapTx(v *vault.Vault, tx pgx.Tx) pgx.Tx { return sealer{v}.tx(tx) }

// BeginTx begins a transaction with options. What is wrapped must have a BeginTx, as
// pools and connections have; a [pgx.Tx] has none.
func (db *DB) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	b, ok := db.db.(interface {
		BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
	})
	if !ok {
		return nil, fmt.Errorf("vaultpgx: begin: %w: a %T has no BeginTx; use Begin", errors.ErrUnsupported, db.db)
	}
	tx, err := b.BeginTx(ctx, opts)
	return db.s.tx(tx), err
}

// wrapped is what all that is wrapped does.
type wrapped struct {
	db Conn
	s  sealer
}

// Exec implements sqlc's DBTX.
func (w wrapped) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	sql, args, err := w.s.statement(ctx, sql, args)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return w.db.Exec(ctx, sql, args...)
}

// Query implements sqlc's DBTX. As with pgx the rows are never nil, and have the error
// too.
func (w wrapped) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	sql, args, err := w.s.statement(ctx, sql, args)
	if err != nil {
		return noRows{err: err}, err
	}
	r, err := w.db.Query(ctx, sql, args...)
	return w.s.rows(ctx, r), err
}

// QueryRow implements sqlc's DBTX.
func (w wrapped) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	sql, args, err := w.s.statement(ctx, sql, args)
	if err != nil {
		return noRows{err: err}
	}
	return w.s.row(ctx, w.db.QueryRow(ctx, sql, args...))
}

// Begin begins a transaction, or a savepoint in one. It is wrapped.
func (w wrapped) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := w.db.Begin(ctx)
	return w.s.tx(tx), err
}

// tx is a wrapped transaction. What of [pgx.Tx] isn't here goes to it as it is.
type tx struct {
	pgx.Tx
	wrapped
}

func (s sealer) tx(t pgx.Tx) pgx.Tx {
	if t == nil {
		return nil
	}
	return &tx{t, wrapped{t, s}}
}

// The methods of wrapped, which pgx.Tx has too.

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.wrapped.Exec(ctx, sql, args...)
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return t.wrapped.Query(ctx, sql, args...)
}

func (t *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return t.wrapped.QueryRow(ctx, sql, args...)
}

func (t *tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return t.wrapped.CopyFrom(ctx, table, columns, src)
}

func (t *tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.wrapped.SendBatch(ctx, b)
}

func (t *tx) Begin(ctx context.Context) (pgx.Tx, error) { return t.wrapped.Begin(ctx) }
