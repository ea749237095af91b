package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// contexts collects vectors of key contexts and their encodings.
type contexts struct{ list []vectors.KeyContext }

func (c *contexts) add(name string, v vectors.KeyContext) {
	if v.Pairs == nil {
		v.Pairs = []vectors.Pair{}
	}
	v.Name = v.Input + "-" + name
	if v.Result == vectors.Valid {
		h := sha256.Sum256(v.Encoding)
		v.Hash = h[:]
	}
	c.list = append(c.list, v)
}

func hexPairs(pairs []pair) []vectors.Pair {
	out := []vectors.Pair{}
	for _, p := range pairs {
		out = append(out, vectors.Pair{Key: []byte(p.k), Value: []byte(p.v)})
	}
	return out
}

// caller adds pairs as a caller gives them, in the namespace ns.
func (c *contexts) caller(name string, result vectors.Result, ns string, pairs ...pair) {
	v := vectors.KeyContext{Result: result, Input: vectors.InputCaller, Pairs: hexPairs(pairs), Namespace: []byte(ns)}
	if result == vectors.Valid {
		if ns != "" {
			pairs = append(slices.Clone(pairs), pair{"vault:namespace", ns})
		}
		v.Encoding = encodePairs(sortPairs(pairs))
	}
	c.add(name, v)
}

// full adds pairs as they are hashed and stored, and, where they are valid or
// their order and number can be written at all, their encoding by itself.
func (c *contexts) full(name string, result vectors.Result, pairs ...pair) {
	enc := encodePairs(sortPairs(pairs))
	v := vectors.KeyContext{Result: result, Input: vectors.InputFull, Pairs: hexPairs(pairs)}
	if result == vectors.Valid {
		v.Encoding = enc
	}
	c.add(name, v)
	e := vectors.KeyContext{Result: result, Input: vectors.InputEncoding, Encoding: enc}
	if result == vectors.Valid {
		e.Pairs = hexPairs(sortPairs(pairs))
	}
	c.add("of-"+name, e)
}

// broken adds bytes that encode no context.
func (c *contexts) broken(name string, enc []byte) {
	c.add(name, vectors.KeyContext{Result: vectors.InvalidContext, Input: vectors.InputEncoding, Encoding: enc})
}

func keyContextCases() []vectors.KeyContext {
	c := new(contexts)
	c.numbers()
	c.keys()
	c.values()
	c.reserved()
	c.encodings()
	return c.list
}

var org = pair{"organization_id", "org_01"}

func pairs(n int) []pair {
	var ps []pair
	for i := range n {
		ps = append(ps, pair{fmt.Sprintf("k%02d", i), fmt.Sprintf("v%d", i)})
	}
	return ps
}

func (c *contexts) numbers() {
	const good, bad = vectors.Valid, vectors.InvalidContext
	c.caller("basic", good, "", org)
	c.caller("two-pairs-unsorted", good, "", pair{"user_id", "u_7"}, org)
	c.caller("ten-pairs", good, "", pairs(10)...)
	c.caller("no-pair", bad, "")
	c.caller("eleven-pairs", bad, "", pairs(11)...)
	c.caller("namespace", good, "billing", org)
	c.caller("namespace-beyond-ten", good, "billing", pairs(10)...)
	c.caller("namespace-between", good, "n", pair{"a", "1"}, pair{"z", "2"})
	c.caller("namespace-only", bad, "billing")
	c.full("basic", good, org)
	c.full("ten-pairs", good, pairs(10)...)
	c.full("eleven-pairs", bad, pairs(11)...)
	c.full("no-pair", bad)
}

