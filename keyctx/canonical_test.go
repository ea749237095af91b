package keyctx_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/keyctx"
	"pgregory.net/rapid"
)

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Computed by another program, from DESIGN's words: they never change.
func TestGolden(t *testing.T) {
	const first = "7661756c742f6374782f7631" + "01" + "000f" + "6f7267616e697a6174696f6e5f6964" + "0006" + "6f72675f3031"
	b, err := keyctx.AppendCanonical(nil, ctxMap{"organization_id": "org_01"}, "")
	noError(t, err)
	if got := hex.EncodeToString(b); got != first {
		t.Errorf("got  %s\nwant %s", got, first)
	}
	for _, tc := range []struct {
		kc   ctxMap
		ns   string
		hash string
	}{
		{ctxMap{"organization_id": "org_01"}, "", "91705dbc030b3dca9fc998aa93fcbb13b2c21bc9c736c0ca1a49edffa0ad5846"},
		{ctxMap{"b": "1", "a": "2"}, "", "ae447ce15fd89444067816e5016e784732055a0c94b979f5e0d171d4681618e1"},
		{ctxMap{"organization_id": "org_01"}, "billing", "51c5e5f62cd30fa0e74891ce7b823404bd32ce18589486748c95e08fb5de2636"},
		{ctxMap{"B": "é", "a": "😀", "A.b:c/d-e_9": "x"}, "", "0d428864fb6e5566cf34a13eb7792f2f74adf28605d94e0b9d4f400a5e4bdc83"},
		{ctxMap{strings.Repeat("k", 128): strings.Repeat("v", 1024)}, "", "8ebbccc557d69cfb41b05cdac7e6d3806e0d987040149a836095b9569414c3d9"},
		{pairs(10), "", "e5cb1592a635c217384007a4d674f30c83c7728b67c6fc4f656cc43beb2fb48f"},
	} {
		h, err := keyctx.HashIn(tc.kc, tc.ns)
		noError(t, err)
		if h.String() != tc.hash {
			t.Errorf("%v in %q: got %s, want %s", tc.kc, tc.ns, h, tc.hash)
		}
		full, err := tc.kc.WithNamespace(tc.ns).Hash()
		noError(t, err)
		if full != h {
			t.Errorf("%v in %q: with the pair itself it is %v", tc.kc, tc.ns, full)
		}
	}
	own, err := ctxMap{"vault:system": "audit"}.Hash()
	noError(t, err)
	if got := own.String(); got != "74cd078b16d13b2cb1a5c631b40b0781f20abd5bfb1fac47aea9f3504bbe657c" {
		t.Errorf("the vault's own: %s", got)
	}
	if own.Short() != "74cd078b16d13b2c" {
		t.Errorf("Short: %s", own.Short())
	}
}

func TestCanonicalAppends(t *testing.T) {
	kc := and(pairs(10), nil)
	want, err := keyctx.AppendCanonical(nil, kc, "n")
	noError(t, err)
	got, err := keyctx.AppendCanonical([]byte("head"), kc, "n")
	noError(t, err)
	if string(got) != "head"+string(want) {
		t.Errorf("got %q", got)
	}
	if len(kc) != 10 {
		t.Errorf("the caller's map was changed: %v", kc)
	}
}

