package vault

import (
	"crypto/sha256"
	"crypto/subtle"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// Limits of a location.
const (
	maxLocationName = 255  // bytes of a table's or a column's name
	maxRowIDs       = 16   // components of a row ID
	maxRowID        = 1024 // bytes of a component
)

// Location says where a field belongs: which column of which table, and in which row.
// It is sealed with the value, so that a value that was moved is refused with
// [ErrWrongLocation]. The zero Location is none. It holds no row ID, only a hash.
type Location struct {
	table, column string
	hash          [16]byte
	set, row      bool
	err           error
}

// At returns the location of one row of a column. table and column are logical names:
// they need not be the database's, and must stay the same for ever. row is the row's
// primary key, one value for each of its columns, in a fixed order.
//
// A row ID is a string or a []byte that isn't empty, an integer of any size, a
// [16]byte UUID that isn't zero, a pointer to one of these, or a driver.Valuer that
// gives one. Types go by what they are made of: a UUID that is a [16]byte in one place
// and a string in another is the same if the string has the 36 lower-case characters
// of RFC 9562.
//
// A location that can't be is reported by whoever it is given to, with
// [ErrInvalidLocation], and by [Location.Err].
func At(table, column string, row ...any) Location {
	if len(row) == 0 {
		return badLocation(table, column, "it has no row ID; AtColumn binds to the column alone")
	}
	return newLocation(table, column, row)
}

// AtColumn returns the location of a column, for rows whose ID isn't known when they
// are written. A value can then be moved from row to row unnoticed.
func AtColumn(table, column string) Location { return newLocation(table, column, nil) }

func newLocation(table, column string, row []any) Location {
	l := Location{table: table, column: column, set: true, row: len(row) > 0}
	for _, name := range []string{table, column} {
		if reason := badLocationName(name); reason != "" {
			return badLocation(table, column, reason)
		}
	}
	if len(row) > maxRowIDs {
		return badLocation(table, column, fmt.Sprintf("a row ID has at most %d components, got %d", maxRowIDs, len(row)))
	}
	ids := make([][]byte, len(row))
	for i, v := range row {
		b, reason := rowID(v)
		if reason != "" {
			return badLocation(table, column, fmt.Sprintf("component %d of the row ID %s", i+1, reason))
		}
		ids[i] = b
	}
	l.hash = locationHash(table, column, ids)
	return l
}

// InvalidLocation returns a location that can't be, for the reason given, which
// whoever it is given to reports with [ErrInvalidLocation]: for adapters, whose At then
// needs no second result. The reason must hold no row ID.
func InvalidLocation(table, column, reason string) Location {
	return badLocation(table, column, reason)
}

func badLocation(table, column, reason string) Location {
	return Location{table: table, column: column, set: true,
		err: fmt.Errorf("%w: %.80q.%.80q: %s", ErrInvalidLocation, table, column, reason)}
}

func badLocationName(s string) string {
	switch {
	case s == "":
		return "a table and a column need a name"
	case len(s) > maxLocationName:
		return fmt.Sprintf("a name has %d bytes, at most %d are allowed", len(s), maxLocationName)
	case !utf8.ValidString(s):
		return "a name is not valid UTF-8"
	}
	for _, r := range s {
		if isControl(r) {
			return "a name has a control character"
		}
	}
	return ""
}

// Err returns what is wrong with the location, or nil. The zero Location's is
// [ErrNoLocation].
func (l Location) Err() error {
	if !l.set {
		return ErrNoLocation
	}
	return l.err
}

// IsZero reports whether l is no location.
func (l Location) IsZero() bool { return !l.set }

// Table returns the logical name of the table.
func (l Location) Table() string { return l.table }

// Column returns the logical name of the column.
func (l Location) Column() string { return l.column }

// HasRow reports whether l is of one row and not of a whole column.
func (l Location) HasRow() bool { return l.row }

// String returns table and column.
func (l Location) String() string {
	if !l.set {
		return "no location"
	}
	return l.table + "." + l.column
}

// same compares what two valid locations stand for.
func (l Location) same(o Location) bool { return l.set == o.set && l.hash == o.hash }

func (l Location) matches(hash []byte) bool {
	return subtle.ConstantTimeCompare(l.hash[:], hash) == 1
}

// locationHash is what a field is bound to:
//
//	first 16 bytes of SHA-256("vault/field/v1" ‖ u16 len ‖ table ‖ u16 len ‖ column ‖
//	                          u8 count ‖ count × (u16 len ‖ component))
//
// SPEC: docs/SPEC.md, "Field".
func locationHash(table, column string, row [][]byte) [16]byte {
	var buf [256]byte
	b := append(buf[:0], "vault/field/v1"...)
	b = appendPrefixed(b, table)
	b = appendPrefixed(b, column)
	b = append(b, byte(len(row)))
	for _, id := range row {
		b = appendPrefixed(b, id)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// appendPrefixed appends u16 len ‖ s. Callers have checked the length.
func appendPrefixed[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// rowID returns a component of a row ID as it is hashed, or what is wrong with it.
func rowID(v any) (id []byte, reason string) {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer || r.Kind() == reflect.Interface {
		if r.IsNil() {
			return nil, "is nil"
		}
		r = r.Elem()
	}
	if !r.IsValid() {
		return nil, "is nil"
	}
	switch t := r.Type(); {
	case r.CanInt():
		return strconv.AppendInt(nil, r.Int(), 10), ""
	case r.CanUint() && r.Kind() != reflect.Uintptr:
		return strconv.AppendUint(nil, r.Uint(), 10), ""
	case r.Kind() == reflect.String:
		return boundedRowID([]byte(r.String()))
	case r.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return boundedRowID(r.Bytes())
	case r.Kind() == reflect.Array && t.Len() == 16 && t.Elem().Kind() == reflect.Uint8:
		var u [16]byte
		reflect.Copy(reflect.ValueOf(u[:]), r)
		if u == [16]byte{} {
			return nil, "is the zero UUID"
		}
		return uuidText(u), ""
	default:
		return rowIDOfValuer(r)
	}
}

func boundedRowID(b []byte) ([]byte, string) {
	switch {
	case len(b) == 0:
		return nil, "is empty"
	case len(b) > maxRowID:
		return nil, fmt.Sprintf("has %d bytes, at most %d are allowed", len(b), maxRowID)
	}
	return b, ""
}

// rowIDOfValuer asks a type that isn't made of one of the above.
func rowIDOfValuer(r reflect.Value) (id []byte, reason string) {
	reason = fmt.Sprintf("is a %v: want a string, an integer, a UUID, bytes, or a driver.Valuer of these", r.Type())
	valuer, ok := r.Interface().(driver.Valuer)
	if !ok {
		return nil, reason
	}
	defer func() {
		if recover() != nil {
			id, reason = nil, fmt.Sprintf("is a %v whose Value panics", r.Type())
		}
	}()
	v, err := valuer.Value()
	if err != nil {
		return nil, fmt.Sprintf("is a %v whose Value fails", r.Type())
	}
	switch v := v.(type) {
	case nil:
		return nil, "is NULL"
	case int64:
		return strconv.AppendInt(nil, v, 10), ""
	case string:
		return boundedRowID([]byte(v))
	case []byte:
		return boundedRowID(v)
	}
	return nil, reason
}

// uuidText returns the 36 lower-case characters of RFC 9562.
func uuidText(u [16]byte) []byte {
	b := make([]byte, 36)
	hex.Encode(b, u[:4])
	b[8] = '-'
	hex.Encode(b[9:], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:], u[10:])
	return b
}
