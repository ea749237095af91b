package vault_test

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/vaulttest"
)

// In every setup a field comes back from its place, and from no other.
func TestFieldIsBoundToItsPlace(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		home := vault.At("users", "ssn", "u1")
		data := must(v.SealField(ctx, orgA, home, "123-45"))(t)
		info := must(vault.Inspect(data))(t)
		if want := envelope.KindField; info.Kind.Reference() != want || info.Kind.SelfContained() != s.self || info.PlaintextSize != 18+6 {
			t.Fatalf("%+v", info)
		}
		var got string
		ok(t, v.OpenField(ctx, orgA, home, data, &got))
		if got != "123-45" {
			t.Fatal(got)
		}
		for name, elsewhere := range map[string]vault.Location{
			"row": vault.At("users", "ssn", "u2"), "column": vault.At("users", "email", "u1"), "table": vault.At("user", "ssn", "u1"),
			"the column alone": vault.AtColumn("users", "ssn"), "another key part": vault.At("users", "ssn", "u1", 1),
			"split elsewhere": vault.At("users", "ssnu", "1"), "case": vault.At("users", "ssn", "U1"), "names swapped": vault.At("ssn", "users", "u1"),
		} {
			got := "kept"
			err := v.OpenField(ctx, orgA, elsewhere, data, &got)
			wantClass(t, err, "ErrWrongLocation")
			if got != "kept" {
				t.Errorf("%s: something was released", name)
			}
		}
		// Another tenant, and a byte changed, are told from that.
		if err := v.OpenField(ctx, orgB, home, data, &got); !errors.Is(err, vault.ErrWrongContext) {
			t.Errorf("another context: %v", err)
		}
		bad := bytes.Clone(data)
		bad[len(bad)-1] ^= 1
		wantClass(t, v.OpenField(ctx, orgA, home, bad, &got), "ErrDecrypt")
		// Bound to the column alone it opens in every row, and in no other column.
		col := must(v.SealField(ctx, orgA, vault.AtColumn("users", "ssn"), "x"))(t)
		ok(t, v.OpenField(ctx, orgA, vault.AtColumn("users", "ssn"), col, &got))
		wantClass(t, v.OpenField(ctx, orgA, vault.AtColumn("users", "email"), col, &got), "ErrWrongLocation")
		wantClass(t, v.OpenField(ctx, orgA, home, col, &got), "ErrWrongLocation")
	})
}

// uuid is a UUID as many packages have it.
type uuid [16]byte

// valuerKey is a key that isn't made of anything simple.
type valuerKey struct {
	v   any
	err error
}

func (k valuerKey) Value() (driver.Value, error) { return k.v, k.err }

