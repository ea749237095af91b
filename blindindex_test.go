package vault_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

func prefixed(parts ...string) (b []byte) {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
		b = append(b, p...)
	}
	return b
}

// indexOf computes an index from docs/SPEC.md's words and nothing of ours.
func indexOf(t *testing.T, key []byte, column []byte, message string) []byte {
	t.Helper()
	sum := sha256.Sum256(column)
	k := must(hkdf.Expand(sha256.New, key, "vault/v1/bidx"+string(sum[:]), 32))(t)
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(message))
	return mac.Sum(nil)[:16]
}

// plainKeys gives every context key of a store whose KEK is openKEK.
func plainKeys(t *testing.T, s *memstore.Store, p keyctx.Purpose) map[keyctx.Hash][]byte {
	t.Helper()
	page := must(s.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, Purpose: p}))(t)
	keys := map[keyctx.Hash][]byte{}
	for _, r := range page.Keys {
		keys[r.ContextHash] = r.Wrappings[0].Wrapped
	}
	return keys
}

func TestBlindIndexIsTheSpecs(t *testing.T) {
	for _, ns := range []string{"", "billing"} {
		store := memstore.New()
		v := open(t, vault.Config{KEK: openKEK("open:k"), Store: store, Namespace: ns})
		ctx := t.Context()
		ix := emailIndex
		compound := vault.Index{Table: "users", Column: "name", Normaliser: "lower@1", And: []vault.IndexPart{{Column: "born", Normaliser: "exact@1"}}}
		global, second := ix, ix
		global.Global, second.Generation = true, 2
		both := global
		both.Generation = 3
		got := [][]byte{
			must(v.BlindIndex(ctx, orgA, ix, " Ann@Example.ORG"))(t),
			must(v.BlindIndex(ctx, orgA, compound, "ÄNNE", 1999))(t),
			must(v.BlindIndex(ctx, nil, global, "ann@example.org"))(t),
			must(v.BlindIndex(ctx, orgA, second, "ann@example.org"))(t),
			must(v.BlindIndex(ctx, orgB, both, "ann@example.org"))(t),
		}
		keys := plainKeys(t, store, keyctx.PurposeIndex)
		if len(keys) != 4 {
			t.Fatalf("%d index keys", len(keys))
		}
		key := func(kc vault.KeyContext) []byte { return keys[must(kc.WithNamespace(ns).Hash())(t)] }
		column := prefixed("users", "email", "email@1")
		want := [][]byte{
			indexOf(t, key(orgA), column, "ann@example.org"),
			indexOf(t, key(orgA), prefixed("users", "name", "lower@1", "born", "exact@1"), string(prefixed("änne", "1999"))),
			indexOf(t, key(vault.KeyContext{"vault:scope": "global"}), column, "ann@example.org"),
			indexOf(t, key(vault.KeyContext{"organization_id": "org_01", "vault:index": "2"}), column, "ann@example.org"),
			indexOf(t, key(vault.KeyContext{"vault:scope": "global", "vault:index": "3"}), column, "ann@example.org"),
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("namespace %q, %d: %x, want %x", ns, i, got[i], want[i])
			}
		}
	}
}

