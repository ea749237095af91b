package main

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/embedvault/vault/internal/vectors"
)

// wrongContexts are envelopes that open in every respect but the key ID: a
// reader that doesn't compute it again would give the plaintext.
func (c *envelopes) wrongContexts() {
	const bad = vectors.WrongContext
	value := func(k, v string) func(*key) { return func(o *key) { o.context[k] = v } }
	without := func(k string) func(*key) { return func(o *key) { delete(o.context, k) } }

	both := func(name string, edits ...edit) {
		c.ref(name, bad, edits...)
		c.self(name, bad, edits...)
	}
	both("other-value", idOf(value("organization_id", "org_02")))
	both("other-namespace", context("k", "v", "vault:namespace", "a"), idOf(value("vault:namespace", "b")))
	c.ref("other-key-name", bad, context("org", "org_01"), idOf(func(o *key) { o.context = map[string]string{"organization_id": "org_01"} }))
	c.ref("value-longer", bad, idOf(value("organization_id", "org_012")))
	c.ref("value-shorter", bad, idOf(value("organization_id", "org_0")))
	c.ref("value-upper-case", bad, idOf(value("organization_id", "ORG_01")))
	c.ref("value-with-space", bad, idOf(value("organization_id", "org_01 ")))
	c.ref("key-name-upper-case", bad, context("org", "1"), idOf(func(o *key) { o.context = map[string]string{"Org": "1"} }))
	c.ref("value-not-normalised", bad, context("name", "Zo\u00eb"), idOf(value("name", "Zoe\u0308")))
	c.ref("one-pair-more", bad, idOf(value("user_id", "u_7")))
	c.ref("one-pair-less", bad, context("organization_id", "org_01", "user_id", "u_7"), idOf(without("user_id")))
	c.ref("values-swapped", bad, context("a", "1", "b", "2"), idOf(func(o *key) { o.context = map[string]string{"a": "2", "b": "1"} }))
	c.ref("split-elsewhere", bad, context("ab", "c"), idOf(func(o *key) { o.context = map[string]string{"a": "bc"} }))
	c.ref("namespace-missing", bad, idOf(value("vault:namespace", "billing")))
	c.ref("namespace-added", bad, context("organization_id", "org_01", "vault:namespace", "billing"), idOf(without("vault:namespace")))

	c.ref("other-version", bad, idOf(func(o *key) { o.version = 2 }))
	c.ref("version-little-endian", bad, keyVersion(2), idOf(func(o *key) { o.version = 2 << 24 }))
	c.self("other-version", bad, keyVersion(2), idOf(func(o *key) { o.version = 1 }))
	both("purpose-index", idOf(func(o *key) { o.purpose = 2 }))
	both("purpose-wrapping", idOf(func(o *key) { o.purpose = 3 }))
	both("purpose-authentication", idOf(func(o *key) { o.purpose = 4 }))
	both("id-of-another-key", idOf(func(o *key) { o.secret = det(32, "another key") }))

	id := func(f func(k key, id []byte) []byte) edit {
		return func(r *recipe) { r.id = f(r.key, r.key.id()) }
	}
	both("id-first-bit", id(func(_ key, id []byte) []byte { id[0] ^= 0x80; return id }))
	both("id-last-bit", id(func(_ key, id []byte) []byte { id[31] ^= 1; return id }))
	c.ref("id-zeros", bad, id(func(key, []byte) []byte { return make([]byte, 32) }))
	c.ref("id-reversed", bad, id(func(_ key, id []byte) []byte {
		for i := range 16 {
			id[i], id[31-i] = id[31-i], id[i]
		}
		return id
	}))
	c.ref("id-is-the-context-hash", bad, id(func(k key, _ []byte) []byte { return k.hash() }))
	c.ref("id-with-extract", bad, id(func(k key, _ []byte) []byte {
		info := cat([]byte("vault/v1/kid"), k.hash(), []byte{k.purpose}, be.AppendUint32(nil, k.version))
		return must(hkdf.Key(sha256.New, k.secret, nil, string(info), 32))
	}))
}

