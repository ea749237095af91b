package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// runner is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// querier runs statements on a runner. It prepares none: drivers that keep
// prepared statements do so by themselves, and know about poolers.
type querier struct{ on runner }

// Exec implements [sqlcore.Querier].
func (q querier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := q.on.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// Query implements [sqlcore.Querier].
func (q querier) Query(ctx context.Context, each func(scan func(dest ...any) error) error, query string, args ...any) error {
	rows, err := q.on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // what it could say, Err has said
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// db is the pool.
type db struct {
	pool    *sql.DB
	dialect sqlcore.Dialect
}

// joined is under what key a ctx has the application's transaction for a store.
type joined struct{ db *db }

var _ sqlcore.DB = (*db)(nil)

// Exec implements [sqlcore.Querier].
func (d *db) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	return querier{d.pool}.Exec(ctx, query, args...)
}

// Query implements [sqlcore.Querier].
func (d *db) Query(ctx context.Context, each func(scan func(dest ...any) error) error, query string, args ...any) error {
	return querier{d.pool}.Query(ctx, each, query, args...)
}

// Ping implements [sqlcore.DB]. It asks something: not every driver's Ping makes
// a round trip.
func (d *db) Ping(ctx context.Context) error {
	return d.Query(ctx, func(scan func(...any) error) error {
		var one int64
		return scan(&one)
	}, "SELECT 1")
}

// Joined implements [sqlcore.DB].
func (d *db) Joined(ctx context.Context) sqlcore.Querier {
	if tx, _ := ctx.Value(joined{d}).(*sql.Tx); tx != nil {
		return querier{tx}
	}
	return nil
}

// MaxConns implements [sqlcore.DB].
func (d *db) MaxConns() int { return d.pool.Stats().MaxOpenConnections }

// Acquire implements [sqlcore.DB].
func (d *db) Acquire(ctx context.Context) (sqlcore.Session, func(), error) {
	c, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &conn{querier{c}, c, d.dialect}, func() { _ = c.Close() }, nil
}

// Begin implements [sqlcore.Session].
func (d *db) Begin(ctx context.Context) (sqlcore.Tx, error) {
	if d.dialect != sqlcore.SQLite {
		return begin(ctx, d.pool)
	}
	c, err := d.pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := beginImmediate(ctx, c, true)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return tx, nil
}

// conn is one connection out of the pool.
type conn struct {
	querier
	c       *sql.Conn
	dialect sqlcore.Dialect
}

// Begin implements [sqlcore.Session].
func (c *conn) Begin(ctx context.Context) (sqlcore.Tx, error) {
	if c.dialect == sqlcore.SQLite {
		return beginImmediate(ctx, c.c, false)
	}
	return begin(ctx, c.c)
}

// begin names the isolation level: the user's default may be another.
func begin(ctx context.Context, on interface {
	BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
}) (sqlcore.Tx, error) {
	t, err := on.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	return &tx{querier{t}, t}, nil
}

type tx struct {
	querier
	tx *sql.Tx
}

// Commit implements [sqlcore.Tx].
func (t *tx) Commit(context.Context) error { return t.tx.Commit() }

// Rollback implements [sqlcore.Tx]. database/sql gives a connection up that it
// can't roll back.
func (t *tx) Rollback(context.Context) { _ = t.tx.Rollback() }

// writer is a transaction of SQLite's that has the write lock from its
// beginning: database/sql can't say BEGIN IMMEDIATE.
type writer struct {
	querier
	c    *sql.Conn
	owns bool // the connection: it goes back to the pool at the end
}

func beginImmediate(ctx context.Context, c *sql.Conn, owns bool) (sqlcore.Tx, error) {
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		// Had it begun all the same, when ctx ended, the next user of the
		// connection would be in it.
		w := &writer{querier{c}, c, false}
		if ctx.Err() != nil {
			w.Rollback(ctx)
		}
		return nil, err
	}
	return &writer{querier{c}, c, owns}, nil
}

func (w *writer) end() {
	if w.owns {
		_ = w.c.Close()
	}
}

// Commit implements [sqlcore.Tx]. A COMMIT that fails leaves the transaction
// open: it is rolled back.
func (w *writer) Commit(ctx context.Context) error {
	_, err := w.c.ExecContext(ctx, "COMMIT")
	if err != nil {
		w.Rollback(ctx)
		return err
	}
	w.end()
	return nil
}

// Rollback implements [sqlcore.Tx].
func (w *writer) Rollback(ctx context.Context) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := w.c.ExecContext(late, "ROLLBACK"); err != nil {
		_ = w.c.Raw(func(any) error { return driver.ErrBadConn }) // gives it up
	}
	w.end()
}