func TestRowIDs(t *testing.T) {
	type named string
	type id int64
	u := uuid{0x01, 0x8f, 0xab, 15: 0xff}
	s := "abc"
	seven := 7
	same := func(a, b vault.Location) bool {
		v := vaulttest.New(t)
		data := must(v.SealField(t.Context(), orgA, a, "x"))(t)
		err := v.OpenField(t.Context(), orgA, b, data, new(string))
		if err != nil && !errors.Is(err, vault.ErrWrongLocation) {
			t.Fatal(err)
		}
		return err == nil
	}
	at := func(row ...any) vault.Location { return vault.At("t", "c", row...) }
	for name, pair := range map[string][2]vault.Location{
		"integers": {at(7), at(uint8(7))}, "named": {at(id(7)), at("7")}, "pointer": {at(&seven), at(7)}, "negative": {at(-1), at("-1")},
		"string and bytes": {at("abc"), at([]byte("abc"))}, "named string": {at(named("abc")), at(&s)},
		"UUID": {at(u), at("018fab00-0000-0000-0000-0000000000ff")}, "vault's": {at(vault.ID(u)), at(u)},
		"valuers": {at(valuerKey{v: int64(7)}), at(7)}, "valuer string": {at(valuerKey{v: "abc"}), at(&valuerKey{v: []byte("abc")})},
		"two": {at("a", 1), at(named("a"), "1")},
	} {
		if !same(pair[0], pair[1]) {
			t.Errorf("%s: two places", name)
		}
	}
	for name, pair := range map[string][2]vault.Location{
		"UUID upper case": {at(u), at("018FAB00-0000-0000-0000-0000000000FF")}, "UUID bytes": {at(u), at(u[:])},
		"order": {at("a", "b"), at("b", "a")}, "joined": {at("a", "b"), at("ab")}, "leading zero": {at("07"), at(7)},
	} {
		if same(pair[0], pair[1]) {
			t.Errorf("%s: one place", name)
		}
	}
	n := newNet(t)
	for name, bad := range map[string]vault.Location{
		"no row": vault.At("t", "c"), "nil": at(nil), "nil pointer": at((*string)(nil)), "empty": at(""), "empty bytes": at([]byte{}),
		"zero UUID": at(uuid{}), "float": at(1.5), "bool": at(true), "struct": at(struct{ a string }{n.secret()}), "long": at(strings.Repeat(n.secret(), 60)),
		"NULL": at(valuerKey{}), "failing": at(valuerKey{err: errors.New(n.secret())}), "valuer float": at(valuerKey{v: 1.5}),
		"second empty": at("a", ""), "17": at(slices.Repeat([]any{1}, 17)...), "no table": vault.At("", "c", 1), "no column": vault.AtColumn("t", ""),
		"long table": vault.At(strings.Repeat("t", 256), "c", 1), "control": vault.At("t\n", "c", 1), "not UTF-8": vault.At("t", "\xff", 1),
		"[15]byte": at([15]byte{1}), "uintptr": at(uintptr(1)), "slice": at([]int{1}),
	} {
		if err := bad.Err(); !errors.Is(err, vault.ErrInvalidLocation) {
			t.Errorf("%s: %v", name, err)
		}
		n.checkErr(name, bad.Err())
		v := vaulttest.New(t)
		_, err := v.SealField(t.Context(), orgA, bad, "x")
		wantClass(t, err, "ErrInvalidLocation")
		wantClass(t, v.OpenField(t.Context(), orgA, bad, []byte("x"), new(string)), "ErrInvalidLocation")
		_, err = vault.Seal("x").AtLocation(bad).Sealed(fieldCtx(t, v))
		wantClass(t, err, "ErrInvalidLocation")
	}
	v := vaulttest.New(t)
	wantClass(t, second(v.SealField(t.Context(), orgA, vault.Location{}, "x")), "ErrNoLocation")
	if l := at(1); l.Table() != "t" || l.Column() != "c" || !l.HasRow() || vault.AtColumn("t", "c").HasRow() || l.IsZero() || l.String() != "t.c" || fmt.Sprint(vault.Location{}) != "no location" {
		t.Errorf("%v", l)
	}
}

// Another kind's envelope is no field, and a field is nothing else; what is sealed in
// one and has another form is malformed.
func TestFieldsAreOfTheirKind(t *testing.T) {
	v := vaulttest.New(t)
	ctx, home := t.Context(), vault.At("t", "c", 1)
	s := sampleOf(t, v.Vault, orgA)
	for _, data := range [][]byte{s.message, s.dataKey, []byte(s.text), nil, {}, {0xE1}} {
		wantClass(t, v.OpenField(ctx, orgA, home, data, new(string)), "ErrMalformed")
	}
	field := must(v.SealField(ctx, orgA, home, "x"))(t)
	wantClass(t, second(v.Decrypt(ctx, orgA, field, nil)), "ErrMalformed")
	wantClass(t, second(v.DecryptDataKey(ctx, orgA, field)), "ErrMalformed")
	relabelled := bytes.Clone(s.message)
	relabelled[1] = byte(envelope.KindField)
	wantClass(t, v.OpenField(ctx, orgA, home, relabelled, new(string)), "ErrDecrypt")
	for i := range field {
		if err := v.OpenField(ctx, orgA, home, field[:i], new(string)); err == nil {
			t.Fatalf("cut to %d bytes it opens", i)
		}
	}
}

