package main

import (
	"encoding/binary"
	"fmt"

	"github.com/embedvault/vault/internal/vectors"
)

// recipe is how an envelope is made, and what its reader is given. Every part
// can be spoiled on its own.
type recipe struct {
	key  key // the reader's
	kind byte

	salt, nonce, aad, plaintext []byte

	// Each is what stands in the envelope, or what it was sealed with, if that is
	// not what follows from the above.
	version  byte
	id       []byte
	block    func(key) []byte // of the self-contained kinds
	length   []byte           // of the block
	dek      []byte
	boundAs  []byte // the associated data's first two bytes
	boundAAD []byte
	sealed   []byte // instead of nonce, ciphertext and tag

	after func([]byte) []byte // on the whole
}

// edit makes one difference to a recipe.
type edit func(*recipe)

func newRecipe(name string, kind byte, edits ...edit) *recipe {
	seed := fmt.Sprintf("%d/%s", (kind-1)/2, name) // a message and a data key of one name share nothing
	r := &recipe{
		key: newKey(seed), kind: kind, version: version1,
		salt: det(24, "salt", seed), nonce: det(12, "nonce", seed),
		plaintext: []byte("The quick brown fox jumps over the lazy dog."),
	}
	for _, e := range edits {
		e(r)
	}
	return r
}

func or(b, otherwise []byte) []byte {
	if b != nil {
		return b
	}
	return otherwise
}

func (r *recipe) envelope() []byte {
	e := cat([]byte{r.version, r.kind}, or(r.id, r.key.id()))
	if r.block != nil {
		b := r.block(r.key)
		e = cat(e, or(r.length, binary.AppendUvarint(nil, uint64(len(b)))), b)
	}
	ad := cat(or(r.boundAs, []byte{version1, r.kind}), or(r.boundAAD, r.aad))
	sealed := cat(r.nonce, gcmSeal(or(r.dek, dek(r.key.secret, r.salt)), r.nonce, r.plaintext, ad))
	e = cat(e, r.salt, or(r.sealed, sealed))
	if r.after != nil {
		e = r.after(e)
	}
	return e
}

func (r *recipe) vector() vectors.Sealed {
	return vectors.Sealed{
		Key: r.key.vector(), Salt: r.salt, DEK: dek(r.key.secret, r.salt), Nonce: r.nonce,
		AAD: r.aad, Plaintext: r.plaintext, Envelope: r.envelope(),
	}
}

// What differs in the key.

func context(pairs ...string) edit {
	return func(r *recipe) {
		r.key.context = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			r.key.context[pairs[i]] = pairs[i+1]
		}
	}
}

func keyVersion(v uint32) edit { return func(r *recipe) { r.key.version = v } }

// idOf puts the ID of a key that differs from the reader's into the envelope.
func idOf(change func(*key)) edit {
	return func(r *recipe) { r.id = r.key.with(change).id() }
}

// sameAs takes key, salt, nonce and all from the recipe of another name.
func sameAs(name string) edit {
	return func(r *recipe) {
		o := newRecipe(name, r.kind)
		r.key, r.salt, r.nonce = o.key, o.salt, o.nonce
	}
}

// What differs in the data.

func aad(s string) edit       { return func(r *recipe) { r.aad = []byte(s) } }
func plaintext(b []byte) edit { return func(r *recipe) { r.plaintext = b } }

// sealedWithAAD is what the envelope was sealed with, not what the reader gives.
func sealedWithAAD(s string) edit { return func(r *recipe) { r.boundAAD = []byte(s) } }

// What differs in the block.

func blockOf(f func(key) []byte) edit { return func(r *recipe) { r.block = f } }

func anyOf(keks ...string) edit {
	return blockOf(func(k key) []byte { return k.block(1, k.wrapAny(keks...)) })
}

func allOf(keks ...string) edit {
	return blockOf(func(k key) []byte { return k.block(2, k.wrapAll(keks...)) })
}

// What is done to the finished bytes.

func after(f func([]byte) []byte) edit { return func(r *recipe) { r.after = f } }

// flip changes the lowest bit of the byte at i, or at len+i if i is negative.
func flip(i int) edit {
	return after(func(e []byte) []byte {
		if i < 0 {
			e[len(e)+i] ^= 1
		} else {
			e[i] ^= 1
		}
		return e
	})
}

func truncate(n int) edit { return after(func(e []byte) []byte { return e[:n] }) }

func cutEnd(n int) edit { return after(func(e []byte) []byte { return e[:len(e)-n] }) }
