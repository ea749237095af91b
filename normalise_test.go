package vault_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"unicode"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// Whether two values are the same to a normaliser.
func TestNormalisers(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	ix := func(normaliser string) vault.Index {
		return vault.Index{Table: "t", Column: "c", Normaliser: normaliser}
	}
	of := func(normaliser, value string) []byte {
		t.Helper()
		return must(v.BlindIndex(ctx, orgA, ix(normaliser), value))(t)
	}
	for _, c := range []struct {
		normaliser, a, b string
		same             bool
	}{
		{"exact@1", "a", "a", true}, {"exact@1", "a", "A", false}, {"exact@1", "a", "a ", false}, {"exact@1", "\xff", "\xff", true}, {"exact@1", "", "\x00", false},
		{"lower@1", "ÄNNE Λ Ж", "änne λ ж", true}, {"lower@1", "a", "a ", false}, {"lower@1", "ß", "ẞ", true}, {"lower@1", "ß", "ss", false},
		{"lower@1", "é", "e\u0301", false}, {"lower@1", "İ", "i", true}, {"lower@1", "I", "ı", false}, {"lower@1", "K", "k", true}, {"lower@1", "", "", true},
		{"lower@1", "Σ", "σ", true}, {"lower@1", "ς", "σ", false}, {"lower@1", "𐐀", "𐐨", true},
		{"email@1", " Ann@Example.ORG\r\n", "ann@example.org", true}, {"email@1", "\u00a0\u3000a@b\u2028", "a@b", true}, {"email@1", "a.b@c", "ab@c", false}, {"email@1", "a+x@c", "a@c", false}, {"email@1", "a@b@c", "A@b@C", true},
		{"digits@1", "123-45 6789", "123456789", true}, {"digits@1", "a1b2", "12", true}, {"digits@1", "012", "12", false}, {"digits@1", "\u0661 1", "1", true},
		{"e164@1", "+49 (30) 123-456/7", "+49301234567", true}, {"e164@1", "+1.212.555.0100", "+12125550100", true}, {"e164@1", "+49\u00a030", "+4930", true}, {"e164@1", "+49301", "+49302", false},
	} {
		if got := bytes.Equal(of(c.normaliser, c.a), of(c.normaliser, c.b)); got != c.same {
			t.Errorf("%s: %q and %q: the same is %v", c.normaliser, c.a, c.b, got)
		}
	}
	of("e164@1", "+123456789012345")
	of("exact@1", strings.Repeat("x", 65535))
	n := newNet(t)
	for _, c := range []struct{ normaliser, value string }{
		{"lower@1", n.secret() + "\xff"}, {"email@1", n.secret()}, {"email@1", "@" + n.secret()}, {"email@1", n.secret() + "@ "}, {"email@1", ""}, {"email@1", "a@\xff"}, {"digits@1", strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, n.secret())}, {"digits@1", ""},
		{"e164@1", "0049 30 1234"}, {"e164@1", "+049301234"}, {"e164@1", "+1234567890123456"}, {"e164@1", "+"}, {"e164@1", "+1"}, {"e164@1", "+49x30"}, {"e164@1", "+49\u0661"}, {"e164@1", "4930"}, {"e164@1", ""}, {"e164@1", "+49\xff30"},
		{"exact@1", strings.Repeat("x", 65536)},
	} {
		_, err := v.BlindIndex(ctx, orgA, ix(c.normaliser), c.value)
		wantClass(t, err, "ErrNotIndexable")
		n.checkErr(c.normaliser, err)
	}
}

// The lower case of every code point is what it was when the first index was computed,
// whatever Go's tables say today.
func TestLowerIsFrozen(t *testing.T) {
	const want = "5d2935329bc0401b92e606471c352eafde111cdb66f4a17511e7b99546d78e5e"
	h := sha256.New()
	for r := rune(0); r <= unicode.MaxRune; r++ {
		h.Write([]byte(string(vault.LowerRune(r))))
		if unicode.Version == "15.0.0" && vault.LowerRune(r) != unicode.ToLower(r) {
			t.Fatalf("%U", r)
		}
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("the table's hash is %s", got)
	}
}
