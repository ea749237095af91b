package vaultpgx

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// CopyFrom implements sqlc's DBTX. Rows are sealed as they are sent. The first is
// sealed before a connection is taken, so that the keys are loaded by then.
func (w wrapped) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	sealed := &copySource{ctx: ctx, s: w.s, src: src}
	if err := sealed.begin(); err != nil {
		return 0, err
	}
	n, err := w.db.CopyFrom(ctx, table, columns, sealed)
	if err != nil && sealed.err != nil {
		// pgx sends the reason to the server, and what comes back is only its text.
		err = fmt.Errorf("%w (%w)", sealed.err, err)
	}
	return n, err
}

// copySource seals another one's rows.
type copySource struct {
	ctx context.Context
	s   sealer
	src pgx.CopyFromSource

	rows  int
	first []any // sealed ahead
	ahead bool  // first is there and wasn't given out
	end   bool  // there is no first row
	err   error // of sealing
}

// begin seals the first row.
func (c *copySource) begin() error {
	if c.end = !c.src.Next(); c.end {
		return nil
	}
	c.ahead = true
	var err error
	c.first, err = c.read()
	return err
}

func (c *copySource) read() ([]any, error) {
	c.rows++
	values, err := c.src.Values()
	if err != nil {
		return nil, err
	}
	values, err = c.s.args(c.ctx, values)
	if err != nil {
		c.err = fmt.Errorf("row %d of a copy: %w", c.rows, err)
	}
	return values, c.err
}

// Next implements [pgx.CopyFromSource].
func (c *copySource) Next() bool {
	switch {
	case c.end:
		return false
	case c.ahead:
		c.ahead = false
		return true
	}
	c.first = nil
	return c.src.Next()
}

// Values implements [pgx.CopyFromSource].
func (c *copySource) Values() ([]any, error) {
	if c.first != nil {
		return c.first, nil
	}
	return c.read()
}

// Err implements [pgx.CopyFromSource].
func (c *copySource) Err() error { return c.src.Err() }
