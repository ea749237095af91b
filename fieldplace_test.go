package vault_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// A field that was read in one row, and is said to go to another, is opened before its
// bytes are written there: they don't belong, and would be lost.
func TestBoundFieldSaidToBeElsewhere(t *testing.T) {
	v := vaulttest.New(t)
	ctx := vault.WithKeyContext(t.Context(), orgA)
	here, there := vault.At("users", "note", "u1"), vault.At("users", "note", "u2")
	read := vault.SealedBytes[string](must(v.SealField(ctx, orgA, here, "x"))(t))
	b := vault.FieldBinding{Vault: v.Vault, Location: here}
	read.BindField(ctx, b)
	for _, f := range []vault.Encrypted[string]{read.AtLocation(there), read.AtLocation(there).AtLocation(there)} {
		_, err := f.SealField(ctx, vault.FieldBinding{Vault: v.Vault})
		wantClass(t, err, "ErrWrongLocation")
		_, err = f.SealField(ctx, vault.FieldBinding{Vault: v.Vault, Location: there})
		wantClass(t, err, "ErrWrongLocation")
	}
	decrypted := v.Decryptions()
	same := must(read.AtLocation(here).SealField(ctx, vault.FieldBinding{Vault: v.Vault}))(t)
	if value := must(read.Value())(t).([]byte); !bytes.Equal(same, value) || v.Decryptions() != decrypted {
		t.Error("a field that stays where it is was opened, or has other bytes")
	}
	moved := must(read.SealField(ctx, vault.FieldBinding{Vault: v.Vault, Location: there}))(t)
	var got string
	ok(t, v.OpenField(ctx, orgA, there, moved, &got))
}

// A row that was read is written back without a key context: its fields carry theirs,
// for the vault that they were read with.
func TestBoundFieldCarriesItsContext(t *testing.T) {
	v, other := vaulttest.New(t), vaulttest.New(t)
	at := vault.At("users", "note", "u1")
	read := vault.SealedBytes[string](must(v.SealField(t.Context(), orgA, at, "x"))(t))
	read.BindField(t.Context(), vault.FieldBinding{Vault: v.Vault, Context: orgA, Location: at})
	for _, with := range []*vault.Vault{nil, v.Vault} {
		if got := must(read.SealField(t.Context(), vault.FieldBinding{Vault: with}))(t); !bytes.Equal(got, must(read.Value())(t).([]byte)) {
			t.Error("it has other bytes")
		}
	}
	_, err := read.SealField(t.Context(), vault.FieldBinding{Vault: other.Vault})
	wantClass(t, err, "ErrNoContext")
	_, err = read.SealField(vault.WithKeyContext(t.Context(), orgB), vault.FieldBinding{Vault: v.Vault})
	wantClass(t, err, "ErrWrongContext")
	unbound := vault.SealedBytes[string](must(read.Value())(t).([]byte))
	_, err = unbound.SealField(t.Context(), vault.FieldBinding{Vault: v.Vault, Location: at})
	wantClass(t, err, "ErrNoContext")
}

// The primary key may be other fields than ID, in the order in which they are named.
func TestParseModelKey(t *testing.T) {
	type row struct {
		Nr   int
		ID   string
		Org  string
		Note vault.Encrypted[string]
	}
	m := must(vault.ParseModel(reflect.TypeFor[row](), vault.ModelSpec{Table: "rows", Key: []string{"Org", "Nr"}}))(t)
	if len(m.Key) != 2 || m.Key[0].Field.Name != "Org" || m.Key[1].Field.Name != "Nr" {
		t.Fatalf("%v", m.Key)
	}
	if got := m.Location(m.Fields[0], reflect.ValueOf(row{Nr: 7, ID: "x", Org: "o"})); got != vault.At("rows", "note", "o", 7) {
		t.Errorf("%v", got)
	}
	for _, bad := range [][]string{{"Nope"}, {"Org", "Org"}, {""}} {
		_, err := vault.ParseModel(reflect.TypeFor[row](), vault.ModelSpec{Table: "rows", Key: bad})
		wantClass(t, err, "ErrModel")
	}
}

func TestInvalidLocation(t *testing.T) {
	v := vaulttest.New(t)
	l := vault.InvalidLocation("users", "note", "the adapter knows why")
	wantClass(t, l.Err(), "ErrInvalidLocation")
	_, err := v.SealField(t.Context(), orgA, l, "x")
	wantClass(t, err, "ErrInvalidLocation")
}
