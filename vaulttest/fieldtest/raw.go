package fieldtest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// Raw is a database without the adapter: what somebody sees and changes who has got at
// it.
type Raw interface {
	// Rows returns all rows of a table in the order of their IDs, each by column; nil
	// is NULL.
	Rows(ctx context.Context, table string) ([]map[string][]byte, error)

	// Set writes a column of a row, as it is.
	Set(ctx context.Context, table, id, column string, value []byte) error
}

// SQL returns the database of db, which must not go through the adapter.
func SQL(db *sql.DB, d Dialect) Raw { return rawSQL{db, d} }

type rawSQL struct {
	db *sql.DB
	d  Dialect
}

func (r rawSQL) Rows(ctx context.Context, table string) (out []map[string][]byte, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT * FROM "+table+" ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new([]byte)
		}
		if err := rows.Scan(values...); err != nil {
			return nil, err
		}
		row := map[string][]byte{}
		for i, c := range columns {
			row[c] = slices.Clone(*values[i].(*[]byte))
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

func (r rawSQL) Set(ctx context.Context, table, id, column string, value []byte) error {
	query := "UPDATE " + table + " SET " + column + " = ? WHERE id = ?"
	if r.d == PostgreSQL {
		query = "UPDATE " + table + " SET " + column + " = $1 WHERE id = $2"
	}
	var arg any
	if value != nil {
		arg = value
	}
	res, err := r.db.ExecContext(ctx, query, arg, id)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("fieldtest: %d rows of %s were changed, want 1 (%v)", n, table, err)
	}
	return nil
}
