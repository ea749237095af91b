package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// envelopes collects vectors of one kind of envelope.
type envelopes struct {
	kind byte // by reference
	list []vectors.Envelope
}

// ref adds an envelope with its key by reference.
func (c *envelopes) ref(name string, result vectors.Result, edits ...edit) {
	c.add("ref-"+name, c.kind, result, edits)
}

// self adds a self-contained envelope, with one real wrapping unless the edits
// say otherwise.
func (c *envelopes) self(name string, result vectors.Result, edits ...edit) {
	c.add("self-"+name, c.kind+1, result, append([]edit{anyOf("alpha")}, edits...))
}

func (c *envelopes) add(name string, kind byte, result vectors.Result, edits []edit) {
	r := newRecipe(name, kind, edits...)
	c.list = append(c.list, vectors.Envelope{Name: name, Result: result, Sealed: r.vector()})
}

func envelopeCases() []vectors.Envelope {
	c := &envelopes{kind: 1}
	c.validData()
	c.validContexts()
	c.validBlocks()
	c.malformedHeads()
	c.malformedBlocks()
	c.wrongContexts()
	c.tampered()
	c.mixedUp()
	return c.list
}

func (c *envelopes) validData() {
	c.ref("basic", vectors.Valid)
	c.ref("aad", vectors.Valid, aad("invoice 4711"))
	for _, n := range []int{0, 1, 15, 16, 17, 32, 255, 4097} {
		c.ref(fmt.Sprintf("plaintext-%d", n), vectors.Valid, plaintext(det(n, "plaintext")))
	}
	c.ref("plaintext-zeros", vectors.Valid, plaintext(make([]byte, 64)))
	c.ref("plaintext-is-an-envelope", vectors.Valid, plaintext(newRecipe("inner", 1).envelope()))
	c.ref("aad-one-zero-byte", vectors.Valid, aad("\x00"))
	c.ref("aad-1000", vectors.Valid, aad(strings.Repeat("a", 1000)))
	c.ref("aad-like-the-head", vectors.Valid, aad("\xe1\x01"))
	c.ref("salt-zeros", vectors.Valid, func(r *recipe) { r.salt = make([]byte, 24) })
	c.ref("salt-ones", vectors.Valid, func(r *recipe) { r.salt = bytes.Repeat([]byte{0xff}, 24) })
	c.ref("nonce-zeros", vectors.Valid, func(r *recipe) { r.nonce = make([]byte, 12) })
	c.ref("nonce-ones", vectors.Valid, func(r *recipe) { r.nonce = bytes.Repeat([]byte{0xff}, 12) })
	c.ref("key-one-bit", vectors.Valid, func(r *recipe) { r.key.secret = append(make([]byte, 31), 1) })
	c.ref("key-ones", vectors.Valid, func(r *recipe) { r.key.secret = bytes.Repeat([]byte{0xff}, 32) })
	c.ref("version-2", vectors.Valid, keyVersion(2))
	c.ref("version-256", vectors.Valid, keyVersion(256))
	c.ref("version-2147483648", vectors.Valid, keyVersion(1<<31))
	c.ref("version-max", vectors.Valid, keyVersion(1<<32-1))
	c.self("basic", vectors.Valid)
	c.self("aad", vectors.Valid, aad("invoice 4711"))
	c.self("plaintext-0", vectors.Valid, plaintext(nil))
	c.self("plaintext-1", vectors.Valid, plaintext([]byte{0}))
	c.self("version-2", vectors.Valid, keyVersion(2))
	c.self("version-max", vectors.Valid, keyVersion(1<<32-1))
}

