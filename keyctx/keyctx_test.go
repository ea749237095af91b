package keyctx_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/embedvault/vault/keyctx"
)

type ctxMap = keyctx.KeyContext

func pairs(n int) ctxMap {
	kc := ctxMap{}
	for i := range n {
		kc[fmt.Sprintf("k%02d", i)] = fmt.Sprint(i)
	}
	return kc
}

func and(kc ctxMap, more ctxMap) ctxMap {
	kc = kc.Clone()
	maps.Copy(kc, more)
	return kc
}

// validContexts are a caller's; each is at some limit or has some odd byte that
// is allowed.
var validContexts = map[string]ctxMap{
	"one pair":             {"organization_id": "org_01"},
	"ten pairs":            pairs(keyctx.MaxPairs),
	"nine pairs":           pairs(keyctx.MaxPairs - 1),
	"shortest":             {"k": "v"},
	"longest key":          {strings.Repeat("k", keyctx.MaxKeyLen): "v"},
	"longest value":        {"k": strings.Repeat("v", keyctx.MaxValueLen)},
	"longest, in letters":  {"k": strings.Repeat("é", keyctx.MaxValueLen/2)},
	"each byte of a key":   {"ABCDEFGHIJKLMNOPQRSTUVWXYZ": "v", "abcdefghijklmnopqrstuvwxyz": "v", "0123456789_.:/-": "v"},
	"space and tilde":      {"k": " ~"},
	"U+00A0":               {"k": "\u00a0"},
	"U+FFFD itself":        {"k": "\ufffd"},
	"non-characters":       {"k": "\uffff\U0010ffff"},
	"line separators":      {"k": "\u2028\u2029"},
	"both cases":           {"Org": "v", "org": "v"},
	"vault, no colon":      {"vault": "v", "vaultx": "v", "vault.scope": "v"},
	"VAULT:, upper case":   {"Vault:scope": "v"},
	"value like a pair":    {"k": "vault:scope"},
	"markup":               {"k": `<a href="x">&amp;</a>`},
	"a leading byte 0xC2":  {"k": "\u00bf"},
	"a value of one space": {"k": " "},
}

// secret is in every value of an invalid context: no error may hold it.
const secret = "ACME"

// invalidContexts says for each context which key the error must name, if any.
var invalidContexts = map[string]struct {
	kc  ctxMap
	key string
}{
	"nil":                   {nil, ""},
	"empty":                 {ctxMap{}, ""},
	"eleven pairs":          {pairs(keyctx.MaxPairs + 1), ""},
	"empty key":             {ctxMap{"": secret}, ""},
	"key too long":          {ctxMap{strings.Repeat("k", keyctx.MaxKeyLen+1): secret}, "kkkkkkkkkkkkkkkk"},
	"key with a space":      {ctxMap{"a b": secret}, "a b"},
	"key with a NUL":        {ctxMap{"a\x00": secret}, `a\x00`},
	"key with an equals":    {ctxMap{"a=b": secret}, "a=b"},
	"key with an accent":    {ctxMap{"é": secret}, "é"},
	"key not UTF-8":         {ctxMap{"\xff": secret}, `\xff`},
	"reserved prefix":       {ctxMap{"vault:": secret}, "vault:"},
	"reserved, unknown":     {ctxMap{"vault:x": secret}, "vault:x"},
	"namespace":             {ctxMap{"k": secret, "vault:namespace": secret}, "vault:namespace"},
	"scope":                 {ctxMap{"k": secret, "vault:scope": "global"}, "vault:scope"},
	"system":                {ctxMap{"vault:system": secret}, "vault:system"},
	"empty value":           {ctxMap{"org": ""}, "org"},
	"value too long":        {ctxMap{"org": strings.Repeat(secret, 256) + "A"}, "org"},
	"too long, in letters":  {ctxMap{"org": secret + strings.Repeat("é", 511)}, "org"},
	"value with a NUL":      {ctxMap{"org": secret + "\x00"}, "org"},
	"value with U+001F":     {ctxMap{"org": secret + "\x1f"}, "org"},
	"value with a newline":  {ctxMap{"org": secret + "\n"}, "org"},
	"value with DEL":        {ctxMap{"org": secret + "\x7f"}, "org"},
	"value with U+0080":     {ctxMap{"org": secret + "\u0080"}, "org"},
	"value with U+009F":     {ctxMap{"org": secret + "\u009f"}, "org"},
	"value not UTF-8":       {ctxMap{"org": secret + "\xff"}, "org"},
	"value, bare 0x85":      {ctxMap{"org": secret + "\x85"}, "org"},
	"value cut short":       {ctxMap{"org": secret + "\xc3"}, "org"},
	"value overlong":        {ctxMap{"org": secret + "\xc0\xaf"}, "org"},
	"value with surrogate":  {ctxMap{"org": secret + "\xed\xa0\x80"}, "org"},
	"value past U+10FFFF":   {ctxMap{"org": secret + "\xf4\x90\x80\x80"}, "org"},
	"one bad pair of three": {ctxMap{"a": "v", "org": secret + "\n", "z": "v"}, "org"},
}

