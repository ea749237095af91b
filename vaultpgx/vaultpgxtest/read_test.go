package vaultpgxtest

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
)

// lax is what pgx's helpers scan rows into.
type lax struct {
	ID    string
	Email vault.Encrypted[string]
	Ssn   *vault.Encrypted[string] `db:"ssn"`
}

// scanner takes whole rows.
type scanner struct{ lax }

func (s *scanner) ScanRow(rows pgx.Rows) error { return rows.Scan(&s.ID, &s.Email, &s.Ssn) }

const selectThree = "SELECT id, email, ssn FROM people ORDER BY id"

// reads are the ways in which pgx reads rows.
var reads = map[string]func(f *fixture) ([]lax, error){
	"Scan": func(f *fixture) (out []lax, err error) {
		rows, err := f.db.Query(f.ctx, selectThree)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var l lax
			if err := rows.Scan(&l.ID, &l.Email, &l.Ssn); err != nil {
				return nil, err
			}
			out = append(out, l)
		}
		return out, rows.Err()
	},
	"QueryRow": func(f *fixture) ([]lax, error) {
		var l lax
		err := f.db.QueryRow(f.ctx, selectThree).Scan(&l.ID, &l.Email, &l.Ssn)
		return []lax{l}, err
	},
	"text": func(f *fixture) ([]lax, error) {
		var l lax
		rows, _ := f.db.Query(f.ctx, selectThree, pgx.QueryResultFormats{0})
		_, err := pgx.ForEachRow(rows, []any{&l.ID, &l.Email, &l.Ssn}, func() error { return nil })
		return []lax{l}, err
	},
	"RowToStructByName": func(f *fixture) ([]lax, error) {
		rows, _ := f.db.Query(f.ctx, selectThree)
		return pgx.CollectRows(rows, pgx.RowToStructByName[lax])
	},
	"RowToAddrOfStructByPos": func(f *fixture) ([]lax, error) {
		rows, _ := f.db.Query(f.ctx, selectThree)
		got, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByPos[lax])
		var out []lax
		for _, l := range got {
			out = append(out, *l)
		}
		return out, err
	},
	"CollectOneRow": func(f *fixture) ([]lax, error) {
		rows, _ := f.db.Query(f.ctx, selectThree)
		l, err := pgx.CollectOneRow(rows, pgx.RowToStructByNameLax[lax])
		return []lax{l}, err
	},
	"ForEachRow": func(f *fixture) (out []lax, err error) {
		rows, _ := f.db.Query(f.ctx, selectThree)
		var l lax
		_, err = pgx.ForEachRow(rows, []any{&l.ID, &l.Email, &l.Ssn}, func() error {
			out = append(out, l)
			return nil
		})
		return out, err
	},
	"RowScanner": func(f *fixture) (out []lax, err error) {
		rows, _ := f.db.Query(f.ctx, selectThree)
		got, err := pgx.CollectRows(rows, pgx.RowTo[scanner])
		for _, s := range got {
			out = append(out, s.lax)
		}
		return out, err
	},
	"RowScanner of one": func(f *fixture) ([]lax, error) {
		var s scanner
		err := f.db.QueryRow(f.ctx, selectThree).Scan(&s)
		return []lax{s.lax}, err
	},
	"one column": func(f *fixture) (out []lax, err error) {
		rows, _ := f.db.Query(f.ctx, "SELECT email FROM people ORDER BY id")
		got, err := pgx.CollectRows(rows, pgx.RowTo[vault.Encrypted[string]])
		for i, e := range got {
			out = append(out, lax{ID: ids[i], Email: e})
		}
		return out, err
	},
	"array": func(f *fixture) (out []lax, err error) {
		var emails []vault.Encrypted[string]
		err = f.db.QueryRow(f.ctx, "SELECT array_agg(email ORDER BY id) FROM people").Scan(&emails)
		for i, e := range emails {
			out = append(out, lax{ID: ids[i], Email: e})
		}
		return out, err
	},
	"record": func(f *fixture) (out []lax, err error) {
		rows, _ := f.db.Query(f.ctx, "SELECT row(id, email, ssn) FROM people ORDER BY id")
		return pgx.CollectRows(rows, pgx.RowTo[lax])
	},
	"batch": func(f *fixture) (out []lax, err error) {
		b := &pgx.Batch{}
		b.Queue(selectThree)
		br := f.db.SendBatch(f.ctx, b)
		rows, _ := br.Query()
		out, err = pgx.CollectRows(rows, pgx.RowToStructByName[lax])
		return out, errors.Join(err, br.Close())
	},
	"batch of one": func(f *fixture) ([]lax, error) {
		b := &pgx.Batch{}
		b.Queue(selectThree)
		br := f.db.SendBatch(f.ctx, b)
		var l lax
		err := br.QueryRow().Scan(&l.ID, &l.Email, &l.Ssn)
		return []lax{l}, errors.Join(err, br.Close())
	},
	"batch with callbacks": func(f *fixture) (out []lax, err error) {
		b := &pgx.Batch{}
		b.Queue(selectThree).Query(func(rows pgx.Rows) (err error) {
			out, err = pgx.CollectRows(rows, pgx.RowToStructByName[lax])
			return err
		})
		err = f.db.SendBatch(f.ctx, b).Close()
		return out, err
	},
	"transaction": func(f *fixture) (out []lax, err error) {
		err = pgx.BeginFunc(f.ctx, f.db, func(tx pgx.Tx) error {
			rows, _ := tx.Query(f.ctx, selectThree)
			out, err = pgx.CollectRows(rows, pgx.RowToStructByName[lax])
			return err
		})
		return out, err
	},
}

