package vaultpgxtest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
)

const insert = "INSERT INTO people (id, org_id, email, email_bidx, ssn) VALUES ($1, 'acme', $2, $3, $4)"

const insertNamed = "INSERT INTO people (id, org_id, email, email_bidx, ssn) VALUES (@id, 'acme', @email, @bidx, @ssn)"

// rewriter is a query rewriter that isn't pgx's.
type rewriter struct{ args []any }

func (r rewriter) RewriteQuery(_ context.Context, conn *pgx.Conn, sql string, _ []any) (string, []any, error) {
	if conn == nil {
		return "", nil, fmt.Errorf("no connection")
	}
	return insert, r.args, nil
}

// writes are all the ways in which a row gets into the table.
var writes = map[string]func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error{
	"Exec": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.Exec(f.ctx, insert, id, e, x, s)
		return err
	},
	"pointers": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		p := &e
		_, err := f.db.Exec(f.ctx, insert, &id, &p, &x, &s)
		return err
	},
	"Query": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		rows, err := f.db.Query(f.ctx, insert+" RETURNING id", id, e, x, s)
		if err != nil {
			return err
		}
		_, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
		return err
	},
	"QueryRow": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		return f.db.QueryRow(f.ctx, insert+" RETURNING id", id, e, x, s).Scan(&id)
	},
	"options": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.Exec(f.ctx, insert, pgx.QueryExecModeExec, id, e, x, s)
		return err
	},
	"NamedArgs": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		unused := vault.Seal("it has no place and goes nowhere")
		_, err := f.db.Exec(f.ctx, insertNamed, pgx.QueryExecModeDescribeExec, pgx.NamedArgs{"id": id, "email": e, "bidx": x, "ssn": &s, "unused": unused})
		return err
	},
	"StrictNamedArgs": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.Exec(f.ctx, insertNamed, pgx.StrictNamedArgs{"id": id, "email": e, "bidx": x, "ssn": s})
		return err
	},
	"StructArgs": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.Exec(f.ctx, insertNamed, pgx.StructArgs(struct {
			ID    string                   `db:"id"`
			Email vault.Encrypted[string]  `db:"email"`
			Bidx  vaultpgx.Index           `db:"bidx"`
			SSN   *vault.Encrypted[string] `db:"ssn"`
		}{id, e, x, &s}))
		return err
	},
	"another rewriter": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.Exec(f.ctx, "", rewriter{[]any{id, e, x, s}})
		return err
	},
	"batch": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		b := &pgx.Batch{}
		b.Queue(insert, id, e, x, s)
		return f.db.SendBatch(f.ctx, b).Close()
	},
	"batch of named": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		b := &pgx.Batch{}
		b.Queue(insertNamed, pgx.NamedArgs{"id": id, "email": e, "bidx": x, "ssn": s}).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != 1 {
				return fmt.Errorf("%d rows", tag.RowsAffected())
			}
			return nil
		})
		return f.db.SendBatch(f.ctx, b).Close()
	},
	"batch with a transaction": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		b := &pgx.Batch{}
		b.BeginTx(pgx.TxOptions{})
		b.Queue("SELECT 1")
		br := f.db.SendBatch(f.ctx, b)
		tx := br.Tx()
		defer func() { _ = tx.Rollback(f.ctx) }()
		if err := br.Close(); err != nil {
			return err
		}
		if _, err := tx.Exec(f.ctx, insert, id, e, x, s); err != nil {
			return err
		}
		return tx.Commit(f.ctx)
	},
	"copy of rows": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		n, err := f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromRows([][]any{{id, "acme", e, x, &s}}))
		if err == nil && n != 1 {
			err = fmt.Errorf("copied %d rows", n)
		}
		return err
	},
	"copy of a slice": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromSlice(1, func(int) ([]any, error) {
			return []any{id, "acme", e, x, s}, nil
		}))
		return err
	},
	"copy of a function": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		rows := [][]any{{id, "acme", e, x, s}, nil}
		_, err := f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromFunc(func() ([]any, error) {
			row := rows[0]
			rows = rows[1:]
			return row, nil
		}))
		return err
	},
	"unnest": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := f.db.Exec(f.ctx, `INSERT INTO people (id, org_id, email, email_bidx, ssn)
			SELECT i, 'acme', e, x, s FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bytea[]) AS u (i, e, x, s)`,
			[]string{id}, []vault.Encrypted[string]{e}, []any{x}, &[]*vault.Encrypted[string]{&s})
		return err
	},
	"Begin": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		return pgx.BeginFunc(f.ctx, f.db, func(tx pgx.Tx) error {
			return pgx.BeginFunc(f.ctx, tx, func(tx pgx.Tx) error { // a savepoint
				_, err := tx.Exec(f.ctx, insert, id, e, x, s)
				return err
			})
		})
	},
	"BeginTx": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		return pgx.BeginTxFunc(f.ctx, f.db, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(insert, id, e, x, s)
			return tx.SendBatch(f.ctx, b).Close()
		})
	},
	"WrapTx": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		return pgx.BeginFunc(f.ctx, f.pool, func(tx pgx.Tx) error {
			_, err := vaultpgx.WrapTx(f.v.Vault, tx).CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromRows([][]any{{id, "acme", e, x, s}}))
			return err
		})
	},
	"a connection": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		c, err := f.pool.Acquire(f.ctx)
		if err != nil {
			return err
		}
		defer c.Release()
		_, err = vaultpgx.Wrap(f.v.Vault, c.Conn()).Exec(f.ctx, insert, id, e, x, s)
		return err
	},
	"prepared": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		return pgx.BeginFunc(f.ctx, f.db, func(tx pgx.Tx) error {
			if _, err := tx.Prepare(f.ctx, "put", insert); err != nil {
				return err
			}
			_, err := tx.Exec(f.ctx, "put", id, e, x, s)
			return err
		})
	},
	"vault of ctx": func(f *fixture, id string, e, s vault.Encrypted[string], x vaultpgx.Index) error {
		_, err := vaultpgx.Wrap(nil, f.pool).Exec(vault.WithVault(f.ctx, f.v.Vault), insert, id, e, x, s)
		return err
	},
}

