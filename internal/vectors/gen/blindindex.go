package main

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/embedvault/vault/internal/vectors"
)

// indexed is a column of an index, its value, and what that is normalised to: written
// down here and not computed.
type indexed struct{ column, normaliser, value, normalised string }

// indexes collects vectors.
type indexes struct{ list []vectors.BlindIndex }

func (c *indexes) add(name string, result vectors.Result, bits int, change func(*key), parts ...indexed) {
	k := newKey("index/" + name)
	k.purpose = 2
	if change != nil {
		change(&k)
	}
	v := vectors.BlindIndex{Name: name, Result: result, Key: k.vector(), Table: "users", Bits: bits}
	column := prefixed([]byte(v.Table))
	var message []byte
	for _, p := range parts {
		part := vectors.IndexPart{Column: p.column, Normaliser: p.normaliser, Value: vectors.Hex(p.value)}
		if result == vectors.Valid {
			part.Normalised = vectors.Hex(p.normalised)
		}
		v.Parts = append(v.Parts, part)
		column = cat(column, prefixed([]byte(p.column)), prefixed([]byte(p.normaliser)))
		if len(parts) > 1 {
			message = cat(message, prefixed([]byte(p.normalised)))
		} else {
			message = []byte(p.normalised)
		}
	}
	if result == vectors.Valid {
		hash := sha256.Sum256(column)
		v.IndexKey, v.Message = expand(k.secret, []byte("vault/v1/bidx"), hash[:]), message
		mac := hmac.New(sha256.New, v.IndexKey)
		mac.Write(message)
		v.Index = cutBits(mac.Sum(nil)[:16], bits)
	}
	c.list = append(c.list, v)
}

func cutBits(index []byte, bits int) []byte {
	if bits == 0 {
		return index
	}
	out := make([]byte, (bits+7)/8)
	for i := range bits {
		out[i/8] |= index[i/8] & (0x80 >> (i % 8))
	}
	return out
}

func blindIndexCases() []vectors.BlindIndex {
	c := new(indexes)
	email := indexed{"email", "email@1", " Ann@Example.ORG\r\n", "ann@example.org"}
	c.add("basic", vectors.Valid, 0, nil, email)
	c.add("generation-2", vectors.Valid, 0, func(k *key) { k.context["vault:index"] = "2" }, email)
	c.add("global", vectors.Valid, 0, func(k *key) { k.context = map[string]string{"vault:scope": "global"} }, email)
	c.add("global-namespace-generation-3", vectors.Valid, 0, func(k *key) {
		k.context = map[string]string{"vault:scope": "global", "vault:index": "3", "vault:namespace": "billing"}
	}, email)
	c.add("key-version-2", vectors.Valid, 0, func(k *key) { k.version = 2 }, email)
	for name, bits := range []string{4: "4-bits", 7: "7-bits", 8: "8-bits", 12: "12-bits", 63: "63-bits", 64: "64-bits"} {
		if bits != "" {
			c.add(bits, vectors.Valid, name, nil, email)
		}
	}
	c.add("two-columns", vectors.Valid, 0, nil, indexed{"name", "lower@1", "Zoë", "zoë"}, indexed{"born", "exact@1", "1999", "1999"})
	c.add("three-columns-one-empty", vectors.Valid, 0, nil, indexed{"a", "exact@1", "", ""}, indexed{"b", "exact@1", "ab", "ab"}, indexed{"c", "digits@1", "0-1", "01"})
	c.normalised()
	c.refused()
	return c.list
}

func (c *indexes) normalised() {
	for _, n := range []struct{ name, normaliser, value, want string }{
		{"exact", "exact@1", " A\x00\xff", " A\x00\xff"},
		{"exact-empty", "exact@1", "", ""},
		{"lower-ascii", "lower@1", "AZ[`az{ @", "az[`az{ @"},
		{"lower-latin", "lower@1", "ÀÖ×ØÞßÿ", "àö×øþßÿ"},
		{"lower-greek", "lower@1", "ΑΩΣς", "αωσς"},
		{"lower-cyrillic", "lower@1", "ЖЯѢ", "жяѣ"},
		{"lower-dotted-i", "lower@1", "Iİıi", "iiıi"},
		{"lower-sharp-s", "lower@1", "ẞ", "ß"},
		{"lower-kelvin", "lower@1", "\u212a\u212b", "kå"},
		{"lower-georgian", "lower@1", "ᲐႠ", "აⴀ"},
		{"lower-digraphs", "lower@1", "ǄǅǇ", "ǆǆǉ"},
		{"lower-roman", "lower@1", "ⅧⒶ", "ⅷⓐ"},
		{"lower-deseret", "lower@1", "𐐀𞤀", "𐐨𞤢"},
		{"lower-not-composed", "lower@1", "E\u0301", "e\u0301"},
		{"lower-not-folded", "lower@1", "ﬁ", "ﬁ"},
		{"email-spaces", "email@1", "\u00a0\u3000A@B\u2028\u0085\t", "a@b"},
		{"email-inner-space", "email@1", "a b@c", "a b@c"},
		{"email-two-ats", "email@1", "A@b@C", "a@b@c"},
		{"email-zero-width-space", "email@1", "\u200ba@b", "\u200ba@b"},
		{"digits", "digits@1", "123-45 (6789)x\u0661", "123456789"},
		{"e164", "e164@1", "+49 (30) 123-456/7.8", "+493012345678"},
		{"e164-spaces", "e164@1", "\u202f+1\u2009212\u00a05550100 ", "+12125550100"},
		{"e164-longest", "e164@1", "+123456789012345", "+123456789012345"},
		{"e164-shortest", "e164@1", "+12", "+12"},
	} {
		c.add(n.name, vectors.Valid, 0, nil, indexed{"c", n.normaliser, n.value, n.want})
	}
}

func (c *indexes) refused() {
	for _, n := range []struct{ name, normaliser, value string }{
		{"lower-not-utf8", "lower@1", "a\xff"},
		{"email-no-at", "email@1", "ann"},
		{"email-nothing-before", "email@1", " @b"},
		{"email-nothing-behind", "email@1", "a@ "},
		{"email-empty", "email@1", ""},
		{"email-not-utf8", "email@1", "a@\xff"},
		{"digits-none", "digits@1", "abc"},
		{"digits-empty", "digits@1", ""},
		{"e164-no-plus", "e164@1", "4930123"},
		{"e164-two-zeros", "e164@1", "004930123"},
		{"e164-country-0", "e164@1", "+0301234"},
		{"e164-16-digits", "e164@1", "+1234567890123456"},
		{"e164-1-digit", "e164@1", "+1"},
		{"e164-plus-alone", "e164@1", "+"},
		{"e164-letter", "e164@1", "+49x30"},
		{"e164-other-digits", "e164@1", "+49\u0661\u0662"},
		{"e164-plus-twice", "e164@1", "++4930"},
		{"e164-not-utf8", "e164@1", "+4930\xff"},
		{"e164-empty", "e164@1", ""},
	} {
		c.add(n.name, vectors.NotIndexable, 0, nil, indexed{"c", n.normaliser, n.value, ""})
	}
}
