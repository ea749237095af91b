package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// This file is docs/SPEC.md once more, written with the standard library and
// nothing of this module's, so that the vectors check the module and not
// themselves. It checks nothing: it has to make wrong encodings as well.

const version1 = 0xE1

var be = binary.BigEndian

// must is for what can't fail with the arguments that the cases give.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("gen: %v", err))
	}
	return v
}

func cat(parts ...[]byte) []byte { return slices.Concat(parts...) }

func prefixed(b []byte) []byte { return append(be.AppendUint16(nil, uint16(len(b))), b...) }

// pair is one pair of a key context.
type pair struct{ k, v string }

// encodePairs is the canonical encoding of the pairs in the order given.
func encodePairs(pairs []pair) []byte {
	b := append([]byte("vault/ctx/v1"), byte(len(pairs)))
	for _, p := range pairs {
		b = cat(b, prefixed([]byte(p.k)), prefixed([]byte(p.v)))
	}
	return b
}

func sortPairs(pairs []pair) []pair {
	pairs = slices.Clone(pairs)
	slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.k, b.k) })
	return pairs
}

func encodeContext(kc map[string]string) []byte {
	var pairs []pair
	for k, v := range kc {
		pairs = append(pairs, pair{k, v})
	}
	return encodePairs(sortPairs(pairs))
}

func hashContext(kc map[string]string) []byte {
	h := sha256.Sum256(encodeContext(kc))
	return h[:]
}

func expand(key []byte, info ...[]byte) []byte {
	return must(hkdf.Expand(sha256.New, key, string(cat(info...)), 32))
}

func keyID(key, contextHash []byte, purpose uint8, version uint32) []byte {
	return expand(key, []byte("vault/v1/kid"), contextHash, []byte{purpose}, be.AppendUint32(nil, version))
}

func dek(key, salt []byte) []byte { return expand(key, []byte("vault/v1/dek"), salt) }

func gcmSeal(key, nonce, plaintext, ad []byte) []byte {
	return must(cipher.NewGCM(must(aes.NewCipher(key)))).Seal(nil, nonce, plaintext, ad)
}

func binding(keyID, contextHash []byte, purpose uint8, version uint32) []byte {
	return cat([]byte("vault/v1/wrap"), keyID, contextHash, []byte{purpose}, be.AppendUint32(nil, version))
}

// wrapping is a KEK's URI and what it wrapped.
type wrapping struct {
	uri     string
	wrapped []byte
}

// blockHead is everything of a wrapped-key block that stands before the
// wrappings.
type blockHead struct {
	format, purpose byte
	version         uint32
	quorum, count   byte
}

// encodeBlock is the block with the wrappings in the order given.
func encodeBlock(h blockHead, ws ...wrapping) []byte {
	b := be.AppendUint32([]byte{h.format, h.purpose}, h.version)
	b = append(b, h.quorum, h.count)
	for _, w := range ws {
		b = cat(b, prefixed([]byte(w.uri)), prefixed(w.wrapped))
	}
	return b
}

func sortWrappings(ws []wrapping) []wrapping {
	ws = slices.Clone(ws)
	slices.SortFunc(ws, func(a, b wrapping) int { return strings.Compare(a.uri, b.uri) })
	return ws
}

// objectAAD is the associated data of an object value.
func objectAAD(versionID []byte, expiresAt int64, name []byte) []byte {
	return cat([]byte("vault/obj/v1"), versionID, be.AppendUint64(nil, uint64(expiresAt)), prefixed(name))
}

// det returns n bytes that the seeds determine: the vectors' keys, salts and
// nonces, the same at each run.
func det(n int, seeds ...string) []byte {
	seed := []byte("test vectors of the embeddable vault, version 1")
	for _, s := range seeds {
		seed = cat(seed, prefixed([]byte(s)))
	}
	var out []byte
	for i := uint32(0); len(out) < n; i++ {
		h := sha256.Sum256(be.AppendUint32(slices.Clone(seed), i))
		out = append(out, h[:]...)
	}
	return out[:n]
}
