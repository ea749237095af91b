package vaultpgxtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
)

// TestNothingIsSentUnsealed gives fields that can't be sealed to every way of writing:
// nothing is sent, and the connection goes on.
func TestNothingIsSentUnsealed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	placed, nowhere := email("ann@example.org", "1"), vault.Seal("ann@example.org")
	none := vaultpgx.Index{}
	nobody := *f
	nobody.ctx = t.Context()
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			if err := write(f, "1", nowhere, placed, none); !errors.Is(err, vault.ErrNoLocation) {
				t.Errorf("without a place: %v", err)
			}
			if err := write(f, "1", placed, vault.Seal("x").At("people", "ssn", ""), none); !errors.Is(err, vault.ErrInvalidLocation) {
				t.Errorf("with a bad place: %v", err)
			}
			if err := write(&nobody, "1", placed, placed, none); !errors.Is(err, vault.ErrNoContext) {
				t.Errorf("without a key context: %v", err)
			}
			if err := write(f, "1", placed, placed, vaultpgx.Lookup(vault.Index{Table: "people"}, "x")); !errors.Is(err, vault.ErrInvalidIndex) {
				t.Errorf("with a bad index: %v", err)
			}
		})
	}
	_, err := vaultpgx.Wrap(nil, f.pool).Exec(f.ctx, insert, "1", placed, nil, nil)
	wantError(t, err, vault.ErrNoVault)
	if n := f.count(t, "people"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

// TestRowsOfARefusedQuery looks at what pgx's helpers make of it, error ignored.
func TestRowsOfARefusedQuery(t *testing.T) {
	t.Parallel()
	f := setup(t)
	rows, err := f.db.Query(f.ctx, "SELECT $1::bytea", vault.Seal("x"))
	wantError(t, err, vault.ErrNoLocation)
	_, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
	wantError(t, err, vault.ErrNoLocation)
	rows, _ = f.db.Query(f.ctx, "SELECT $1::bytea", vault.Seal("x"))
	_, err = pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	wantError(t, err, vault.ErrNoLocation)
	wantError(t, rows.Scan(new([]byte)), vault.ErrNoLocation)
	if _, err := rows.Values(); !errors.Is(err, vault.ErrNoLocation) || rows.Next() || rows.RawValues() != nil ||
		rows.FieldDescriptions() != nil || rows.Conn() != nil || rows.TypeMap() != nil || rows.CommandTag().RowsAffected() != 0 {
		t.Error("rows that aren't there have something")
	}

	b := &pgx.Batch{}
	b.BeginTx(pgx.TxOptions{})
	b.Queue("SELECT 1")
	b.Queue(insert, "1", vault.Seal("x"), nil, nil)
	br := f.db.SendBatch(f.ctx, b)
	_, err = br.Exec()
	wantError(t, err, vault.ErrNoLocation)
	_, err = br.Query()
	wantError(t, err, vault.ErrNoLocation)
	wantError(t, br.QueryRow().Scan(new(int)), vault.ErrNoLocation)
	wantError(t, br.Close(), vault.ErrNoLocation)
	wantError(t, br.Tx().Commit(f.ctx), pgx.ErrTxClosed)
}

// TestCopyBreaksOff fails to seal a row in the middle of a copy: nothing of it is
// written, and the reason comes back as what it is.
func TestCopyBreaksOff(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const bad = 5000
	_, err := f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromSlice(2*bad, func(i int) ([]any, error) {
		id := fmt.Sprint(i)
		if i == bad {
			return []any{id, "acme", vault.Seal("ann@example.org"), nil, nil}, nil
		}
		return []any{id, "acme", email("ann@example.org", id), nil, nil}, nil
	}))
	wantError(t, err, vault.ErrNoLocation)
	errSource := errors.New("the source fails")
	for _, at := range []int{0, 1, bad} {
		_, err = f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromSlice(2*bad, func(i int) ([]any, error) {
			if i == at {
				return nil, errSource
			}
			return []any{fmt.Sprint("s", i), "acme", nil, nil, nil}, nil
		}))
		if err == nil {
			t.Errorf("the source fails at %d, and nobody notices", at)
		}
	}
	n, err := f.db.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromRows(nil))
	if n != 0 || err != nil {
		t.Errorf("a copy of nothing: %d, %v", n, err)
	}
	if n := f.count(t, "people"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

// TestNestedIsRefused gives fields inside other values, where an encoder would write
// "[ENCRYPTED]" in their place.
func TestNestedIsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	e := email("ann@example.org", "1")
	type inner struct{ hidden any }
	var request vault.Request[string]
	noError(t, request.UnmarshalJSON([]byte(`"ann@example.org"`)))
	for name, v := range map[string]any{
		"struct":           struct{ Email vault.Encrypted[string] }{e},
		"pointer":          &struct{ Email *vault.Encrypted[string] }{&e},
		"unexported":       inner{inner{&e}},
		"map":              map[string]any{"a": map[string]any{"email": e}},
		"slice":            []any{1, []any{map[string]vault.Encrypted[string]{"email": e}}},
		"structs":          []struct{ Email vault.Encrypted[string] }{{e}},
		"sealed":           struct{ Email vault.Encrypted[string] }{vault.SealedBytes[string]([]byte{1})},
		"request":          request,
		"request's map":    map[string]vault.Request[string]{"email": request},
		"index in a map":   map[string]any{"x": vaultpgx.IndexOf(emailIndex, "ann@example.org")},
		"one row twice":    []vault.Encrypted[string]{e, e},
		"pointer to twice": &[]*vault.Encrypted[string]{&e, &e},
	} {
		for _, column := range []string{"doc", "note", "many"} {
			_, err := f.db.Exec(f.ctx, "INSERT INTO odd (id, "+column+") VALUES ($1, $2)", name, v)
			if !errors.Is(err, vaultpgx.ErrNested) && !errors.Is(err, vault.ErrInvalidLocation) {
				t.Errorf("%s into %s: %v", name, column, err)
			}
		}
	}
	if n := f.count(t, "odd"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
	// What holds none is as ever; also what goes round in a circle.
	round := map[string]any{"a": []any{1, nil, "b"}}
	_, err := f.db.Exec(f.ctx, "INSERT INTO odd (id, doc, many) VALUES ('1', $1, $2)", round, [][]byte{{1}, nil})
	noError(t, err)
	round["self"], round["again"] = round, []any{round, &round}
	round["email"] = e
	_, err = f.db.Exec(f.ctx, "INSERT INTO odd (id, doc) VALUES ('2', $1)", round)
	wantError(t, err, vaultpgx.ErrNested)
	// A column's own place may be there more than once in an array.
	c := vault.Seal("a").AtLocation(vault.AtColumn("odd", "many"))
	_, err = f.db.Exec(f.ctx, "INSERT INTO odd (id, many) VALUES ('3', $1)", []vault.Encrypted[string]{c, c, vault.Null[string]()})
	noError(t, err)
	var many []vault.Encrypted[string]
	noError(t, f.db.QueryRow(f.ctx, "SELECT many FROM odd WHERE id = '3'").Scan(&many))
	if len(many) != 3 || !many[2].IsZero() {
		t.Fatal("the array came back as another")
	}
	wantOpens(t, many[1].AtLocation(vault.AtColumn("odd", "many")), "a")
}

// TestPastTheWrapper gives fields to pgx itself, in every mode and for every type of
// column: what isn't sealed doesn't get in, and neither does what stands for it.
func TestPastTheWrapper(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			f := setup(t, mode(m))
			e := email("ann@example.org", "1")
			for _, v := range []any{e, &e, []vault.Encrypted[string]{e}, vaultpgx.IndexOf(emailIndex, "ann@example.org")} {
				for _, column := range []string{"note", "number", "doc", "many"} {
					if _, slice := v.([]vault.Encrypted[string]); slice && column == "doc" {
						continue // JSON of many: the hole that the package's documentation names
					}
					if _, err := f.pool.Exec(f.ctx, "INSERT INTO odd (id, "+column+") VALUES ('1', $1)", v); err == nil {
						t.Errorf("a %T got into %s", v, column)
					}
				}
				if _, err := f.pool.Exec(f.ctx, insert, "1", v, nil, nil); err == nil {
					t.Errorf("a %T got into email", v)
				}
				if _, err := f.pool.CopyFrom(f.ctx, pgx.Identifier{"people"}, copied, pgx.CopyFromRows([][]any{{"1", "acme", v, nil, nil}})); err == nil {
					t.Errorf("a %T was copied", v)
				}
				b := &pgx.Batch{}
				b.Queue(insert, "1", v, nil, nil)
				if err := f.pool.SendBatch(f.ctx, b).Close(); err == nil {
					t.Errorf("a %T got in by batch", v)
				}
			}
			if f.count(t, "people")+f.count(t, "odd") != 0 {
				t.Error("rows were written")
			}
			// What is sealed gets in as it is, and out.
			sealed, err := e.Sealed(vault.WithVault(f.ctx, f.v.Vault))
			noError(t, err)
			_, err = f.pool.Exec(f.ctx, insert, "1", sealed, nil, nil)
			noError(t, err)
			var got vault.Encrypted[string]
			noError(t, f.pool.QueryRow(f.ctx, "SELECT email FROM people").Scan(&got))
			if !got.Equal(sealed) {
				t.Error("it came back as another")
			}
			_, err = got.At("people", "email", "1").Open(context.Background())
			wantError(t, err, vault.ErrNoVault)
		})
	}
}
