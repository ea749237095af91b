package vault_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

type base struct {
	ID    string
	OrgID string
}

type person struct {
	_ struct{} `vault:"table:people;context:organization_id=OrgID"`
	base
	Email     vault.Encrypted[string] `vault:"index:email_bidx,email@1,unique;index:email_bidx_2,email@1,unique,generation:2"`
	Phone     vault.Encrypted[string] `db:"tel" vault:"column:phone;index:phone_bidx,e164@1,scope:global,bits:16;bind:column"`
	Name      vault.Encrypted[string] `vault:"index:name_born,lower@1,and:Born=exact@1,and:City=lower@1"`
	Born      vault.Encrypted[int]
	City      string
	EmailBidx []byte
	Second    []byte `db:"email_bidx_2"`
	PhoneBidx []byte
	NameBorn  []byte
	Skipped   vault.Encrypted[int] `db:"-"`
}

func parse(t testing.TB, x any, spec vault.ModelSpec) *vault.FieldModel {
	t.Helper()
	return must(vault.ParseModel(reflect.TypeOf(x), spec))(t)
}

func TestParseModel(t *testing.T) {
	m := parse(t, &person{}, vault.ModelSpec{Table: "persons"})
	if m.Table != "people" || len(m.Fields) != 4 || len(m.Key) != 1 || m.Key[0].Name != "id" || len(m.Context) != 1 || m.Context[0].Key != "organization_id" || m.Context[0].Field.Field.Name != "OrgID" {
		t.Fatalf("%+v", m)
	}
	email, phone, name, born := m.Fields[0], m.Fields[1], m.Fields[2], m.Fields[3]
	if email.Name != "email" || email.Logical != "email" || email.BindColumn || len(email.Indexes) != 2 ||
		phone.Name != "tel" || phone.Logical != "phone" || !phone.BindColumn || born.Logical != "born" || born.Indexes != nil {
		t.Fatalf("%+v %+v %+v", email, phone, born)
	}
	one, two, bucket, compound := email.Indexes[0], email.Indexes[1], phone.Indexes[0], name.Indexes[0]
	if !one.Unique || one.Generation != 0 || one.Index.Table != "people" || one.Column != "email" || one.Normaliser != "email@1" || one.Target.Field.Name != "EmailBidx" ||
		two.Generation != 2 || two.Target.Field.Name != "Second" ||
		!bucket.Global || bucket.Bits != 16 || bucket.Unique || bucket.Column != "phone" ||
		len(compound.And) != 2 || compound.And[0] != (vault.IndexPart{Column: "born", Normaliser: "exact@1"}) || compound.And[1].Column != "city" || len(compound.Parts) != 3 {
		t.Fatalf("%+v %+v %+v %+v", one, two, bucket, compound)
	}
	plain := parse(t, struct{ A string }{}, vault.ModelSpec{})
	if len(plain.Fields) != 0 {
		t.Fatal(plain)
	}
}

