package main

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/embedvault/vault/internal/vectors"
)

// childRecipe is how a child key is wrapped, and what its reader is given. Every part
// can be spoiled on its own.
type childRecipe struct {
	child, parent key
	salt, nonce   []byte
	quorum        uint8

	// Each is what it was wrapped with, if that is not what follows from the above.
	format  byte
	secret  []byte // what is wrapped
	kek     []byte // what it is wrapped with
	binding []byte
	uri     string

	after func(wrapped []byte) []byte
	more  []wrapping
}

func parentURI(k key) string { return "vault-key:" + hex.EncodeToString(k.id()) }

// childOf is a user's key, and the wrapping key of the user's organisation.
func childOf(seed string) (child, parent key) {
	child = newKey("child/" + seed)
	child.context["user_id"] = "u_1"
	parent = newKey("parent/" + seed)
	parent.purpose = 3
	return child, parent
}

func (r *childRecipe) vector(name string, result vectors.Result) vectors.ChildKey {
	kek := expand(r.parent.secret, []byte("vault/v1/kek"), r.salt)
	sealed := gcmSeal(or(r.kek, kek), r.nonce, or(r.secret, r.child.secret), or(r.binding, r.child.binding()))
	wrapped := cat([]byte{r.format}, r.salt, r.nonce, sealed)
	if r.after != nil {
		wrapped = r.after(wrapped)
	}
	ws := append([]wrapping{{r.uri, wrapped}}, r.more...)
	return vectors.ChildKey{
		Name: name, Result: result, Key: r.child.vector(), Parent: r.parent.vector(), Binding: r.child.binding(),
		Salt: r.salt, WrappingKey: kek, Nonce: r.nonce, Quorum: r.quorum, Wrappings: hexWrappings(ws),
	}
}

// childKeys collects vectors.
type childKeys struct{ list []vectors.ChildKey }

func (c *childKeys) add(name string, result vectors.Result, edit func(*childRecipe)) {
	r := &childRecipe{salt: det(24, "salt", "child", name), nonce: det(12, "nonce", "child", name), quorum: 1, format: 0x01}
	r.child, r.parent = childOf(name)
	if edit != nil {
		edit(r)
	}
	if r.uri == "" {
		r.uri = parentURI(r.parent)
	}
	c.list = append(c.list, r.vector(name, result))
}

func childKeyCases() []vectors.ChildKey {
	c := new(childKeys)
	c.valid()
	c.malformed()
	c.notIt()
	c.policy()
	return c.list
}

func (c *childKeys) valid() {
	good := func(name string, edit func(*childRecipe)) { c.add(name, vectors.Valid, edit) }
	good("basic", nil)
	good("version-max", func(r *childRecipe) { r.child.version = 1<<32 - 1 })
	good("parent-version-max", func(r *childRecipe) { r.parent.version = 1<<32 - 1 })
	for p := uint8(2); p <= 4; p++ {
		good(fmt.Sprintf("purpose-%d", p), func(r *childRecipe) { r.child.purpose = p })
	}
	good("namespace", func(r *childRecipe) {
		r.child.context["vault:namespace"], r.parent.context["vault:namespace"] = "billing", "billing"
	})
	good("index", func(r *childRecipe) { r.child.context["vault:index"], r.child.purpose = "2", 2 })
	good("parent-of-two-pairs", func(r *childRecipe) {
		r.child.context["team_id"], r.parent.context["team_id"] = "t_1", "t_1"
	})
	good("one-secret-for-both", func(r *childRecipe) { r.child.secret = r.parent.secret })
}

func (c *childKeys) malformed() {
	bad := func(name string, after func([]byte) []byte) {
		c.add(name, vectors.Corrupt, func(r *childRecipe) { r.after = after })
	}
	bad("empty", func([]byte) []byte { return []byte{} })
	bad("format-alone", func(w []byte) []byte { return w[:1] })
	bad("a-byte-less", func(w []byte) []byte { return w[:len(w)-1] })
	bad("a-byte-more", func(w []byte) []byte { return append(w, 0) })
	bad("format-missing", func(w []byte) []byte { return w[1:] })
	for _, f := range []byte{0x00, 0x02, 0x81, 0xff} {
		c.add(fmt.Sprintf("format-0x%02x", f), vectors.Corrupt, func(r *childRecipe) { r.format = f })
	}
	for _, at := range []struct {
		name string
		i    int
	}{{"salt-first", 1}, {"salt-last", 24}, {"nonce-first", 25}, {"nonce-last", 36}, {"ciphertext-first", 37}, {"ciphertext-last", 68}, {"tag-first", 69}, {"tag-last", 84}} {
		bad(at.name+"-flipped", func(w []byte) []byte { return flipped(w, at.i) })
	}
	for _, n := range []int{31, 33} {
		c.add(fmt.Sprintf("%d-bytes", n), vectors.Corrupt, func(r *childRecipe) { r.secret = det(n, "n") })
	}
}