var copied = []string{"id", "org_id", "email", "email_bidx", "ssn"}

// TestWrites writes a row in every way and in every mode of pgx, and reads it.
func TestWrites(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			f := setup(t, mode(m))
			for name, write := range writes {
				if m == pgx.QueryExecModeSimpleProtocol && name == "prepared" {
					continue // there are none in it
				}
				t.Run(name, func(t *testing.T) {
					address := name + "@Example.org"
					e := email(address, name)
					noError(t, write(f, name, e, ssn("078-05-1120", name), vaultpgx.IndexOf(emailIndex, address)))
					if e.FieldState() != vault.FieldPending {
						t.Error("the caller's field was changed")
					}
					var got person
					noError(t, f.db.QueryRow(f.ctx, "SELECT id, org_id, name, email, email_bidx, ssn FROM people WHERE email_bidx = $1", vaultpgx.Lookup(emailIndex, name+"@example.org")).
						Scan(&got.ID, &got.OrgID, &got.Name, &got.Email, &got.EmailBidx, &got.SSN))
					wantOpens(t, got.Email.At("people", "email", name), address)
					wantOpens(t, got.SSN.At("people", "ssn", name), "078-05-1120")
				})
			}
			f.assertSealed(t, "@Example.org", "078-05-1120")
		})
	}
}

// TestEmptyIsNotNull keeps NULL and the empty string apart, in every mode.
func TestEmptyIsNotNull(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			f := setup(t, mode(m))
			var none *vault.Encrypted[string]
			for id, args := range map[string][]any{
				"null":    {"null", vault.Null[string](), vaultpgx.IndexOf(emailIndex, none), none},
				"nothing": {"nothing", nil, vaultpgx.Index{}, new(vault.Encrypted[string])},
				"empty":   {"empty", email("", "empty"), nil, ssn("", "empty")},
			} {
				_, err := f.db.Exec(f.ctx, insert, args...)
				noError(t, err)
				var e, s vault.Encrypted[string]
				var bidx []byte
				noError(t, f.db.QueryRow(f.ctx, "SELECT email, email_bidx, ssn FROM people WHERE id = $1", id).Scan(&e, &bidx, &s))
				if bidx != nil {
					t.Errorf("%s: it has an index", id)
				}
				if id != "empty" {
					if !e.IsZero() || !s.IsZero() {
						t.Errorf("%s: NULL isn't", id)
					}
					continue
				}
				wantOpens(t, e.At("people", "email", id), "")
				wantOpens(t, s.At("people", "ssn", id), "")
			}
		})
	}
}

