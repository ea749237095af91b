package main

import (
	"encoding/base64"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// text is the text form of an envelope.
func text(envelope []byte) string { return "vlt1." + base64.RawURLEncoding.EncodeToString(envelope) }

func textCases() []vectors.Text {
	var vs []vectors.Text
	add := func(name, text string, envelope []byte) {
		r := vectors.Valid
		if envelope == nil {
			r = vectors.Malformed
		}
		vs = append(vs, vectors.Text{Name: name, Result: r, Text: text, Envelope: envelope})
	}
	// The three lengths of the last group of characters, and both alphabets'
	// own characters.
	n42 := newRecipe("text", 1, plaintext(det(42, "p"))).envelope() // 128 bytes: three characters at the end
	n43 := newRecipe("text", 1, plaintext(det(43, "p"))).envelope() // 129: none left over
	n44 := newRecipe("text", 1, plaintext(det(44, "p"))).envelope() // 130: two
	self := newRecipe("text", 2, anyOf("alpha")).envelope()
	add("reference", text(n44), n44)
	add("length-divisible-by-3", text(n43), n43)
	add("length-1-less", text(n42), n42)
	add("empty-plaintext", text(newRecipe("text", 1, plaintext(nil)).envelope()), newRecipe("text", 1, plaintext(nil)).envelope())
	add("self-contained", text(self), self)

	t, code := text(n44), strings.TrimPrefix(text(n44), "vlt1.")
	add("empty", "", nil)
	add("prefix-only", "vlt1.", nil)
	add("no-prefix", code, nil)
	add("prefix-upper-case", "VLT1."+code, nil)
	add("prefix-2", "vlt2."+code, nil)
	add("prefix-twice", "vlt1."+t, nil)
	add("prefix-cut", "vlt1"+code, nil)
	add("space-before", " "+t, nil)
	add("space-after", t+" ", nil)
	add("newline-after", t+"\n", nil)
	add("newline-inside", t[:40]+"\n"+t[40:], nil)
	add("cr-inside", t[:40]+"\r"+t[40:], nil)
	add("crlf-inside", t[:40]+"\r\n"+t[40:], nil)
	add("nul-after", t+"\x00", nil)
	add("padded", text(n42)+"=", nil)
	add("padded-twice", t+"==", nil)
	add("standard-alphabet", "vlt1."+strings.NewReplacer("-", "+", "_", "/").Replace(code), nil)
	add("stray-bits-of-2", text(n42)[:len(text(n42))-1]+strayBit(text(n42)), nil)
	add("stray-bits-of-4", t[:len(t)-1]+strayBit(t), nil)
	add("one-character-left-over", text(n43)+"A", nil)
	add("not-ascii", t[:40]+"é"+t[40:], nil)
	add("hexadecimal", "vlt1."+strings.Repeat("e1", 86), nil)
	add("no-envelope", "vlt1."+base64.RawURLEncoding.EncodeToString([]byte("hello")), nil)
	add("envelope-cut-short", text(n44[:85]), nil)
	for _, k := range []byte{3, 5, 7, 9} {
		r := newRecipe("text", k, keyed)
		add(map[byte]string{3: "stream-header", 5: "data-key", 7: "object", 9: "field"}[k], text(r.envelope()), nil)
	}
	add("self-contained-data-key", text(newRecipe("text", 6, keyed, anyOf("alpha")).envelope()), nil)
	return vs
}

// strayBit is the last character of the text with its lowest bit set, which
// stands for nothing and which a decoder that isn't strict ignores.
func strayBit(t string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, t[len(t)-1]) | 1
	return alphabet[i : i+1]
}