func (c *envelopes) validContexts() {
	tenPairs := []string{}
	for i := range 10 {
		tenPairs = append(tenPairs, fmt.Sprintf("k%d", i), fmt.Sprintf("v%d", i))
	}
	c.ref("context-smallest", vectors.Valid, context("k", "v"))
	c.ref("context-two-pairs", vectors.Valid, context("user_id", "u_7", "organization_id", "org_01"))
	c.ref("context-ten-pairs", vectors.Valid, context(tenPairs...))
	c.ref("context-sorted-by-bytes", vectors.Valid, context("a", "1", "B", "2", "a.b", "3", "a-b", "4", "a_b", "5", "aB", "6"))
	c.ref("context-longest-key", vectors.Valid, context(strings.Repeat("k", 128), "v"))
	c.ref("context-longest-value", vectors.Valid, context("k", strings.Repeat("v", 1024)))
	c.ref("context-unicode", vectors.Valid, context("name", "Zoë 東京 🔑"))
	c.ref("context-decomposed", vectors.Valid, context("name", "Zoe\u0308"))
	c.ref("context-quotes-and-angles", vectors.Valid, context("name", `a"b\c<d>&'`))
	c.ref("namespace", vectors.Valid, context("organization_id", "org_01", "vault:namespace", "billing"))
	c.ref("namespace-ten-pairs", vectors.Valid, context(append(tenPairs, "vault:namespace", "billing")...))
	c.self("namespace", vectors.Valid, context("organization_id", "org_01", "vault:namespace", "billing"))
	c.self("context-two-pairs", vectors.Valid, context("user_id", "u_7", "organization_id", "org_01"))
}

func (c *envelopes) validBlocks() {
	for _, n := range []int{2, 3, 8} {
		c.self(fmt.Sprintf("any-of-%d", n), vectors.Valid, anyOf(kekNames(n)...))
		c.self(fmt.Sprintf("all-of-%d", n), vectors.Valid, allOf(kekNames(n)...))
	}
	c.self("all-of-version-max", vectors.Valid, keyVersion(1<<32-1), allOf("alpha", "customer"))
	c.self("keyset-rotated", vectors.Valid, anyOf("rotated"))

	// The same salt, nonce, ciphertext and tag under another block: what a rewrap
	// does. The block isn't authenticated, and needn't be.
	c.self("rewrapped", vectors.Valid, sameAs("self-basic"), anyOf("customer"))
	c.self("rewrapped-all-of", vectors.Valid, sameAs("self-basic"), allOf("alpha", "customer"))

	// From here on the wrapped bytes are nobody's: given the context key, the
	// block plays no part beyond its form.
	for _, w := range []struct {
		name string
		ws   []wrapping
	}{
		{"wrapped-1", []wrapping{opaque("mem:a", 1)}},
		{"wrapped-4096", []wrapping{opaque("mem:a", 4096)}},
		{"uri-1", []wrapping{opaque("x", 40)}},
		{"uri-512", []wrapping{opaque("mem:"+strings.Repeat("a", 508), 40)}},
		{"uri-lowest-and-highest-byte", []wrapping{opaque("!", 40), opaque("~", 40)}},
		{"uri-prefix-of-the-next", []wrapping{opaque("mem:a", 40), opaque("mem:a/b", 40)}},
		{"uri-upper-case-first", []wrapping{opaque("mem:B", 40), opaque("mem:a", 40)}},
		{"uri-almost-a-parent", []wrapping{opaque("Vault-key:00", 40), opaque("vault-key", 40), opaque("vault-keys:00", 40)}},
		{"block-127", []wrapping{opaque("mem:a", 110)}},
		{"block-128", []wrapping{opaque("mem:a", 111)}},
		{"block-16383", []wrapping{opaque("mem:a", 4096), opaque("mem:b", 4096), opaque("mem:c", 4096), opaque("mem:d", 4051)}},
		{"block-16384", []wrapping{opaque("mem:a", 4096), opaque("mem:b", 4096), opaque("mem:c", 4096), opaque("mem:d", 4052)}},
		{"block-longest", longestWrappings()},
	} {
		c.self(w.name, vectors.Valid, blockOf(func(k key) []byte { return k.block(1, w.ws) }))
	}
}

func longestWrappings() []wrapping {
	var ws []wrapping
	for i := range 8 {
		ws = append(ws, opaque(fmt.Sprintf("mem:%d%s", i, strings.Repeat("a", 507)), 4096))
	}
	return ws
}
