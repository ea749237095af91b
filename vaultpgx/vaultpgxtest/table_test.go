package vaultpgxtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
)

const selectAll = "SELECT id, org_id, name, email, email_bidx, ssn FROM people ORDER BY id"

// insertPerson is what sqlc would generate.
func insertPerson(ctx context.Context, db vaultpgx.Conn, p person) error {
	_, err := db.Exec(ctx, "INSERT INTO people (id, org_id, name, email, email_bidx, ssn) VALUES ($1, $2, $3, $4, $5, $6)",
		p.ID, p.OrgID, p.Name, p.Email, p.EmailBidx, p.SSN)
	return err
}

func all(t testing.TB, ctx context.Context, db vaultpgx.Conn) []person {
	t.Helper()
	rows, _ := db.Query(ctx, selectAll)
	got, err := pgx.CollectRows(rows, pgx.RowToStructByName[person])
	noError(t, err)
	return got
}

func newPerson(id, org string) person {
	return person{ID: id, OrgID: org, Email: vault.Seal(id + "@" + org + ".example"), SSN: vault.Seal("ssn of " + id)}
}

// TestTable seals rows of two tenants by their struct, copies them in one go without a
// key context, finds, reads and opens them.
func TestTable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	table := f.table(t)
	ctx := t.Context() // rows say whose they are
	people := []person{newPerson("1", "acme"), newPerson("2", "globex"), {ID: "3", OrgID: "acme"}}
	sealed, err := vaultpgx.SealedRows(ctx, table, people)
	noError(t, err)
	if people[0].Email.FieldState() != vault.FieldPending || people[0].EmailBidx != nil {
		t.Error("the caller's row was changed")
	}
	_, err = f.db.CopyFrom(ctx, pgx.Identifier{"people"}, []string{"id", "org_id", "name", "email", "email_bidx", "ssn"},
		pgx.CopyFromSlice(len(sealed), func(i int) ([]any, error) {
			p := sealed[i]
			return []any{p.ID, p.OrgID, p.Name, p.Email, p.EmailBidx, p.SSN}, nil
		}))
	noError(t, err)
	f.assertSealed(t, "@acme.example", "@globex.example", "ssn of")

	got := all(t, ctx, f.db)
	before := f.v.Decryptions()
	noError(t, table.Bind(ctx, got))
	if f.v.Decryptions() != before {
		t.Error("binding opens")
	}
	wantOpens(t, got[0].Email, "1@acme.example")
	wantOpens(t, got[1].SSN, "ssn of 2")
	if !got[2].Email.IsZero() || got[2].EmailBidx != nil {
		t.Error("NULL isn't")
	}
	noError(t, vault.OpenAll(ctx, got))

	bidx, err := table.Lookup(acme(ctx), "email_bidx", "1@ACME.example")
	noError(t, err)
	if !bytes.Equal(bidx, got[0].EmailBidx) {
		t.Error("the index is another than what is searched for")
	}
	_, err = table.Lookup(org(ctx, "nobody"), "email_bidx", "1@acme.example")
	wantError(t, err, vault.ErrKeyNotFound)
	noError(t, table.Prepare(org(ctx, "nobody")))
	_, err = table.Lookup(org(ctx, "nobody"), "email_bidx", "1@acme.example")
	noError(t, err)
	_, err = table.Lookup(acme(ctx), "ssn", "1")
	wantError(t, err, vault.ErrModel)
	wantError(t, table.Prepare(ctx), vault.ErrNoContext)
	if ix, err := table.Index("email_bidx"); err != nil || ix.Column != "email" || table.Model().Table != "people" {
		t.Errorf("index %v, %v", ix, err)
	}

	// A row that was read and is written back keeps its bytes, and its index.
	again, err := vaultpgx.Sealed(ctx, table, got[0])
	noError(t, err)
	if !again.Email.Equal(got[0].Email) || !again.SSN.Equal(got[0].SSN) || !bytes.Equal(again.EmailBidx, got[0].EmailBidx) {
		t.Error("a row without a change was sealed anew")
	}
	// As another row it is sealed for there.
	copied := got[0]
	copied.ID, copied.Name = "4", new(string)
	again, err = vaultpgx.Sealed(ctx, table, copied)
	noError(t, err)
	again.EmailBidx = nil // it is unique
	noError(t, insertPerson(ctx, f.db, again))
	got = all(t, ctx, f.db)
	noError(t, table.Bind(ctx, &got))
	wantOpens(t, got[3].Email, "1@acme.example")
	// Another tenant's row it can't become.
	copied.OrgID = "globex"
	_, err = vaultpgx.Sealed(ctx, table, copied)
	wantError(t, err, vault.ErrWrongContext)
	_, err = vaultpgx.Sealed(globex(ctx), table, newPerson("5", "acme"))
	wantError(t, err, vault.ErrContextConflict)
}

