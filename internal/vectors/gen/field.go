package main

import (
	"crypto/sha256"
	"fmt"
	"math"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// place is where a field is sealed for, or asked for.
type place struct {
	table, column string
	row           []string
}

func (p place) hash() []byte {
	b := cat([]byte("vault/field/v1"), prefixed([]byte(p.table)), prefixed([]byte(p.column)), []byte{byte(len(p.row))})
	for _, id := range p.row {
		b = cat(b, prefixed([]byte(id)))
	}
	h := sha256.Sum256(b)
	return h[:16]
}

// fieldRecipe is how a field is made, and what its reader asks for.
type fieldRecipe struct {
	asked     place
	wanted    byte
	codec     byte
	value     []byte
	sealedFor *place // nil: asked
	format    byte
	cut       int // bytes of the plaintext that are left; -1: all
	kind      byte
	edits     []edit
}

// fields collects vectors.
type fields struct{ list []vectors.Field }

func (c *fields) add(name string, result vectors.Result, change func(*fieldRecipe)) {
	r := &fieldRecipe{
		asked:  place{"users", "email", []string{"018fab00-0000-7000-8000-0000000000ff"}},
		wanted: 1, codec: 1, value: []byte("ann@example.org"), format: 1, cut: -1, kind: 9,
	}
	if change != nil {
		change(r)
	}
	from := r.asked
	if r.sealedFor != nil {
		from = *r.sealedFor
	}
	plain := cat([]byte{r.format, r.codec}, from.hash(), r.value)
	if r.cut >= 0 {
		plain = plain[:r.cut]
	}
	sealed := newRecipe(name, r.kind, append([]edit{plaintext(plain)}, r.edits...)...)
	v := vectors.Field{
		Name: name, Result: result, Table: r.asked.table, Column: r.asked.column, Row: []vectors.Hex{},
		LocationHash: r.asked.hash(), WantedCodec: r.wanted, Codec: r.codec, Value: r.value, Sealed: sealed.vector(),
	}
	for _, id := range r.asked.row {
		v.Row = append(v.Row, vectors.Hex(id))
	}
	c.list = append(c.list, v)
}

// typed adds a value of a codec, which is asked for as the same.
func (c *fields) typed(name string, result vectors.Result, codec byte, value []byte) {
	c.add(name, result, func(r *fieldRecipe) { r.wanted, r.codec, r.value = codec, codec, value })
}

func u64(n uint64) []byte { return be.AppendUint64(nil, n) }

func when(sec int64, nsec uint32) []byte { return be.AppendUint32(u64(uint64(sec)), nsec) }

func fieldCases() []vectors.Field {
	c := new(fields)
	c.values()
	c.places()
	c.notValues()
	c.spoiled()
	return c.list
}

func (c *fields) values() {
	const good = vectors.Valid
	c.add("basic", good, nil)
	c.add("self-contained", good, func(r *fieldRecipe) { r.kind, r.edits = 10, []edit{anyOf("alpha")} })
	c.add("namespace", good, func(r *fieldRecipe) {
		r.edits = []edit{context("organization_id", "org_01", "vault:namespace", "billing")}
	})
	c.typed("string-empty", good, 1, nil)
	c.typed("string-not-utf8", good, 1, []byte{0xff, 0})
	c.typed("bytes", good, 2, []byte{0, 1, 2})
	c.typed("bytes-empty", good, 2, nil)
	for _, n := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
		c.typed(fmt.Sprintf("int-%d", n), good, 3, u64(uint64(n)))
	}
	c.typed("uint-0", good, 4, u64(0))
	c.typed("uint-max", good, 4, u64(math.MaxUint64))
	for _, f := range []struct {
		name string
		bits uint64
	}{{"0", 0}, {"minus-0", 1 << 63}, {"1.5", math.Float64bits(1.5)}, {"infinite", math.Float64bits(math.Inf(1))}, {"nan", 0x7ff8000000000000}} {
		c.typed("float-"+f.name, good, 5, u64(f.bits))
	}
	c.typed("bool-false", good, 6, []byte{0})
	c.typed("bool-true", good, 6, []byte{1})
	c.typed("time-zero", good, 7, when(-62135596800, 0))
	c.typed("time-before-1970", good, 7, when(-1, 999_999_999))
	c.typed("time", good, 7, when(1_700_000_000, 1))
	c.typed("json-object", good, 8, []byte(`{"a":1,"b":["x",null,true]}`))
	c.typed("json-null", good, 8, []byte(`null`))
}