var ids = []string{"1", "2", "3"}

// TestReads reads in every way and in every mode. Each field knows its vault and its
// key context, and only its place must be said.
func TestReads(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			f := setup(t, mode(m))
			for _, id := range ids {
				_, err := f.db.Exec(f.ctx, insert, id, email(id+"@example.org", id), nil, ssn("ssn "+id, id))
				noError(t, err)
			}
			for name, read := range reads {
				if name == "record" && (m == pgx.QueryExecModeExec || m == pgx.QueryExecModeSimpleProtocol) {
					continue // pgx reads records in its binary format only
				}
				t.Run(name, func(t *testing.T) {
					got, err := read(f)
					noError(t, err)
					if len(got) == 0 {
						t.Fatal("no rows")
					}
					for _, l := range got {
						wantOpens(t, l.Email.At("people", "email", l.ID), l.ID+"@example.org")
						if l.Ssn != nil {
							wantOpens(t, l.Ssn.At("people", "ssn", l.ID), "ssn "+l.ID)
						}
					}
				})
			}
		})
	}
}

// TestMapsHoldSealedBytes reads into maps, which no wrapper can do anything about.
func TestMapsHoldSealedBytes(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.db.Exec(f.ctx, insert, "1", email("ann@example.org", "1"), nil, nil)
	noError(t, err)
	rows, _ := f.db.Query(f.ctx, "SELECT email FROM people")
	got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
	noError(t, err)
	e := vault.SealedBytes[string](got["email"].([]byte)).At("people", "email", "1")
	if s, err := e.Open(vault.WithVault(f.ctx, f.v.Vault)); err != nil || s != "ann@example.org" {
		t.Errorf("opened %q, %v", s, err)
	}
}

// TestWhereItIsNotKnown opens what was read without saying where, and with a ctx of
// somebody else.
func TestWhereItIsNotKnown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	_, err := f.db.Exec(f.ctx, insert, "1", email("ann@example.org", "1"), nil, nil)
	noError(t, err)
	var e vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people").Scan(&e))
	_, err = e.Open(f.ctx)
	wantError(t, err, vault.ErrNoLocation)
	_, err = e.At("people", "email", "2").Open(f.ctx)
	wantError(t, err, vault.ErrWrongLocation)
	_, err = e.At("people", "ssn", "1").Open(f.ctx)
	wantError(t, err, vault.ErrWrongLocation)
	_, err = e.At("people", "email", "1").Open(globex(t.Context()))
	wantError(t, err, vault.ErrContextConflict)

	// Read for another tenant, it is another tenant's.
	noError(t, f.db.QueryRow(globex(t.Context()), "SELECT email FROM people").Scan(&e))
	_, err = e.At("people", "email", "1").Open(t.Context())
	wantError(t, err, vault.ErrWrongContext)

	// Read for nobody, the ctx of Open says whose it is.
	noError(t, f.db.QueryRow(t.Context(), "SELECT email FROM people").Scan(&e))
	e = e.At("people", "email", "1")
	_, err = e.Open(t.Context())
	wantError(t, err, vault.ErrNoContext)
	if got, err := e.Open(f.ctx); err != nil || got != "ann@example.org" {
		t.Errorf("opened %q, %v", got, err)
	}
}

// TestTwoVaults reads each vault's rows through its own wrapper.
func TestTwoVaults(t *testing.T) {
	t.Parallel()
	f, other := setup(t), setup(t)
	others := vaultpgx.Wrap(other.v.Vault, f.pool)
	_, err := f.db.Exec(f.ctx, insert, "1", email("ann@example.org", "1"), nil, nil)
	noError(t, err)
	_, err = others.Exec(f.ctx, insert, "2", email("bob@example.org", "2"), nil, nil)
	noError(t, err)
	var mine, theirs vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people WHERE id = '1'").Scan(&mine))
	noError(t, others.QueryRow(f.ctx, "SELECT email FROM people WHERE id = '2'").Scan(&theirs))
	wantOpens(t, mine.At("people", "email", "1"), "ann@example.org")
	wantOpens(t, theirs.At("people", "email", "2"), "bob@example.org")
	noError(t, others.QueryRow(f.ctx, "SELECT email FROM people WHERE id = '1'").Scan(&mine))
	_, err = mine.At("people", "email", "1").Open(f.ctx)
	wantError(t, err, vault.ErrKeyNotFound)
	_, err = others.Exec(f.ctx, "SELECT * FROM people WHERE email_bidx = $1", vaultpgx.Lookup(emailIndex, "ann@example.org"))
	wantError(t, err, vault.ErrKeyNotFound)
}

// TestMethodsOfPgx names all methods of what is wrapped by embedding: a new one of
// pgx's would go past the wrapper, and must be looked at.
func TestMethodsOfPgx(t *testing.T) {
	for typ, want := range map[reflect.Type][]string{
		reflect.TypeFor[pgx.Tx]():           {"Begin", "Commit", "Conn", "CopyFrom", "Exec", "LargeObjects", "Prepare", "Query", "QueryRow", "Rollback", "SendBatch"},
		reflect.TypeFor[pgx.Rows]():         {"Close", "CommandTag", "Conn", "Err", "FieldDescriptions", "Next", "RawValues", "Scan", "TypeMap", "Values"},
		reflect.TypeFor[pgx.Row]():          {"Scan"},
		reflect.TypeFor[pgx.BatchResults](): {"Close", "Exec", "Query", "QueryRow", "Tx"},
	} {
		var got []string
		for m := range typ.Methods() {
			got = append(got, m.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%v has %v, want %v", typ, got, want)
		}
	}
}
