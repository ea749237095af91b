// Package envelope is the wire format: it seals plaintext under a given context
// key and opens it again. It does no I/O, reads no clock and knows no keyring.
//
// An envelope is
//
//	u8   version   0xE1
//	u8   kind      odd: key by reference; even: self-contained
//	32   key ID
//	     [even kinds: uvarint n ‖ n bytes: wrapped-key block]
//	24   salt
//	12   nonce     ┐
//	n    ciphertext│ AES-256-GCM under HKDF-Expand(context key, "vault/v1/dek" ‖ salt)
//	16   tag       ┘
//
// Most programs use package vault instead, which finds the key. This package
// is for those who write another reader, or hold context keys themselves.
// SPEC: docs/SPEC.md, "Envelope".
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// Version is the first byte of every envelope. It is not 0x01 because Tink's
// ciphertexts start so.
const Version = 0xE1

// Sizes of an envelope's parts in bytes.
const (
	SaltSize  = 24
	NonceSize = 12
	TagSize   = 16

	headSize = 2 + len(keyctx.KeyID{})
	bodySize = SaltSize + NonceSize + TagSize

	// Overhead is by how much an envelope with its key by reference is longer
	// than the plaintext.
	Overhead = headSize + bodySize

	// StreamHeaderSize is the length of a stream header with its key by
	// reference.
	StreamHeaderSize = Overhead + KeySize
)

var (
	// ErrMalformed is matched by every error about bytes that are not an
	// envelope, or not one of the kind that was asked for.
	ErrMalformed = errors.New("malformed envelope")

	// ErrDecrypt is returned when authentication fails: the envelope was
	// tampered with, or the associated data is another. No more is said.
	ErrDecrypt = errors.New("decryption failed")

	// ErrWrongKey is returned by [Key.Open] for an envelope that names another
	// key.
	ErrWrongKey = errors.New("the envelope was sealed under another key")
)

// Kind says which API made an envelope and whether it carries its own key. Each
// API accepts its own kinds only. The zero value is invalid.
type Kind uint8

// The kinds. The even ones are self-contained.
const (
	KindMessage     Kind = 1
	KindMessageSelf Kind = 2
	KindStream      Kind = 3
	KindStreamSelf  Kind = 4
	KindDataKey     Kind = 5
	KindDataKeySelf Kind = 6
	KindObject      Kind = 7
	KindObjectSelf  Kind = 8
	KindField       Kind = 9
	KindFieldSelf   Kind = 10
)

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= KindMessage && k <= KindFieldSelf }

// SelfContained reports whether envelopes of this kind carry their wrapped key.
func (k Kind) SelfContained() bool { return k%2 == 0 }

// Reference returns the kind of the same API whose key is by reference.
func (k Kind) Reference() Kind {
	if k.SelfContained() {
		return k - 1
	}
	return k
}

// Self returns the self-contained kind of the same API.
func (k Kind) Self() Kind {
	if k.SelfContained() {
		return k
	}
	return k + 1
}

func (k Kind) String() string {
	if !k.Valid() {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	name := [...]string{"message", "stream header", "data key", "object value", "field"}[(k-1)/2]
	if k.SelfContained() {
		return "self-contained " + name
	}
	return name
}

// sealsKey reports whether what is sealed is a key: exactly 32 bytes.
func (k Kind) sealsKey() bool { return k >= KindStream && k <= KindDataKeySelf }

// Envelope is a parsed envelope. Its slices are parts of the bytes it was
// parsed from; appending to one copies it, so that it can't write over the next.
type Envelope struct {
	Kind  Kind
	KeyID keyctx.KeyID

	// Block is the wrapped-key block, for [ParseBlock], which will not fail on
	// it. It is nil if the key is by reference.
	Block []byte

	// Salt derives the DEK.
	Salt []byte

	// Sealed is nonce ‖ ciphertext ‖ tag.
	Sealed []byte
}

// PlaintextSize returns the length of what is sealed, in bytes.
func (e Envelope) PlaintextSize() int { return len(e.Sealed) - NonceSize - TagSize }

// Parse reads an envelope of any kind that fills b whole. It checks everything
// that can be checked without a key, reads nothing but b and allocates nothing.
// Its errors match [ErrMalformed].
func Parse(b []byte) (Envelope, error) {
	e, rest, err := parseHead(b)
	if err != nil {
		return Envelope{}, err
	}
	if len(rest) < bodySize {
		return Envelope{}, fmt.Errorf("%w: it is cut short", ErrMalformed)
	}
	e.Salt, e.Sealed = rest[:SaltSize:SaltSize], rest[SaltSize:len(rest):len(rest)]
	return e, nil
}

// ParseStreamHeader reads the stream header that b starts with, and returns its
// length. A header that b doesn't hold whole is malformed. Its errors match
// [ErrMalformed].
func ParseStreamHeader(b []byte) (e Envelope, n int, err error) {
	e, rest, err := parseHead(b)
	if err != nil {
		return Envelope{}, 0, err
	}
	if e.Kind.Reference() != KindStream {
		return Envelope{}, 0, fmt.Errorf("%w: want a stream header, got a %v", ErrMalformed, e.Kind)
	}
	const size = bodySize + KeySize
	if len(rest) < size {
		return Envelope{}, 0, fmt.Errorf("%w: the stream header is cut short", ErrMalformed)
	}
	e.Salt, e.Sealed = rest[:SaltSize:SaltSize], rest[SaltSize:size:size]
	return e, len(b) - len(rest) + size, nil
}

// parseHead reads everything before the salt.
func parseHead(b []byte) (e Envelope, rest []byte, err error) {
	if len(b) < headSize {
		return e, nil, fmt.Errorf("%w: %d bytes are too few", ErrMalformed, len(b))
	}
	if b[0] != Version {
		return e, nil, fmt.Errorf("%w: unknown version 0x%02x", ErrMalformed, b[0])
	}
	e.Kind = Kind(b[1])
	if !e.Kind.Valid() {
		return e, nil, fmt.Errorf("%w: unknown kind %d", ErrMalformed, b[1])
	}
	copy(e.KeyID[:], b[2:])
	rest = b[headSize:]
	if !e.Kind.SelfContained() {
		return e, rest, nil
	}
	n, size := binary.Uvarint(rest)
	if size <= 0 || n > maxBlockLen {
		return e, nil, fmt.Errorf("%w: the wrapped-key block's length", ErrMalformed)
	}
	if size > 1 && rest[size-1] == 0 { // a longer encoding of a small number
		return e, nil, fmt.Errorf("%w: the wrapped-key block's length is not minimal", ErrMalformed)
	}
	rest = rest[size:]
	if uint64(len(rest)) < n {
		return e, nil, fmt.Errorf("%w: the wrapped-key block is cut short", ErrMalformed)
	}
	e.Block, rest = rest[:n:n], rest[n:]
	if _, err := scanBlock(e.Block, nil); err != nil {
		return e, nil, err
	}
	return e, rest, nil
}
