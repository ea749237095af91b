package vault_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

var (
	_ driver.Valuer  = vault.Encrypted[int]{}
	_ sql.Scanner    = (*vault.Encrypted[int])(nil)
	_ vault.FieldBox = (*vault.Encrypted[int])(nil)
	_ slog.LogValuer = vault.Encrypted[int]{}
)

type (
	ssn      string
	pin      int16
	birthday time.Time
	address  struct {
		Street string
		Zip    int `json:"zip,omitempty"`
	}
	onlyOut  struct{ A string }
	panicker struct{ A string }
	private  struct{ a string }
)

func (onlyOut) MarshalJSON() ([]byte, error)  { return []byte(`"x"`), nil }
func (panicker) MarshalJSON() ([]byte, error) { panic("the secret") }

// fieldCtx is a ctx with a vault and orgA.
func fieldCtx(t testing.TB, v *vaulttest.Vault) context.Context {
	return vault.WithKeyContext(vault.WithVault(t.Context(), v.Vault), orgA)
}

// stored seals a pending field and reads it back as from a database.
func stored[T any](t testing.TB, ctx context.Context, e vault.Encrypted[T]) vault.Encrypted[T] {
	t.Helper()
	loc := e.FieldLocation()
	data := must(e.SealField(ctx, vault.FieldBinding{}))(t)
	var out vault.Encrypted[T]
	ok(t, out.Scan(data))
	return out.AtLocation(loc)
}

// roundTrip checks that a value comes back from a pending and from a sealed field, as
// want.
func roundTrip[T any](t *testing.T, ctx context.Context, v, want T) {
	t.Helper()
	e := vault.Seal(v).At("t", "c", 1)
	for what, f := range map[string]vault.Encrypted[T]{"pending": e, "sealed": stored(t, ctx, e)} {
		got, err := f.Open(ctx)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%T, %s: %#v, %v; want %#v", v, what, got, err, want)
		}
		ok(t, vault.OpenAll(ctx, &f))
		if got, err := f.Open(ctx); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%T, %s, opened: %#v, %v", v, what, got, err)
		}
	}
}

func same[T any](t *testing.T, ctx context.Context, vs ...T) {
	t.Helper()
	for _, v := range vs {
		roundTrip(t, ctx, v, v)
	}
}

func TestEveryTypeComesBack(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	same(t, ctx, "", "x", "Zoë", "\x00\xff", strings.Repeat("long", 1000))
	same(t, ctx, ssn("123-45"))
	same(t, ctx, []byte{}, []byte{0}, []byte("bytes"))
	same(t, ctx, json.RawMessage(`{"a": 1}`))
	roundTrip(t, ctx, []byte(nil), []byte{})
	same(t, ctx, 0, -1, math.MaxInt32)
	same(t, ctx, int64(math.MaxInt64), math.MinInt64)
	same(t, ctx, int8(-128), int8(127))
	same(t, ctx, pin(1234))
	same(t, ctx, time.Duration(5))
	same(t, ctx, uint(0))
	same(t, ctx, uint64(math.MaxUint64))
	same(t, ctx, uint8(255))
	same(t, ctx, 0.0, 1.5, math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64)
	same(t, ctx, float32(1.5), float32(math.Inf(1)))
	same(t, ctx, true, false)
	same(t, ctx, time.Time{}, time.Unix(-1, 999_999_999).UTC(), time.Unix(1<<40, 0).UTC())
	at := time.Date(2024, 2, 29, 12, 0, 0, 1, time.FixedZone("x", 3600))
	roundTrip(t, ctx, at, at.UTC())
	same(t, ctx, birthday(time.Unix(0, 0).UTC()))
	same(t, ctx, address{"Main", 1}, address{})
	same(t, ctx, []string{"a", "b"})
	same(t, ctx, map[string]int{"a": 1})
	same(t, ctx, [2]int{1, 2})
	same(t, ctx, &address{"Main", 1}, nil)
	same[any](t, ctx, "x", 1.5, nil, map[string]any{"a": true})
	same(t, ctx, *big.NewInt(1 << 40))
	same(t, ctx, netip.MustParseAddr("192.0.2.1"))
	same(t, ctx, struct{}{})

	nan := must(stored(t, ctx, vault.Seal(math.NaN()).At("t", "c", 1)).Open(ctx))(t)
	if nan == nan || math.Signbit(must(stored(t, ctx, vault.Seal(math.Copysign(0, -1)).At("t", "c", 1)).Open(ctx))(t)) != true {
		t.Error("NaN or -0 didn't come back")
	}
}