func (c *contexts) keys() {
	const good, bad = vectors.Valid, vectors.InvalidContext
	both := func(name string, r vectors.Result, k string) {
		c.caller(name, r, "", pair{k, "v"})
		c.full(name, r, pair{k, "v"})
	}
	both("key-all-bytes", good, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-")
	both("key-128", good, strings.Repeat("k", 128))
	both("key-129", bad, strings.Repeat("k", 129))
	both("key-empty", bad, "")
	// The neighbours of what is allowed, and what people try.
	for _, b := range []byte{0x00, 0x0a, ' ', '*', '+', ',', ';', '@', '[', '\\', ']', '^', '`', '{', '|', '~', 0x7f, 0x80, 0xff} {
		both(fmt.Sprintf("key-byte-0x%02x", b), bad, "k"+string([]byte{b}))
	}
	both("key-unicode", bad, "é")
	both("key-vault-without-colon", good, "vault")
	both("key-vault-other-case", good, "Vault:namespace")
	both("key-vault-longer", good, "vaults:namespace")
	c.caller("keys-differ-in-case", good, "", pair{"org", "1"}, pair{"Org", "1"}, pair{"ORG", "1"})
	c.caller("keys-sorted-by-bytes", good, "", pair{"a", "1"}, pair{"B", "2"}, pair{"a.b", "3"}, pair{"a-b", "4"}, pair{"a_b", "5"}, pair{"aB", "6"}, pair{"a/b", "7"}, pair{"a:b", "8"}, pair{"a0", "9"})
	c.caller("key-prefix-of-the-next", good, "", pair{"aa", "1"}, pair{"a", "2"})
}

func (c *contexts) values() {
	const good, bad = vectors.Valid, vectors.InvalidContext
	both := func(name string, r vectors.Result, v string) {
		c.caller(name, r, "", pair{"k", v})
		c.full(name, r, pair{"k", v})
	}
	both("value-1024", good, strings.Repeat("v", 1024))
	both("value-1024-of-4-byte-characters", good, strings.Repeat("🔑", 256))
	both("value-1025", bad, strings.Repeat("v", 1025))
	both("value-empty", bad, "")
	both("value-space", good, " ")
	both("value-tilde", good, "~")
	both("value-unicode", good, "Zoë 東京 🔑")
	both("value-decomposed", good, "Zoe\u0308 ")
	both("value-u00a0", good, "\u00a0")
	both("value-u2028", good, "\u2028")
	both("value-byte-order-mark", good, "\ufeffv")
	both("value-noncharacter", good, "\ufffe")
	both("value-ud7ff", good, "\ud7ff")
	both("value-ue000", good, "\ue000")
	both("value-replacement-character", good, "\ufffd")
	both("value-last-code-point", good, "\U0010ffff")
	for _, b := range []byte{0x00, 0x09, 0x0a, 0x0d, 0x1f, 0x7f} {
		both(fmt.Sprintf("value-control-0x%02x", b), bad, "v"+string([]byte{b}))
	}
	both("value-control-u0080", bad, "\u0080")
	both("value-control-u009f", bad, "\u009f")
	for _, v := range []struct{ name, value string }{
		{"lone-continuation", "\x80"}, {"cut", "\xe6\x9d"}, {"overlong-2", "\xc0\xaf"}, {"overlong-nul", "\xc0\x80"},
		{"overlong-3", "\xe0\x80\xaf"}, {"overlong-4", "\xf0\x80\x80\xaf"}, {"surrogate-first", "\xed\xa0\x80"},
		{"surrogate-last", "\xed\xbf\xbf"}, {"beyond-unicode", "\xf4\x90\x80\x80"}, {"five-bytes", "\xf8\x88\x80\x80\x80"}, {"0xff", "\xff"},
	} {
		both("value-not-utf8-"+v.name, bad, v.value)
	}
	c.caller("namespace-control", bad, "a\x00", org)
	c.caller("namespace-1024", good, strings.Repeat("n", 1024), org)
	c.caller("namespace-1025", bad, strings.Repeat("n", 1025), org)
	c.caller("namespace-not-utf8", bad, "\xff", org)
}

func (c *contexts) reserved() {
	const good, bad = vectors.Valid, vectors.InvalidContext
	for _, p := range []pair{{"vault:namespace", "billing"}, {"vault:scope", "global"}, {"vault:index", "2"}, {"vault:system", "audit"}, {"vault:other", "x"}, {"vault:", "x"}} {
		c.caller("reserved-"+strings.TrimPrefix(p.k, "vault:"), bad, "", org, p)
	}
	ns, scope, system := pair{"vault:namespace", "billing"}, pair{"vault:scope", "global"}, pair{"vault:system", "audit"}
	index := func(g string) pair { return pair{"vault:index", g} }
	c.full("namespace", good, org, ns)
	c.full("namespace-alone", bad, ns)
	c.full("scope", good, scope)
	c.full("scope-with-namespace", good, scope, ns)
	c.full("scope-with-pair", good, org, scope)
	c.full("scope-other-value", bad, org, pair{"vault:scope", "Global"})
	c.full("system", good, system)
	c.full("system-with-namespace", good, system, ns)
	c.full("index-2", good, org, index("2"))
	c.full("index-with-scope", good, scope, index("10"))
	c.full("index-last", good, org, index("4294967295"))
	c.full("index-alone", bad, index("2"))
	for _, g := range []string{"0", "1", "02", "+2", "-2", "2.0", "0x2", " 2", "4294967296", "two"} {
		c.full("index-"+strings.NewReplacer(" ", "space-").Replace(g), bad, org, index(g))
	}
	c.full("ten-pairs-and-every-reserved-one", good, append(pairs(10), ns, scope, system, index("3"))...)
	c.full("eleven-pairs-and-a-namespace", bad, append(pairs(11), ns)...)
	c.full("reserved-unknown", bad, org, pair{"vault:other", "x"})
	c.full("reserved-empty-suffix", bad, org, pair{"vault:", "x"})
	c.full("reserved-other-case", bad, org, pair{"vault:Namespace", "billing"})
	c.full("namespace-empty", bad, org, pair{"vault:namespace", ""})
}

func (c *contexts) encodings() {
	good := encodePairs([]pair{{"a", "1"}, {"b", "2"}})
	at := len("vault/ctx/v1")
	set := func(i int, b byte) []byte { e := cat(good); e[i] = b; return e }
	c.broken("empty", nil)
	c.broken("label-only", good[:at])
	c.broken("label-other-version", set(at-1, '2'))
	c.broken("label-upper-case", set(0, 'V'))
	c.broken("count-too-small", set(at, 1))
	c.broken("count-too-large", set(at, 3))
	c.broken("count-255", set(at, 255))
	for i := at + 2; i < len(good); i++ {
		c.broken(fmt.Sprintf("cut-at-%d", i), good[:i])
	}
	c.broken("byte-after", append(cat(good), 0))
	c.broken("length-too-small", set(at+2, 0))
	c.broken("length-too-large", set(at+1, 0xff))
	c.broken("not-sorted", encodePairs([]pair{{"b", "2"}, {"a", "1"}}))
	c.broken("key-twice", encodePairs([]pair{{"a", "1"}, {"a", "2"}}))
	c.broken("pair-twice", encodePairs([]pair{{"a", "1"}, {"a", "1"}}))
	c.broken("sorted-without-case", encodePairs([]pair{{"a", "1"}, {"B", "2"}}))
}