// A ctx says whose and which vault's; what is missing is said; there is no default.
func TestFieldContext(t *testing.T) {
	v := vaulttest.New(t)
	bare := t.Context()
	e := vault.Seal("x").At("t", "c", 1)
	seal := func(ctx context.Context, b vault.FieldBinding) error { return second(e.SealField(ctx, b)) }
	wantClass(t, seal(bare, vault.FieldBinding{}), "ErrNoVault")
	wantClass(t, seal(vault.WithKeyContext(bare, orgA), vault.FieldBinding{}), "ErrNoVault")
	wantClass(t, seal(vault.WithVault(bare, v.Vault), vault.FieldBinding{}), "ErrNoContext")
	wantClass(t, seal(bare, vault.FieldBinding{Vault: v.Vault}), "ErrNoContext")
	wantClass(t, seal(vault.WithKeyContext(bare, nil), vault.FieldBinding{Vault: v.Vault}), "ErrInvalidContext")
	wantClass(t, seal(vault.WithKeyContext(bare, orgA), vault.FieldBinding{Vault: v.Vault, Context: orgB}), "ErrContextConflict")
	wantClass(t, seal(bare, vault.FieldBinding{Vault: v.Vault, Context: vault.KeyContext{}}), "ErrInvalidContext")
	ok(t, seal(vault.WithKeyContext(bare, orgA), vault.FieldBinding{Vault: v.Vault, Context: orgA}))
	ok(t, seal(bare, vault.FieldBinding{Vault: v.Vault, Context: orgA}))
	wantClass(t, second(vault.Seal("x").SealField(fieldCtx(t, v), vault.FieldBinding{})), "ErrNoLocation")

	mine := vault.KeyContext{"organization_id": "org_01"}
	ctx := vault.WithKeyContext(bare, mine)
	mine["organization_id"] = "org_02"
	got, _ := vault.KeyContextFrom(ctx)
	if got["organization_id"] != "org_01" {
		t.Fatal("the caller's map is the ctx's")
	}
	got["organization_id"] = "org_03"
	if again, _ := vault.KeyContextFrom(ctx); again["organization_id"] != "org_01" {
		t.Fatal("what KeyContextFrom gives is the ctx's")
	}
	if _, found := vault.KeyContextFrom(bare); found {
		t.Fatal("a key context out of nothing")
	}
	if _, found := vault.VaultFrom(vault.WithVault(bare, nil)); found {
		t.Fatal("a vault out of nothing")
	}
}

func TestDetach(t *testing.T) {
	v := vaulttest.New(t)
	type other struct{}
	ctx, cancel := context.WithCancel(context.WithValue(fieldCtx(t, v), other{}, "a transaction"))
	ctx = vault.WithReason(vault.WithActor(ctx, "ann"), "ticket 7")
	job := vault.Detach(ctx)
	cancel()
	if job.Err() != nil || job.Value(other{}) != nil {
		t.Fatalf("%v, %v", job.Err(), job.Value(other{}))
	}
	must(vault.Seal("x").At("t", "c", 1).SealField(job, vault.FieldBinding{}))(t)
	if e := v.Events(vault.FieldEncrypted); len(e) != 1 || e[0].Actor != "ann" || e[0].Reason != "ticket 7" || e[0].Object != "t.c" || e[0].KeyID.IsZero() {
		t.Fatalf("%+v", e)
	}
	if job := vault.Detach(t.Context()); job.Err() != nil {
		t.Fatal(job.Err())
	}
}