// What wouldn't come back is refused, when it is sealed and not before, and neither
// panics nor shows anything.
func TestWhatWouldBeLostIsRefused(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	refuse := func(name string, f vault.FieldBox) {
		_, err := f.SealField(ctx, vault.FieldBinding{Location: vault.At("t", "c", 1)})
		if got := classes(err); fmt.Sprint(got) != "[ErrUnsupportedType]" || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := func(f vault.FieldBox) vault.FieldBox { return f }
	priv, only, pan := vault.Seal(private{"secret"}), vault.Seal(onlyOut{"secret"}), vault.Seal(panicker{"secret"})
	fn, ch, cplx := vault.Seal(func() {}), vault.Seal(make(chan int)), vault.Seal(complex(1, 2))
	large, nan := vault.Seal[any](int64(math.MaxInt64)), vault.Seal([]float64{math.NaN()})
	uptr, mapf := vault.Seal(uintptr(1)), vault.Seal(map[string]any{"secret": func() {}})
	for name, f := range map[string]vault.FieldBox{
		"unexported fields": p(&priv), "marshals only": p(&only), "panics": p(&pan), "func": p(&fn), "chan": p(&ch),
		"complex": p(&cplx), "an integer of 2⁶³−1 in an any": p(&large), "NaN in JSON": p(&nan), "uintptr": p(&uptr), "func in a map": p(&mapf),
	} {
		refuse(name, f)
	}
	if _, err := pan.Open(ctx); !errors.Is(err, vault.ErrUnsupportedType) {
		t.Errorf("%v", err)
	}
	if _, err := v.SealField(ctx, orgA, vault.At("t", "c", 1), nil); !errors.Is(err, vault.ErrUnsupportedType) {
		t.Errorf("nil: %v", err)
	}
}

func openAs[T any](ctx context.Context, data []byte) (T, error) {
	return vault.SealedBytes[T](data).At("t", "c", 1).Open(ctx)
}

// A field that was sealed as another type says so, with both types.
func TestChangedTypeIsRefused(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	seal := func(x any) []byte { return must(v.SealField(ctx, orgA, vault.At("t", "c", 1), x))(t) }
	check := func(err error, written, wanted string) {
		t.Helper()
		var e *vault.TypeError
		wantClass(t, err, "ErrWrongType")
		if !errors.As(err, &e) || e.Written != written || !strings.HasPrefix(e.Wanted, wanted) {
			t.Errorf("%v: %+v", err, e)
		}
	}
	text, number, j := seal("4711"), seal(4711), seal(address{"S", 1})
	check(second(openAs[[]byte](ctx, text)), "string", "[]uint8")
	check(second(openAs[int](ctx, text)), "string", "int")
	check(second(openAs[string](ctx, number)), "int", "string")
	check(second(openAs[uint](ctx, number)), "int", "uint")
	check(second(openAs[float64](ctx, number)), "int", "float64")
	check(second(openAs[address](ctx, text)), "string", "vault_test.address")
	check(second(openAs[string](ctx, j)), "json", "string")
	check(second(openAs[[]int](ctx, j)), "json", "[]int")
	check(second(openAs[time.Time](ctx, number)), "int", "time.Time")
	check(second(openAs[bool](ctx, number)), "int", "bool")
	// Of one family, and too large.
	check(second(openAs[int8](ctx, number)), "int", "int8")
	check(second(openAs[uint8](ctx, seal(uint(256)))), "uint", "uint8")
	check(second(openAs[float32](ctx, seal(math.MaxFloat64))), "float", "float32")
	check(second(openAs[float32](ctx, seal(0.1))), "float", "float32")
	// Of one family, and fits.
	if got := must(openAs[int16](ctx, number))(t); got != 4711 {
		t.Error(got)
	}
	if got := must(openAs[ssn](ctx, text))(t); got != "4711" {
		t.Error(got)
	}
	var s string
	check(v.OpenField(ctx, orgA, vault.At("t", "c", 1), number, &s), "int", "string")
	for _, dst := range []any{nil, s, (*string)(nil)} {
		wantClass(t, v.OpenField(ctx, orgA, vault.At("t", "c", 1), text, dst), "ErrInvalidOption")
	}
}

// holder has fields in every position in which a printer may find them.
type holder struct {
	Exported vault.Encrypted[string]
	hidden   vault.Encrypted[string]
	Pointer  *vault.Encrypted[string]
	Any      any
	Slice    []vault.Encrypted[[]byte]
	Map      map[string]vault.Encrypted[string]
	inner    struct{ deep vault.Encrypted[address] }
	Req      vault.Request[string]
	Rev      vault.Revealed[string]
	Text     vault.SealedText[string]
	reveal   vault.Revealed[string]
}

// No printer, encoder, logger or walker shows a value, whether it is pending, or was
// opened, nor a value of the key context.
func TestFieldsPrintNoSecret(t *testing.T) {
	n := newNet(t)
	v := vaulttest.New(t)
	kc := vault.KeyContext{"organization_id": n.secret()}
	ctx := vault.WithKeyContext(vault.WithVault(t.Context(), v.Vault), kc)
	secret := n.secret()
	pending := vault.Seal(secret).At("users", "ssn", n.secret())
	bytesField := vault.Seal([]byte(secret))
	opened := stored(t, ctx, pending)
	opened.BindField(ctx, vault.FieldBinding{})
	ok(t, vault.OpenAll(ctx, &opened))
	var req vault.Request[string]
	ok(t, json.Unmarshal([]byte(`"`+secret+`"`), &req))
	rev := must(vault.Reveal(ctx, pending))(t)
	for what, e := range map[string]vault.Encrypted[string]{"pending": pending, "opened": opened} {
		h := holder{Exported: e, hidden: e, Pointer: &e, Any: e, Slice: []vault.Encrypted[[]byte]{bytesField}, Map: map[string]vault.Encrypted[string]{"a": e}, Req: req, Text: vault.SealedText[string]{Encrypted: e}, reveal: rev}
		h.inner.deep = vault.Seal(address{Street: secret})
		for name, x := range map[string]any{"itself": e, "pointer": &e, "holder": h, "pointer to holder": &h, "request": req, "revealed": rev, "ctx": ctx, "location": e.FieldLocation(), "slice": []any{e, h}} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%e", "% x", "%U", "%10.3v", "%p"} {
				n.check(what+" "+name+" "+verb, fmt.Sprintf(verb, x))
			}
			n.check(what+" "+name, fmt.Sprint(x)+fmt.Sprintln(x))
			var b bytes.Buffer
			slog.New(slog.NewTextHandler(&b, nil)).Info("x", "it", x)
			slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "it", x)
			if name != "revealed" && name != "holder" { // Revealed is JSON's, on purpose
				j, err := json.Marshal(x)
				n.check(what+" "+name+" json", string(j))
				n.checkErr(what+" "+name+" json", err)
				x2, err := xml.Marshal(x)
				n.check(what+" "+name+" xml", string(x2))
				n.checkErr(what+" "+name+" xml", err)
				n.check(what+" "+name+" slog", b.String())
			}
			err := gob.NewEncoder(&b).Encode(x)
			n.checkErr(what+" "+name+" gob", err)
			if name == "itself" && !errors.Is(err, vault.ErrRedacted) {
				t.Errorf("gob: %v", err)
			}
			walk(n, what+" "+name, reflect.ValueOf(x), map[uintptr]bool{})
		}
		if s := fmt.Sprintf("%v %+v %#v %s %q %d", e, e, e, e, e, e); s != strings.TrimSpace(strings.Repeat("[ENCRYPTED] ", 6)) {
			t.Error(s)
		}
		if b := must(json.Marshal(e))(t); string(b) != `"[ENCRYPTED]"` {
			t.Errorf("%s", b)
		}
	}
	null := vault.Null[string]()
	if s := fmt.Sprintf("%v %s", null, null); s != "[NULL] [NULL]" || string(must(json.Marshal(null))(t)) != "null" {
		t.Error(s)
	}
}

