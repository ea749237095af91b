package main

import (
	"bytes"

	"github.com/embedvault/vault/internal/vectors"
)

// opened is a wrapping and what its KEK makes of it: nothing, if it is corrupt.
type opened struct {
	wrapping
	key []byte
}

// under wraps b under the KEK with the key's binding.
func (k key) under(kekName string, b []byte) opened {
	s := namedKeyset(kekName)
	return opened{wrapping{s.uri(), s.wrap(b, k.binding(), "under "+kekName)}, b}
}

func (o opened) damaged() opened {
	return opened{wrapping{o.uri, flipped(o.wrapped, len(o.wrapped)-1)}, nil}
}

func choose(quorum uint8, keks ...string) vectors.Choice {
	c := vectors.Choice{Quorum: quorum}
	for _, name := range keks {
		c.URIs = append(c.URIs, namedKeyset(name).uri())
	}
	return c
}

// unwraps collects vectors of the way from wrappings to a key.
type unwraps struct {
	key  key
	list []vectors.Unwrap
}

func (c *unwraps) add(name string, result vectors.Result, choices []vectors.Choice, quorum uint8, os ...opened) {
	v := vectors.Unwrap{
		Name: name, Result: result, Key: c.key.vector(), Choice: choices[0], Previous: choices[1:],
		Quorum: quorum, Wrappings: []vectors.Wrapping{}, Unwrapped: []vectors.Hex{},
	}
	for _, o := range os {
		v.Wrappings = append(v.Wrappings, vectors.Wrapping{URI: o.uri, Wrapped: o.wrapped})
		v.Unwrapped = append(v.Unwrapped, o.key)
	}
	c.list = append(c.list, v)
}

func unwrapCases() []vectors.Unwrap {
	c := &unwraps{key: newKey("unwrap")}
	c.anyOf()
	c.allOf()
	c.policy()
	return c.list
}

type choices = []vectors.Choice

func (c *unwraps) anyOf() {
	const good, bad = vectors.Valid, vectors.Corrupt
	k := c.key
	a, b := k.under("alpha", k.secret), k.under("beta", k.secret)
	ab := choices{choose(1, "alpha", "beta")}
	one := choices{choose(1, "alpha")}
	notIt := k.under("alpha", det(32, "another key"))

	c.add("any-of-1", good, one, 1, a)
	c.add("any-of-2", good, ab, 1, a, b)
	c.add("any-of-2-first-damaged", good, ab, 1, a.damaged(), b)
	c.add("any-of-2-second-damaged", good, ab, 1, a, b.damaged())
	c.add("any-of-2-first-not-the-key", good, ab, 1, notIt, b)
	c.add("any-of-2-both-damaged", bad, ab, 1, a.damaged(), b.damaged())
	c.add("any-of-1-damaged", bad, one, 1, a.damaged())
	c.add("not-the-key", bad, one, 1, notIt)
	for _, n := range []int{1, 31, 33, 64} {
		c.add(lengthNames[n]+"-bytes", bad, one, 1, k.under("alpha", det(n, "n")))
	}
	c.add("zeros", bad, one, 1, k.under("alpha", make([]byte, 32)))

	// HMAC pads its key with zeros: only the length check tells these from it.
	short := unwraps{key: k.with(func(k *key) { k.secret = append(det(31, "31 bytes"), 0) })}
	short.add("31-bytes-of-a-key-that-ends-in-zero", bad, one, 1, short.key.under("alpha", short.key.secret[:31]))
	short.add("33-bytes-that-are-a-key-and-a-zero", bad, one, 1, short.key.under("alpha", append(bytes.Clone(short.key.secret), 0)))
	c.list = append(c.list, short.list...)
}

var lengthNames = map[int]string{1: "1", 31: "31", 33: "33", 64: "64"}