// Another table, column, normaliser, order, context, generation, scope or value is
// another index.
func TestIndexesAreSeparate(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	seen := map[string]string{}
	add := func(name string, kc vault.KeyContext, ix vault.Index, values ...any) {
		t.Helper()
		b := must(v.BlindIndex(ctx, kc, ix, values...))(t)
		if len(b) != 16 {
			t.Errorf("%s: %d bytes", name, len(b))
		}
		if other, found := seen[string(b)]; found {
			t.Errorf("%s is %s", name, other)
		}
		seen[string(b)] = name
	}
	ix := func(f func(*vault.Index)) vault.Index {
		i := vault.Index{Table: "t", Column: "c", Normaliser: "exact@1"}
		f(&i)
		return i
	}
	and := func(columns ...string) func(*vault.Index) {
		return func(i *vault.Index) {
			for _, c := range columns {
				i.And = append(i.And, vault.IndexPart{Column: c, Normaliser: "exact@1"})
			}
		}
	}
	plain := ix(func(*vault.Index) {})
	add("plain", orgA, plain, "a")
	add("value", orgA, plain, "b")
	add("empty", orgA, plain, "")
	add("context", orgB, plain, "a")
	add("narrower", userA, plain, "a")
	add("table", orgA, ix(func(i *vault.Index) { i.Table = "tc" }), "a")
	add("column", orgA, ix(func(i *vault.Index) { i.Column = "d" }), "a")
	add("split", orgA, ix(func(i *vault.Index) { i.Table, i.Column = "tc", "x" }), "a")
	add("normaliser", orgA, ix(func(i *vault.Index) { i.Normaliser = "lower@1" }), "a")
	add("generation", orgA, ix(func(i *vault.Index) { i.Generation = 2 }), "a")
	add("generation 3", orgA, ix(func(i *vault.Index) { i.Generation = 3 }), "a")
	add("global", orgA, ix(func(i *vault.Index) { i.Global = true }), "a")
	add("compound", orgA, ix(and("d")), "a", "b")
	add("compound split elsewhere", orgA, ix(and("d")), "ab", "")
	add("compound split elsewhere 2", orgA, ix(and("d")), "", "ab")
	add("compound swapped", orgA, ix(and("d")), "b", "a")
	add("compound other order", orgA, ix(func(i *vault.Index) { i.Column = "d"; and("c")(i) }), "a", "b")
	add("compound of three", orgA, ix(and("d", "e")), "a", "b", "")
	same := [][]byte{
		must(v.BlindIndex(ctx, orgA, plain, "a"))(t),
		must(v.BlindIndex(ctx, orgA, ix(func(i *vault.Index) { i.Generation = 1 }), []byte("a")))(t),
		must(v.BlindIndexQuery(ctx, orgA, plain, ssn("a")))(t),
	}
	for _, b := range same {
		if seen[string(b)] != "plain" {
			t.Error("the same index differs")
		}
	}
	g := ix(func(i *vault.Index) { i.Global = true })
	if !bytes.Equal(must(v.BlindIndex(ctx, orgA, g, "a"))(t), must(v.BlindIndexQuery(ctx, orgB, g, "a"))(t)) {
		t.Error("a global index differs between tenants")
	}
}