// encode writes pairs in the order given, whatever they are.
func encode(kvs ...string) []byte {
	b := append([]byte("vault/ctx/v1"), byte(len(kvs)/2))
	for _, s := range kvs {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return b
}

func TestParseCanonicalIsTheInverse(t *testing.T) {
	for name, kc := range validContexts {
		for _, full := range []ctxMap{kc, kc.WithNamespace("n"), and(kc, ctxMap{"vault:scope": "global", "vault:index": "7", "vault:system": "x"}).WithNamespace("n")} {
			b, err := full.AppendCanonical(nil)
			noError(t, err)
			back, err := keyctx.ParseCanonical(b)
			noError(t, err)
			if !maps.Equal(back, full) {
				t.Errorf("%s: got %v", name, back)
			}
			for n := range b {
				if _, err := keyctx.ParseCanonical(b[:n]); !errors.Is(err, keyctx.ErrInvalidContext) {
					t.Errorf("%s cut at %d: %v", name, n, err)
				}
			}
			if _, err := keyctx.ParseCanonical(append(b, 0)); !errors.Is(err, keyctx.ErrInvalidContext) {
				t.Errorf("%s with a byte after it: %v", name, err)
			}
		}
	}
}

func TestParseCanonicalRefuses(t *testing.T) {
	count := func(n byte, b []byte) []byte { b = slices.Clone(b); b[12] = n; return b }
	hugeLength := append(encode("k", "v")[:13], 0xff, 0xff, 'k')
	var fifteen []string
	for i := range 15 {
		fifteen = append(fifteen, fmt.Sprintf("k%02d", i), "v")
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"another label":       append([]byte("vault/ctx/v2"), encode("k", "v")[12:]...),
		"label in upper case": append([]byte("VAULT/ctx/v1"), encode("k", "v")[12:]...),
		"no pairs":            encode(),
		"count too high":      count(2, encode("k", "v")),
		"count too low":       count(1, encode("a", "v", "b", "v")),
		"count 0, a pair":     count(0, encode("k", "v")),
		"count 255":           count(255, encode("k", "v")),
		"fifteen pairs":       encode(fifteen...),
		"eleven pairs":        encode(fifteen[:22]...),
		"out of order":        encode("b", "v", "a", "v"),
		"the same key twice":  encode("a", "v", "a", "w"),
		"the same pair twice": encode("a", "v", "a", "v"),
		"order by length":     encode("b", "v", "aa", "v"),
		"empty key":           encode("", "v"),
		"empty value":         encode("k", ""),
		"control character":   encode("k", "v\n"),
		"not UTF-8":           encode("k", "\xff"),
		"bad key":             encode("a b", "v"),
		"key too long":        encode(strings.Repeat("k", 129), "v"),
		"value too long":      encode("k", strings.Repeat("v", 1025)),
		"unknown reserved":    encode("k", "v", "vault:x", "y"),
		"only a namespace":    encode("vault:namespace", "n"),
		"a huge length":       hugeLength,
	} {
		kc, err := keyctx.ParseCanonical(b)
		if !errors.Is(err, keyctx.ErrInvalidContext) || kc != nil {
			t.Errorf("%s: got %v, %v", name, kc, err)
		}
	}
}

func drawContext(t *rapid.T, label string) ctxMap {
	key := rapid.OneOf(rapid.SampledFrom([]string{"a", "aa", "ab", "b", "A", "a:b", "-", "org"}), rapid.StringMatching(`[A-Za-z0-9_./-]{1,128}`))
	value := rapid.OneOf(rapid.SampledFrom([]string{"a", "aa", "b", "\x20", "é", "a\u00a0b"}), rapid.StringMatching(`[ -~À-ÿ]{1,60}`))
	return rapid.MapOfN(key, value, 1, keyctx.MaxPairs).Draw(t, label)
}

// Two contexts, or the same in two namespaces, never share an encoding; one
// context has one, whatever the map's order.
func TestInjective(t *testing.T) {
	namespaces := rapid.SampledFrom([]string{"", "a", "aa", "org"})
	rapid.Check(t, func(t *rapid.T) {
		kc, ns := drawContext(t, "context"), namespaces.Draw(t, "namespace")
		other, otherNS := drawContext(t, "other"), namespaces.Draw(t, "other namespace")
		switch rapid.IntRange(0, 4).Draw(t, "how near") {
		case 0: // one value differs
			other = kc.Clone()
			k := slices.Sorted(maps.Keys(kc))[0]
			other[k] += "x"
		case 1: // a byte goes from a key to its value
			other = kc.Clone()
			for k, v := range kc {
				if len(k) > 1 {
					delete(other, k)
					other[k[:len(k)-1]] = k[len(k)-1:] + v
				}
				break
			}
		case 2: // the same pairs, put in anew
			other = ctxMap{}
			for _, k := range slices.Backward(slices.Sorted(maps.Keys(kc))) {
				other[k] = kc[k]
			}
		}
		a, err := keyctx.AppendCanonical(nil, kc, ns)
		if err != nil {
			t.Fatal(err)
		}
		b, err := keyctx.AppendCanonical(nil, other, otherNS)
		if err != nil {
			t.Fatal(err)
		}
		same := maps.Equal(kc, other) && ns == otherNS
		if bytes.Equal(a, b) != same {
			t.Fatalf("%v in %q and %v in %q:\n%x\n%x", kc, ns, other, otherNS, a, b)
		}
		ha, _ := keyctx.HashIn(kc, ns)
		hb, _ := keyctx.HashIn(other, otherNS)
		if (ha == hb) != same {
			t.Fatalf("the hashes: %v, %v", ha, hb)
		}
		back, err := keyctx.ParseCanonical(a)
		if err != nil || !maps.Equal(back.WithoutNamespace(), kc) || back.Namespace() != ns {
			t.Fatalf("parsed again: %v, %v", back, err)
		}
	})
}

// What parses encodes to the same bytes again.
func FuzzParseCanonical(f *testing.F) {
	f.Add(encode("organization_id", "org_01"))
	f.Add(encode("a", "é", "b", "w", "vault:namespace", "n"))
	f.Add(encode("vault:index", "2", "vault:scope", "global"))
	f.Add(encode("b", "v", "a", "v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		kc, err := keyctx.ParseCanonical(b)
		if err != nil {
			if !errors.Is(err, keyctx.ErrInvalidContext) {
				t.Fatal(err)
			}
			return
		}
		again, err := kc.AppendCanonical(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v\n%x\n%x", err, again, b)
		}
	})
}

// Whatever a caller gives is either refused by all or accepted by all, and what
// is accepted comes back.
func FuzzKeyContext(f *testing.F) {
	f.Add("organization_id", "org_01", "user", "u", "")
	f.Add("k", "\u0085", "k", "v", "n")
	f.Add("vault:scope", "global", "", "", "\xff")
	f.Add(strings.Repeat("k", 129), strings.Repeat("v", 1025), "a b", "\x7f", strings.Repeat("n", 1<<16))
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2, ns string) {
		kc := ctxMap{k1: v1, k2: v2}
		b, err := keyctx.AppendCanonical(nil, kc, ns)
		h, errHash := keyctx.HashIn(kc, ns)
		if valid := kc.Validate() == nil && keyctx.ValidateNamespace(ns) == nil; valid != (err == nil) || valid != (errHash == nil) {
			t.Fatalf("Validate and AppendCanonical differ: %v, %v, %v", kc.Validate(), err, errHash)
		}
		fullHash, errFull := kc.WithNamespace(ns).Hash()
		if err != nil {
			if !errors.Is(err, keyctx.ErrInvalidContext) {
				t.Fatal(err)
			}
			return
		}
		back, err := keyctx.ParseCanonical(b)
		if err != nil || !maps.Equal(back, kc.WithNamespace(ns)) || errFull != nil || fullHash != h {
			t.Fatalf("%v, %v, %v", back, err, errFull)
		}
	})
}