// A row of a model is sealed, indexed, stored, bound and opened by what the tags say.
func TestModelRow(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	m := parse(t, person{}, vault.ModelSpec{Table: "persons"})
	p := &person{base: base{"p1", "org_01"}, Email: vault.Seal("Ann@b.c"), Phone: vault.Seal("+49 30 1"), Name: vault.Seal("Ann"), Born: vault.Seal(1999), City: "Bonn"}
	row, isRow := m.Row(reflect.ValueOf(&p))
	if !isRow {
		t.Fatal("not a row")
	}
	read := person{base: p.base, City: p.City}
	readRow := reflect.ValueOf(&read).Elem()
	for _, f := range m.Fields {
		b := must(m.Binding(v.Vault, f, row))(t)
		data := must(m.Box(f, row).SealField(ctx, b))(t)
		ok(t, m.Box(f, readRow).Scan(data))
		for _, ix := range f.Indexes {
			got := must(m.BlindIndex(ctx, v.Vault, ix, row))(t)
			if ix.Bits == 0 && len(got) != 16 || ix.Bits == 16 && len(got) != 2 {
				t.Errorf("%v: %x", ix, got)
			}
		}
	}
	if p.Email.FieldState() != vault.FieldPending || p.EmailBidx != nil {
		t.Fatal("the caller's row was changed")
	}
	m.Bind(ctx, v.Vault, readRow)
	if must(read.Email.Open(ctx))(t) != "Ann@b.c" || must(read.Born.Open(ctx))(t) != 1999 || must(read.Phone.Open(ctx))(t) != "+49 30 1" {
		t.Fatal("a value is another")
	}
	// Of what was read, an index is that of what was written.
	for _, f := range m.Fields {
		for _, ix := range f.Indexes {
			a, b := must(m.BlindIndex(ctx, v.Vault, ix, row))(t), must(m.BlindIndex(ctx, v.Vault, ix, readRow))(t)
			if !bytes.Equal(a, b) {
				t.Errorf("%v", ix)
			}
		}
	}
	// In the database rows and columns are swapped: told, and nothing released.
	other := person{base: base{"p2", "org_01"}, Email: vault.SealedBytes[string](must(read.Email.Value())(t).([]byte)), Name: vault.SealedBytes[string](must(read.Email.Value())(t).([]byte))}
	m.Bind(ctx, v.Vault, reflect.ValueOf(&other).Elem())
	wantClass(t, second(other.Email.Open(ctx)), "ErrWrongLocation")
	wantClass(t, second(other.Name.Open(ctx)), "ErrWrongLocation")
	// ctx and row disagree: an error at each use, and none of the query.
	foreign := vault.WithKeyContext(ctx, orgB)
	wantClass(t, second(m.Box(m.Fields[0], row).SealField(foreign, must(m.Binding(v.Vault, m.Fields[0], row))(t))), "ErrContextConflict")
	wantClass(t, second(m.BlindIndex(foreign, v.Vault, m.Fields[0].Indexes[0], row)), "ErrContextConflict")
	m.Bind(foreign, v.Vault, readRow)
	wantClass(t, second(read.Email.Open(ctx)), "ErrContextConflict")
	// Neither ctx nor row: no default.
	bare := &person{base: base{ID: "p1"}, Email: vault.Seal("x")}
	bareRow := reflect.ValueOf(bare).Elem()
	wantClass(t, second(m.Box(m.Fields[0], bareRow).SealField(ctx, must(m.Binding(v.Vault, m.Fields[0], bareRow))(t))), "ErrNoContext")
	// A row without its key.
	bare.ID, bare.OrgID = "", "org_01"
	wantClass(t, second(m.Box(m.Fields[0], bareRow).SealField(ctx, must(m.Binding(v.Vault, m.Fields[0], bareRow))(t))), "ErrInvalidLocation")
	must(m.Box(m.Fields[1], bareRow).SealField(ctx, must(m.Binding(v.Vault, m.Fields[1], bareRow))(t)))(t) // bind:column
	// A query that read neither key nor context: bound as far as it goes.
	part := person{Email: vault.SealedBytes[string](must(must(vault.Seal("y").At("people", "email", "p9").Sealed(vault.WithKeyContext(vault.WithVault(ctx, v.Vault), orgA)))(t).Value())(t).([]byte))}
	m.Bind(ctx, v.Vault, reflect.ValueOf(&part).Elem())
	wantClass(t, second(part.Email.Open(ctx)), "ErrInvalidLocation")
	if got := must(part.Email.At("people", "email", "p9").Open(vault.WithKeyContext(ctx, orgA)))(t); got != "y" {
		t.Fatal(got)
	}
}

func column(t reflect.Type, name string, change func(*vault.ModelColumn)) vault.ModelColumn {
	f, _ := t.FieldByName(name)
	c := vault.ModelColumn{Field: f, Name: strings.ToLower(name), PrimaryKey: name == "ID"}
	if change != nil {
		change(&c)
	}
	return c
}