// A query makes no key: in the wrong database, namespace, context, scope or generation
// it is an error, and not an empty result.
func TestQueryNeverMints(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	must(v.BlindIndex(ctx, orgA, emailIndex, "a@b.c"))(t)
	must(v.SealField(ctx, orgB, vault.At("t", "c", 1), "x"))(t) // a key for data is none for an index
	gen, global := emailIndex, emailIndex
	gen.Generation, global.Global = 2, true
	restored := vaulttest.New(t, func(c *vault.Config) { c.KEK = v.KEK })
	other := peerOf(t, v, func(c *vault.Config) { c.Namespace = "other" })
	for range 2 {
		for name, err := range map[string]error{
			"context": second(v.BlindIndexQuery(ctx, orgB, emailIndex, "a@b.c")), "generation": second(v.BlindIndexQuery(ctx, orgA, gen, "a@b.c")),
			"scope": second(v.BlindIndexQuery(ctx, orgA, global, "a@b.c")), "database": second(restored.BlindIndexQuery(ctx, orgA, emailIndex, "a@b.c")),
			"namespace": second(other.BlindIndexQuery(ctx, orgA, emailIndex, "a@b.c")),
		} {
			if !slices.Equal(classes(err), []string{"ErrKeyNotFound"}) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n := v.Store.Calls("InsertKey"); n != 2 {
		t.Errorf("%d keys were made, want 2", n)
	}
	if n := restored.Store.Calls("InsertKey"); n != 0 {
		t.Errorf("a query made %d keys", n)
	}
	// After PrepareIndex it finds nothing instead.
	ok(t, v.PrepareIndex(ctx, orgB, emailIndex, gen, global))
	for _, ix := range []vault.Index{emailIndex, gen, global} {
		must(v.BlindIndexQuery(ctx, orgB, ix, "a@b.c"))(t)
	}
	wantClass(t, v.PrepareIndex(ctx, orgB, vault.Index{}), "ErrInvalidIndex")
	wantClass(t, v.PrepareIndex(ctx, nil, emailIndex), "ErrInvalidContext")
	alone := vaulttest.New(t, func(c *vault.Config) { c.Store = nil })
	wantClass(t, second(alone.BlindIndex(ctx, orgA, emailIndex, "a@b.c")), "ErrNoStore")
	wantClass(t, second(alone.BlindIndexQuery(ctx, orgA, emailIndex, "a@b.c")), "ErrNoStore")
}

// Warm, cold, after the key's state or the key itself had to be read again, and in
// another process: a query makes no key, and an index key isn't rotated, by age or by
// call. What was stored is found.
func TestIndexOutlivesRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.RotateAfter = time.Hour })
		ctx := t.Context()
		want := must(v.BlindIndex(ctx, orgA, emailIndex, "a@b.c"))(t)
		data := must(v.SealField(ctx, orgA, vault.At("t", "c", 1), "x"))(t)
		for range 20 {
			time.Sleep(3 * time.Hour)
			ok(t, v.Rotate(ctx, orgA))
			p := peerOf(t, v)
			for _, v := range []*vaulttest.Vault{v, p} {
				if got := must(v.BlindIndexQuery(ctx, orgA, emailIndex, "a@b.c"))(t); !bytes.Equal(got, want) {
					t.Fatal("the query's index changed")
				}
				if got := must(v.BlindIndex(ctx, orgA, emailIndex, "a@b.c"))(t); !bytes.Equal(got, want) {
					t.Fatal("the index changed")
				}
			}
			_, err := v.BlindIndexQuery(ctx, orgB, emailIndex, "a@b.c")
			wantClass(t, err, "ErrKeyNotFound")
			ok(t, p.Close())
		}
		if !must(v.NeedsReencrypt(ctx, orgA, data))(t) {
			t.Fatal("the data's key wasn't rotated")
		}
		for k, err := range v.Keys(ctx, vault.KeyFilter{All: true, Purpose: keyctx.PurposeIndex}) {
			ok(t, err)
			if k.Version != 1 {
				t.Errorf("index key of version %d", k.Version)
			}
		}
		ok(t, v.Close())
	})
}

// The key goes missing from the store while the process runs: a query says so and
// makes no other.
func TestQueryAfterTheKeyIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		ctx := t.Context()
		must(v.BlindIndex(ctx, orgA, emailIndex, "a@b.c"))(t)
		for r := range plainKeys(t, v.Store, keyctx.PurposeIndex) {
			rec := must(v.Store.LatestKey(ctx, r, keyctx.PurposeIndex))(t)
			ok(t, v.Store.DeleteKey(ctx, rec.KeyID, rec.Revision))
		}
		time.Sleep(2 * time.Minute) // longer than ActiveKeyTTL
		for range 3 {
			_, err := v.BlindIndexQuery(ctx, orgA, emailIndex, "a@b.c")
			wantClass(t, err, "ErrKeyNotFound")
			time.Sleep(20 * time.Minute)
		}
		if n := v.Store.Calls("InsertKey"); n != 1 {
			t.Errorf("%d keys were made", n)
		}
		ok(t, v.Close())
	})
}

// A tenant's key that is disabled or shredded, of whatever generation, computes no
// index; a global one isn't touched.
func TestIndexOfShreddedTenant(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	gen, global := emailIndex, emailIndex
	gen.Generation, global.Global = 2, true
	for _, ix := range []vault.Index{emailIndex, gen, global} {
		must(v.BlindIndex(ctx, orgA, ix, "a@b.c"))(t)
	}
	must(v.Disable(ctx, orgA))(t)
	for _, ix := range []vault.Index{emailIndex, gen} {
		wantClass(t, second(v.BlindIndex(ctx, orgA, ix, "a@b.c")), "ErrKeyDisabled")
		wantClass(t, second(v.BlindIndexQuery(ctx, orgA, ix, "a@b.c")), "ErrKeyDisabled")
	}
	must(v.Shred(ctx, orgA, vault.ShredOptions{}))(t)
	for _, ix := range []vault.Index{emailIndex, gen} {
		wantClass(t, second(v.BlindIndexQuery(ctx, orgA, ix, "a@b.c")), "ErrKeyShredded")
	}
	must(v.BlindIndexQuery(ctx, orgA, global, "a@b.c"))(t)
}

