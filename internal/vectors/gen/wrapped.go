package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

func blockCases() []vectors.Block {
	var vs []vectors.Block
	k := newKey("block")
	valid := func(name string, k key, quorum byte, ws ...wrapping) {
		v := vectors.Block{
			Name: name, Result: vectors.Valid, Purpose: k.purpose, Version: k.version,
			Quorum: quorum, Wrappings: hexWrappings(ws), Block: k.block(quorum, ws),
		}
		vs = append(vs, v)
	}
	last := k.with(func(k *key) { k.version = 1<<32 - 1 })
	valid("any-of-1", k, 1, k.wrapAny("alpha")...)
	valid("any-of-2", k, 1, k.wrapAny("alpha", "beta")...)
	valid("any-of-8", k, 1, k.wrapAny(kekNames(8)...)...)
	valid("all-of-2", k, 2, k.wrapAll("alpha", "beta")...)
	valid("all-of-8", k, 2, k.wrapAll(kekNames(8)...)...)
	valid("version-max", last, 1, last.wrapAny("alpha")...)
	valid("smallest", k, 1, opaque("x", 1))
	valid("longest", k, 1, longestWrappings()...)
	valid("uri-512", k, 1, opaque("mem:"+strings.Repeat("a", 508), 1))
	valid("wrapped-4096", k, 1, opaque("x", 4096))
	valid("uri-lowest-and-highest-byte", k, 1, opaque("!", 1), opaque("~", 1))
	valid("uri-prefix-of-the-next", k, 1, opaque("mem:a", 1), opaque("mem:a/b", 1))
	valid("uri-almost-a-parent", k, 1, opaque("Vault-key:00", 1), opaque("vault-key", 1))

	vs = append(vs, vectors.Block{Name: "empty", Result: vectors.Malformed, Wrappings: hexWrappings(nil)})
	for _, b := range malformedBlockCases() {
		vs = append(vs, vectors.Block{
			Name: b.name, Result: vectors.Malformed, Wrappings: hexWrappings(nil), Block: b.block(k),
		})
	}
	return vs
}

func hexWrappings(ws []wrapping) []vectors.Wrapping {
	out := []vectors.Wrapping{}
	for _, w := range ws {
		out = append(out, vectors.Wrapping{URI: w.uri, Wrapped: w.wrapped})
	}
	return out
}

func bindingCases() []vectors.Binding {
	var vs []vectors.Binding
	k, alpha := newKey("binding"), namedKeyset("alpha")
	last := k.with(func(k *key) { k.version = 1<<32 - 1 })
	ns := k.with(func(k *key) { k.context["vault:namespace"] = "billing" })
	add := func(name string, k key, s keyset, wrapped, unwrapped []byte) {
		v := vectors.Binding{
			Name: name, Result: vectors.Valid, Key: k.vector(), Binding: k.binding(),
			URI: s.uri(), Wrapped: wrapped, Unwrapped: unwrapped,
		}
		if unwrapped == nil {
			v.Result = vectors.Corrupt
		}
		vs = append(vs, v)
	}
	good := alpha.wrap(k.secret, k.binding(), "binding")
	add("basic", k, alpha, good, k.secret)
	add("version-max", last, alpha, alpha.wrap(last.secret, last.binding(), "binding"), last.secret)
	add("namespace", ns, alpha, alpha.wrap(ns.secret, ns.binding(), "binding"), ns.secret)
	for p := uint8(2); p <= 4; p++ {
		o := k.with(func(k *key) { k.purpose = p })
		add(fmt.Sprintf("purpose-%d", p), o, alpha, alpha.wrap(o.secret, o.binding(), "binding"), o.secret)
	}
	rotated := namedKeyset("rotated")
	for i, tk := range rotated.keys {
		w := cat([]byte{0x01}, tk.seal(k.secret, k.binding(), det(16, "iv", "rotated")))
		add(fmt.Sprintf("keyset-rotated-%d", i), k, rotated, w, k.secret)
	}
	// A KEK gives back what was wrapped; that it is a context key is checked
	// later.
	for _, n := range []int{1, 31, 33} {
		b := det(n, "not a key")
		add(fmt.Sprintf("%d-bytes", n), k, alpha, alpha.wrap(b, k.binding(), "binding"), b)
	}
	add("32-zeros", k, alpha, alpha.wrap(make([]byte, 32), k.binding(), "binding"), make([]byte, 32))

	// Bound to something else.
	other := func(name string, change func(*key)) {
		o := k.with(change)
		add("other-"+name, k, alpha, alpha.wrap(k.secret, o.binding(), "binding"), nil)
	}
	other("context", func(k *key) { k.context["organization_id"] = "org_02" })
	other("namespace", func(k *key) { k.context["vault:namespace"] = "billing" })
	other("purpose", func(k *key) { k.purpose = 3 })
	other("version", func(k *key) { k.version = 2 })
	other("key-id", func(k *key) { k.secret = det(32, "another key") })
	field := func(name string, b []byte) {
		add("binding-"+name, k, alpha, alpha.wrap(k.secret, b, "binding"), nil)
	}
	field("empty", nil)
	field("label-other", cat([]byte("vault/v2/wrap"), k.binding()[13:]))
	field("without-label", k.binding()[13:])
	field("key-id-flipped", binding(flipped(k.id(), 0), k.hash(), k.purpose, k.version))
	field("context-hash-flipped", binding(k.id(), flipped(k.hash(), 31), k.purpose, k.version))
	field("id-and-hash-swapped", binding(k.hash(), k.id(), k.purpose, k.version))
	field("purpose-alone", binding(k.id(), k.hash(), 2, k.version))
	field("version-alone", binding(k.id(), k.hash(), k.purpose, 2))
	field("byte-after", append(k.binding(), 0))

	// Other wrapped bytes: format 1, Tink's prefix 5, IV 16, key 32, tag 32.
	for _, at := range []struct {
		name string
		i    int
	}{{"tink-version", 1}, {"tink-key-id", 5}, {"iv", 6}, {"ciphertext-first", 22}, {"ciphertext-last", 53}, {"tag-first", 54}, {"tag-last", 85}} {
		add(at.name+"-flipped", k, alpha, flipped(good, at.i), nil)
	}
	for _, f := range []byte{0x00, 0x02, 0xff} {
		add(fmt.Sprintf("format-0x%02x", f), k, alpha, cat([]byte{f}, good[1:]), nil)
	}
	add("format-missing", k, alpha, good[1:], nil)
	add("format-only", k, alpha, good[:1], nil)
	add("empty", k, alpha, []byte{}, nil)
	add("prefix-only", k, alpha, good[:6], nil)
	add("a-byte-less", k, alpha, good[:len(good)-1], nil)
	add("a-byte-more", k, alpha, append(cat(good), 0), nil)
	add("not-wrapped", k, alpha, cat([]byte{1}, k.secret), nil)
	add("other-keyset", k, namedKeyset("beta"), good, nil)
	// The prefix says alpha's key, the rest is beta's.
	theirs := namedKeyset("beta").wrap(k.secret, k.binding(), "binding")
	add("other-keyset-relabelled", k, alpha, cat(good[:6], theirs[6:]), nil)
	add("tink-prefix-missing", k, alpha, cat(good[:1], good[6:]), nil)
	return vs
}

func flipped(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}
