package vaultpgx

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// SendBatch implements sqlc's DBTX. The batch isn't changed, and may be sent again,
// after a serialization failure for instance: what is pending in it is sealed anew.
// Nothing is sent if one of its statements can't be sealed; each result then has the
// error.
func (w wrapped) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return &batchResults{w.db.SendBatch(ctx, w.s.batch(ctx, b)), ctx, w.s}
}

// batch returns a sealed copy.
func (s sealer) batch(ctx context.Context, b *pgx.Batch) *pgx.Batch {
	sealed := *b // with the options of its transaction
	sealed.QueuedQueries = make([]*pgx.QueuedQuery, len(b.QueuedQueries))
	var failed error
	for i, q := range b.QueuedQueries {
		own := *q
		sealed.QueuedQueries[i] = &own
		var err error
		own.SQL, own.Arguments, err = s.statement(ctx, q.SQL, q.Arguments)
		if err != nil && failed == nil {
			failed = fmt.Errorf("vaultpgx: statement %d of a batch: %w", i+1, err)
		}
		if fn := q.Fn; fn != nil {
			own.Fn = func(br pgx.BatchResults) error { return fn(&batchResults{br, ctx, s}) }
		}
	}
	if failed != nil { // pgx knows what a batch that isn't sent looks like
		sealed.QueuedQueries[0].Arguments = []any{failingRewriter{failed}}
	}
	return &sealed
}

// failingRewriter stops a batch before it is sent.
type failingRewriter struct{ err error }

// RewriteQuery implements [pgx.QueryRewriter].
func (r failingRewriter) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "", nil, r.err
}

// batchResults binds what its rows are scanned into.
type batchResults struct {
	pgx.BatchResults
	ctx context.Context
	s   sealer
}

// Query implements [pgx.BatchResults].
func (b *batchResults) Query() (pgx.Rows, error) {
	r, err := b.BatchResults.Query()
	return b.s.rows(b.ctx, r), err
}

// QueryRow implements [pgx.BatchResults].
func (b *batchResults) QueryRow() pgx.Row { return b.s.row(b.ctx, b.BatchResults.QueryRow()) }

// Tx implements [pgx.BatchResults].
func (b *batchResults) Tx() pgx.Tx { return b.s.tx(b.BatchResults.Tx()) }
