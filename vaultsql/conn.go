package vaultsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/embedvault/vault"
)

// conn is a connection of another driver that seals fields on their way there.
//
// database/sql asks a connection which optional interfaces it has, and does without
// those that it hasn't. A conn has them all but two: where the inner connection lacks
// one, it does what database/sql would have done. That can't be said of ExecerContext
// and QueryerContext: where a connection has them, arguments are converted before the
// statement is known, which then isn't asked; see outer.
// Results, rows and transactions are the inner driver's own, and so are the texts of
// errors that database/sql would have made.
type conn struct {
	driver.Conn
	v *vault.Vault

	// skipped is what was sealed for a statement that the inner driver didn't want to
	// run without preparing it. database/sql uses a connection from one goroutine at a
	// time.
	skipped *sealedOnce
}

var (
	_ driver.Pinger             = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
	_ driver.ExecerContext      = execConn{}
	_ driver.QueryerContext     = queryConn{}
	_ driver.ExecerContext      = bothConn{}
	_ driver.QueryerContext     = bothConn{}
)

// execConn, queryConn and bothConn are connections that run statements without
// preparing them.
type (
	execConn  struct{ *conn }
	queryConn struct{ *conn }
	bothConn  struct{ *conn }
)

// outer returns the connection as database/sql is to see it.
func (c *conn) outer() driver.Conn {
	_, execs := c.Conn.(driver.ExecerContext)
	_, queries := c.Conn.(driver.QueryerContext)
	if !execs {
		_, execs = c.Conn.(driver.Execer) //nolint:staticcheck // drivers have it
	}
	if !queries {
		_, queries = c.Conn.(driver.Queryer) //nolint:staticcheck // drivers have it
	}
	switch {
	case execs && queries:
		return bothConn{c}
	case execs:
		return execConn{c}
	case queries:
		return queryConn{c}
	}
	return c
}

// inner returns the driver's own connection.
func (c *conn) inner() driver.Conn { return c.Conn }

func (c execConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

func (c queryConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

func (c bothConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

func (c bothConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

func (c *conn) ResetSession(ctx context.Context) error {
	c.skipped = nil
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	inner, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	s := &stmt{Stmt: inner, c: c, query: query}
	if c.skipped != nil && c.skipped.query == query {
		s.once = c.skipped
	}
	c.skipped = nil
	return s, nil
}

func (c *conn) prepare(ctx context.Context, query string) (driver.Stmt, error) {
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, query)
	}
	s, err := c.Conn.Prepare(query)
	if err == nil && ctx.Err() != nil {
		_ = s.Close()
		return nil, ctx.Err()
	}
	return s, err
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.Conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.Isolation != driver.IsolationLevel(sql.LevelDefault) {
		return nil, errors.New("sql: driver does not support non-default isolation level")
	}
	if opts.ReadOnly {
		return nil, errors.New("sql: driver does not support read-only transactions")
	}
	tx, err := c.Conn.Begin() //nolint:staticcheck // what database/sql does with such a driver
	if err == nil && ctx.Err() != nil {
		_ = tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.skipped = nil
	sealed, err := c.seal(ctx, query, args, nil, nil)
	if err != nil {
		return nil, err
	}
	if e, ok := c.Conn.(driver.ExecerContext); ok {
		res, err := e.ExecContext(ctx, query, sealed)
		c.remember(ctx, query, args, sealed, err)
		return res, err
	}
	plain, err := ordinals(ctx, sealed)
	if err != nil {
		return nil, err
	}
	res, err := c.Conn.(driver.Execer).Exec(query, plain) //nolint:staticcheck // outer has looked
	c.remember(ctx, query, args, sealed, err)
	return res, err
}

func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.skipped = nil
	sealed, err := c.seal(ctx, query, args, nil, nil)
	if err != nil {
		return nil, err
	}
	if q, ok := c.Conn.(driver.QueryerContext); ok {
		rows, err := q.QueryContext(ctx, query, sealed)
		c.remember(ctx, query, args, sealed, err)
		return rows, err
	}
	plain, err := ordinals(ctx, sealed)
	if err != nil {
		return nil, err
	}
	rows, err := c.Conn.(driver.Queryer).Query(query, plain) //nolint:staticcheck // outer has looked
	c.remember(ctx, query, args, sealed, err)
	return rows, err
}

// CheckNamedValue lets fields through as they are, to be sealed where there is a ctx.
func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	if takeField(nv) {
		return nil
	}
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

// ordinals are the values of arguments for a driver that knows neither names nor ctx.
func ordinals(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	out := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		out[i] = a.Value
	}
	return out, ctx.Err()
}