func TestValidate(t *testing.T) {
	for name, kc := range validContexts {
		if err := kc.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := kc.ValidateFull(); err != nil {
			t.Errorf("%s, in full: %v", name, err)
		}
	}
	for name, tc := range invalidContexts {
		t.Run(name, func(t *testing.T) {
			_, errCanonical := keyctx.AppendCanonical(nil, tc.kc, "ns")
			_, errHash := keyctx.HashIn(tc.kc, "")
			for _, err := range []error{tc.kc.Validate(), errCanonical, errHash} {
				checkError(t, err, tc.key)
			}
		})
	}
}

// checkError checks the class, that the error names the key, and that it holds
// no value. This is about what errors reveal, so it has to look at the text.
func checkError(t *testing.T, err error, key string) {
	t.Helper()
	if !errors.Is(err, keyctx.ErrInvalidContext) {
		t.Fatalf("got %v, want ErrInvalidContext", err)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("the error holds a value: %v", err)
	}
	if !strings.Contains(err.Error(), key) {
		t.Errorf("the error doesn't name the key %q: %v", key, err)
	}
	if len(err.Error()) > 500 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestEveryByteOfAKey(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-"
	for b := range 256 {
		k := "k" + string([]byte{byte(b)})
		err := ctxMap{k: "v"}.Validate()
		if want := strings.IndexByte(allowed, byte(b)) >= 0; (err == nil) != want {
			t.Errorf("byte 0x%02x in a key: %v", b, err)
		}
	}
}

func TestEveryControlCharacterOfAValue(t *testing.T) {
	for r := rune(0); r <= 0x17f; r++ {
		err := ctxMap{"k": "v" + string(r)}.Validate()
		if control := r <= 0x1f || r >= 0x7f && r <= 0x9f; (err != nil) != control {
			t.Errorf("%U in a value: %v", r, err)
		}
	}
}

func TestValidateFull(t *testing.T) {
	own := ctxMap{"vault:system": "audit"}
	full := ctxMap{"vault:namespace": "n", "vault:scope": "global", "vault:index": "2", "vault:system": "x"}
	for name, kc := range map[string]ctxMap{
		"namespace":              {"k": "v", "vault:namespace": "n"},
		"generation 2":           {"k": "v", "vault:index": "2"},
		"last generation":        {"k": "v", "vault:index": "4294967295"},
		"scope":                  {"vault:scope": "global"},
		"scope, namespace":       {"vault:scope": "global", "vault:namespace": "n"},
		"system":                 own,
		"ten and all the four":   and(pairs(keyctx.MaxPairs), full),
		"all the four":           full,
		"longest system":         {"vault:system": strings.Repeat("x", keyctx.MaxValueLen)},
		"system beside a pair":   {"k": "v", "vault:system": "x"},
		"index beside no tenant": {"vault:scope": "global", "vault:index": "10"},
	} {
		if err := kc.ValidateFull(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tc := range map[string]struct {
		kc  ctxMap
		key string
	}{
		"nothing":             {nil, ""},
		"only a namespace":    {ctxMap{"vault:namespace": secret}, ""},
		"only an index":       {ctxMap{"vault:index": "2"}, ""},
		"eleven":              {and(pairs(keyctx.MaxPairs+1), own), ""},
		"unknown":             {ctxMap{"k": secret, "vault:parent": secret}, "vault:parent"},
		"prefix alone":        {ctxMap{"k": secret, "vault:": secret}, "vault:"},
		"prefix of a known":   {ctxMap{"k": secret, "vault:scop": "global"}, "vault:scop"},
		"scope not global":    {ctxMap{"k": secret, "vault:scope": secret}, "vault:scope"},
		"scope Global":        {ctxMap{"k": secret, "vault:scope": "Global"}, "vault:scope"},
		"generation 0":        {ctxMap{"k": secret, "vault:index": "0"}, "vault:index"},
		"generation 1":        {ctxMap{"k": secret, "vault:index": "1"}, "vault:index"},
		"generation 02":       {ctxMap{"k": secret, "vault:index": "02"}, "vault:index"},
		"generation +2":       {ctxMap{"k": secret, "vault:index": "+2"}, "vault:index"},
		"generation 2^32":     {ctxMap{"k": secret, "vault:index": "4294967296"}, "vault:index"},
		"generation a word":   {ctxMap{"k": secret, "vault:index": secret}, "vault:index"},
		"empty namespace":     {ctxMap{"k": secret, "vault:namespace": ""}, "vault:namespace"},
		"control in system":   {ctxMap{"vault:system": secret + "\n"}, "vault:system"},
		"a bad pair beside":   {ctxMap{"vault:system": "x", "org": secret + "\n"}, "org"},
		"a bad key beside":    {ctxMap{"vault:system": "x", "a b": secret}, "a b"},
		"namespace too long":  {ctxMap{"k": "v", "vault:namespace": strings.Repeat(secret, 257)}, "vault:namespace"},
		"namespace not UTF-8": {ctxMap{"k": "v", "vault:namespace": secret + "\xff"}, "vault:namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errCanonical := tc.kc.AppendCanonical(nil)
			_, errHash := tc.kc.Hash()
			for _, err := range []error{tc.kc.ValidateFull(), errCanonical, errHash} {
				checkError(t, err, tc.key)
			}
		})
	}
}

func TestIsOwnAndReserved(t *testing.T) {
	for _, kc := range []ctxMap{{"vault:scope": "global"}, {"vault:system": "x"}, {"vault:system": "x", "vault:namespace": "n"}} {
		if !kc.IsOwn() {
			t.Errorf("%v is the vault's own", kc)
		}
	}
	for _, kc := range []ctxMap{nil, {"k": "v"}, {"k": "v", "vault:namespace": "n"}, {"k": "v", "vault:index": "2"}, {"scope": "global"}} {
		if kc.IsOwn() {
			t.Errorf("%v isn't the vault's own", kc)
		}
	}
	for k, want := range map[string]bool{"vault:": true, "vault:x": true, "vault:namespace": true, "vault": false, "Vault:x": false, "xvault:": false, "": false} {
		if keyctx.IsReserved(k) != want {
			t.Errorf("IsReserved(%q) is %v", k, !want)
		}
	}
}

func TestNamespace(t *testing.T) {
	kc := ctxMap{"k": "v"}
	in := kc.WithNamespace("n")
	if in.Namespace() != "n" || kc.Namespace() != "" || len(in) != 2 || len(kc) != 1 {
		t.Fatalf("WithNamespace: %v out of %v", in, kc)
	}
	for name, got := range map[string]ctxMap{
		"none":            kc.WithNamespace(""),
		"taken off":       in.WithoutNamespace(),
		"none, had one":   in.WithNamespace(""),
		"none, never had": kc.WithoutNamespace(),
	} {
		if !maps.Equal(got, kc) {
			t.Errorf("%s: %v", name, got)
		}
		got["other"] = "x"
	}
	if len(kc) != 1 || in.WithNamespace("m").Namespace() != "m" || in.Namespace() != "n" {
		t.Errorf("a copy shares memory: %v, %v", kc, in)
	}
	if got := ctxMap(nil).WithNamespace("n"); got.Namespace() != "n" {
		t.Errorf("out of nil: %v", got)
	}
	if got := ctxMap(nil).WithNamespace(""); len(got) != 0 {
		t.Errorf("out of nil: %v", got)
	}

	for _, ns := range []string{"", "billing", strings.Repeat("n", keyctx.MaxValueLen)} {
		if err := keyctx.ValidateNamespace(ns); err != nil {
			t.Errorf("namespace of %d bytes: %v", len(ns), err)
		}
	}
	for _, ns := range []string{secret + "\n", secret + "\xff", secret + "\u0085", strings.Repeat(secret, 257), strings.Repeat(secret, 1<<15)} {
		_, errHash := keyctx.HashIn(kc, ns)
		_, errCanonical := keyctx.AppendCanonical(nil, kc, ns)
		for _, err := range []error{keyctx.ValidateNamespace(ns), errHash, errCanonical} {
			checkError(t, err, keyctx.ReservedNamespace)
		}
	}
}

func TestContains(t *testing.T) {
	kc := ctxMap{"org": "a", "user": "u"}
	for name, tc := range map[string]struct {
		kc, match ctxMap
		want      bool
	}{
		"itself":            {kc, kc, true},
		"one pair":          {kc, ctxMap{"org": "a"}, true},
		"empty":             {kc, ctxMap{}, false},
		"nil":               {kc, nil, false},
		"empty in empty":    {ctxMap{}, ctxMap{}, false},
		"nil in nil":        {nil, nil, false},
		"another value":     {kc, ctxMap{"org": "b"}, false},
		"a value's prefix":  {kc, ctxMap{"org": ""}, false},
		"another key":       {kc, ctxMap{"region": "a"}, false},
		"absent, empty":     {kc, ctxMap{"region": ""}, false},
		"one of two":        {kc, ctxMap{"org": "a", "user": "w"}, false},
		"more than it has":  {ctxMap{"org": "a"}, kc, false},
		"key and value mix": {kc, ctxMap{"a": "org"}, false},
		"case":              {kc, ctxMap{"Org": "a"}, false},
	} {
		if got := tc.kc.Contains(tc.match); got != tc.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
