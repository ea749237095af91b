package vectors_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/embedvault/vault/internal/vectors"
)

// This file is a second reader, written from docs/SPEC.md with the standard
// library alone. It shares no code with the packages it is compared with.

// reader is what a caller of the reader asserts.
type reader struct {
	contextHash []byte
	contextKey  []byte
	purpose     uint8
	version     uint32
	kind        byte // by reference; the next one is taken too
	aad         []byte
}

// read follows "Opening an envelope" step by step.
func (r reader) read(b []byte) ([]byte, vectors.Result) {
	if len(b) < 34 || b[0] != 0xE1 || b[1] != r.kind && b[1] != r.kind+1 {
		return nil, vectors.Malformed
	}
	id, rest := b[2:34], b[34:]
	if b[1] == r.kind+1 {
		n, size, ok := uvarint(rest)
		if !ok || uint64(len(rest)-size) < n || !blockOK(rest[size:size+int(n)]) {
			return nil, vectors.Malformed
		}
		rest = rest[size+int(n):]
	}
	if len(rest) < 24+12+16 || r.kind == 3 && len(rest) != 24+12+32+16 {
		return nil, vectors.Malformed
	}
	info := slices.Concat([]byte("vault/v1/kid"), r.contextHash, []byte{r.purpose}, u32(r.version))
	if subtle.ConstantTimeCompare(expand(r.contextKey, info), id) != 1 {
		return nil, vectors.WrongContext
	}
	dek := expand(r.contextKey, slices.Concat([]byte("vault/v1/dek"), rest[:24]))
	plaintext, err := gcm(dek).Open(nil, nil, rest[24:], slices.Concat(b[:2], r.aad))
	if err != nil {
		return nil, vectors.DecryptFailed
	}
	if (r.kind == 3 || r.kind == 5) && len(plaintext) != 32 {
		return nil, vectors.Malformed
	}
	return plaintext, vectors.Valid
}

// uvarint reads a minimal unsigned varint that is no longer than the longest
// block needs.
func uvarint(b []byte) (n uint64, size int, ok bool) {
	for i := 0; i < len(b) && i < 3; i++ {
		n |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return n, i + 1, i == 0 || b[i] != 0
		}
	}
	return 0, 0, false
}

func blockOK(b []byte) bool {
	if len(b) < 8 || b[0] != 1 || b[1] != 1 || binary.BigEndian.Uint32(b[2:]) == 0 {
		return false
	}
	quorum, count := b[6], int(b[7])
	if quorum != 1 && quorum != 2 || count < int(quorum) || count > 8 {
		return false
	}
	b = b[8:]
	last := ""
	for range count {
		uri, rest, ok := cut(b)
		if !ok || len(uri) == 0 || len(uri) > 512 || string(uri) <= last || strings.HasPrefix(string(uri), "vault-key:") {
			return false
		}
		if bytes.ContainsFunc(uri, func(c rune) bool { return c < 0x21 || c > 0x7e }) {
			return false
		}
		wrapped, rest, ok := cut(rest)
		if !ok || len(wrapped) == 0 || len(wrapped) > 4096 {
			return false
		}
		b, last = rest, string(uri)
	}
	return len(b) == 0
}

func cut(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], true
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func expand(key, info []byte) []byte {
	out, err := hkdf.Expand(sha256.New, key, string(info), 32)
	if err != nil {
		panic(err) // for lengths that are not 32 only
	}
	return out
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // for lengths that are not 32 only
	}
	aead, err := cipher.NewGCMWithRandomNonce(block) // which opens nonce ‖ ciphertext ‖ tag
	if err != nil {
		panic(err)
	}
	return aead
}

// canonical is the encoding and the hash of a full context.
func canonical(context map[string]string) (encoding, hash []byte) {
	var keys []string
	for k := range context {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b := append([]byte("vault/ctx/v1"), byte(len(keys)))
	for _, k := range keys {
		for _, s := range []string{k, context[k]} {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
		}
	}
	h := sha256.Sum256(b)
	return b, h[:]
}

// nameOK reports whether an object can have this name.
func nameOK(name []byte) bool {
	if len(name) == 0 || len(name) > 512 || !utf8.Valid(name) {
		return false
	}
	return !bytes.ContainsFunc(name, func(c rune) bool { return c < 0x20 || c >= 0x7f && c <= 0x9f })
}

func objectAAD(versionID []byte, expiresAt int64, name []byte) []byte {
	b := append([]byte("vault/obj/v1"), versionID...)
	b = binary.BigEndian.AppendUint64(b, uint64(expiresAt))
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

// unwrapKeyset opens what a keyset wrapped; nil if it is corrupt.
func unwrapKeyset(s vectors.Keyset, wrapped, binding []byte) []byte {
	if len(wrapped) < 1+5+16+32 || wrapped[0] != 0x01 || wrapped[1] != 0x01 {
		return nil
	}
	id, body := binary.BigEndian.Uint32(wrapped[2:]), wrapped[6:]
	for _, k := range s.Keys {
		if k.ID != id {
			continue
		}
		sealed, tag := body[:len(body)-32], body[len(body)-32:]
		mac := hmac.New(sha256.New, k.HMACKey)
		mac.Write(binding)
		mac.Write(sealed)
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(binding))*8))
		if !hmac.Equal(mac.Sum(nil), tag) {
			continue
		}
		block, err := aes.NewCipher(k.AESKey)
		if err != nil {
			return nil
		}
		out := make([]byte, len(sealed)-16)
		cipher.NewCTR(block, sealed[:16]).XORKeyStream(out, sealed[16:])
		return out
	}
	return nil
}