// TestUnboundRowIsSeenToBeInItsPlace seals rows that were read and not bound: what
// doesn't belong there is refused.
func TestUnboundRowIsSeenToBeInItsPlace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	table := f.table(t)
	for _, p := range []person{newPerson("1", "acme"), newPerson("2", "acme")} {
		p, err := vaultpgx.Sealed(f.ctx, table, p)
		noError(t, err)
		noError(t, insertPerson(f.ctx, f.db, p))
	}
	got := all(t, f.ctx, f.db)
	same, err := vaultpgx.Sealed(f.ctx, table, got[0])
	noError(t, err)
	if !same.Email.Equal(got[0].Email) || !bytes.Equal(same.EmailBidx, got[0].EmailBidx) {
		t.Error("it was sealed anew")
	}
	wrong := got[0]
	wrong.Email = got[1].Email
	_, err = vaultpgx.Sealed(f.ctx, table, wrong)
	wantError(t, err, vault.ErrWrongLocation)
	wrong = got[0]
	wrong.SSN = got[1].SSN // which has no index to be computed
	_, err = vaultpgx.Sealed(f.ctx, table, wrong)
	wantError(t, err, vault.ErrWrongLocation)
}

// TestRowsSwappedInTheDatabase changes places of values behind our back.
func TestRowsSwappedInTheDatabase(t *testing.T) {
	t.Parallel()
	f := setup(t)
	table := f.table(t)
	for _, p := range []person{newPerson("1", "acme"), newPerson("2", "acme"), newPerson("3", "globex")} {
		p, err := vaultpgx.Sealed(t.Context(), table, p)
		noError(t, err)
		noError(t, insertPerson(t.Context(), f.db, p))
	}
	for name, c := range map[string]struct {
		sql  string
		want error
	}{
		"rows":    {"UPDATE people a SET email = b.email FROM people b WHERE a.id = '1' AND b.id = '2'", vault.ErrWrongLocation},
		"columns": {"UPDATE people SET email = ssn WHERE id = '1'", vault.ErrWrongLocation},
		"tenants": {"UPDATE people a SET email = b.email FROM people b WHERE a.id = '1' AND b.id = '3'", vault.ErrWrongContext},
		"owner":   {"UPDATE people SET org_id = 'globex' WHERE id = '1'", vault.ErrWrongContext},
		"id":      {"UPDATE people SET id = '0' WHERE id = '1'", vault.ErrWrongLocation},
		"damage":  {"UPDATE people SET email = set_byte(email, 100, (get_byte(email, 100) + 1) % 256) WHERE id = '1'", vault.ErrDecrypt},
		"foreign": {`UPDATE people SET email = '\x00' WHERE id = '1'`, vault.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			tx, err := f.db.Begin(t.Context())
			noError(t, err)
			defer func() { _ = tx.Rollback(t.Context()) }()
			_, err = tx.Exec(t.Context(), c.sql)
			noError(t, err)
			got := all(t, t.Context(), tx)
			noError(t, table.Bind(t.Context(), got))
			_, err = got[0].Email.Open(t.Context())
			wantError(t, err, c.want)
			wantOpens(t, got[1].Email, "2@acme.example")
		})
	}
}

