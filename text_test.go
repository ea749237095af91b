package vault_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

func TestTextForm(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, _ setup, c vault.Config) {
		v, cold := open(t, c), open(t, c)
		for _, plaintext := range []string{"", "x", "hello", strings.Repeat("ü", 1000), "\x00\xff\n"} {
			text := must(v.EncryptString(t.Context(), orgA, plaintext, []byte("aad")))(t)
			if !strings.HasPrefix(text, "vlt1.") || strings.ContainsAny(text, "=+/ \r\n") {
				t.Fatalf("%q", text)
			}
			for _, v := range []*vault.Vault{v, cold} {
				if got, err := v.DecryptString(t.Context(), orgA, text, []byte("aad")); err != nil || got != plaintext {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			// It is the same envelope as bytes.
			b := must(base64.RawURLEncoding.DecodeString(text[5:]))(t)
			if got, err := v.Decrypt(t.Context(), orgA, b, []byte("aad")); err != nil || string(got) != plaintext {
				t.Fatalf("got %q, %v", got, err)
			}
			if a, b := must(vault.Inspect([]byte(text)))(t), must(vault.Inspect(b))(t); a.KeyID != b.KeyID || a.PlaintextSize != len(plaintext) {
				t.Fatalf("%+v, %+v", a, b)
			}
			_, err := v.DecryptString(t.Context(), orgA, text, nil)
			wantClass(t, err, "ErrDecrypt")
			_, err = v.DecryptString(t.Context(), orgB, text, []byte("aad"))
			wantErr(t, err, vault.ErrWrongContext)
		}
	})
}

// A text that isn't exactly what EncryptString makes is refused, also one that
// a lenient decoder would read.
func TestTextFormIsExact(t *testing.T) {
	v := vaulttest.New(t)
	text := must(v.EncryptString(t.Context(), orgA, "ab", nil))(t) // 88 bytes: two bits are left over in the last digit
	code := text[len("vlt1."):]
	last := code[len(code)-1:]
	digits := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	stray := code[:len(code)-1] + string(digits[strings.Index(digits, last)|1])
	if stray == code {
		t.Fatal("the last digit has no bits to spare: the test doesn't test")
	}
	for name, bad := range map[string]string{
		"empty":                 "",
		"prefix alone":          "vlt1.",
		"no prefix":             code,
		"part of the prefix":    "vlt",
		"upper-case prefix":     "VLT1." + code,
		"another version":       "vlt2." + code,
		"padding":               text + "==",
		"trailing line break":   text + "\n",
		"trailing CR LF":        text + "\r\n",
		"line break inside":     text[:40] + "\n" + text[40:],
		"CR inside":             text[:40] + "\r" + text[40:],
		"leading space":         " " + text,
		"trailing space":        text + " ",
		"a NUL":                 text + "\x00",
		"other alphabet":        strings.ReplaceAll(strings.ReplaceAll("vlt1."+code, "-", "+"), "_", "/") + "+",
		"stray bits":            "vlt1." + stray,
		"cut by one":            text[:len(text)-1],
		"twice":                 text + text,
		"bytes of the envelope": string(must(base64.RawURLEncoding.DecodeString(code))(t)),
	} {
		_, err := v.DecryptString(t.Context(), orgA, bad, nil)
		if name == "cut by one" { // 87 bytes, and a digit that has no bits to spare or has
			if c := classes(err); len(c) != 1 || c[0] != "ErrMalformed" && c[0] != "ErrDecrypt" {
				t.Fatalf("%s: %v", name, err)
			}
			continue
		}
		if c := classes(err); len(c) != 1 || c[0] != "ErrMalformed" {
			t.Fatalf("%s: %v has the classes %v", name, err, c)
		}
		if strings.HasPrefix(bad, "vlt1.") {
			if _, err := vault.Inspect([]byte(bad)); err == nil {
				t.Fatalf("%s: Inspect reads it", name)
			}
		}
	}
	// And the text is not an envelope of bytes.
	_, err := v.Decrypt(t.Context(), orgA, []byte(text), nil)
	wantClass(t, err, "ErrMalformed")
}

// Only messages have a text form.
func TestTextFormOfOtherKinds(t *testing.T) {
	v := vaulttest.New(t)
	key := must(v.CreateDataKey(t.Context(), orgA))(t)
	text := "vlt1." + base64.RawURLEncoding.EncodeToString(key.Sealed)
	_, err := v.DecryptString(t.Context(), orgA, text, nil)
	wantClass(t, err, "ErrMalformed")
	if _, err := vault.Inspect([]byte(text)); err == nil {
		t.Fatal("Inspect reads the text form of a data key")
	}
	if info, err := vault.Inspect(key.Sealed); err != nil || info.PlaintextSize != 32 {
		t.Fatalf("%+v, %v", info, err)
	}
}