func (c *unwraps) allOf() {
	const good, bad = vectors.Valid, vectors.Corrupt
	k := c.key
	both := choices{choose(2, "alpha", "customer")}
	s := k.shares(2)
	a, b := k.under("alpha", s[0]), k.under("customer", s[1])

	c.add("all-of-2", good, both, 2, a, b)
	c.add("all-of-2-shares-swapped", good, both, 2, k.under("alpha", s[1]), k.under("customer", s[0]))
	c.add("all-of-2-a-share-of-zeros", good, both, 2, k.under("alpha", make([]byte, 32)), k.under("customer", k.secret))
	var eight []opened
	for i, share := range k.shares(8) {
		eight = append(eight, k.under(keysetNames[i], share))
	}
	all8 := choices{choose(2, kekNames(8)...)}
	c.add("all-of-8", good, all8, 2, eight...)
	c.add("all-of-2-first-damaged", bad, both, 2, a.damaged(), b)
	c.add("all-of-2-second-damaged", bad, both, 2, a, b.damaged())
	c.add("all-of-2-same-share-twice", bad, both, 2, a, k.under("customer", s[0])) // XOR: zeros
	c.add("all-of-2-whole-key-twice", bad, both, 2, k.under("alpha", k.secret), k.under("customer", k.secret))
	c.add("all-of-2-a-share-of-31-bytes", bad, both, 2, a, k.under("customer", s[1][:31]))
	c.add("all-of-2-a-share-of-33-bytes", bad, both, 2, a, k.under("customer", append(bytes.Clone(s[1]), 0)))
	c.add("all-of-2-another-split", bad, both, 2, a, k.under("customer", k.shares(3)[1]))
}

func (c *unwraps) policy() {
	const good, bad = vectors.Valid, vectors.Policy
	k := c.key
	a, b, g := k.under("alpha", k.secret), k.under("beta", k.secret), k.under("gamma", k.secret)
	s := k.shares(2)
	sa, sb := k.under("alpha", s[0]), k.under("beta", s[1])
	three := k.shares(3)

	c.add("any-of-a-subset", good, choices{choose(1, "alpha", "beta", "gamma")}, 1, a, g)
	c.add("previous", good, choices{choose(1, "beta"), choose(1, "alpha")}, 1, a)
	c.add("second-previous", good, choices{choose(1, "beta"), choose(1, "gamma"), choose(1, "alpha")}, 1, a)
	c.add("previous-all-of", good, choices{choose(1, "alpha"), choose(2, "alpha", "beta")}, 2, sa, sb)
	c.add("choice-in-another-order", good, choices{choose(2, "beta", "alpha")}, 2, sa, sb)

	c.add("foreign-uri", bad, choices{choose(1, "alpha")}, 1, b)
	c.add("foreign-uri-beside-the-right-one", bad, choices{choose(1, "alpha")}, 1, a, b)
	c.add("foreign-uri-instead-of-one", bad, choices{choose(1, "alpha", "beta")}, 1, a, g)
	c.add("previous-and-choice-mixed", bad, choices{choose(1, "alpha"), choose(1, "beta")}, 1, a, b)
	c.add("quorum-lowered", bad, choices{choose(2, "alpha", "beta")}, 1, a)
	c.add("quorum-lowered-both", bad, choices{choose(2, "alpha", "beta")}, 1, a, b)
	c.add("quorum-raised", bad, choices{choose(1, "alpha", "beta")}, 2, sa, sb)
	c.add("all-of-one-missing", bad, choices{choose(2, "alpha", "beta", "gamma")}, 2, k.under("alpha", three[0]), k.under("beta", three[1]))
	c.add("all-of-one-more", bad, choices{choose(2, "alpha", "beta")}, 2, k.under("alpha", three[0]), k.under("beta", three[1]), k.under("gamma", three[2]))
	c.add("all-of-one-foreign", bad, choices{choose(2, "alpha", "beta")}, 2, sa, k.under("gamma", s[1]))
	upper := a
	upper.uri, upper.key = "tink-keyset:Alpha", nil
	c.add("uri-in-another-case", bad, choices{choose(1, "alpha")}, 1, upper)
	longer := a
	longer.uri, longer.key = "tink-keyset:alpha/", nil
	c.add("uri-longer", bad, choices{choose(1, "alpha")}, 1, longer)
}
