package storage

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// A cursor is the unpadded base64url of
//
//	u8 0x01 ‖ first 8 bytes of SHA-256(label ‖ driver ‖ query ‖ position) ‖ position
//
// The hash finds cursors of another query or driver, and damaged ones. It is
// no protection against someone who makes cursors: a position gives access to
// nothing that the query itself doesn't.
const (
	cursorFormat   = 0x01
	cursorLabel    = "vault/cursor/v1"
	cursorCheckLen = 8
	maxCursorLen   = 1024
)

// NextCursor returns the cursor for the page of q after position: the place of
// a page's last row in the driver's own order, at most 750 bytes. driver is
// the name of the kind of store.
func (q KeyQuery) NextCursor(driver string, position []byte) string {
	return encodeCursor(q.fingerprint(driver), position)
}

// CursorPosition returns the position in q's cursor, nil if it has none. Its
// error matches [ErrInvalidCursor]. The position may be anybody's making: any
// bytes, or a place among rows that q doesn't select. A driver gives
// ErrInvalidCursor then, or begins after that place, with what q selects only;
// what it does must not depend on rows that q doesn't select.
func (q KeyQuery) CursorPosition(driver string) ([]byte, error) {
	return decodeCursor(q.Cursor, func() []byte { return q.fingerprint(driver) })
}

// NextCursor is like [KeyQuery.NextCursor].
func (q ObjectQuery) NextCursor(driver string, position []byte) string {
	return encodeCursor(q.fingerprint(driver), position)
}

// CursorPosition is like [KeyQuery.CursorPosition].
func (q ObjectQuery) CursorPosition(driver string) ([]byte, error) {
	return decodeCursor(q.Cursor, func() []byte { return q.fingerprint(driver) })
}

// NextCursor is like [KeyQuery.NextCursor].
func (q VersionQuery) NextCursor(driver string, position []byte) string {
	return encodeCursor(q.fingerprint(driver), position)
}

// CursorPosition is like [KeyQuery.CursorPosition].
func (q VersionQuery) CursorPosition(driver string) ([]byte, error) {
	return decodeCursor(q.Cursor, func() []byte { return q.fingerprint(driver) })
}

// NextCursor is like [KeyQuery.NextCursor].
func (q ByKeyQuery) NextCursor(driver string, position []byte) string {
	return encodeCursor(q.fingerprint(driver), position)
}

// CursorPosition is like [KeyQuery.CursorPosition].
func (q ByKeyQuery) CursorPosition(driver string) ([]byte, error) {
	return decodeCursor(q.Cursor, func() []byte { return q.fingerprint(driver) })
}

// The fingerprints hold what decides which rows there are and in which order:
// not the limit, not Now, not whether envelopes are wanted.

func (q KeyQuery) fingerprint(driver string) []byte {
	b := newFingerprint(driver, "keys")
	b = q.Contexts.fingerprint(b)
	b = append(b, byte(q.Purpose), byte(q.State))
	return append(b, q.ParentID[:]...)
}

func (q ObjectQuery) fingerprint(driver string) []byte {
	b := newFingerprint(driver, "objects")
	b = q.Contexts.fingerprint(b)
	b = appendPart(b, q.NamePrefix)
	b = binary.BigEndian.AppendUint64(b, uint64(q.UpdatedAfter.UnixMicro()))
	return append(b, byte(q.Order), flag(q.Descending), flag(q.IncludeExpired))
}

func (q VersionQuery) fingerprint(driver string) []byte {
	b := newFingerprint(driver, "versions")
	b = append(b, q.Object[:]...)
	return append(b, flag(q.Ascending), flag(q.IncludeExpired))
}

func (q ByKeyQuery) fingerprint(driver string) []byte {
	return append(newFingerprint(driver, "bykey"), q.KeyID[:]...)
}

func (f ContextFilter) fingerprint(b []byte) []byte {
	b = append(b, f.Hash[:]...)
	b = append(b, flag(f.All), flag(f.AnyNamespace))
	b = appendPart(b, f.Namespace)
	match, err := f.Match.AppendCanonical(nil)
	if err != nil {
		match = nil // none: Validate has refused every other one that isn't valid
	}
	return appendPart(b, string(match))
}

func newFingerprint(driver, kind string) []byte {
	b := make([]byte, 0, 256)
	return appendPart(appendPart(append(b, cursorLabel...), driver), kind)
}

func appendPart(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func encodeCursor(fingerprint, position []byte) string {
	check := cursorCheck(fingerprint, position)
	b := make([]byte, 0, 1+len(check)+len(position))
	b = append(b, cursorFormat)
	b = append(b, check[:]...)
	return base64.RawURLEncoding.EncodeToString(append(b, position...))
}

// decodeCursor makes the fingerprint only if there is a cursor to check.
func decodeCursor(cursor string, fingerprint func() []byte) ([]byte, error) {
	if cursor == "" {
		return nil, nil
	}
	if len(cursor) > maxCursorLen {
		return nil, fmt.Errorf("storage: %w: it has %d bytes", ErrInvalidCursor, len(cursor))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	// The decoder skips CR and LF; two spellings of one cursor are one too many.
	if err != nil || len(b) <= 1+cursorCheckLen || b[0] != cursorFormat || base64.RawURLEncoding.EncodeToString(b) != cursor {
		return nil, fmt.Errorf("storage: %w: this store doesn't make such", ErrInvalidCursor)
	}
	position := b[1+cursorCheckLen:]
	if cursorCheck(fingerprint(), position) != [cursorCheckLen]byte(b[1:]) {
		return nil, fmt.Errorf("storage: %w: it is another query's", ErrInvalidCursor)
	}
	return position, nil
}

func cursorCheck(fingerprint, position []byte) (check [cursorCheckLen]byte) {
	h := sha256.New()
	h.Write(fingerprint)
	h.Write(position)
	copy(check[:], h.Sum(nil))
	return check
}
