package storage

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"
)

// ID identifies an object or a version: a UUID, version 7, made by the client
// (RFC 9562 §5.7). IDs made later sort later, to the millisecond.
type ID [16]byte

// NewID returns a new ID for the time now.
func NewID(now time.Time) ID {
	var id ID
	_, _ = rand.Read(id[6:]) // never fails: crypto/rand crashes the program instead
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// ParseID reads the 36-character form that String gives, in lower case.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, fmt.Errorf("storage: not an ID: want 36 characters like 0197a3c5-7e1b-7c3a-9d42-5b1f0e6a8c11")
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil || id.String() != s {
		return ID{}, fmt.Errorf("storage: not an ID: want lower-case hexadecimal digits")
	}
	return id, nil
}

// String returns the ID in the usual form, 36 characters, lower case.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// IsZero reports whether id is the zero value, which identifies nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText gives the form of String.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the form of String.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}