// What an adapter has bound needs nothing else, and no one else's context opens it.
func TestBoundField(t *testing.T) {
	v, w := vaulttest.New(t), vaulttest.New(t)
	bare := t.Context()
	home := vault.At("t", "c", 1)
	read := func(v *vaulttest.Vault, kc vault.KeyContext, text string) vault.Encrypted[string] {
		var e vault.Encrypted[string]
		ok(t, e.Scan(must(v.SealField(bare, kc, home, text))(t)))
		e.BindField(bare, vault.FieldBinding{Vault: v.Vault, Context: kc, Location: home})
		return e
	}
	// Two vaults, two tenants, one ctx that says nothing.
	a, b, c := read(v, orgA, "v A"), read(v, orgB, "v B"), read(w, orgA, "w A")
	for want, e := range map[string]vault.Encrypted[string]{"v A": a, "v B": b, "w A": c} {
		if got, err := e.Open(bare); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	must(a.Open(vault.WithKeyContext(bare, orgA)))(t)
	must(a.Open(vault.WithVault(bare, w.Vault)))(t) // it is bound to v
	_, err := a.Open(vault.WithKeyContext(bare, orgB))
	wantClass(t, err, "ErrContextConflict")
	opened := a
	ok(t, vault.OpenAll(bare, &opened))
	_, err = opened.Open(vault.WithKeyContext(bare, orgB))
	wantClass(t, err, "ErrContextConflict")

	// What the binding doesn't know comes from Open's ctx; what is wrong stays wrong.
	var e vault.Encrypted[string]
	ok(t, e.Scan(must(a.Value())(t)))
	e.BindField(bare, vault.FieldBinding{Vault: v.Vault, Location: home})
	_, err = e.Open(bare)
	wantClass(t, err, "ErrNoContext")
	must(e.Open(vault.WithKeyContext(bare, orgA)))(t)
	e.BindField(vault.WithKeyContext(bare, orgB), vault.FieldBinding{Vault: v.Vault, Context: orgA, Location: home})
	for _, ctx := range []context.Context{bare, vault.WithKeyContext(bare, orgA), vault.WithKeyContext(bare, orgB)} {
		_, err = e.Open(ctx)
		wantClass(t, err, "ErrContextConflict")
		_, err = e.SealField(ctx, vault.FieldBinding{Context: orgA})
		wantClass(t, err, "ErrContextConflict")
	}
	// Unbound, as after a scan into a struct of one's own.
	ok(t, e.Scan(must(a.Value())(t)))
	_, err = e.Open(fieldCtx(t, v))
	wantClass(t, err, "ErrNoLocation")
	_, err = e.At("t", "c", 1).Open(bare)
	wantClass(t, err, "ErrNoVault")
	_, err = e.At("t", "c", 1).Open(vault.WithVault(bare, v.Vault))
	wantClass(t, err, "ErrNoContext")
	if got := must(e.At("t", "c", 1).Open(fieldCtx(t, v)))(t); got != "v A" {
		t.Fatal(got)
	}
	// Binding what isn't sealed does nothing.
	p := vault.Seal("p")
	p.BindField(bare, vault.FieldBinding{Vault: v.Vault, Context: orgA, Location: home})
	if !p.FieldLocation().IsZero() || must(p.Open(vault.WithKeyContext(bare, orgB)))(t) != "p" {
		t.Fatal("a pending field was bound")
	}
}

// Writing a field leaves it as it is, gives the very bytes where they belong, and
// seals anew what is copied to another row.
func TestSealFieldOfSealed(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	home, away := vault.At("t", "c", 1), vault.At("t", "c", 2)
	data := must(v.SealField(ctx, orgA, home, "x"))(t)
	bound := vault.SealedBytes[string](data)
	bound.BindField(ctx, vault.FieldBinding{Location: home})
	unbound := vault.SealedBytes[string](data)
	before := v.Decryptions()
	if got := must(bound.SealField(ctx, vault.FieldBinding{Location: home}))(t); !bytes.Equal(got, data) {
		t.Error("a field that wasn't changed was sealed anew")
	}
	if got := must(bound.SealField(ctx, vault.FieldBinding{}))(t); !bytes.Equal(got, data) {
		t.Error("a field that wasn't changed was sealed anew")
	}
	if v.Decryptions() != before {
		t.Error("a field that wasn't changed was opened")
	}
	if got := must(unbound.SealField(ctx, vault.FieldBinding{Location: home}))(t); !bytes.Equal(got, data) {
		t.Error("unbound, and in its place: sealed anew")
	}
	_, err := unbound.SealField(ctx, vault.FieldBinding{Location: away})
	wantClass(t, err, "ErrWrongLocation")
	moved := must(bound.SealField(ctx, vault.FieldBinding{Location: away}))(t)
	var got string
	ok(t, v.OpenField(ctx, orgA, away, moved, &got))
	if got != "x" || bytes.Equal(moved, data) || bound.FieldLocation() != home {
		t.Error("copied to another row")
	}
	// To another tenant's row, or vault: by hand only.
	bare := t.Context()
	w := vaulttest.New(t)
	_, err = bound.SealField(bare, vault.FieldBinding{Vault: v.Vault, Context: orgB, Location: home})
	wantClass(t, err, "ErrWrongContext")
	_, err = bound.SealField(bare, vault.FieldBinding{Vault: w.Vault, Context: orgA, Location: home})
	wantClass(t, err, "ErrWrongContext")

	// A pending field is sealed at each call, and stays pending.
	p := vault.Seal("p").AtLocation(home)
	one, two := must(p.SealField(ctx, vault.FieldBinding{}))(t), must(p.SealField(ctx, vault.FieldBinding{Location: away}))(t)
	ok(t, v.OpenField(ctx, orgA, home, one, &got))
	ok(t, v.OpenField(ctx, orgA, away, two, &got))
	if p.FieldState() != vault.FieldPending || p.FieldLocation() != home || must(p.Open(bare))(t) != "p" {
		t.Error("writing a field changed it")
	}
	s := must(p.Sealed(ctx))(t)
	if s.FieldState() != vault.FieldSealed || must(s.Open(bare))(t) != "p" || !must(s.Sealed(ctx))(t).Equal(s) {
		t.Error("Sealed")
	}
	// Moved by At after it was opened: what it was opened as is forgotten.
	ok(t, vault.OpenAll(ctx, &s))
	_, err = s.At("t", "c", 2).Open(ctx)
	wantClass(t, err, "ErrWrongLocation")
	if must(s.At("t", "c", 1).Open(ctx))(t) != "p" {
		t.Error("the same place")
	}
}

func TestFieldLegacy(t *testing.T) {
	old := func(_ context.Context, kc vault.KeyContext, data, aad []byte) ([]byte, error) {
		text, found := strings.CutPrefix(string(data), "old:")
		if !found || aad != nil || kc["organization_id"] != "org_01" {
			return nil, errLegacy
		}
		return []byte(text), nil
	}
	v := vaulttest.New(t, func(c *vault.Config) { c.Legacy = old })
	ctx, home := t.Context(), vault.At("t", "c", 1)
	var s ssn
	ok(t, v.OpenField(ctx, orgA, home, []byte("old:123"), &s))
	var j address
	ok(t, v.OpenField(ctx, orgA, home, []byte(`old:{"Street":"M"}`), &j))
	if s != "123" || j.Street != "M" || v.Stats().LegacyDecrypts != 2 {
		t.Errorf("%q, %+v, %d", s, j, v.Stats().LegacyDecrypts)
	}
	if err := v.OpenField(ctx, orgA, home, []byte("new:123"), &s); !errors.Is(err, errLegacy) {
		t.Error(err)
	}
	if err := v.OpenField(ctx, orgB, home, []byte("old:123"), &s); !errors.Is(err, errLegacy) {
		t.Error(err)
	}
	var n int
	if err := v.OpenField(ctx, orgA, home, []byte("old:123"), &n); !errors.Is(err, vault.ErrMalformed) {
		t.Error(err)
	}
	// Ours doesn't go there, nor anything if it isn't set.
	before := v.Stats().LegacyDecrypts
	wantClass(t, v.OpenField(ctx, orgA, home, []byte{0xE1, 9}, &s), "ErrMalformed")
	wantClass(t, v.OpenField(ctx, orgA, home, nil, &s), "ErrMalformed")
	wantClass(t, vaulttest.New(t).OpenField(ctx, orgA, home, []byte("old:123"), &s), "ErrMalformed")
	if v.Stats().LegacyDecrypts != before {
		t.Error("Legacy was asked")
	}
	e := vault.SealedBytes[string]([]byte("old:abc")).AtLocation(home)
	if got := must(e.Open(fieldCtx(t, v)))(t); got != "abc" {
		t.Error(got)
	}
}

// Fields are re-encrypted as messages are, and stay where they are.
func TestFieldReencrypt(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		ctx, home := t.Context(), vault.At("t", "c", 1)
		data := must(v.SealField(ctx, orgA, home, 4711))(t)
		if must(v.NeedsReencrypt(ctx, orgA, data))(t) {
			t.Fatal("fresh")
		}
		ok(t, v.Rotate(ctx, orgA))
		if !must(v.NeedsReencrypt(ctx, orgA, data))(t) {
			t.Fatal("rotated")
		}
		again := must(v.Reencrypt(ctx, orgA, data, nil))(t)
		if must(v.NeedsReencrypt(ctx, orgA, again))(t) || must(vault.Inspect(again))(t).Kind != must(vault.Inspect(data))(t).Kind {
			t.Fatal("re-encrypted")
		}
		var n int
		ok(t, v.OpenField(ctx, orgA, home, again, &n))
		wantClass(t, v.OpenField(ctx, orgA, vault.At("t", "c", 2), again, &n), "ErrWrongLocation")
		if n != 4711 {
			t.Fatal(n)
		}
	})
}

