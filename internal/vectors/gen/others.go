package main

import (
	"math"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// dataKeyCases are envelopes of kinds 5 and 6. The reader gives no associated
// data.
func dataKeyCases() []vectors.Envelope {
	c := &envelopes{kind: 5}
	c.keyKinds()
	for _, k := range []byte{1, 3, 7, 9} {
		c.ref(kindNames[k], vectors.Malformed, keyed, func(r *recipe) { r.kind = k })
		c.self(kindNames[k], vectors.Malformed, keyed, func(r *recipe) { r.kind = k + 1 })
	}
	c.ref("sealed-with-aad", vectors.DecryptFailed, keyed, sealedWithAAD("aad"))
	return c.list
}

// streamHeaderCases are envelopes of kinds 3 and 4, nothing following them.
func streamHeaderCases() []vectors.Envelope {
	c := &envelopes{kind: 3}
	c.keyKinds()
	for _, k := range []byte{1, 5, 7, 9} {
		c.ref(kindNames[k], vectors.Malformed, keyed, func(r *recipe) { r.kind = k })
		c.self(kindNames[k], vectors.Malformed, keyed, func(r *recipe) { r.kind = k + 1 })
	}
	c.ref("aad", vectors.Valid, keyed, aad("invoice 4711"))
	c.self("aad", vectors.Valid, keyed, aad("invoice 4711"))
	c.ref("other-aad", vectors.DecryptFailed, keyed, aad("invoice 4711"), sealedWithAAD("invoice 4712"))
	return c.list
}

var kindNames = map[byte]string{1: "message", 3: "stream-header", 5: "data-key", 7: "object", 9: "field"}

// keyKinds are the cases of kinds that seal a key of 32 bytes.
func (c *envelopes) keyKinds() {
	c.ref("basic", vectors.Valid, keyed)
	c.ref("zeros", vectors.Valid, plaintext(make([]byte, 32))) // a data key's bytes aren't judged
	c.ref("version-max", vectors.Valid, keyed, keyVersion(1<<32-1))
	c.ref("namespace", vectors.Valid, keyed, context("organization_id", "org_01", "vault:namespace", "billing"))
	c.self("basic", vectors.Valid, keyed)
	c.self("all-of-2", vectors.Valid, keyed, allOf("alpha", "customer"))

	// Lengths are judged after opening: sealed so, they are malformed; made so
	// afterwards, they are tampered with. A stream header ends after 32 bytes:
	// what is longer is a header and its chunks to a reader of streams.
	c.ref("31-bytes", vectors.Malformed, plaintext(det(31, "short")))
	c.self("31-bytes", vectors.Malformed, plaintext(det(31, "short")))
	c.ref("0-bytes", vectors.Malformed, plaintext(nil))
	c.ref("a-byte-short-of-the-smallest", vectors.Malformed, plaintext(nil), cutEnd(1))
	if c.kind == 5 {
		c.ref("33-bytes", vectors.Malformed, plaintext(det(33, "long")))
		c.ref("64-bytes", vectors.Malformed, plaintext(det(64, "long")))
		c.ref("31-bytes-tag-flipped", vectors.DecryptFailed, plaintext(det(31, "short")), flip(-1))
		c.ref("a-byte-less", vectors.DecryptFailed, keyed, cutEnd(1))
		c.ref("a-byte-more", vectors.DecryptFailed, keyed, after(func(e []byte) []byte { return append(e, 0) }))
	} else {
		c.ref("a-byte-less", vectors.Malformed, keyed, cutEnd(1))
		c.self("a-byte-less", vectors.Malformed, keyed, cutEnd(1))
	}

	c.ref("other-context", vectors.WrongContext, keyed, idOf(func(o *key) { o.context["organization_id"] = "org_02" }))
	c.self("other-context", vectors.WrongContext, keyed, idOf(func(o *key) { o.context["organization_id"] = "org_02" }))
	c.ref("purpose-wrapping", vectors.WrongContext, keyed, idOf(func(o *key) { o.purpose = 3 }))
	c.ref("salt-flipped", vectors.DecryptFailed, keyed, flip(-84))
	c.ref("ciphertext-flipped", vectors.DecryptFailed, keyed, flip(-48))
	c.ref("tag-flipped", vectors.DecryptFailed, keyed, flip(-1))
	c.self("tag-flipped", vectors.DecryptFailed, keyed, flip(-1))
	c.ref("was-message", vectors.DecryptFailed, keyed, func(r *recipe) { r.boundAs = []byte{version1, 1} })
}

// asked is what an object is asked for by.
type asked struct {
	name      string
	versionID []byte
	expiresAt int64
}

func (a asked) aad() []byte { return objectAAD(a.versionID, a.expiresAt, []byte(a.name)) }

func objectCases() []vectors.Object {
	usual := asked{name: "stripe/api-key", versionID: det(16, "version ID")}
	usual.versionID[6] = usual.versionID[6]&0x0f | 0x70 // a UUIDv7
	usual.versionID[8] = usual.versionID[8]&0x3f | 0x80
	var vs []vectors.Object
	add := func(name string, result vectors.Result, kind byte, change func(*asked), edits ...edit) {
		a := usual
		if change != nil {
			change(&a)
		}
		r := newRecipe(name, kind, append([]edit{aad(string(a.aad()))}, edits...)...)
		vs = append(vs, vectors.Object{
			Name: name, Result: result, ObjectName: vectors.Hex(a.name), VersionID: a.versionID,
			ExpiresAt: a.expiresAt, Sealed: r.vector(),
		})
	}
	named := func(name string) func(*asked) { return func(a *asked) { a.name = name } }
	expires := func(at int64) func(*asked) { return func(a *asked) { a.expiresAt = at } }
	sealedFor := func(change func(*asked)) edit {
		a := usual
		a.versionID = cat(usual.versionID)
		change(&a)
		return sealedWithAAD(string(a.aad()))
	}
	const good, bad = vectors.Valid, vectors.DecryptFailed

	add("basic", good, 7, nil)
	add("self-contained", good, 8, nil, anyOf("alpha"))
	add("empty-value", good, 7, nil, plaintext(nil))
	add("namespace", good, 7, nil, context("organization_id", "org_01", "vault:namespace", "billing"))
	add("expires", good, 7, expires(1_900_000_000_000_000))
	add("expires-first", good, 7, expires(1))
	add("expires-last", good, 7, expires(math.MaxInt64))
	add("version-max", good, 7, nil, keyVersion(1<<32-1))
	add("name-1", good, 7, named("a"))
	add("name-512", good, 7, named(strings.Repeat("n", 512)))
	add("name-unicode", good, 7, named("Zoë/東京/🔑"))
	add("name-decomposed", good, 7, named("Zoe\u0308"))
	add("name-no-break-space", good, 7, named("\u00a0")) // the first after the control characters
	add("name-spaces", good, 7, named(" a b "))
	add("name-like-a-path", good, 7, named("../../etc/passwd"))

	add("other-name", bad, 7, nil, sealedFor(named("stripe/api-key2")))
	add("other-name-upper-case", bad, 7, nil, sealedFor(named("Stripe/api-key")))
	add("other-name-not-normalised", bad, 7, named("Zo\u00eb"), sealedFor(named("Zoe\u0308")))
	add("other-version-id", bad, 7, nil, sealedFor(func(a *asked) { a.versionID[15] ^= 1 }))
	add("version-id-zeros", bad, 7, nil, sealedFor(func(a *asked) { a.versionID = make([]byte, 16) }))
	add("expires-later", bad, 7, expires(1_900_000_000_000_001), sealedFor(expires(1_900_000_000_000_000)))
	add("expires-never", bad, 7, nil, sealedFor(expires(1_900_000_000_000_000)))
	add("expires-where-never", bad, 7, expires(1_900_000_000_000_000), sealedFor(expires(0)))
	add("expires-in-milliseconds", bad, 7, expires(1_900_000_000_000_000), sealedFor(expires(1_900_000_000_000)))
	add("no-aad", bad, 7, nil, sealedWithAAD(""))
	add("self-other-name", bad, 8, nil, anyOf("alpha"), sealedFor(named("other")))
	add("value-flipped", bad, 7, nil, flip(-20))
	add("tag-flipped", bad, 7, nil, flip(-1))
	add("was-message", bad, 7, nil, func(r *recipe) { r.boundAs = []byte{version1, 1} })

	other := func(o *key) { o.context["organization_id"] = "org_02" }
	add("other-context", vectors.WrongContext, 7, nil, idOf(other))
	add("self-other-context", vectors.WrongContext, 8, nil, anyOf("alpha"), idOf(other))

	for _, k := range []byte{1, 3, 5, 9} {
		add(kindNames[k], vectors.Malformed, k, nil, keyed)
	}
	add("cut-short", vectors.Malformed, 7, nil, truncate(85))

	for _, n := range []struct{ name, value string }{
		{"empty", ""}, {"513", strings.Repeat("n", 513)}, {"nul", "a\x00"}, {"newline", "a\n"},
		{"unit-separator", "a\x1f"}, {"del", "a\x7f"}, {"c1-first", "a\u0080"}, {"c1-last", "a\u009f"},
		{"not-utf8", "a\xff"}, {"utf8-cut", "a\xe6\x9d"}, {"utf8-overlong", "a\xc0\xaf"}, {"surrogate", "a\xed\xa0\x80"},
	} {
		add("name-"+n.name, vectors.InvalidName, 7, named(n.value))
	}
	return vs
}
