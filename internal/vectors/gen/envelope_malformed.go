package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// keyed is the plaintext of kinds that seal a key, so that a message of such a
// kind would be well formed there.
var keyed = plaintext(det(32, "a key"))

func (c *envelopes) malformedHeads() {
	const bad = vectors.Malformed
	c.ref("empty", bad, truncate(0))
	c.ref("version-byte-only", bad, truncate(1))
	c.ref("no-key-id", bad, truncate(2))
	c.ref("cut-in-key-id", bad, truncate(33))
	c.ref("no-salt", bad, truncate(34))
	c.ref("cut-in-salt", bad, truncate(57))
	c.ref("no-nonce", bad, truncate(58))
	c.ref("no-tag", bad, truncate(70))
	c.ref("one-byte-short-of-the-smallest", bad, plaintext(nil), cutEnd(1))
	for _, v := range []byte{0x00, 0x01, 0x76, 0xe0, 0xe2, 0xff} {
		c.ref(fmt.Sprintf("version-0x%02x", v), bad, func(r *recipe) { r.version, r.boundAs = v, []byte{v, r.kind} })
	}
	for _, k := range []byte{0, 3, 5, 7, 9, 11, 0x81, 0xff} {
		c.ref(fmt.Sprintf("kind-%d", k), bad, keyed, func(r *recipe) { r.kind = k })
	}
	for _, k := range []byte{0, 4, 6, 8, 10, 12, 0x82, 0xfe} {
		c.self(fmt.Sprintf("kind-%d", k), bad, keyed, func(r *recipe) { r.kind = k })
	}
	c.ref("a-byte-before-it", bad, after(func(e []byte) []byte { return append([]byte{0}, e...) }))
	c.ref("relabelled-as-self", bad, func(r *recipe) {
		r.salt[0] = 0x05 // read as the length of a block, which then isn't one
		r.after = func(e []byte) []byte { e[1] = 2; return e }
	})
	c.ref("text-form", bad, after(func(e []byte) []byte { return []byte(text(e)) }))
	c.ref("hexadecimal", bad, after(func(e []byte) []byte { return fmt.Appendf(nil, "%x", e) }))
	c.ref("tink-ciphertext", bad, after(func(e []byte) []byte {
		return namedKey("alpha").seal(e, nil, det(16, "iv", "tink-ciphertext"))
	}))
}

func (c *envelopes) malformedBlocks() {
	const bad = vectors.Malformed
	length := func(b ...byte) edit { return func(r *recipe) { r.length = b } }
	noBlock := blockOf(func(key) []byte { return nil })

	// The length of the block. A real one is 8 + (2+17) + (2+86) = 115 bytes.
	c.self("no-block", bad, truncate(34))
	c.self("length-unfinished", bad, length(0x80), truncate(35))
	c.self("length-0", bad, length(0), noBlock)
	c.self("length-not-minimal", bad, length(0x80|115, 0x00))
	c.self("length-not-minimal-3-bytes", bad, length(0x80|115, 0x80, 0x00))
	c.self("length-0-not-minimal", bad, length(0x80, 0x00), noBlock)
	c.self("length-one-more", bad, length(116))
	c.self("length-one-less", bad, length(114))
	c.self("length-beyond-the-end", bad, length(0xff, 0x7f))
	c.self("length-2-to-the-32", bad, length(0x80, 0x80, 0x80, 0x80, 0x10))
	c.self("length-2-to-the-63", bad, length(append(bytes.Repeat([]byte{0x80}, 9), 0x01)...))
	c.self("length-2-to-the-64", bad, length(append(bytes.Repeat([]byte{0x80}, 9), 0x02)...))
	c.self("length-11-bytes", bad, length(append(bytes.Repeat([]byte{0x80}, 10), 0x01)...))
	c.self("length-wraps-around", bad, length(0xf3, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02)) // 2⁶⁴ + 115
	c.self("cut-in-block", bad, truncate(34+1+114))
	c.self("no-salt", bad, truncate(34+1+115))
	c.self("cut-in-salt", bad, truncate(34+1+115+23))
	c.self("one-byte-short-of-the-smallest", bad, plaintext(nil), cutEnd(1))

	for _, b := range malformedBlockCases() {
		c.self("block-"+b.name, bad, blockOf(b.block))
	}
}

// malformedBlock is a wrapped-key block that breaks one rule.
type malformedBlock struct {
	name  string
	block func(key) []byte
}

