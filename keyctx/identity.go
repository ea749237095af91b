package keyctx

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
)

// KeyID identifies a context key. It is also a commitment to that key and to
// what it is for: it is derived from the key, the context's hash, the purpose
// and the version (package envelope does that), so that a key which doesn't
// belong can't have it. SPEC: docs/SPEC.md, "Context keys".
type KeyID [32]byte

// String returns the ID in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 bytes in hexadecimal, for errors and logs.
func (id KeyID) Short() string { return hex.EncodeToString(id[:8]) }

// MarshalText gives the form of String, for JSON and logs.
func (id KeyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the form of String: 64 hexadecimal digits.
func (id *KeyID) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(id)) {
		return fmt.Errorf("keyctx: a key ID has %d hexadecimal digits, got %d", hex.EncodedLen(len(id)), len(b))
	}
	var v KeyID
	if _, err := hex.Decode(v[:], b); err != nil {
		return fmt.Errorf("keyctx: a key ID: %w", err)
	}
	*id = v
	return nil
}

// IsZero reports whether id is the zero value, which identifies no key.
func (id KeyID) IsZero() bool { return id == KeyID{} }

// Equal compares in constant time.
func (id KeyID) Equal(other KeyID) bool {
	return subtle.ConstantTimeCompare(id[:], other[:]) == 1
}

// Purpose says what a context key is for. A key serves one purpose only.
// The zero value is invalid.
type Purpose uint8

// The purposes. The numbers are part of the format.
const (
	PurposeData           Purpose = 1 // encrypts data
	PurposeIndex          Purpose = 2 // computes blind indexes
	PurposeWrapping       Purpose = 3 // wraps the keys of narrower contexts
	PurposeAuthentication Purpose = 4 // authenticates the audit log
)

// Valid reports whether p is one of the purposes above.
func (p Purpose) Valid() bool { return p >= PurposeData && p <= PurposeAuthentication }

func (p Purpose) String() string {
	switch p {
	case PurposeData:
		return "data"
	case PurposeIndex:
		return "index"
	case PurposeWrapping:
		return "wrapping"
	case PurposeAuthentication:
		return "authentication"
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// Quorum says how many of a key's wrappings are needed to unwrap it.
// The zero value is invalid.
type Quorum uint8

// The quorums. The numbers are part of the format.
const (
	AnyOf Quorum = 1 // each KEK wraps the whole key; one suffices
	AllOf Quorum = 2 // each KEK wraps one share of it; all are needed
)

// Valid reports whether q is AnyOf or AllOf.
func (q Quorum) Valid() bool { return q == AnyOf || q == AllOf }

func (q Quorum) String() string {
	switch q {
	case AnyOf:
		return "any-of"
	case AllOf:
		return "all-of"
	}
	return fmt.Sprintf("quorum(%d)", uint8(q))
}

// Limits of a wrapping. They are part of the format.
const (
	MaxWrappings  = 8    // KEKs that wrap one key
	MaxURILen     = 512  // bytes of a KEK's URI
	MaxWrappedLen = 4096 // bytes of one wrapped key or share
)

// Wrapping is one KEK's copy, or share, of a context key.
type Wrapping struct {
	URI     string // the KEK's
	Wrapped []byte // what that KEK's Wrap returned
}

// ValidURI reports whether uri can name a KEK: 1 to 512 bytes of printable
// ASCII without space (0x21 to 0x7E).
func ValidURI(uri string) bool {
	if len(uri) == 0 || len(uri) > MaxURILen {
		return false
	}
	for i := range len(uri) {
		if uri[i] < 0x21 || uri[i] > 0x7e {
			return false
		}
	}
	return true
}
