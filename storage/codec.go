package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
)

// The binary form of records, for drivers whose database stores bytes. All
// integers are big endian; "part" is u16 length ‖ bytes; times are i64
// microseconds since 1970.
//
//	key record, format 1
//	  u8   0x11            what it is, and the format's version
//	  32   key ID
//	  32   context hash
//	  u8   purpose
//	  u32  version         from 1
//	  u8   state
//	  u8   state before    0 if none
//	  u64  revision
//	  32   parent ID       zero if none
//	  i64  created · i64 state changed · i64 rewrapped
//	  part canonical context
//	  wrappings            u8 quorum ‖ u8 count ‖ count × (part URI ‖ part wrapped)
//	  u16  previous        each: i64 until ‖ wrappings; newest first
//
//	object record, format 1
//	  u8   0x21            what it is, and the format's version
//	  u8   flags           bit 0: unique name
//	  16   object ID
//	  32   context hash
//	  16   version ID
//	  u64  number          from 1
//	  32   key ID
//	  i64  size · i64 expires at (0: never) · i64 created · i64 updated
//	  part canonical context
//	  part name
//	  part updated by
//	  u16  labels          each: part key ‖ part value; sorted by key, distinct
//	  u32  length ‖ envelope
//
// Nothing follows the last field. A decoder takes exactly what an encoder
// makes, so that what decodes encodes to the same bytes.
const (
	keyFormat    = 0x11
	objectFormat = 0x21

	flagUnique = 1 << 0

	keyFixedLen    = 1 + 32 + 32 + 1 + 4 + 1 + 1 + 8 + 32 + 3*8
	objectFixedLen = 1 + 1 + 16 + 32 + 16 + 8 + 32 + 4*8
)

// AppendKeyRecord appends the binary form of r to dst. It fails if r isn't
// valid (see [KeyRecord.Validate]).
func AppendKeyRecord(dst []byte, r KeyRecord) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	dst = append(dst, keyFormat)
	dst = append(dst, r.KeyID[:]...)
	dst = append(dst, r.ContextHash[:]...)
	dst = append(dst, byte(r.Purpose))
	dst = binary.BigEndian.AppendUint32(dst, r.Version)
	dst = append(dst, byte(r.State), byte(r.StateBefore))
	dst = binary.BigEndian.AppendUint64(dst, r.Revision)
	dst = append(dst, r.ParentID[:]...)
	dst = appendTimes(dst, r.CreatedAt, r.StateChangedAt, r.RewrappedAt)
	dst, err := appendContext(dst, r.Context)
	if err != nil {
		return nil, err
	}
	dst = appendWrappings(dst, r.Quorum, r.Wrappings)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Previous)))
	for i := range r.Previous {
		p := &r.Previous[i]
		dst = appendTimes(dst, p.Until)
		dst = appendWrappings(dst, p.Quorum, p.Wrappings)
	}
	return dst, nil
}

// AppendObjectRecord appends the binary form of r to dst. It fails if r isn't
// valid (see [ObjectRecord.Validate]).
func AppendObjectRecord(dst []byte, r ObjectRecord) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	dst = slices.Grow(dst, objectFixedLen+512+len(r.Envelope))
	dst = append(dst, objectFormat, 0)
	if r.UniqueName {
		dst[len(dst)-1] |= flagUnique
	}
	dst = append(dst, r.ID[:]...)
	dst = append(dst, r.ContextHash[:]...)
	dst = append(dst, r.VersionID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, r.Number)
	dst = append(dst, r.KeyID[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Size))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.ExpiresAt))
	dst = appendTimes(dst, r.CreatedAt, r.UpdatedAt)
	dst, err := appendContext(dst, r.Context)
	if err != nil {
		return nil, err
	}
	dst = appendText(dst, r.Name)
	dst = appendText(dst, r.UpdatedBy)
	dst = appendLabels(dst, r.Labels)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Envelope)))
	return append(dst, r.Envelope...), nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendTimes(dst []byte, ts ...time.Time) []byte {
	for _, t := range ts {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.UnixMicro()))
	}
	return dst
}

func appendContext(dst []byte, kc keyctx.KeyContext) ([]byte, error) {
	start := len(dst)
	dst, err := kc.AppendCanonical(append(dst, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(len(dst)-start-2))
	return dst, nil
}

func appendWrappings(dst []byte, q keyctx.Quorum, ws []keyctx.Wrapping) []byte {
	dst = append(dst, byte(q), byte(len(ws)))
	for _, w := range ws {
		dst = appendText(dst, w.URI)
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(w.Wrapped))), w.Wrapped...)
	}
	return dst
}

func appendLabels(dst []byte, labels map[string]string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(labels)))
	if len(labels) == 0 {
		return dst
	}
	keys := make([]string, 0, len(labels))
	for k := range labels {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		dst = appendText(dst, k)
		dst = appendText(dst, labels[k])
	}
	return dst
}

// reader takes fields off the front of b. After the first field that isn't
// there, or isn't right, it gives zeros and keeps the error.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("cut short")

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// amount reads an i64 that is never negative.
func (r *reader) amount(most int64) int64 {
	v := r.uint64()
	if v > uint64(most) {
		r.fail(errors.New("a number is out of range"))
		return 0
	}
	return int64(v)
}

func (r *reader) part() []byte { return r.take(int(r.uint16())) }

func (r *reader) time() time.Time {
	v := int64(r.uint64())
	if v < minMicros || v > maxMicros {
		r.fail(errors.New("a time is out of range"))
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// hash reads a context hash, keyID a key ID.
func (r *reader) hash() (h keyctx.Hash)    { copy(h[:], r.take(len(h))); return h }
func (r *reader) keyID() (id keyctx.KeyID) { copy(id[:], r.take(len(id))); return id }
func (r *reader) id() (id ID)              { copy(id[:], r.take(len(id))); return id }

// end reports what went wrong, if only that something follows the last field.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes follow", len(r.b))
	}
	return r.err
}

// maxSize is the largest size of a plaintext.
const maxSize = math.MaxInt64
