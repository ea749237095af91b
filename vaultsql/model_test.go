package vaultsql

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

type Contact struct {
	Email     vault.Encrypted[string] `db:"email" vault:"index:email_bidx,email@1;index:email_bucket,email@1,bits:8"`
	EmailBidx []byte                  `db:"email_bidx"`
	Bucket    []byte                  `db:"email_bucket"`
}

type user struct {
	Org string `db:"org" vault:"table:people;context:organization_id=Org"`
	ID  string `db:"id"`
	*Contact
	Phone vault.Encrypted[string] `db:"phone" vault:"bind:column;column:telephone"`
	Both  vault.Encrypted[string] `db:"both" vault:"index:both_bidx,lower@1,and:Name=lower@1"`
	Index []byte                  `db:"both_bidx"`
	Name  string                  `db:"name"`
}

func users(t testing.TB) (*Model[user], *vaulttest.Vault) {
	t.Helper()
	v := vaulttest.New(t)
	m, err := NewModel[user](v.Vault, "users", "Org", "ID")
	noError(t, err)
	return m, v
}

func someone() user {
	return user{Org: "org_a", ID: "u1", Name: "Ann", Contact: &Contact{Email: vault.Seal("Ann@example.org")}, Phone: vault.Seal("12"), Both: vault.Seal("B")}
}

func value(t testing.TB, f vault.Encrypted[string]) []byte {
	t.Helper()
	v, err := f.Value()
	noError(t, err)
	return v.([]byte)
}

// A row is sealed as a whole, each field in its place, and the caller's stays as it is.
func TestModelSeal(t *testing.T) {
	m, v := users(t)
	u := someone()
	before, beforeContact := u, *u.Contact
	row, err := m.Seal(t.Context(), &u)
	noError(t, err)
	if !reflect.DeepEqual(u, before) || !reflect.DeepEqual(*u.Contact, beforeContact) || row.Contact == u.Contact {
		t.Error("the caller's row was changed")
	}
	for _, c := range []struct {
		sealed []byte
		at     vault.Location
		want   string
	}{
		{value(t, row.Email), vault.At("people", "email", "org_a", "u1"), "Ann@example.org"},
		{value(t, row.Phone), vault.AtColumn("people", "telephone"), "12"},
		{value(t, row.Both), vault.At("people", "both", "org_a", "u1"), "B"},
	} {
		var got string
		noError(t, v.OpenField(t.Context(), orgA, c.at, c.sealed, &got))
		if got != c.want {
			t.Errorf("%v holds something else", c.at)
		}
	}
	want, err := v.BlindIndex(t.Context(), orgA, vault.Index{Table: "people", Column: "both", Normaliser: "lower@1", And: []vault.IndexPart{{Column: "name", Normaliser: "lower@1"}}}, "b", "ann")
	noError(t, err)
	if !bytes.Equal(row.Index, want) || len(row.EmailBidx) != 16 || len(row.Bucket) != 1 {
		t.Error("the indexes weren't filled in")
	}
	if got, err := row.Email.Open(t.Context()); err != nil || got != "Ann@example.org" {
		t.Errorf("what was sealed isn't bound: %v", err)
	}
}

// Fields that aren't set stay NULL, and a struct that isn't there stays away.
func TestModelSealSome(t *testing.T) {
	m, _ := users(t)
	row, err := m.Seal(t.Context(), &user{Org: "org_a", ID: "u1", Phone: vault.Seal("1")})
	noError(t, err)
	if row.Contact != nil || !row.Both.IsZero() || row.Index != nil || row.Phone.FieldState() != vault.FieldSealed {
		t.Errorf("%+v", row)
	}
	rows, err := m.SealAll(t.Context(), []user{someone(), {Org: "org_b", ID: "u2", Phone: vault.Seal("2")}})
	noError(t, err)
	if len(rows) != 2 || rows[1].Phone.FieldState() != vault.FieldSealed {
		t.Errorf("%+v", rows)
	}
	_, err = m.SealAll(t.Context(), []user{someone(), {ID: "u2", Org: "org_b", Both: vault.Seal("x"), Name: "\xff"}})
	is(t, err, vault.ErrNotIndexable)
	if !strings.HasPrefix(err.Error(), "row 1: ") {
		t.Error(err)
	}
	_, err = m.Seal(t.Context(), &user{ID: "u1", Phone: vault.Seal("1")})
	is(t, err, vault.ErrNoContext)
	_, err = m.Seal(vault.WithKeyContext(t.Context(), orgB), &user{ID: "u1", Org: "org_a", Phone: vault.Seal("1")})
	is(t, err, vault.ErrContextConflict)
	_, err = m.Seal(vault.WithKeyContext(t.Context(), orgA), &user{Both: vault.Seal("1")})
	is(t, err, vault.ErrInvalidLocation)
}

