package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/embedvault/vault/internal/vectors"
)

// key is a context key and what it is for.
type key struct {
	context map[string]string
	secret  []byte
	purpose uint8
	version uint32
}

// newKey is version 1 of a data key of organisation org_01, which the seed
// determines.
func newKey(seed string) key {
	return key{
		context: map[string]string{"organization_id": "org_01"},
		secret:  det(32, "context key", seed),
		purpose: 1, version: 1,
	}
}

func (k key) hash() []byte { return hashContext(k.context) }

func (k key) id() []byte { return keyID(k.secret, k.hash(), k.purpose, k.version) }

func (k key) binding() []byte { return binding(k.id(), k.hash(), k.purpose, k.version) }

func (k key) with(edit func(*key)) key {
	k.context = maps.Clone(k.context)
	edit(&k)
	return k
}

func (k key) vector() vectors.Key {
	return vectors.Key{
		Context: k.context, ContextHash: k.hash(), ContextKey: k.secret,
		Purpose: k.purpose, Version: k.version, KeyID: k.id(),
	}
}

// wrapAny wraps the whole key under each KEK.
func (k key) wrapAny(keks ...string) []wrapping {
	var ws []wrapping
	for _, name := range keks {
		s := namedKeyset(name)
		ws = append(ws, wrapping{s.uri(), s.wrap(k.secret, k.binding(), string(k.id()))})
	}
	return sortWrappings(ws)
}

// shares splits the key into n parts whose XOR it is.
func (k key) shares(n int) [][]byte {
	var parts [][]byte
	rest := slices.Clone(k.secret)
	for i := range n - 1 {
		p := det(32, "share", fmt.Sprint(i), string(k.id()))
		for j := range rest {
			rest[j] ^= p[j]
		}
		parts = append(parts, p)
	}
	return append(parts, rest)
}

// wrapAll wraps one share under each KEK.
func (k key) wrapAll(keks ...string) []wrapping {
	var ws []wrapping
	shares := k.shares(len(keks))
	for i, name := range keks {
		s := namedKeyset(name)
		ws = append(ws, wrapping{s.uri(), s.wrap(shares[i], k.binding(), "share "+string(k.id()))})
	}
	return sortWrappings(ws)
}

// block is a well-formed wrapped-key block of this key.
func (k key) block(quorum byte, ws []wrapping) []byte {
	return encodeBlock(blockHead{1, k.purpose, k.version, quorum, byte(len(ws))}, ws...)
}