func malformedBlockCases() []malformedBlock {
	// head is a block with one real wrapping and one field of its head changed.
	head := func(change func(*blockHead)) func(key) []byte {
		return func(k key) []byte {
			h := blockHead{1, k.purpose, k.version, 1, 1}
			change(&h)
			return encodeBlock(h, k.wrapAny("alpha")...)
		}
	}
	// two is the same with two wrappings.
	two := func(quorum, count byte) func(key) []byte {
		return func(k key) []byte {
			return encodeBlock(blockHead{1, k.purpose, k.version, quorum, count}, k.wrapAny("alpha", "beta")...)
		}
	}
	list := func(ws ...wrapping) func(key) []byte {
		return func(k key) []byte { return k.block(1, ws) }
	}
	cases := []malformedBlock{
		{"format-0", head(func(h *blockHead) { h.format = 0 })},
		{"format-2", head(func(h *blockHead) { h.format = 2 })},
		{"purpose-0", head(func(h *blockHead) { h.purpose = 0 })},
		{"purpose-2", head(func(h *blockHead) { h.purpose = 2 })},
		{"purpose-3", head(func(h *blockHead) { h.purpose = 3 })},
		{"purpose-4", head(func(h *blockHead) { h.purpose = 4 })},
		{"purpose-5", head(func(h *blockHead) { h.purpose = 5 })},
		{"key-version-0", head(func(h *blockHead) { h.version = 0 })},
		{"quorum-0", head(func(h *blockHead) { h.quorum = 0 })},
		{"quorum-3", head(func(h *blockHead) { h.quorum = 3 })},
		{"all-of-1", head(func(h *blockHead) { h.quorum = 2 })},
		{"count-0", func(k key) []byte { return k.block(1, nil) }},
		{"count-9", func(k key) []byte { return k.block(1, k.wrapAny(slices.Concat(kekNames(8), []string{"customer"})...)) }},
		{"count-too-small", two(1, 1)},
		{"count-too-large", two(1, 3)},
		{"not-sorted", func(k key) []byte {
			ws := k.wrapAny("alpha", "beta")
			return k.block(1, []wrapping{ws[1], ws[0]})
		}},
		{"not-sorted-by-bytes", list(opaque("mem:a", 40), opaque("mem:B", 40))},
		{"uri-twice", func(k key) []byte {
			w := k.wrapAny("alpha")[0]
			return k.block(1, []wrapping{w, w})
		}},
		{"all-of-same-share-twice", func(k key) []byte {
			w := k.wrapAll("alpha", "beta")[0]
			return k.block(2, []wrapping{w, w})
		}},
		{"uri-empty", list(opaque("", 40))},
		{"uri-513", list(opaque("mem:"+strings.Repeat("a", 509), 40))},
		{"uri-space", list(opaque("mem:a b", 40))},
		{"uri-nul", list(opaque("mem:\x00", 40))},
		{"uri-newline", list(opaque("mem:a\n", 40))},
		{"uri-del", list(opaque("mem:\x7f", 40))},
		{"uri-not-ascii", list(opaque("mem:é", 40))},
		{"uri-parent", list(opaque("vault-key:"+strings.Repeat("0", 64), 73))},
		{"uri-parent-prefix-only", list(opaque("vault-key:", 73))},
		{"uri-parent-second", list(opaque("mem:a", 40), opaque("vault-key:0", 73))},
		{"wrapped-empty", list(opaque("mem:a", 0))},
		{"wrapped-4097", list(opaque("mem:a", 4097))},
		{"byte-after", func(k key) []byte { return append(k.block(1, k.wrapAny("alpha")), 0) }},
		{"cut-in-wrapped", func(k key) []byte { b := k.block(1, k.wrapAny("alpha")); return b[:len(b)-1] }},
	}
	for _, cut := range []struct {
		name string
		at   int
	}{{"format", 1}, {"purpose", 2}, {"version", 5}, {"quorum", 7}, {"count", 8}, {"uri-length", 9}, {"uri", 20}, {"uri-whole", 27}, {"wrapped-length", 28}, {"wrapped-length-whole", 29}} {
		cases = append(cases, malformedBlock{"cut-after-" + cut.name, func(k key) []byte {
			return k.block(1, k.wrapAny("alpha"))[:cut.at]
		}})
	}
	return cases
}