// A query under a policy with a parent: the index key is under it, and dies with it.
func TestIndexUnderAParent(t *testing.T) {
	h := must(kek.Under(kek.Fixed(vaulttest.New(t).KEK), "organization_id"))(t)
	v := vaulttest.New(t, withPolicy(h))
	ctx := t.Context()
	gen := emailIndex
	gen.Generation = 2
	for _, ix := range []vault.Index{emailIndex, gen} {
		a := must(v.BlindIndex(ctx, userA, ix, "a@b.c"))(t)
		if got := must(peerOf(t, v, withPolicy(h)).BlindIndexQuery(ctx, userA, ix, "a@b.c"))(t); !bytes.Equal(a, got) {
			t.Error("another process")
		}
	}
	must(v.Shred(ctx, orgA, vault.ShredOptions{}))(t)
	for _, ix := range []vault.Index{emailIndex, gen} {
		_, err := peerOf(t, v, withPolicy(h)).BlindIndexQuery(ctx, userA, ix, "a@b.c")
		wantClass(t, err, "ErrKeyShredded")
	}
}

func TestIndexOfNull(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	compound := vault.Index{Table: "t", Column: "a", Normaliser: "exact@1", And: []vault.IndexPart{{Column: "b", Normaliser: "exact@1"}}}
	null := vault.Null[string]()
	one := vault.Index{Table: "t", Column: "a", Normaliser: "exact@1"}
	for name, values := range map[string][]any{
		"nil": {nil}, "nil pointer": {(*string)(nil)}, "NULL": {null}, "pointer to NULL": {&null}, "nil field": {(*vault.Encrypted[string])(nil)},
	} {
		if b, err := v.BlindIndex(ctx, orgA, one, values...); b != nil || err != nil {
			t.Errorf("%s: %x, %v", name, b, err)
		}
		wantClass(t, second(v.BlindIndexQuery(ctx, orgA, one, values...)), "ErrNotIndexable")
	}
	if b, err := v.BlindIndex(ctx, orgA, compound, "x", nil); b != nil || err != nil {
		t.Errorf("%x, %v", b, err)
	}
	if v.Store.Calls("InsertKey") != 0 {
		t.Error("NULL made a key")
	}
	for _, values := range [][]any{nil, {"x"}, {"x", "y", "z"}} {
		wantClass(t, second(v.BlindIndex(ctx, orgA, compound, values...)), "ErrInvalidIndex")
	}
}

