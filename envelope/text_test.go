package envelope_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/embedvault/vault/envelope"
)

func TestText(t *testing.T) {
	k := newKey(t)
	for n := range 6 { // each length modulo three, so with and without stray bits
		for _, kind := range []envelope.Kind{envelope.KindMessage, envelope.KindMessageSelf} {
			b := seal(t, k, kind, make([]byte, n), nil)
			text, err := envelope.EncodeText(b)
			noError(t, err)
			if want := "vlt1." + base64.RawURLEncoding.EncodeToString(b); text != want {
				t.Fatalf("got %s, want %s", text, want)
			}
			got, err := envelope.DecodeText(text)
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("got %x, %v", got, err)
			}
		}
	}
}

func TestTextRefusesOtherKinds(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds[2:] {
		b := seal(t, k, kind, plaintextFor(kind), nil)
		_, err := envelope.EncodeText(b)
		wantErr(t, err, envelope.ErrMalformed)
		_, err = envelope.DecodeText("vlt1." + base64.RawURLEncoding.EncodeToString(b))
		wantErr(t, err, envelope.ErrMalformed)
	}
	for _, b := range [][]byte{nil, {}, []byte("no envelope"), {0xE1}} {
		_, err := envelope.EncodeText(b)
		wantErr(t, err, envelope.ErrMalformed)
	}
}

// One envelope has one text: a database that compares texts, or an index on
// them, is not fooled.
func TestDecodeTextRefuses(t *testing.T) {
	k := newKey(t)
	b := seal(t, k, envelope.KindMessage, []byte("12"), nil) // 88 bytes: the last digit has four stray bits
	text, err := envelope.EncodeText(b)
	noError(t, err)
	code := strings.TrimPrefix(text, "vlt1.")
	stray := code[:len(code)-1] + string(rune(code[len(code)-1])+1)
	for name, bad := range map[string]string{
		"nothing":               "",
		"prefix alone":          "vlt1.",
		"prefix cut":            "vlt1",
		"no prefix":             code,
		"another prefix":        "vlt2." + code,
		"prefix in upper case":  "VLT1." + code,
		"prefix twice":          "vlt1.vlt1." + code,
		"space before":          " " + text,
		"space after":           text + " ",
		"space within":          text[:20] + " " + text[20:],
		"LF at the end":         text + "\n",
		"CR at the end":         text + "\r",
		"CR LF at the end":      text + "\r\n",
		"LF within":             text[:20] + "\n" + text[20:],
		"CR within":             text[:20] + "\r" + text[20:],
		"LF after the prefix":   "vlt1.\n" + code,
		"LF before":             "\n" + text,
		"padding":               text + "=",
		"double padding":        text + "==",
		"stray bits":            "vlt1." + stray,
		"a digit left over":     text + "AAA",
		"a digit less":          text[:len(text)-1],
		"the other alphabet":    "vlt1." + "+" + code[1:],
		"the other alphabet, /": "vlt1." + code[:5] + "/" + code[6:],
		"a NUL":                 text + "\x00",
		"not ASCII":             text + "é",
		"no envelope":           "vlt1.AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := envelope.DecodeText(bad)
			wantErr(t, err, envelope.ErrMalformed)
			if got != nil {
				t.Errorf("an error, and %x", got)
			}
		})
	}
}