// A row that is read and written back costs no key and keeps its bytes; a field that
// was changed has a new index, and so has one that came from another row.
func TestModelKeepsWhatIsThere(t *testing.T) {
	m, v := users(t)
	u := someone()
	row, err := m.Seal(t.Context(), &u)
	noError(t, err)
	read := func() user { // as a scan gives it
		r := row
		c := *row.Contact
		r.Contact = &c
		r.Email = vault.SealedBytes[string](value(t, row.Email))
		r.Both = vault.SealedBytes[string](value(t, row.Both))
		r.Phone = vault.SealedBytes[string](value(t, row.Phone))
		m.Bind(t.Context(), &r, nil)
		return r
	}
	got := read()
	got.Name = "Ann"
	decrypted, sealed := v.Decryptions(), len(v.Events(vault.FieldEncrypted))
	again, err := m.Seal(t.Context(), &got)
	noError(t, err)
	if !bytes.Equal(value(t, again.Email), value(t, row.Email)) || !bytes.Equal(again.EmailBidx, row.EmailBidx) || len(v.Events(vault.FieldEncrypted)) != sealed {
		t.Error("what wasn't changed was sealed anew")
	}
	if n := v.Decryptions() - decrypted; n != 1 {
		t.Errorf("%d fields were opened, want the one of the compound index", n)
	}
	got.Name = "Bea"
	renamed, err := m.Seal(t.Context(), &got)
	noError(t, err)
	if bytes.Equal(renamed.Index, row.Index) {
		t.Error("a compound index wasn't computed anew when its other column changed")
	}
	got = read()
	got.EmailBidx = nil // wasn't read
	again, err = m.Seal(t.Context(), &got)
	noError(t, err)
	if !bytes.Equal(again.EmailBidx, row.EmailBidx) {
		t.Error("an index that wasn't read is lost")
	}
	other := someone()
	other.ID, other.Email = "u2", vault.Seal("bea@example.org")
	otherRow, err := m.Seal(t.Context(), &other)
	noError(t, err)
	got = read()
	got.Email = otherRow.Email // of another row
	moved, err := m.Seal(t.Context(), &got)
	noError(t, err)
	if !bytes.Equal(moved.EmailBidx, otherRow.EmailBidx) || bytes.Equal(value(t, moved.Email), value(t, otherRow.Email)) {
		t.Error("a field from another row has another's index, or its bytes")
	}
}

// Whose and where rows are is known after Bind, and nothing before.
func TestModelBind(t *testing.T) {
	m, _ := users(t)
	var rows []user
	for _, org := range []string{"org_a", "org_b"} {
		u := someone()
		u.Org = org
		row, err := m.Seal(t.Context(), &u)
		noError(t, err)
		rows = append(rows, user{Org: org, ID: "u1", Both: vault.SealedBytes[string](value(t, row.Both))})
	}
	_, err := rows[0].Both.Open(t.Context())
	is(t, err, vault.ErrNoLocation)
	m.BindAll(t.Context(), rows)
	for _, r := range rows {
		if got, err := r.Both.Open(t.Context()); err != nil || got != "B" {
			t.Errorf("%v", err)
		}
	}
	keyless := user{Org: "org_a", Both: rows[0].Both} // the query didn't read all of the key
	m.Bind(t.Context(), &keyless)
	if _, err := keyless.Both.Open(t.Context()); err == nil {
		t.Error("a field opens in a row that isn't its own")
	}
}