// TestShreddedTenantsRowsLoad shreds one of two tenants.
func TestShreddedTenantsRowsLoad(t *testing.T) {
	t.Parallel()
	f := setup(t)
	table := f.table(t)
	for _, p := range []person{newPerson("1", "acme"), newPerson("2", "globex")} {
		p, err := vaultpgx.Sealed(t.Context(), table, p)
		noError(t, err)
		noError(t, insertPerson(t.Context(), f.db, p))
	}
	_, err := f.v.Shred(t.Context(), vault.KeyContext{"organization_id": "acme"}, vault.ShredOptions{})
	noError(t, err)
	got := all(t, t.Context(), f.db)
	noError(t, table.Bind(t.Context(), got))
	_, err = got[0].Email.Open(t.Context())
	wantError(t, err, vault.ErrKeyShredded)
	wantOpens(t, got[1].Email, "2@globex.example")
	err = vault.OpenAll(t.Context(), got)
	wantError(t, err, vault.ErrKeyShredded)
	wantOpens(t, got[1].SSN, "ssn of 2")
}

// Structs as sqlc generates them for queries with some of the columns.
type (
	someColumns struct {
		ID  string                  `db:"id"`
		SSN vault.Encrypted[string] `db:"ssn"`
	}
	noKey struct {
		Email vault.Encrypted[string] `db:"email"`
	}
	joined struct {
		Person person
		Other  *string
	}
	setEmail struct {
		Email     vault.Encrypted[string] `db:"email"`
		EmailBidx []byte                  `db:"email_bidx"`
		ID        string                  `db:"id"`
	}
	setEmailOnly struct {
		Email vault.Encrypted[string] `db:"email"`
		ID    string                  `db:"id"`
	}
	setIndexOnly struct {
		EmailBidx []byte                  `db:"email_bidx"`
		SSN       vault.Encrypted[string] `db:"ssn"`
		ID        string                  `db:"id"`
	}
	noField struct {
		ID string `db:"id"`
	}
)