// TestCallersArgumentsStay compares what the caller gave with what it has afterwards.
func TestCallersArgumentsStay(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e, s, x := email("ann@example.org", "1"), ssn("078-05-1120", "1"), vaultpgx.IndexOf(emailIndex, "ann@example.org")
	args := []any{"1", e, x, &s}
	named := pgx.NamedArgs{"id": "2", "email": email("bob@example.org", "2"), "bidx": nil, "ssn": nil}
	rows := [][]any{{"3", "acme", email("cyd@example.org", "3"), nil, nil}}
	batch := &pgx.Batch{}
	batch.Queue(insert, "4", email("dan@example.org", "4"), nil, nil)
	batch.Queue("SELECT email FROM people WHERE id = $1", "4").QueryRow(func(row pgx.Row) error {
		var e vault.Encrypted[string]
		if err := row.Scan(&e); err != nil {
			return err
		}
		wantOpens(t, e.At("people", "email", "4"), "dan@example.org")
		return nil
	})
	wasArgs, wasRow, wasBatch := append([]any{}, args...), append([]any{}, rows[0]...), append([]any{}, batch.QueuedQueries[0].Arguments...)

	_, err := f.db.Exec(f.ctx, insert, args...)
	noError(t, err)
	_, err = f.db.Exec(f.ctx, insertNamed, named)
	noError(t, err)
	_, err = f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromRows(rows))
	noError(t, err)
	noError(t, f.db.SendBatch(f.ctx, batch).Close())
	for name, now := range map[string]bool{
		"arguments": sameArgs(args, wasArgs), "row": sameArgs(rows[0], wasRow), "batch": sameArgs(batch.QueuedQueries[0].Arguments, wasBatch),
		"map":     named["email"].(vault.Encrypted[string]).FieldState() == vault.FieldPending,
		"pointer": s.FieldState() == vault.FieldPending,
	} {
		if !now {
			t.Errorf("the caller's %s changed", name)
		}
	}
	// And a batch can be sent again.
	_, err = f.db.Exec(f.ctx, "DELETE FROM people")
	noError(t, err)
	noError(t, f.db.SendBatch(f.ctx, batch).Close())
}

func sameArgs(a, b []any) bool {
	for i := range a {
		if x, ok := a[i].(vaultpgx.Index); ok {
			if reflect.ValueOf(x).Field(0).Pointer() != reflect.ValueOf(b[i]).Field(0).Pointer() {
				return false
			}
			continue
		}
		if !reflect.DeepEqual(a[i], b[i]) && a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestSavedUnchanged writes back what was read: its bytes stay. Where they were read only
// the caller says, and so they are opened once to see whether it is true.
func TestSavedUnchanged(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.db.Exec(f.ctx, insert, "1", email("ann@example.org", "1"), nil, nil)
	noError(t, err)
	raw := func() (b []byte) {
		noError(t, f.pool.QueryRow(t.Context(), "SELECT email FROM people").Scan(&b))
		return b
	}
	before := raw()
	var e vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people").Scan(&e))
	opened := f.v.Decryptions()
	_, err = f.db.Exec(f.ctx, "UPDATE people SET email = $1", e.At("people", "email", "1"))
	noError(t, err)
	if n := f.v.Decryptions() - opened; !bytes.Equal(before, raw()) || n != 1 {
		t.Errorf("it was sealed anew, or opened %d times", n)
	}
	// Elsewhere it is sealed for there.
	_, err = f.db.Exec(f.ctx, insert, "2", e.At("people", "email", "1"), nil, nil)
	noError(t, err) // the caller says that it belongs to row 1: so it is written
	var moved vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people WHERE id = '2'").Scan(&moved))
	_, err = moved.At("people", "email", "2").Open(f.ctx)
	wantError(t, err, vault.ErrWrongLocation)
}
