package pgxstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// runner is what *pgxpool.Pool, *pgxpool.Conn and pgx.Tx have in common.
type runner interface {
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// querier runs statements on a runner. How pgx sends them is the user's
// setting (QueryExecMode): every parameter has its cast in the text, so that
// they mean the same in every mode.
type querier struct{ on runner }

// Exec implements [sqlcore.Querier].
func (q querier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	tag, err := q.on.Exec(ctx, query, args...)
	return tag.RowsAffected(), err
}

// Query implements [sqlcore.Querier]. Outside a transaction the server commits
// only after the last row: a write that Err refuses was not done, whatever the
// rows said.
func (q querier) Query(ctx context.Context, each func(scan func(dest ...any) error) error, query string, args ...any) error {
	rows, err := q.on.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// db is the pool.
type db struct {
	querier
	pool *pgxpool.Pool
	max  int
}

func newDB(pool *pgxpool.Pool) *db {
	return &db{querier{pool}, pool, int(pool.Stat().MaxConns())}
}

// joined is under what key a ctx has the application's transaction for a store.
type joined struct{ db *db }

var _ sqlcore.DB = (*db)(nil)

// Ping implements [sqlcore.DB].
func (d *db) Ping(ctx context.Context) error { return d.pool.Ping(ctx) }

// Joined implements [sqlcore.DB].
func (d *db) Joined(ctx context.Context) sqlcore.Querier {
	if tx, _ := ctx.Value(joined{d}).(pgx.Tx); tx != nil {
		return querier{tx}
	}
	return nil
}

// MaxConns implements [sqlcore.DB]. A pool's limit never changes.
func (d *db) MaxConns() int { return d.max }

// Acquire implements [sqlcore.DB].
func (d *db) Acquire(ctx context.Context) (sqlcore.Session, func(), error) {
	c, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &conn{querier{c}, c}, c.Release, nil
}

// Begin implements [sqlcore.Session].
func (d *db) Begin(ctx context.Context) (sqlcore.Tx, error) { return begin(ctx, d.pool) }

// conn is one connection out of the pool.
type conn struct {
	querier
	c *pgxpool.Conn
}

// Begin implements [sqlcore.Session].
func (c *conn) Begin(ctx context.Context) (sqlcore.Tx, error) { return begin(ctx, c.c) }

// begin names the isolation level: the user's default may be another.
func begin(ctx context.Context, on interface {
	BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
}) (sqlcore.Tx, error) {
	t, err := on.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return nil, err
	}
	return &tx{querier{t}, t}, nil
}

type tx struct {
	querier
	tx pgx.Tx
}

// Commit implements [sqlcore.Tx].
func (t *tx) Commit(ctx context.Context) error { return t.tx.Commit(ctx) }

// rollbackFor is how long a rollback may take after its ctx has ended. Where
// ctx ended during a statement pgx has closed the connection, and it takes none.
const rollbackFor = 2 * time.Second

// Rollback implements [sqlcore.Tx]. pgx closes a connection that it can't roll
// back, and the pool then drops it.
func (t *tx) Rollback(ctx context.Context) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackFor)
	defer cancel()
	_ = t.tx.Rollback(late)
}
