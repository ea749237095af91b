package sqlcore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Two columns hold lists in a compact binary form; integers are big endian,
// "part" is u16 length ‖ bytes.
//
//	labels     empty if there are none, else u8 0x01 ‖ u16 count ‖ count × (part key ‖
//	           part value), sorted by key
//	wrappings  u8 0x01 ‖ set ‖ u16 previous ‖ previous × (i64 microseconds until ‖ set)
//	set        u8 quorum ‖ u8 count ‖ count × (part URI ‖ part wrapped)
//
// Labels may be any bytes, which a database's JSON doesn't take.
const encodingFormat = 0x01

// maxEncoded is the largest value of such a column: MySQL's MEDIUMBLOB.
const maxEncoded = 1<<24 - 1

func appendPart[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func encodeLabels(labels map[string]string) ([]byte, error) {
	b := []byte{}
	if len(labels) == 0 {
		return b, nil
	}
	b = binary.BigEndian.AppendUint16(append(b, encodingFormat), uint16(len(labels)))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b = appendPart(appendPart(b, k), labels[k])
		if len(b) > maxEncoded {
			return nil, fmt.Errorf("%w: the labels have more than %d bytes", storage.ErrTooLarge, maxEncoded)
		}
	}
	return b, nil
}

func decodeLabels(b []byte) (map[string]string, error) {
	if len(b) == 0 {
		return nil, nil
	}
	r := reader{b: b}
	r.format()
	n := int(r.uint(2))
	labels := map[string]string{}
	for i := 0; i < n && r.err == nil; i++ {
		k := string(r.part())
		labels[k] = string(r.part())
	}
	return labels, r.end()
}

func encodeWrappings(rec *storage.KeyRecord) ([]byte, error) {
	b := appendSet([]byte{encodingFormat}, rec.Quorum, rec.Wrappings)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rec.Previous)))
	for i := range rec.Previous {
		p := &rec.Previous[i]
		b = binary.BigEndian.AppendUint64(b, uint64(p.Until.UnixMicro()))
		b = appendSet(b, p.Quorum, p.Wrappings)
		if len(b) > maxEncoded {
			return nil, fmt.Errorf("%w: the wrappings have more than %d bytes", storage.ErrTooLarge, maxEncoded)
		}
	}
	return b, nil
}

func appendSet(b []byte, q keyctx.Quorum, ws []keyctx.Wrapping) []byte {
	b = append(b, byte(q), byte(len(ws)))
	for _, w := range ws {
		b = appendPart(appendPart(b, w.URI), w.Wrapped)
	}
	return b
}

func decodeWrappings(b []byte, rec *storage.KeyRecord) error {
	r := reader{b: b}
	r.format()
	rec.Quorum, rec.Wrappings = r.set()
	n := int(r.uint(2))
	for i := 0; i < n && r.err == nil; i++ {
		p := storage.PreviousWrapping{Until: time.UnixMicro(int64(r.uint(8))).UTC()}
		p.Quorum, p.Wrappings = r.set()
		rec.Previous = append(rec.Previous, p)
	}
	return r.end()
}

// reader takes fields off the front of b; after the first that isn't there it
// gives zeros and keeps the error.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || len(r.b) < n {
		r.err = errors.Join(r.err, errors.New("cut short"))
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uint(n int) (v uint64) {
	for _, b := range r.take(n) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (r *reader) format() {
	if f := r.uint(1); r.err == nil && f != encodingFormat {
		r.err = fmt.Errorf("format %#02x", f)
	}
}

func (r *reader) part() []byte { return r.take(int(r.uint(2))) }

func (r *reader) set() (keyctx.Quorum, []keyctx.Wrapping) {
	q, n := keyctx.Quorum(r.uint(1)), int(r.uint(1))
	var ws []keyctx.Wrapping
	for i := 0; i < n && r.err == nil; i++ {
		uri := string(r.part())
		ws = append(ws, keyctx.Wrapping{URI: uri, Wrapped: slices.Clone(r.part())})
	}
	return q, ws
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes follow", len(r.b))
	}
	return r.err
}