// An index of a field is that of its value, pending, sealed or opened.
func TestIndexOfFields(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	ix := vault.Index{Table: "t", Column: "c", Normaliser: "exact@1"}
	at := time.Date(2001, 2, 3, 4, 5, 6, 700, time.FixedZone("x", 3600))
	check := func(name string, f vault.FieldBox, values ...any) {
		t.Helper()
		want := must(v.BlindIndex(ctx, orgA, ix, f))(t)
		for _, x := range values {
			if got := must(v.BlindIndex(ctx, orgA, ix, x))(t); !bytes.Equal(got, want) {
				t.Errorf("%s: %T is another", name, x)
			}
		}
	}
	s := vault.Seal("abc").At("t", "c", 1)
	sealed := stored(t, ctx, s)
	check("string", &s, s, "abc", []byte("abc"), sealed, &sealed)
	n := vault.Seal(int32(-7))
	check("int", &n, -7, "-7", int64(-7))
	u := vault.Seal(uint8(7))
	check("uint", &u, 7, "7")
	tm := vault.Seal(at)
	check("time", &tm, at, at.UTC(), "2001-02-03T03:05:06.0000007Z")
	for _, bad := range []any{1.5, true, address{}, vault.Seal(1.5), vault.Seal(address{}), func() {}, vault.Seal(func() {})} {
		err := second(v.BlindIndex(ctx, orgA, ix, bad))
		if !errors.Is(err, vault.ErrNotIndexable) && !errors.Is(err, vault.ErrUnsupportedType) {
			t.Errorf("%T: %v", bad, err)
		}
	}
	_, err := v.BlindIndex(ctx, orgA, ix, vault.SealedBytes[string](must(sealed.Value())(t).([]byte)))
	wantClass(t, err, "ErrNoLocation")

	b := vault.FieldBinding{}
	if got := must(b.BlindIndexQuery(ctx, ix, "abc"))(t); !bytes.Equal(got, must(v.BlindIndex(ctx, orgA, ix, "abc"))(t)) {
		t.Error("by ctx")
	}
	_, err = b.BlindIndexQuery(vault.WithVault(t.Context(), v.Vault), ix, "abc")
	wantClass(t, err, "ErrNoContext")
	_, err = b.BlindIndex(t.Context(), ix, "abc")
	wantClass(t, err, "ErrNoVault")
	global := ix
	global.Global = true
	must(b.BlindIndex(vault.WithVault(t.Context(), v.Vault), global, "abc"))(t)
	_, err = b.BlindIndex(t.Context(), global, "abc")
	wantClass(t, err, "ErrNoVault")
}

func TestBucketedIndex(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	full := vault.Index{Table: "t", Column: "c", Normaliser: "lower@1"}
	whole := must(v.BlindIndex(ctx, orgA, full, "Ann"))(t)
	for bits := 4; bits <= 64; bits++ {
		ix := full
		ix.Bits = bits
		b := must(v.BlindIndex(ctx, orgA, ix, "ann"))(t)
		if len(b) != (bits+7)/8 || len(b) != ix.Size() {
			t.Fatalf("%d bits: %d bytes", bits, len(b))
		}
		for i := range len(b) * 8 {
			bit := b[i/8] >> (7 - i%8) & 1
			if want := whole[i/8] >> (7 - i%8) & 1; i < bits && bit != want || i >= bits && bit != 0 {
				t.Fatalf("%d bits: bit %d is %d", bits, i, bit)
			}
		}
	}
	ix := full
	ix.Bits = 4
	buckets := map[string]bool{}
	for i := range 100 {
		buckets[string(must(v.BlindIndex(ctx, orgA, ix, i))(t))] = true
	}
	if len(buckets) > 16 {
		t.Errorf("%d buckets of 4 bits", len(buckets))
	}
	match := func(want, got []any) bool { return must(ix.Matches(ctx, want, got))(t) }
	if !match([]any{"Ann"}, []any{vault.Seal("aNN")}) || match([]any{"Ann"}, []any{"Anne"}) || match([]any{nil}, []any{nil}) || match([]any{""}, []any{nil}) {
		t.Error("Matches")
	}
	_, err := ix.Matches(ctx, []any{"a", "b"}, []any{"a"})
	wantClass(t, err, "ErrInvalidIndex")
	_, err = vault.Index{}.Matches(ctx, nil, nil)
	wantClass(t, err, "ErrInvalidIndex")
}

