package vaultpgx

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/embedvault/vault"
)

// scanned binds what was read to the vault and to the key context of ctx. Where it was
// isn't known here: see [Table.Bind].
func (s sealer) scanned(ctx context.Context, dest []any) {
	for _, d := range dest {
		boxes(d, func(b vault.FieldBox) { b.BindField(ctx, vault.FieldBinding{Vault: s.v}) })
	}
}

// rows binds what it is scanned into. All of pgx that reads rows ends in Scan: helpers
// such as pgx.CollectRows and pgx.RowToStructByName too.
type rows struct {
	pgx.Rows
	ctx context.Context
	s   sealer
}

func (s sealer) rows(ctx context.Context, r pgx.Rows) pgx.Rows {
	if r == nil {
		return nil
	}
	return &rows{r, ctx, s}
}

// Scan implements [pgx.Rows].
func (r *rows) Scan(dest ...any) error {
	err := r.Rows.Scan(r.s.wholeRow(r.ctx, dest)...)
	if err == nil {
		r.s.scanned(r.ctx, dest)
	}
	return err
}

// row is what QueryRow gives.
type row struct {
	pgx.Row
	ctx context.Context
	s   sealer
}

func (s sealer) row(ctx context.Context, r pgx.Row) pgx.Row { return row{r, ctx, s} }

// Scan implements [pgx.Row].
func (r row) Scan(dest ...any) error {
	err := r.Row.Scan(r.s.wholeRow(r.ctx, dest)...)
	if err == nil {
		r.s.scanned(r.ctx, dest)
	}
	return err
}

// rowScanner gives a [pgx.RowScanner] rows that bind, where pgx would give its own.
type rowScanner struct {
	next pgx.RowScanner
	ctx  context.Context
	s    sealer
}

// ScanRow implements [pgx.RowScanner].
func (r rowScanner) ScanRow(rows pgx.Rows) error { return r.next.ScanRow(r.s.rows(r.ctx, rows)) }

// wholeRow wraps a destination that takes the whole row.
func (s sealer) wholeRow(ctx context.Context, dest []any) []any {
	if len(dest) != 1 {
		return dest
	}
	if rs, ok := dest[0].(pgx.RowScanner); ok {
		return []any{rowScanner{rs, ctx, s}}
	}
	return dest
}

// noRows are the rows, and the row, of a statement that wasn't sent.
type noRows struct{ err error }

var _ pgx.Rows = noRows{}

func (noRows) Close()                                       {}
func (r noRows) Err() error                                 { return r.err }
func (noRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (noRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (noRows) Next() bool                                   { return false }
func (r noRows) Scan(...any) error                          { return r.err }
func (r noRows) Values() ([]any, error)                     { return nil, r.err }
func (noRows) RawValues() [][]byte                          { return nil }
func (noRows) Conn() *pgx.Conn                              { return nil }
func (noRows) TypeMap() *pgtype.Map                         { return nil }
