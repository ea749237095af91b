package vaultsqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultsql"
	"github.com/embedvault/vault/vaulttest"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

var org = vault.KeyContext{"organization_id": "org_a"}

func is(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got %v, want %v", err, target)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// people writes n patients in one statement and returns the application.
func people(t testing.TB, e engine, n int) (*app, *vaulttest.Vault, context.Context) {
	t.Helper()
	v := vaulttest.New(t)
	a := newApp(t, e, v.Vault, false)
	ctx := vault.WithKeyContext(t.Context(), org)
	rows := []patient{}
	for i := range n {
		rows = append(rows, patient{
			ID: fmt.Sprint("p", i), OrgID: "org_a", Name: fmt.Sprint("n", i),
			Email: vault.Seal(fmt.Sprintf("p%d@example.org", i)), Note: vault.Seal(fmt.Sprint("note ", i)),
		})
	}
	if n == 0 {
		return a, v, ctx
	}
	rows = must(a.patients.SealAll(ctx, rows))(t)
	must(a.db.NamedExecContext(ctx, insert, rows))(t)
	return a, v, ctx
}

// What sqlx has besides what the suite uses: Named queries, IN, StructScan, MapScan.
func TestSqlx(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		a, v, ctx := people(t, e, 4)
		before := v.Decryptions()

		query, args, err := sqlx.In("SELECT "+columns+" FROM patients WHERE email_bidx IN (?) ORDER BY id", [][]byte{
			must(a.patients.Index(ctx, "email_bidx", "P1@example.org"))(t),
			must(a.patients.Index(ctx, "email_bidx", "P3@example.org"))(t),
		})
		noError(t, err)
		var found []patient
		noError(t, a.db.SelectContext(ctx, &found, a.db.Rebind(query), args...))
		a.patients.BindAll(ctx, found)
		if len(found) != 2 || must(found[1].Note.Open(ctx))(t) != "note 3" {
			t.Errorf("%d rows by IN", len(found))
		}

		rows, err := a.db.NamedQueryContext(ctx, "SELECT "+columns+" FROM patients WHERE name = :name", map[string]any{"name": "n2"})
		noError(t, err)
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		var one patient
		noError(t, rows.StructScan(&one))
		m := map[string]any{}
		noError(t, rows.MapScan(m))
		noError(t, rows.Close())
		a.patients.Bind(ctx, &one)
		if must(one.Email.Open(ctx))(t) != "p2@example.org" {
			t.Error("StructScan")
		}
		var sealed vault.Encrypted[string]
		noError(t, sealed.Scan(m["note"]))
		if must(sealed.AtLocation(a.patients.At("note", "p2")).Open(vault.WithVault(ctx, v.Vault)))(t) != "note 2" {
			t.Error("MapScan")
		}
		if n := v.Decryptions() - before; n != 3 {
			t.Errorf("%d decryptions, want the 3 that were asked for", n)
		}
	})
}

// What asks for a field's value before there is a ctx fails, and says what to do.
func TestSqlxFailsClosed(t *testing.T) {
	pending := vault.Seal("x").At("patients", "note", "p0")
	_, _, err := sqlx.In("UPDATE patients SET note = ? WHERE id IN (?)", pending, []string{"p0", "p1"})
	is(t, err, vault.ErrPending)
	each(t, func(t *testing.T, e engine) {
		a, v, ctx := people(t, e, 2)
		bare := sqlx.NewDb(a.raw, e.bind)
		for name, arg := range map[string]any{"field": pending, "pointer": &pending, "slice": []vault.Encrypted[string]{pending}} {
			if _, err := bare.ExecContext(ctx, bare.Rebind("UPDATE patients SET note = ?"), arg); err == nil {
				t.Errorf("without the wrapper a %s was written", name)
			}
		}
		if _, err := a.db.ExecContext(ctx, a.db.Rebind("UPDATE patients SET note = ?"), []vault.Encrypted[string]{pending}); err == nil {
			t.Error("a slice of fields was written")
		}
		// sealed first, it goes through all of them
		sealed := must(pending.Sealed(vault.WithVault(ctx, v.Vault)))(t)
		query, args, err := sqlx.In("UPDATE patients SET note = ? WHERE id IN (?)", sealed, []string{"p0"})
		noError(t, err)
		must(bare.ExecContext(ctx, bare.Rebind(query), args...))(t)
		if got := must(a.get(ctx, "p0"))(t); must(got.Note.Open(ctx))(t) != "x" {
			t.Error("it wasn't written")
		}
		vaulttest.AssertSealed(t, a.raw, "patients", "note", "note 1")
		vaulttest.AssertSealed(t, a.raw, "patients", "email", "p0@example.org", "p1@example.org")
	})
}