// Field calls are events by the rules of message calls, and count as decryptions.
func TestFieldEvents(t *testing.T) {
	v := vaulttest.New(t)
	ctx, home := vault.WithActor(t.Context(), "ann"), vault.At("users", "ssn", "secret row")
	data := must(v.SealField(ctx, orgA, home, "x"))(t)
	ok(t, v.OpenField(ctx, orgA, home, data, new(string)))
	for _, bad := range []error{
		v.OpenField(ctx, orgA, vault.At("users", "ssn", 2), data, new(string)),
		v.OpenField(ctx, orgA, home, data, new(int)),
		v.OpenField(ctx, orgA, home, data[:9], new(string)),
	} {
		if bad == nil {
			t.Fatal("it opens")
		}
	}
	e := v.Events(vault.FieldEncrypted, vault.FieldDecrypted)
	if len(e) != 5 || v.Decryptions() != 1 {
		t.Fatalf("%d events, %d decryptions", len(e), v.Decryptions())
	}
	for i, e := range e {
		if e.Object != "users.ssn" || e.Actor != "ann" || (e.Err != nil) != (i >= 2) || e.ContextHash != hashIn(t, orgA, "") || e.KeyID.IsZero() && i < 4 {
			t.Errorf("%d: %+v", i, e)
		}
	}
	quiet := vaulttest.New(t, func(c *vault.Config) { c.EventMessages = false })
	data = must(quiet.SealField(ctx, orgA, home, "x"))(t)
	ok(t, quiet.OpenField(ctx, orgA, home, data, new(string)))
	must(quiet.BlindIndex(ctx, orgA, emailIndex, "a@b.c"))(t)
	_ = quiet.OpenField(ctx, orgA, home, data, new(int))
	if e := quiet.Events(vault.FieldEncrypted, vault.FieldDecrypted, vault.IndexComputed); len(e) != 1 || e[0].Err == nil {
		t.Fatalf("%+v", e)
	}
	// Where an event must be recorded and wasn't, nothing is given.
	full := errors.New("full")
	closedLog := vaulttest.New(t, func(c *vault.Config) {
		c.FailClosed = true
		c.OnEvent = func(_ context.Context, e vault.Event) error {
			if e.Name == vault.FieldDecrypted || e.Name == vault.IndexComputed {
				return full
			}
			return nil
		}
	})
	data = must(closedLog.SealField(ctx, orgA, home, "x"))(t)
	f := vault.SealedBytes[string](data).AtLocation(home)
	got, err := f.Open(fieldCtx(t, closedLog))
	if got != "" || !errors.Is(err, vault.ErrEvent) {
		t.Errorf("%q, %v", got, err)
	}
	dst := "kept"
	if err := closedLog.OpenField(ctx, orgA, home, data, &dst); !errors.Is(err, vault.ErrEvent) || dst != "kept" {
		t.Errorf("%q, %v", dst, err)
	}
	if b, err := closedLog.BlindIndex(ctx, orgA, emailIndex, "a@b.c"); b != nil || !errors.Is(err, vault.ErrEvent) {
		t.Errorf("%x, %v", b, err)
	}
}