// walk is what reflect walkers such as spew do: into everything, exported or not.
func walk(n *net, what string, v reflect.Value, seen map[uintptr]bool) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if v.IsNil() || seen[v.Pointer()] && v.Kind() != reflect.Slice {
			return
		}
		seen[v.Pointer()] = true
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && v.Elem().Type().PkgPath() != "context" {
			walk(n, what, v.Elem(), seen)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[vault.Vault]() {
			return
		}
		for i := range v.NumField() {
			walk(n, what, v.Field(i), seen)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
			n.check(what+" walked", string(v.Bytes()))
			return
		}
		for i := range v.Len() {
			walk(n, what, v.Index(i), seen)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			walk(n, what, v.MapIndex(k), seen)
		}
	case reflect.String:
		n.check(what+" walked", v.String())
	}
}

// A placeholder doesn't come back as a value, whoever decodes it.
func TestRedactedIsNotDecoded(t *testing.T) {
	e := vault.Seal("secret")
	for _, in := range []string{`"[ENCRYPTED]"`, `null`, `"x"`, `1`, `{}`} {
		wantClass(t, json.Unmarshal([]byte(in), &e), "ErrRedacted")
		wantClass(t, json.Unmarshal([]byte(`{"E":`+in+`}`), &struct{ E vault.Encrypted[string] }{e}), "ErrRedacted")
	}
	wantClass(t, e.UnmarshalText([]byte("x")), "ErrRedacted")
	wantClass(t, e.UnmarshalBinary([]byte("x")), "ErrRedacted")
	wantClass(t, second(e.MarshalBinary()), "ErrRedacted")
	wantClass(t, xml.Unmarshal([]byte("<a>x</a>"), &e), "ErrRedacted")
	if got := must(e.Open(t.Context()))(t); got != "secret" {
		t.Error("the value was lost")
	}
}