// TestStructsOfQueries seals and binds structs that have only some of the columns.
func TestStructsOfQueries(t *testing.T) {
	t.Parallel()
	f := setup(t)
	table := f.table(t)
	p, err := vaultpgx.Sealed(f.ctx, table, newPerson("1", "acme"))
	noError(t, err)
	noError(t, insertPerson(f.ctx, f.db, p))

	some := []*someColumns{{}, nil}
	noError(t, f.db.QueryRow(f.ctx, "SELECT id, ssn FROM people").Scan(&some[0].ID, &some[0].SSN))
	noError(t, table.Bind(f.ctx, some))
	wantOpens(t, some[0].SSN, "ssn of 1")
	var j joined
	j.Person = all(t, f.ctx, f.db)[0]
	noError(t, table.Bind(f.ctx, &j))
	wantOpens(t, j.Person.Email, "1@acme.example")
	var n noKey
	noError(t, f.db.QueryRow(f.ctx, "SELECT email FROM people").Scan(&n.Email))
	noError(t, table.Bind(f.ctx, &n))
	_, err = n.Email.Open(f.ctx)
	wantError(t, err, vault.ErrNoLocation)
	wantOpens(t, n.Email.At("people", "email", "1"), "1@acme.example")

	set, err := vaultpgx.Sealed(f.ctx, table, setEmail{ID: "1", Email: vault.Seal("new@example.org")})
	noError(t, err)
	_, err = f.db.Exec(f.ctx, "UPDATE people SET email = $1, email_bidx = $2 WHERE id = $3", set.Email, set.EmailBidx, set.ID)
	noError(t, err)
	bidx, err := table.Lookup(f.ctx, "email_bidx", "new@example.org")
	noError(t, err)
	rows, _ := f.db.Query(f.ctx, "SELECT id, org_id, name, email, email_bidx, ssn FROM people WHERE email_bidx = $1", bidx)
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[person])
	noError(t, err)
	noError(t, table.Bind(f.ctx, &found))
	wantOpens(t, found.Email, "new@example.org")
	jo, err := vaultpgx.Sealed(f.ctx, table, joined{Person: newPerson("2", "acme")})
	noError(t, err)
	wantOpens(t, jo.Person.Email, "2@acme.example")

	for name, err := range map[string]error{
		"no key":         second(vaultpgx.Sealed(f.ctx, table, noKey{vault.Seal("x")})),
		"no index":       second(vaultpgx.Sealed(f.ctx, table, setEmailOnly{ID: "1", Email: vault.Seal("x@y")})),
		"only its index": second(vaultpgx.Sealed(f.ctx, table, setIndexOnly{ID: "1"})),
		"no field":       second(vaultpgx.Sealed(f.ctx, table, noField{"1"})),
		"no struct":      second(vaultpgx.Sealed(f.ctx, table, "1")),
		"pointer":        second(vaultpgx.Sealed(f.ctx, table, &p)),
		"bind no field":  table.Bind(f.ctx, &noField{}),
		"bind a value":   table.Bind(f.ctx, noKey{}),
		"bind no struct": table.Bind(f.ctx, new(string)),
	} {
		wantError(t, err, vault.ErrModel)
		if !strings.Contains(fmt.Sprint(err), "vaultpgx: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = vaultpgx.Sealed(f.ctx, table, person{OrgID: "acme", Email: vault.Seal("x@y")})
	wantError(t, err, vault.ErrInvalidLocation) // no key yet
	_, err = vaultpgx.SealedRows(f.ctx, table, []person{newPerson("9", "acme"), {ID: "x", OrgID: "acme", Email: vault.Seal("no address")}})
	wantError(t, err, vault.ErrNotIndexable)
}

func second[P any](_ P, err error) error { return err }

// TestTablesThatCantBe makes tables from structs with mistakes.
func TestTablesThatCantBe(t *testing.T) {
	type textIndex struct {
		ID        string
		Email     vault.Encrypted[string] `vault:"index:email_bidx,email@1"`
		EmailBidx string
	}
	type noIndex struct {
		ID    string
		Email vault.Encrypted[string] `vault:"index:email_bidx,email@1"`
	}
	type ofTwo struct {
		Tenant string `db:"tenant"`
		Number int64  `db:"number"`
		Note   vault.Encrypted[[]byte]
	}
	for name, err := range map[string]error{
		"text index":    second(vaultpgx.NewTable[textIndex](nil, "t")),
		"no index":      second(vaultpgx.NewTable[noIndex](nil, "t")),
		"no such key":   second(vaultpgx.NewTable[person](nil, "people", "uuid")),
		"no field":      second(vaultpgx.NewTable[noField](nil, "t")),
		"no struct":     second(vaultpgx.NewTable[int](nil, "t")),
		"no table name": second(vaultpgx.NewTable[person](nil, "")),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, err, vault.ErrModel) })
	}
	table, err := vaultpgx.NewTable[ofTwo](nil, "notes", "tenant", "number")
	noError(t, err)
	_, err = vaultpgx.Sealed(acme(t.Context()), table, ofTwo{Tenant: "a", Number: 1, Note: vault.Seal([]byte("x"))})
	wantError(t, err, vault.ErrNoVault)
	wantError(t, table.Prepare(acme(t.Context())), vault.ErrNoVault)
}

// TestKeyOfTwoColumns binds to a key of two columns, in the key's order.
func TestKeyOfTwoColumns(t *testing.T) {
	type note struct {
		Number int64                   `db:"number"`
		Note   vault.Encrypted[[]byte] `db:"note" vault:"column:text"`
		Tenant string                  `db:"tenant"`
	}
	f := setup(t)
	table, err := vaultpgx.NewTable[note](f.v.Vault, "notes", "tenant", "number")
	noError(t, err)
	got, err := vaultpgx.Sealed(f.ctx, table, note{Tenant: "a", Number: 7, Note: vault.Seal([]byte("x"))})
	noError(t, err)
	data, err := got.Note.Value()
	noError(t, err)
	var plain []byte
	noError(t, f.v.OpenField(f.ctx, vault.KeyContext{"organization_id": "acme"}, vault.At("notes", "text", "a", 7), data.([]byte), &plain))
	if string(plain) != "x" {
		t.Errorf("opened %q", plain)
	}
}
