package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"

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
func (d *db) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = d.once(ctx, func(q querier) error {
		n, err = q.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

// Query implements [sqlcore.Querier]. What only reads may be sent again.
func (d *db) Query(ctx context.Context, each func(scan func(dest ...any) error) error, query string, args ...any) error {
	if strings.HasPrefix(query, "SELECT ") {
		return querier{d.pool}.Query(ctx, each, query, args...)
	}
	return d.once(ctx, func(q querier) error { return q.Query(ctx, each, query, args...) })
}

// once runs a statement that may write, on a connection of its own. The pool
// would send it again on another connection where a driver says ErrBadConn, and
// lib/pq says that also of an answer that was lost: what was done would be
// reported as refused, by its own guard. The pool still goes on to another
// connection where it finds out before anything is sent.
func (d *db) once(ctx context.Context, f func(querier) error) error {
	c, err := d.pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return f(querier{c})
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
	if d.dialect == sqlcore.PostgreSQL {
		return begin(ctx, d.pool)
	}
	for try := 1; ; try++ {
		c, err := d.pool.Conn(ctx)
		if err != nil {
			return nil, err
		}
		tx, err := beginByHand(ctx, c, d.dialect, true)
		if err == nil {
			return tx, nil
		}
		_ = c.Close()
		// A connection that was dead before anything was said on it. The pool's
		// own BeginTx goes on to another one, as often.
		if !errors.Is(err, driver.ErrBadConn) || try == 3 {
			return nil, err
		}
	}
}

// conn is one connection out of the pool.
type conn struct {
	querier
	c       *sql.Conn
	dialect sqlcore.Dialect
}

// Begin implements [sqlcore.Session].
func (c *conn) Begin(ctx context.Context) (sqlcore.Tx, error) {
	if c.dialect == sqlcore.PostgreSQL {
		return begin(ctx, c.c)
	}
	return beginByHand(ctx, c.c, c.dialect, false)
}