func TestFieldLimits(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.MaxPlaintext = 10 })
	ctx, home := t.Context(), vault.At("t", "c", 1)
	must(v.SealField(ctx, orgA, home, "0123456789"))(t)
	wantClass(t, second(v.SealField(ctx, orgA, home, "0123456789x")), "ErrTooLarge")
	ok(t, v.Close())
	wantClass(t, second(v.SealField(ctx, orgA, home, "x")), "ErrClosed")
	wantClass(t, second(v.BlindIndex(ctx, orgA, emailIndex, "a@b.c")), "ErrClosed")
	wantClass(t, second(v.BlindIndexQuery(ctx, orgA, emailIndex, "a@b.c")), "ErrClosed")
}

// A shredded tenant's field fails alone.
func TestFieldOfShreddedTenant(t *testing.T) {
	v := vaulttest.New(t)
	ctx := vault.WithVault(t.Context(), v.Vault)
	type row struct{ Email vault.Encrypted[string] }
	var rows []row
	for i, kc := range []vault.KeyContext{orgA, orgB} {
		home := vault.At("t", "c", i)
		var r row
		ok(t, r.Email.Scan(must(v.SealField(ctx, kc, home, "x"))(t)))
		r.Email.BindField(ctx, vault.FieldBinding{Context: kc, Location: home})
		rows = append(rows, r)
	}
	must(v.Shred(ctx, orgB, vault.ShredOptions{}))(t)
	err := vault.OpenAll(ctx, rows)
	wantClass(t, err, "ErrKeyShredded")
	if !strings.Contains(err.Error(), "[1].Email") {
		t.Error(err)
	}
	if got := must(rows[0].Email.Open(ctx))(t); got != "x" {
		t.Error(got)
	}
	wantClass(t, second(rows[1].Email.Open(ctx)), "ErrKeyShredded")
}

// A field's key is for data: one of another purpose opens nothing.
func TestFieldKeyPurpose(t *testing.T) {
	v := vaulttest.New(t)
	must(v.BlindIndex(t.Context(), orgA, emailIndex, "a@b.c"))(t)
	must(v.SealField(t.Context(), orgA, vault.At("t", "c", 1), "x"))(t)
	purposes := map[keyctx.Purpose]int{}
	for k, err := range v.Keys(t.Context(), vault.KeyFilter{All: true}) {
		ok(t, err)
		purposes[k.Purpose]++
	}
	if len(purposes) != 2 || purposes[keyctx.PurposeData] != 1 || purposes[keyctx.PurposeIndex] != 1 {
		t.Fatal(purposes)
	}
}
