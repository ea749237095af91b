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
// those that it hasn't. A conn has them all: where the inner connection lacks one, it
// does what database/sql would have done, or says driver.ErrSkip, so that it does it.
// Results, rows and transactions are the inner driver's own.
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
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
)

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
		return nil, errors.New("vaultsql: the driver does not support non-default isolation levels")
	}
	if opts.ReadOnly {
		return nil, errors.New("vaultsql: the driver does not support read-only transactions")
	}
	tx, err := c.Conn.Begin() //nolint:staticcheck // what database/sql does with such a driver
	if err == nil && ctx.Err() != nil {
		_ = tx.Rollback()
		return nil, ctx.Err()
	}
	return tx, err
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.skipped = nil
	ec, hasContext := c.Conn.(driver.ExecerContext)
	e, has := c.Conn.(driver.Execer) //nolint:staticcheck // drivers have it
	if !has && !hasContext {
		return nil, driver.ErrSkip // before anything is sealed for nothing
	}
	sealed, err := c.seal(ctx, query, args, nil, nil)
	if err != nil {
		return nil, err
	}
	var res driver.Result
	if hasContext {
		res, err = ec.ExecContext(ctx, query, sealed)
	} else if plain, e2 := ordinals(ctx, sealed); e2 != nil {
		return nil, e2
	} else {
		res, err = e.Exec(query, plain)
	}
	c.remember(ctx, query, args, sealed, err)
	return res, err
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.skipped = nil
	qc, hasContext := c.Conn.(driver.QueryerContext)
	q, has := c.Conn.(driver.Queryer) //nolint:staticcheck // drivers have it
	if !has && !hasContext {
		return nil, driver.ErrSkip
	}
	sealed, err := c.seal(ctx, query, args, nil, nil)
	if err != nil {
		return nil, err
	}
	var rows driver.Rows
	if hasContext {
		rows, err = qc.QueryContext(ctx, query, sealed)
	} else if plain, e2 := ordinals(ctx, sealed); e2 != nil {
		return nil, e2
	} else {
		rows, err = q.Query(query, plain)
	}
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
			return nil, errors.New("vaultsql: the driver does not support named parameters")
		}
		out[i] = a.Value
	}
	return out, ctx.Err()
}