// A pending field fails closed: never nil beside an error, which some callers drop.
func TestPendingValueFailsClosed(t *testing.T) {
	n := newNet(t)
	for _, e := range []driver.Valuer{vault.Seal(n.secret()), vault.Seal([]byte(n.secret())).At("t", "c", 1), vault.Seal(address{Street: n.secret()}), vault.Seal(func() {})} {
		v, err := e.Value()
		b, isBytes := v.([]byte)
		if !isBytes || b == nil || len(b) != 0 {
			t.Errorf("%#v beside the error: it must be empty, and not nil", v)
		}
		wantClass(t, err, "ErrPending")
		n.checkErr("Value", err)
	}
	if v, err := vault.Null[string]().Value(); v != nil || err != nil {
		t.Errorf("NULL: %v, %v", v, err)
	}
}

func TestScan(t *testing.T) {
	n := newNet(t)
	src := []byte("sealed bytes")
	var e vault.Encrypted[string]
	ok(t, e.Scan(src))
	src[0] ^= 1 // the driver's own: it is used for the next row
	got := must(e.Value())(t).([]byte)
	if string(got) != "sealed bytes" {
		t.Fatalf("%q", got)
	}
	got[0] ^= 1
	if got := must(e.Value())(t).([]byte); string(got) != "sealed bytes" {
		t.Fatal("what Value gave is the field's own")
	}
	ok(t, e.Scan("text"))
	if got := must(e.Value())(t).([]byte); string(got) != "text" {
		t.Fatalf("%q", got)
	}
	for _, bad := range []any{1, int64(1), 1.5, true, time.Now(), n.secret, [16]byte{}} {
		wantClass(t, e.Scan(bad), "ErrWrongType")
	}
	if e.FieldState() != vault.FieldSealed {
		t.Fatal("a scan that failed changed the field")
	}
	ok(t, e.Scan(nil))
	if !e.IsZero() || e.FieldState() != vault.FieldNull {
		t.Fatal("NULL")
	}
	// Empty isn't NULL, and is no field.
	ok(t, e.Scan([]byte{}))
	v := vaulttest.New(t)
	_, err := e.At("t", "c", 1).Open(fieldCtx(t, v))
	wantClass(t, err, "ErrMalformed")
}

func TestNullAndEmpty(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	var zero vault.Encrypted[string]
	for _, e := range []vault.Encrypted[string]{zero, vault.Null[string](), zero.At("t", "c", 1), vault.SealedBytes[string](nil)} {
		if !e.IsZero() || e.FieldState() != vault.FieldNull {
			t.Error("not NULL")
		}
		_, err := e.Open(ctx)
		wantClass(t, err, "ErrNull")
		if b, err := e.SealField(ctx, vault.FieldBinding{}); b != nil || err != nil {
			t.Errorf("%v, %v", b, err)
		}
		if s := must(e.Sealed(ctx))(t); !s.IsZero() {
			t.Error("NULL was sealed")
		}
	}
	empty := stored(t, ctx, vault.Seal("").At("t", "c", 1))
	if got, err := empty.Open(ctx); got != "" || err != nil || empty.IsZero() {
		t.Errorf("%q, %v", got, err)
	}
	var p vault.Encrypted[string]
	if b := must(json.Marshal(struct {
		P vault.Encrypted[string] `json:",omitzero"`
	}{p}))(t); string(b) != "{}" {
		t.Errorf("%s", b)
	}
}

