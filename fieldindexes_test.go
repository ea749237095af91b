package vault_test

import (
	"reflect"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

type indexedRow struct {
	ID    string
	OrgID string                  `vault:"table:rows;context:organization_id=OrgID"`
	Email vault.Encrypted[string] `vault:"index:bidx,email@1;index:both,email@1,and:City=lower@1"`
	City  vault.Encrypted[string]
	Bidx  []byte
	Both  []byte
}

// read returns what an adapter reads of a row that was written with these values.
func readRow(t *testing.T, v *vaulttest.Vault, m *vault.FieldModel, email, city string) indexedRow {
	t.Helper()
	ctx := t.Context()
	w := indexedRow{ID: "r1", OrgID: "org_01", Email: vault.Seal(email), City: vault.Seal(city)}
	row := reflect.ValueOf(&w).Elem()
	r := indexedRow{ID: w.ID, OrgID: w.OrgID}
	for i, dst := range []*vault.Encrypted[string]{&r.Email, &r.City} {
		b := must(m.Binding(v.Vault, m.Fields[i], row))(t)
		*dst = vault.SealedBytes[string](must(m.Box(m.Fields[i], row).SealField(ctx, b))(t))
	}
	ixs := must(m.Indexes(ctx, v.Vault, m.Fields[0], row))(t)
	r.Bidx, r.Both = ixs[0], ixs[1]
	return r
}

// A field that goes back to where it was read keeps the index that was read beside it,
// and nothing is opened for that; in any other case the index is the value's.
func TestIndexesAreKept(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	m := must(vault.ParseModel(reflect.TypeFor[indexedRow](), vault.ModelSpec{}))(t)
	email := m.Fields[0]
	read := readRow(t, v, m, "ann@example.org", "Bern")
	bound := func(change func(*indexedRow)) reflect.Value {
		r := read
		r.Bidx = append([]byte{}, read.Bidx...)
		if change != nil {
			change(&r)
		}
		row := reflect.ValueOf(&r).Elem()
		m.Bind(ctx, v.Vault, row)
		return row
	}
	indexes := func(row reflect.Value) (first, both string) {
		t.Helper()
		ixs := must(m.Indexes(ctx, v.Vault, email, row))(t)
		return string(ixs[0]), string(ixs[1])
	}

	marked := "an index that was read"[:16]
	row := bound(func(r *indexedRow) { r.Bidx = []byte(marked) })
	before := v.Decryptions()
	row.FieldByName("Bidx").Bytes()[0] = 'X' // what the caller does to it afterwards
	if got, both := indexes(row); got != marked || both != string(read.Both) {
		t.Fatal("the index that was read isn't kept, or the compound one isn't the values'")
	}
	if n := v.Decryptions() - before; n != 2 { // for the compound index
		t.Fatalf("%d fields were opened, want 2", n)
	}
	for name, row := range map[string]reflect.Value{
		"another row": func() reflect.Value {
			row := bound(func(r *indexedRow) { r.Bidx = []byte(marked) })
			row.FieldByName("ID").SetString("r2")
			return row
		}(),
		"not read":      bound(func(r *indexedRow) { r.Bidx = nil }),
		"another size":  bound(func(r *indexedRow) { r.Bidx = []byte("short") }),
		"not bound":     reflect.ValueOf(&read).Elem(),
		"its own value": bound(nil),
	} {
		if got, both := indexes(row); got != string(read.Bidx) || both != string(read.Both) {
			t.Errorf("%s: the index isn't the value's", name)
		}
	}
	row = bound(func(r *indexedRow) { r.Email = vault.Null[string]() })
	if ixs := must(m.Indexes(ctx, v.Vault, email, row))(t); ixs[0] != nil || ixs[1] != nil {
		t.Error("NULL has an index")
	}
	// For another tenant, or another vault, it isn't kept.
	row = bound(func(r *indexedRow) { r.Bidx = []byte(marked) })
	row.FieldByName("OrgID").SetString("org_02")
	ixs := must(m.Indexes(ctx, v.Vault, email, row))(t)
	if string(ixs[0]) == marked || string(ixs[0]) == string(read.Bidx) {
		t.Error("another tenant has the index")
	}
}

// A field that was read where no vault was known keeps whose it is, for the Open that
// brings the vault.
func TestContextIsKeptWithoutVault(t *testing.T) {
	v := vaulttest.New(t)
	m := must(vault.ParseModel(reflect.TypeFor[indexedRow](), vault.ModelSpec{}))(t)
	r := readRow(t, v, m, "ann@example.org", "Bern")
	m.Bind(t.Context(), nil, reflect.ValueOf(&r).Elem())
	_, err := r.Email.Open(t.Context())
	wantClass(t, err, "ErrNoVault")
	ctx := vault.WithVault(t.Context(), v.Vault)
	if got := must(r.Email.Open(ctx))(t); got != "ann@example.org" {
		t.Fatal("another value")
	}
	_, err = r.Email.Open(vault.WithKeyContext(ctx, vault.KeyContext{"organization_id": "org_02"}))
	wantClass(t, err, "ErrContextConflict")
}

// An empty value is damage and not NULL, also of a driver that gives it as a nil []byte.
func TestScanOfEmpty(t *testing.T) {
	for _, src := range []any{[]byte(nil), []byte{}, ""} {
		var e vault.Encrypted[string]
		ok(t, e.Scan(src))
		if e.IsZero() {
			t.Errorf("%#v is taken for NULL", src)
		}
	}
	e := vault.Seal("x")
	ok(t, e.Scan(nil))
	if !e.IsZero() {
		t.Error("NULL isn't NULL")
	}
}