// What is wrong with a model is said when it is read, with the field and the fix.
func TestModelChecks(t *testing.T) {
	type E = vault.Encrypted[string]
	derived := func(x any) error {
		_, err := vault.ParseModel(reflect.TypeOf(x), vault.ModelSpec{Table: "t"})
		return err
	}
	with := func(x any, change map[string]func(*vault.ModelColumn)) error {
		typ := reflect.TypeOf(x)
		var cols []vault.ModelColumn
		for i := range typ.NumField() {
			name := typ.Field(i).Name
			cols = append(cols, column(typ, name, change[name]))
		}
		_, err := vault.ParseModel(typ, vault.ModelSpec{Table: "t", Columns: cols})
		return err
	}
	type simple struct {
		ID  string
		Ssn E
	}
	type indexed struct {
		ID   string
		Ssn  E `vault:"index:bidx,exact@1"`
		Bidx []byte
	}
	sqlType := func(s string) func(*vault.ModelColumn) { return func(c *vault.ModelColumn) { c.Type = s } }
	for _, c := range []struct {
		name string
		err  error
		want []string
	}{
		{"text column", with(simple{}, map[string]func(*vault.ModelColumn){"Ssn": sqlType("VARCHAR(255)")}), []string{"Ssn", "VARCHAR(255)", "bytea"}},
		{"text column 2", with(simple{}, map[string]func(*vault.ModelColumn){"Ssn": sqlType(" text ")}), []string{"Ssn", "text"}},
		{"serial key", with(simple{}, map[string]func(*vault.ModelColumn){"ID": func(c *vault.ModelColumn) { c.Generated = true }}), []string{"Ssn", "ID", "database makes", "bind:column", "version 7"}},
		{"text index", with(indexed{}, map[string]func(*vault.ModelColumn){"Bidx": sqlType("text")}), []string{"Ssn", `"bidx"`, "binary"}},
		{"no key", derived(struct{ Ssn E }{}), []string{"Ssn", "no primary key", "bind:column"}},
		{"float key", derived(struct {
			ID  float64
			Ssn E
		}{}), []string{"Ssn", "ID is a float64"}},
		{"no index column", derived(struct {
			ID  string
			Ssn E `vault:"index:bidx,exact@1"`
		}{}), []string{"Ssn", `no column "bidx"`, "[]byte"}},
		{"index column of text", derived(struct {
			ID   string
			Ssn  E `vault:"index:bidx,exact@1"`
			Bidx string
		}{}), []string{"Ssn", `"bidx" is a string`, "[]byte"}},
		{"one index column for two", derived(struct {
			ID   string
			Ssn  E `vault:"index:bidx,exact@1"`
			Pin  E `vault:"index:bidx,exact@1"`
			Bidx []byte
		}{}), []string{"Pin", "Ssn already"}},
		{"one index column twice", derived(struct {
			ID   string
			Ssn  E `vault:"index:bidx,exact@1;index:bidx,exact@1,generation:2"`
			Bidx []byte
		}{}), []string{"Ssn already"}},
		{"no such part", derived(struct {
			ID   string
			Ssn  E `vault:"index:bidx,exact@1,and:Gone=exact@1"`
			Bidx []byte
		}{}), []string{"Ssn", "no column field Gone"}},
		{"itself as part", derived(struct {
			ID   string
			Ssn  E `vault:"index:bidx,exact@1,and:Ssn=exact@1"`
			Bidx []byte
		}{}), []string{"Ssn", "twice"}},
		{"no such context", derived(struct {
			ID  string
			Ssn E `vault:"context:org=OrgID"`
		}{}), []string{"Ssn", "no column field OrgID"}},
		{"context of a float", derived(struct {
			ID    string
			OrgID float64
			Ssn   E `vault:"context:org=OrgID"`
		}{}), []string{"OrgID is a float64"}},
		{"context of an Encrypted", derived(struct {
			ID    string
			OrgID E
			Ssn   E `vault:"context:org=OrgID"`
		}{}), []string{"OrgID is a vault.Encrypted"}},
		{"context twice", derived(struct {
			ID    string
			OrgID string
			Ssn   E `vault:"context:org=OrgID"`
			Pin   E `vault:"context:org=OrgID"`
		}{}), []string{"Pin", "two fields"}},
		{"table twice", derived(struct {
			ID  string
			Ssn E `vault:"table:a"`
			Pin E `vault:"table:b"`
		}{}), []string{"Pin", "two fields"}},
		{"one logical column twice", derived(struct {
			ID  string
			Ssn E `vault:"column:x"`
			Pin E `vault:"column:x"`
		}{}), []string{"Pin", "Ssn's too"}},
		{"tag on a string", derived(struct {
			ID  string
			Ssn string `vault:"index:bidx,exact@1"`
		}{}), []string{"Ssn", "it is a string"}},
		{"tags and nothing encrypted", derived(struct {
			ID  string
			Ssn string `vault:"table:t"`
		}{}), []string{"no field of the model is a vault.Encrypted"}},
		{"a type that can't be", derived(struct {
			ID  string
			Ssn vault.Encrypted[func()]
		}{}), []string{"Ssn", "func()"}},
		{"unexported and tagged", derived(struct {
			ID  string
			ssn E `vault:"bind:column"`
		}{}), []string{"ssn", "no column"}},
		{"not a struct", derived(1), []string{"int", "not a struct"}},
		{"all at once", derived(struct {
			Ssn E `vault:"bind:row"`
			Pin E
		}{}), []string{"Ssn", "bind:column", "Pin", "primary key"}},
	} {
		if !errors.Is(c.err, vault.ErrModel) {
			t.Errorf("%s: %v", c.name, c.err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(c.err.Error(), want) {
				t.Errorf("%s: %v\nlacks %q", c.name, c.err, want)
			}
		}
	}
	for _, good := range []string{"bytea", "BLOB", "varbinary(255)", "", "binary(16)"} {
		ok(t, with(indexed{}, map[string]func(*vault.ModelColumn){"Ssn": sqlType(good), "Bidx": sqlType(good)}))
	}
	// No table: the adapter knows none, and no tag says one.
	_, err := vault.ParseModel(reflect.TypeFor[simple](), vault.ModelSpec{})
	wantClass(t, err, "ErrModel")
	// Keys that are drivers' own types.
	ok(t, derived(struct {
		ID  sql.NullInt64
		Ssn E
	}{}))
}

// The grammar is strict: what isn't understood is refused, with what to write.
func TestTagGrammar(t *testing.T) {
	parse := func(tag string) error {
		typ := reflect.StructOf([]reflect.StructField{
			{Name: "ID", Type: reflect.TypeFor[string]()}, {Name: "OrgID", Type: reflect.TypeFor[string]()}, {Name: "B", Type: reflect.TypeFor[[]byte]()},
			{Name: "E", Type: reflect.TypeFor[vault.Encrypted[string]](), Tag: reflect.StructTag(fmt.Sprintf("vault:%q", tag))},
		})
		_, err := vault.ParseModel(typ, vault.ModelSpec{Table: "t"})
		return err
	}
	for _, good := range []string{
		"bind:column", "column:x", "table:x", "index:b,exact@1", "index:b,lower@1,unique", "index:b,exact@1,bits:4", "index:b,exact@1,bits:64",
		"index:b,exact@1,scope:global,unique,generation:2", "index:b,exact@1,and:OrgID=exact@1", "context:a=OrgID,b=ID", "context:a=OrgID;bind:column;index:b,exact@1;table:t;column:c",
		"column:a:b", "context:a.b:c/d-e=OrgID",
	} {
		if err := parse(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", ";", "bind:column;", " bind:column", "bind: column", "bind:row", "bind", "bind:", "bind:column;bind:column", "Bind:column", "x:y", "-", "column:", "column:a;column:b", "table:a;table:b",
		"index:b", "index:,exact@1", "index:b,", "index:b,exact", "index:b,exact@2", "index:b,EXACT@1", "index:b,exact@1,", "index:b,exact@1,unique,unique", "index:b,exact@1,Unique",
		"index:b,exact@1,bits:3", "index:b,exact@1,bits:65", "index:b,exact@1,bits:08", "index:b,exact@1,bits:+8", "index:b,exact@1,bits:8,bits:8", "index:b,exact@1,bits:8,unique", "index:b,exact@1,unique,bits:8", "index:b,exact@1,bits:", "index:b,exact@1,bits:x",
		"index:b,exact@1,scope:tenant", "index:b,exact@1,scope:global,scope:global", "index:b,exact@1,generation:1", "index:b,exact@1,generation:0", "index:b,exact@1,generation:02", "index:b,exact@1,generation:4294967296", "index:b,exact@1,generation:2,generation:3",
		"index:b,exact@1,and:OrgID", "index:b,exact@1,and:=exact@1", "index:b,exact@1,and:OrgID=exact", "index:b,exact@1,and:orgID=exact@1", "index:b,exact@1,and:Org ID=exact@1",
		"context:a", "context:=OrgID", "context:a=", "context:a=OrgID,a=ID", "context:vault:scope=OrgID", "context:a b=OrgID", "context:a=orgID", "context:a=OrgID,", "context:ä=OrgID",
		"column:a\nb", "unique", "scope:global", "bits:8",
	} {
		if err := parse(bad); !errors.Is(err, vault.ErrModel) || !strings.Contains(err.Error(), "field E") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzTag gives tags of any text to the parser: it refuses or takes them, and doesn't
// panic; what it takes says nothing twice, and makes indexes that can be computed.
func FuzzTag(f *testing.F) {
	for _, s := range []string{"bind:column", "index:b,exact@1,unique,and:OrgID=lower@1;context:a=OrgID", "index:b,exact@1,bits:8", ";;", "index:b,exact@1,generation:99999999999"} {
		f.Add(s)
	}
	v := vaulttest.New(f)
	f.Fuzz(func(t *testing.T, tag string) {
		typ := reflect.StructOf([]reflect.StructField{
			{Name: "ID", Type: reflect.TypeFor[string]()}, {Name: "OrgID", Type: reflect.TypeFor[string]()}, {Name: "B", Type: reflect.TypeFor[[]byte]()},
			{Name: "E", Type: reflect.TypeFor[vault.Encrypted[string]](), Tag: reflect.StructTag(fmt.Sprintf("vault:%q", tag))},
		})
		m, err := vault.ParseModel(typ, vault.ModelSpec{Table: "t"})
		if err != nil {
			if !errors.Is(err, vault.ErrModel) {
				t.Fatal(err)
			}
			return
		}
		row := reflect.New(typ).Elem()
		row.Field(0).SetString("1")
		row.Field(1).SetString("org")
		ok(t, m.Box(m.Fields[0], row).SetPlain("a@b.c1"))
		ctx := context.Background()
		if len(m.Context) == 0 {
			ctx = vault.WithKeyContext(ctx, orgA)
		}
		for _, fd := range m.Fields {
			b := must(m.Binding(v.Vault, fd, row))(t)
			must(m.Box(fd, row).SealField(ctx, b))(t)
			for _, ix := range fd.Indexes {
				if got, err := m.BlindIndex(ctx, v.Vault, ix, row); (err != nil || len(got) != ix.Size()) && !errors.Is(err, vault.ErrNotIndexable) {
					t.Fatalf("%x, %v", got, err)
				}
				if ix.Unique && ix.Bits != 0 {
					t.Fatal("unique and bucketed")
				}
			}
		}
	})
}