func TestModelIndex(t *testing.T) {
	m, _ := users(t)
	ctx := vault.WithKeyContext(t.Context(), orgA)
	_, err := m.Index(ctx, "email_bidx", "ann@example.org")
	is(t, err, vault.ErrKeyNotFound) // nothing was ever written
	u := someone()
	row, err := m.Seal(ctx, &u)
	noError(t, err)
	got, err := m.Index(ctx, "email_bidx", "ANN@example.org")
	noError(t, err)
	if !bytes.Equal(got, row.EmailBidx) {
		t.Error("the query's index is another")
	}
	got, err = m.Index(ctx, "both_bidx", "B", "ANN")
	noError(t, err)
	if !bytes.Equal(got, row.Index) {
		t.Error("the query's compound index is another")
	}
	_, err = m.Index(ctx, "email", "x")
	is(t, err, vault.ErrModel)
	_, err = m.Index(ctx, "email_bidx", nil)
	is(t, err, vault.ErrNotIndexable)
	_, err = m.Index(t.Context(), "email_bidx", "ann@example.org")
	is(t, err, vault.ErrNoContext)
}

// What a bucketed index finds is filtered by its value.
func TestModelMatches(t *testing.T) {
	m, _ := users(t)
	u := someone()
	row, err := m.Seal(t.Context(), &u)
	noError(t, err)
	for value, want := range map[string]bool{" ann@EXAMPLE.org": true, "bea@example.org": false} {
		got, err := m.Matches(t.Context(), &row, "email_bucket", value)
		noError(t, err)
		if got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	for _, column := range []string{"both_bidx", "email", ""} {
		_, err := m.Matches(t.Context(), &row, column, "x")
		is(t, err, vault.ErrModel)
	}
}

func TestModelAt(t *testing.T) {
	m, _ := users(t)
	for _, c := range []struct{ got, want vault.Location }{
		{m.At("email", "org_a", "u1"), vault.At("people", "email", "org_a", "u1")},
		{m.At("phone", "whatever"), vault.AtColumn("people", "telephone")},
		{m.At("phone"), vault.AtColumn("people", "telephone")},
	} {
		if c.got != c.want {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
	for _, bad := range []vault.Location{m.At("name", "org_a", "u1"), m.At("email", "u1"), m.At("email"), m.At("telephone", "u1"), m.At("email", "org_a", "")} {
		is(t, bad.Err(), vault.ErrInvalidLocation)
	}
}

func TestModelErrors(t *testing.T) {
	v := vaulttest.New(t).Vault
	type plain struct{ ID string }
	type noKey struct {
		Note vault.Encrypted[string]
	}
	type hidden struct {
		Note vault.Encrypted[string] `vault:"bind:column"`
	}
	type hides struct{ *hidden }
	for what, err := range map[string]error{
		"a hidden pointer": second(NewModel[int](v, "x")),
		"a pointer":        second(NewModel[*user](v, "x", "Org", "ID")),
		"nothing in it":    second(NewModel[plain](v, "x")),
		"no key":           second(NewModel[noKey](v, "x")),
		"no such key":      second(NewModel[user](v, "x", "Org", "Nr")),
		"a key twice":      second(NewModel[user](v, "x", "Org", "Org")),
		"no name of table": second(NewModel[struct {
			ID   string
			Note vault.Encrypted[string]
		}](v, "")),
	} {
		if err == nil {
			t.Errorf("%s: it was taken", what)
			continue
		}
		is(t, err, vault.ErrModel)
	}
}

func second[T any](_ T, err error) error { return err }

// Rows that a model has sealed go through a wrapped driver without a key context: they
// carry theirs.
func TestSealedRowNeedsNoContext(t *testing.T) {
	m, v := users(t)
	u := someone()
	row, err := m.Seal(t.Context(), &u)
	noError(t, err)
	s := scripts()["everything"]
	_, err = open(t, Wrap(s, v.Vault)).ExecContext(t.Context(), "INSERT", row.Email)
	noError(t, err)
	if !reflect.DeepEqual(s.args[0], value(t, row.Email)) {
		t.Error("its bytes were changed")
	}
	_, err = open(t, Wrap(s, vaulttest.New(t).Vault)).ExecContext(vault.WithKeyContext(t.Context(), orgA), "INSERT", row.Email)
	is(t, err, vault.ErrWrongContext) // another vault
	_, err = open(t, Wrap(s, v.Vault)).ExecContext(vault.WithKeyContext(t.Context(), orgB), "INSERT", row.Email)
	is(t, err, vault.ErrWrongContext) // another tenant
}