func TestInvalidIndexes(t *testing.T) {
	v := vaulttest.New(t)
	n := newNet(t)
	good := vault.Index{Table: "t", Column: "c", Normaliser: "exact@1"}
	for name, f := range map[string]func(*vault.Index){
		"no table": func(i *vault.Index) { i.Table = "" }, "no column": func(i *vault.Index) { i.Column = "" },
		"long": func(i *vault.Index) { i.Table = strings.Repeat("t", 256) }, "control": func(i *vault.Index) { i.Column = "c\n" },
		"no normaliser": func(i *vault.Index) { i.Normaliser = "" }, "unknown": func(i *vault.Index) { i.Normaliser = "lower@2" },
		"3 bits": func(i *vault.Index) { i.Bits = 3 }, "65 bits": func(i *vault.Index) { i.Bits = 65 }, "-1 bits": func(i *vault.Index) { i.Bits = -1 },
		"twice":             func(i *vault.Index) { i.And = []vault.IndexPart{{Column: "c", Normaliser: "exact@1"}} },
		"unknown and":       func(i *vault.Index) { i.And = []vault.IndexPart{{Column: "d", Normaliser: "x"}} },
		"unnamed and":       func(i *vault.Index) { i.And = []vault.IndexPart{{Normaliser: "exact@1"}} },
		"seventeen columns": func(i *vault.Index) { i.And = make([]vault.IndexPart, 16) },
	} {
		ix := good
		f(&ix)
		if err := ix.Validate(); !errors.Is(err, vault.ErrInvalidIndex) {
			t.Errorf("%s: %v", name, err)
		}
		wantClass(t, second(v.BlindIndex(t.Context(), orgA, ix, n.secret())), "ErrInvalidIndex")
		wantClass(t, second(v.BlindIndexQuery(t.Context(), orgA, ix, n.secret())), "ErrInvalidIndex")
	}
	if v.Store.Calls("InsertKey") != 0 {
		t.Error("a key was made")
	}
	ok(t, good.Validate())
	for _, kc := range []vault.KeyContext{nil, {}, {"vault:index": "2"}, {"vault:scope": "global"}} {
		gen := good
		gen.Generation = 2
		wantClass(t, second(v.BlindIndex(t.Context(), kc, good, "x")), "ErrInvalidContext")
		wantClass(t, second(v.BlindIndex(t.Context(), kc, gen, "x")), "ErrInvalidContext")
	}
}

// A policy sees whose index it is, by the reserved pairs, and nothing of the namespace.
func TestIndexPolicySeesReservedPairs(t *testing.T) {
	var seen []vault.KeyContext
	inner := vaulttest.New(t).KEK
	policy := kek.PolicyFunc(func(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
		seen = append(seen, kc.Clone())
		return one(inner), nil
	})
	v := vaulttest.New(t, withPolicy(policy), func(c *vault.Config) { c.Namespace, c.SkipWrapCheck, c.NoBackground = "ns", true, true })
	gen := emailIndex
	gen.Generation, gen.Global = 2, true
	must(v.BlindIndex(t.Context(), orgA, gen, "a@b.c"))(t)
	for _, kc := range seen {
		if len(kc) != 2 || kc["vault:scope"] != "global" || kc["vault:index"] != "2" {
			t.Errorf("%v", kc)
		}
	}
	if len(seen) == 0 {
		t.Error("the policy wasn't asked")
	}
}

// Index keys move to another KEK like any other, those of the vault's own contexts too.
func TestIndexKeysAreRewrapped(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	gen, global := emailIndex, emailIndex
	gen.Generation, global.Global = 2, true
	ixs := []vault.Index{emailIndex, gen, global}
	var want [][]byte
	for _, ix := range ixs {
		want = append(want, must(v.BlindIndex(ctx, orgA, ix, "a@b.c"))(t))
	}
	next := vaulttest.New(t, func(c *vault.Config) {
		c.Store = v.Store
		c.Policy = kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) {
			return kek.Choice{KEKs: []kek.Wrapper{otherKEK}, Quorum: kek.AnyOf, Previous: []kek.Choice{one(v.KEK)}}, nil
		})
	})
	r := must(next.Rewrap(ctx, vault.RewrapOptions{All: true}))(t)
	if r.Failed != 0 || r.Moved != 3 {
		t.Fatalf("%+v", r)
	}
	v.KEK.SetFault(memkek.Denied)
	for i, ix := range ixs {
		p := vaulttest.New(t, withPolicy(kek.Fixed(otherKEK)), func(c *vault.Config) { c.Store = v.Store })
		if got := must(p.BlindIndexQuery(ctx, orgA, ix, "a@b.c"))(t); !bytes.Equal(got, want[i]) {
			t.Errorf("%d: another index", i)
		}
	}
}

var otherKEK = memkek.New("other")