// Nobody who holds a field, or what it was made from or gave, can change it.
func TestFieldsAreImmutable(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	in := []byte("abc")
	e := vault.Seal(in)
	in[0] = 'x'
	out := must(e.Open(ctx))(t)
	if string(out) != "abc" {
		t.Fatalf("%s", out)
	}
	out[0] = 'y'
	if string(must(e.Open(ctx))(t)) != "abc" {
		t.Fatal("what Open gave is the field's own")
	}
	m := map[string]string{"a": "1"}
	f := vault.Seal(m)
	m["a"] = "2"
	got := must(f.Open(ctx))(t)
	got["a"] = "3"
	if must(f.Open(ctx))(t)["a"] != "1" {
		t.Fatal("a map is shared")
	}
	g := stored(t, ctx, vault.Seal([]byte("abc")).At("t", "c", 1))
	cp := g
	ok(t, vault.OpenAll(ctx, &g))
	must(g.Open(ctx))(t)[0] = 'z'
	if string(must(g.Open(ctx))(t)) != "abc" || !g.Equal(cp) {
		t.Fatal("an opened field was changed")
	}
	sealedIn := must(g.Value())(t).([]byte)
	h := vault.SealedBytes[[]byte](sealedIn)
	clear(sealedIn)
	if !h.Equal(g) {
		t.Fatal("SealedBytes kept its argument")
	}
}

func TestEqual(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	a := vault.Seal("a").At("t", "c", 1)
	s, s2 := stored(t, ctx, a), stored(t, ctx, a)
	null := vault.Null[string]()
	bad := vault.Seal(func() {})
	opened := s
	ok(t, vault.OpenAll(ctx, &opened))
	for _, c := range []struct {
		name string
		x, y vault.Encrypted[string]
		want bool
	}{
		{"pending", a, vault.Seal("a"), true}, {"pending, other", a, vault.Seal("b"), false}, {"prefix", a, vault.Seal("ab"), false},
		{"null", null, null, true}, {"null and empty", null, vault.Seal(""), false},
		{"sealed", s, s, true}, {"sealed twice", s, s2, false}, {"pending and sealed", a, s, false},
		{"opened", s, opened, true}, {"copied", s, vault.SealedBytes[string](must(s.Value())(t).([]byte)), true},
	} {
		if c.x.Equal(c.y) != c.want || c.y.Equal(c.x) != c.want {
			t.Errorf("%s: want %v", c.name, c.want)
		}
	}
	if bad.Equal(bad) {
		t.Error("what can't be sealed is equal to nothing")
	}
	if !reflect.DeepEqual(struct{ E vault.Encrypted[string] }{a}, struct{ E vault.Encrypted[string] }{a}) {
		t.Error("a copy isn't deeply equal")
	}
}

func TestSetPlain(t *testing.T) {
	ctx := t.Context()
	n := newNet(t)
	set := func(f vault.FieldBox, v any) error { return f.SetPlain(v) }
	var s vault.Encrypted[string]
	var i vault.Encrypted[pin]
	var u vault.Encrypted[uint64]
	var b vault.Encrypted[bool]
	var tm vault.Encrypted[birthday]
	var raw vault.Encrypted[[]byte]
	var j vault.Encrypted[address]
	for _, err := range []error{
		set(&s, []byte("x")), set(&i, int64(7)), set(&u, int64(8)), set(&b, int64(1)), set(&tm, time.Unix(9, 0)),
		set(&raw, "y"), set(&j, []byte(`{"Street":"z"}`)),
	} {
		ok(t, err)
	}
	if must(s.Open(ctx))(t) != "x" || must(i.Open(ctx))(t) != 7 || must(u.Open(ctx))(t) != 8 || !must(b.Open(ctx))(t) ||
		!time.Time(must(tm.Open(ctx))(t)).Equal(time.Unix(9, 0)) || string(must(raw.Open(ctx))(t)) != "y" || must(j.Open(ctx))(t).Street != "z" {
		t.Error("a value is another")
	}
	ok(t, set(&i, "12"))
	ok(t, set(&i, []byte("-3")))
	ok(t, set(&u, "18446744073709551615"))
	secret := n.secret()
	for _, err := range []error{
		set(&s, 1), set(&s, true), set(&i, "1.0"), set(&i, "012"), set(&i, int64(1<<40)), set(&i, 1.5), set(&i, secret), set(&u, int64(-1)), set(&u, "-1"),
		set(&b, int64(2)), set(&b, secret), set(&tm, secret), set(&j, secret), set(&j, []byte(`{} {}`)), set(&raw, 1), set(&s, struct{ a string }{secret}), set(&s, func() {}),
	} {
		wantClass(t, err, "ErrWrongType")
		n.checkErr("SetPlain", err)
	}
	if must(u.Open(ctx))(t) != math.MaxUint64 {
		t.Error("a SetPlain that failed changed the field")
	}
	ok(t, set(&s, nil))
	if !s.IsZero() {
		t.Error("nil isn't NULL")
	}
}