// tampered are envelopes of which one part was changed after sealing.
func (c *envelopes) tampered() {
	const bad = vectors.DecryptFailed
	// The last 96 bytes: salt 24, nonce 12, ciphertext 44, tag 16.
	for _, at := range []struct {
		name string
		i    int
	}{
		{"salt-first", -96}, {"salt-last", -73}, {"nonce-first", -72}, {"nonce-last", -61},
		{"ciphertext-first", -60}, {"ciphertext-last", -17}, {"tag-first", -16}, {"tag-last", -1},
	} {
		c.ref(at.name+"-byte-flipped", bad, flip(at.i))
		c.self(at.name+"-byte-flipped", bad, flip(at.i))
	}
	c.ref("empty-plaintext-tag-flipped", bad, plaintext(nil), flip(-1))
	c.ref("a-byte-less", bad, cutEnd(1))
	c.self("a-byte-less", bad, cutEnd(1))
	c.ref("one-byte-plaintext-a-byte-less", bad, plaintext([]byte{1}), cutEnd(1))
	c.ref("tag-cut-off", bad, cutEnd(16))
	c.ref("a-byte-more", bad, after(func(e []byte) []byte { return append(e, 0) }))
	c.self("a-byte-more", bad, after(func(e []byte) []byte { return append(e, 0) }))
	c.ref("newline-after-it", bad, after(func(e []byte) []byte { return append(e, '\n') }))
	c.ref("twice", bad, after(func(e []byte) []byte { return cat(e, e) }))
	c.ref("tag-zeros", bad, after(func(e []byte) []byte { clear(e[len(e)-16:]); return e }))
	c.ref("all-zeros-after-the-head", bad, after(func(e []byte) []byte { clear(e[58:]); return e }))

	c.ref("other-aad", bad, aad("invoice 4711"), sealedWithAAD("invoice 4712"))
	c.self("other-aad", bad, aad("invoice 4711"), sealedWithAAD("invoice 4712"))
	c.ref("aad-not-given", bad, sealedWithAAD("invoice 4711"))
	c.ref("aad-where-none-was", bad, aad("invoice 4711"), sealedWithAAD(""))
	c.ref("aad-longer", bad, aad("invoice 4711 "), sealedWithAAD("invoice 4711"))
	c.ref("aad-zero-byte", bad, aad("\x00"), sealedWithAAD(""))
}

// mixedUp are envelopes that something else than the specified sealing made.
func (c *envelopes) mixedUp() {
	const bad = vectors.DecryptFailed
	boundAs := func(b ...byte) edit { return func(r *recipe) { r.boundAs = append([]byte{}, b...) } }
	under := func(f func(r *recipe) []byte) edit { return func(r *recipe) { r.dek = f(r) } }

	c.ref("was-self", bad, boundAs(version1, 2))
	c.self("was-reference", bad, boundAs(version1, 1))
	c.ref("was-data-key", bad, boundAs(version1, 5))
	c.ref("was-object", bad, boundAs(version1, 7))
	c.ref("was-field", bad, boundAs(version1, 9))
	c.self("was-object", bad, boundAs(version1, 8))
	c.ref("was-version-0xe2", bad, boundAs(0xe2, 1))
	c.ref("head-not-bound", bad, boundAs())
	c.ref("head-bound-after-aad", bad, aad("aad"), boundAs(), sealedWithAAD("aad\xe1\x01"))
	c.self("relabelled-as-reference", bad, after(func(e []byte) []byte { e[1] = 1; return e }))
	c.self("block-bound-too", bad, func(r *recipe) { r.boundAAD = r.block(r.key) })

	c.ref("sealed-under-the-context-key", bad, under(func(r *recipe) []byte { return r.key.secret }))
	c.ref("sealed-under-the-key-id", bad, under(func(r *recipe) []byte { return r.key.id() }))
	c.ref("dek-of-zeros", bad, under(func(*recipe) []byte { return make([]byte, 32) }))
	c.ref("dek-with-extract", bad, under(func(r *recipe) []byte {
		return must(hkdf.Key(sha256.New, r.key.secret, nil, "vault/v1/dek"+string(r.salt), 32))
	}))
	c.ref("dek-salt-as-hkdf-salt", bad, under(func(r *recipe) []byte {
		return must(hkdf.Key(sha256.New, r.key.secret, r.salt, "vault/v1/dek", 32))
	}))
	c.ref("dek-label-kek", bad, under(func(r *recipe) []byte {
		return expand(r.key.secret, []byte("vault/v1/kek"), r.salt)
	}))
	c.ref("dek-label-terminated", bad, under(func(r *recipe) []byte {
		return expand(r.key.secret, []byte("vault/v1/dek\x00"), r.salt)
	}))
	c.ref("dek-of-another-salt", bad, under(func(r *recipe) []byte {
		return dek(r.key.secret, det(24, "another salt"))
	}))
	c.ref("dek-aes-128", bad, under(func(r *recipe) []byte { return dek(r.key.secret, r.salt)[:16] }))
	c.ref("nonce-after-the-tag", bad, func(r *recipe) {
		s := gcmSeal(dek(r.key.secret, r.salt), r.nonce, r.plaintext, []byte{version1, 1})
		r.sealed = cat(s, r.nonce)
	})
	c.ref("not-encrypted", bad, func(r *recipe) {
		r.sealed = cat(r.nonce, r.plaintext, bytes.Repeat([]byte{0}, 16))
	})
}