// A search by value finds nothing, since a field is sealed anew each time: it is an
// error, in every way of asking.
func TestSearchByValue(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		a, _, ctx := people(t, e, 2)
		like := vault.Seal("p1@example.org").AtLocation(a.patients.At("email", "p1"))
		var ps []patient
		is(t, a.db.SelectContext(ctx, &ps, a.db.Rebind("SELECT id FROM patients WHERE email = ?"), like), vaultsql.ErrSearch)
		_, err := a.db.NamedExecContext(ctx, "DELETE FROM patients WHERE email = :email", map[string]any{"email": like})
		is(t, err, vaultsql.ErrSearch)
		stmt := must(a.db.PreparexContext(ctx, a.db.Rebind("SELECT id FROM patients WHERE email = ?")))(t)
		is(t, stmt.GetContext(ctx, &ps, like), vaultsql.ErrSearch)
		noError(t, stmt.Close())
		if left := must(a.rows(ctx, ""))(t); len(left) != 2 {
			t.Errorf("%d rows are left of 2", len(left))
		}
	})
}

// A field that was read in one row is written to another by mistake: refused where its
// place is said, and never opened in the wrong one.
func TestMisplaced(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		a, _, ctx := people(t, e, 2)
		p0 := must(a.get(ctx, "p0"))(t)
		update := a.db.Rebind("UPDATE patients SET note = ? WHERE id = ?")
		_, err := a.db.ExecContext(ctx, update, p0.Note.AtLocation(a.patients.At("note", "p1")), "p1")
		is(t, err, vault.ErrWrongLocation)
		must(a.db.ExecContext(ctx, update, p0.Note, "p1"))(t)
		p1 := must(a.get(ctx, "p1"))(t)
		_, err = p1.Note.Open(ctx)
		is(t, err, vault.ErrWrongLocation)
	})
}

// Serializable transactions that lose are run again with the same rows.
func TestSerializationFailure(t *testing.T) {
	a, _, ctx := people(t, engines[0], 1)
	tx1 := must(a.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable}))(t)
	tx2 := must(a.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable}))(t)
	set := func(tx *sqlx.Tx, note string) error {
		var n int
		if err := tx.GetContext(ctx, &n, "SELECT count(*) FROM patients"); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE patients SET note = $1 WHERE id = 'p0'", vault.Seal(note).AtLocation(a.patients.At("note", "p0")))
		return err
	}
	var n int
	noError(t, tx2.GetContext(ctx, &n, "SELECT count(*) FROM patients")) // its snapshot
	noError(t, set(tx1, "first"))
	noError(t, tx1.Commit())
	if err := set(tx2, "second"); err == nil {
		t.Fatal("the second transaction didn't lose")
	}
	noError(t, tx2.Rollback())
	again := must(a.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable}))(t)
	noError(t, set(again, "second"))
	noError(t, again.Commit())
	if got := must(a.get(ctx, "p0"))(t); must(got.Note.Open(ctx))(t) != "second" {
		t.Error("the second value wasn't written")
	}
}

// PostgreSQL's COPY goes past the wrapper: sealed rows go through, others don't.
func TestCopyFrom(t *testing.T) {
	a, v, ctx := people(t, engines[0], 0)
	db := vaultsql.OpenDB(a.bare, v.Vault)
	t.Cleanup(func() { _ = db.Close() })
	conn := must(db.Conn(ctx))(t)
	t.Cleanup(func() { _ = conn.Close() })
	row := patient{ID: "c1", OrgID: "org_a", Name: "x", Note: vault.Seal("by COPY")}
	copies := func(r patient) error {
		return conn.Raw(func(dc any) error {
			_, err := vaultsql.Unwrap(dc).(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{"patients"}, []string{"id", "org_id", "name", "note"},
				pgx.CopyFromRows([][]any{{r.ID, r.OrgID, r.Name, r.Note}}))
			return err
		})
	}
	if err := copies(row); err == nil {
		t.Error("a field that isn't sealed was copied")
	}
	noError(t, copies(must(a.patients.Seal(ctx, &row))(t)))
	if got := must(a.get(ctx, "c1"))(t); must(got.Note.Open(ctx))(t) != "by COPY" {
		t.Error("it doesn't open")
	}
}

// An INSERT that returns its row, and a page of it that opens nothing.
func TestReturning(t *testing.T) {
	for _, e := range engines {
		if e.dialect == fieldtest.MySQL {
			continue // has none
		}
		t.Run(e.name, func(t *testing.T) {
			a, _, ctx := people(t, e, 0)
			row := must(a.patients.Seal(ctx, &patient{ID: "r1", OrgID: "org_a", Name: "x", Note: vault.Seal("returned")}))(t)
			query, args, err := sqlx.Named(insert+" RETURNING "+columns, row)
			noError(t, err)
			var got patient
			noError(t, a.db.GetContext(ctx, &got, a.db.Rebind(query), args...))
			a.patients.Bind(ctx, &got)
			if must(got.Note.Open(ctx))(t) != "returned" {
				t.Error("it doesn't open")
			}
		})
	}
}