func (c *fields) places() {
	at := func(name string, p place) {
		c.add("place-"+name, vectors.Valid, func(r *fieldRecipe) { r.asked = p })
	}
	at("column-alone", place{"users", "email", nil})
	at("integer", place{"users", "email", []string{"42"}})
	at("integer-negative", place{"users", "email", []string{"-42"}})
	at("bytes", place{"users", "email", []string{"\x00\xff"}})
	at("two-components", place{"users", "email", []string{"42", "a"}})
	at("16-components", place{"users", "email", strings.Split("0123456789abcdef", "")})
	at("unicode", place{"Zoë", "東京", []string{"🔑"}})
	at("longest", place{strings.Repeat("t", 255), strings.Repeat("c", 255), []string{strings.Repeat("r", 1024)}})

	moved := func(name string, asked, sealedFor place) {
		c.add("moved-"+name, vectors.WrongLocation, func(r *fieldRecipe) { r.asked, r.sealedFor = asked, &sealedFor })
	}
	home := place{"users", "email", []string{"42"}}
	moved("other-row", home, place{"users", "email", []string{"43"}})
	moved("other-column", home, place{"users", "phone", []string{"42"}})
	moved("other-table", home, place{"admins", "email", []string{"42"}})
	moved("from-the-column-alone", home, place{"users", "email", nil})
	moved("to-the-column-alone", place{"users", "email", nil}, home)
	moved("names-split-elsewhere", home, place{"user", "semail", []string{"42"}})
	moved("column-and-row-split-elsewhere", home, place{"users", "email4", []string{"2"}})
	moved("components-joined", place{"users", "email", []string{"4", "2"}}, home)
	moved("components-swapped", place{"users", "email", []string{"a", "b"}}, place{"users", "email", []string{"b", "a"}})
	moved("one-component-more", home, place{"users", "email", []string{"42", "a"}})
	moved("table-upper-case", home, place{"Users", "email", []string{"42"}})
	moved("leading-zero", home, place{"users", "email", []string{"042"}})
	upper := strings.ToUpper("018fab00-0000-7000-8000-0000000000ff")
	c.add("moved-uuid-upper-case", vectors.WrongLocation, func(r *fieldRecipe) {
		r.sealedFor = &place{"users", "email", []string{upper}}
	})
	c.add("moved-before-the-type", vectors.WrongLocation, func(r *fieldRecipe) { // the place is judged first
		r.sealedFor, r.codec = &place{"users", "phone", []string{"1"}}, 3
	})
}

func (c *fields) notValues() {
	const bad = vectors.Malformed
	for _, f := range []byte{0, 2, 0xff} {
		c.add(fmt.Sprintf("format-%d", f), bad, func(r *fieldRecipe) { r.format = f })
	}
	for _, n := range []int{0, 1, 2, 17} {
		c.add(fmt.Sprintf("plaintext-%d-bytes", n), bad, func(r *fieldRecipe) { r.cut = n })
	}
	for _, k := range []byte{0, 9, 0xff} {
		c.add(fmt.Sprintf("codec-%d", k), bad, func(r *fieldRecipe) { r.codec = k })
	}
	for _, k := range []struct {
		name string
		code byte
		size int
	}{{"int", 3, 8}, {"uint", 4, 8}, {"float", 5, 8}, {"bool", 6, 1}, {"time", 7, 12}} {
		c.typed(k.name+"-a-byte-less", bad, k.code, make([]byte, k.size-1))
		c.typed(k.name+"-a-byte-more", bad, k.code, make([]byte, k.size+1))
	}
	c.typed("bool-2", bad, 6, []byte{2})
	c.typed("float-nan-signalling", bad, 5, u64(0x7ff0000000000001))
	c.typed("float-nan-negative", bad, 5, u64(0xfff8000000000000))
	c.typed("time-nanoseconds", bad, 7, when(0, 1_000_000_000))

	for wanted := byte(1); wanted <= 8; wanted++ {
		written := wanted%8 + 1
		c.add(fmt.Sprintf("written-as-%d-wanted-as-%d", written, wanted), vectors.WrongType, func(r *fieldRecipe) {
			r.wanted, r.codec, r.value = wanted, written, make([]byte, []int{0, 8, 8, 8, 8, 8, 1, 12, 1}[written])
		})
	}
	c.typed("json-cut", vectors.WrongType, 8, []byte(`{"a":`))
	c.typed("json-two-values", vectors.WrongType, 8, []byte(`1 2`))
	c.typed("json-empty", vectors.WrongType, 8, nil)
}

func (c *fields) spoiled() {
	spoil := func(name string, result vectors.Result, edits ...edit) {
		c.add(name, result, func(r *fieldRecipe) { r.edits = edits })
	}
	spoil("tag-flipped", vectors.DecryptFailed, flip(-1))
	spoil("location-flipped", vectors.DecryptFailed, flip(-16-15-1))
	spoil("codec-flipped", vectors.DecryptFailed, flip(-16-15-17))
	spoil("sealed-with-aad", vectors.DecryptFailed, sealedWithAAD("aad"))
	spoil("was-message", vectors.DecryptFailed, func(r *recipe) { r.boundAs = []byte{version1, 1} })
	spoil("other-context", vectors.WrongContext, idOf(func(o *key) { o.context["organization_id"] = "org_02" }))
	spoil("key-for-indexes", vectors.WrongContext, idOf(func(o *key) { o.purpose = 2 }))
	c.add("self-other-context", vectors.WrongContext, func(r *fieldRecipe) {
		r.kind, r.edits = 10, []edit{anyOf("alpha"), idOf(func(o *key) { o.context["organization_id"] = "org_02" })}
	})
	for _, k := range []byte{1, 3, 5, 7} {
		spoil(kindNames[k], vectors.Malformed, keyed, func(r *recipe) { r.kind = k })
	}
	spoil("cut-short", vectors.Malformed, truncate(85))
}