// notIt are wrappings of the right form that hold another key, or are bound to
// something else.
func (c *childKeys) notIt() {
	bad := func(name string, edit func(*childRecipe)) { c.add(name, vectors.Corrupt, edit) }
	bad("not-the-key", func(r *childRecipe) { r.secret = det(32, "another key") })
	bad("zeros", func(r *childRecipe) { r.secret = make([]byte, 32) })
	bad("another-childs", func(r *childRecipe) {
		other := r.child.with(func(k *key) { k.context["user_id"] = "u_2"; k.secret = det(32, "another child") })
		r.secret, r.binding = other.secret, other.binding()
	})
	bad("under-another-key", func(r *childRecipe) { r.kek = expand(det(32, "another parent"), []byte("vault/v1/kek"), r.salt) })
	bad("under-the-key-of-data", func(r *childRecipe) { r.kek = dek(r.parent.secret, r.salt) })
	bad("under-the-parents-key-itself", func(r *childRecipe) { r.kek = r.parent.secret })
	bound := func(name string, edit func(*key)) {
		bad("bound-to-another-"+name, func(r *childRecipe) { r.binding = r.child.with(edit).binding() })
	}
	bound("context", func(k *key) { k.context["user_id"] = "u_2" })
	bound("namespace", func(k *key) { k.context["vault:namespace"] = "billing" })
	bound("purpose", func(k *key) { k.purpose = 2 })
	bound("version", func(k *key) { k.version = 2 })
	bound("key", func(k *key) { k.secret = det(32, "another key") })
	bad("bound-to-nothing", func(r *childRecipe) { r.binding = []byte{} })
	bad("bound-to-the-parent", func(r *childRecipe) { r.binding = r.parent.binding() })
}

func (c *childKeys) policy() {
	bad := func(name string, edit func(*childRecipe)) { c.add(name, vectors.Policy, edit) }
	uri := func(name string, change func(good string) string) {
		bad("uri-"+name, func(r *childRecipe) { r.uri = change(parentURI(r.parent)) })
	}
	uri("in-capitals", func(s string) string { return "vault-key:" + strings.ToUpper(s[10:]) })
	uri("prefix-in-capitals", func(s string) string { return "Vault-key:" + s[10:] })
	uri("prefix-alone", func(string) string { return "vault-key:" })
	uri("a-digit-less", func(s string) string { return s[:len(s)-1] })
	uri("a-digit-more", func(s string) string { return s + "0" })
	uri("zero", func(string) string { return "vault-key:" + strings.Repeat("0", 64) })
	uri("a-keks", func(string) string { return namedKeyset("alpha").uri() })
	bad("uri-of-the-child", func(r *childRecipe) { r.uri = parentURI(r.child) })
	bad("uri-of-another-version", func(r *childRecipe) { r.uri = parentURI(r.parent.with(func(k *key) { k.version = 2 })) })
	bad("uri-of-another-parent", func(r *childRecipe) {
		r.uri = parentURI(r.parent.with(func(k *key) { k.context["organization_id"] = "org_02" }))
	})
	bad("all-of", func(r *childRecipe) { r.quorum = 2 })
	bad("a-kek-beside-it", func(r *childRecipe) { r.more = r.child.wrapAny("alpha") })
	bad("parent-of-purpose-1", func(r *childRecipe) { r.parent.purpose = 1 })
	bad("parent-of-purpose-4", func(r *childRecipe) { r.parent.purpose = 4 })
	bad("parent-of-another-organisation", func(r *childRecipe) { r.parent.context["organization_id"] = "org_02" })
	bad("parent-of-another-namespace", func(r *childRecipe) { r.parent.context["vault:namespace"] = "billing" })
	bad("parent-without-the-namespace", func(r *childRecipe) { r.child.context["vault:namespace"] = "billing" })
	bad("parent-of-the-same-context", func(r *childRecipe) { r.parent.context["user_id"] = "u_1" })
}
