package vault

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"time"
)

// codec says how a field's value is encoded. It stands inside the sealed bytes.
// SPEC: docs/SPEC.md, "Field".
type codec uint8

const (
	codecString codec = 1 // the bytes
	codecBytes  codec = 2 // the bytes
	codecInt    codec = 3 // i64
	codecUint   codec = 4 // u64
	codecFloat  codec = 5 // IEEE 754 binary64
	codecBool   codec = 6 // u8 0 or 1
	codecTime   codec = 7 // i64 seconds ‖ u32 nanoseconds
	codecJSON   codec = 8 // JSON
)

func (c codec) String() string {
	names := [...]string{"string", "bytes", "int", "uint", "float", "bool", "time", "json"}
	if c < 1 || int(c) > len(names) {
		return fmt.Sprintf("codec(%d)", uint8(c))
	}
	return names[c-1]
}

var timeType = reflect.TypeFor[time.Time]()

// codecOf returns the codec of a Go type. It depends on the type alone, so that a
// type always reads what it wrote. Named types go by what they are made of: type SSN
// string is a string, whatever methods it has.
func codecOf(t reflect.Type) (codec, error) {
	switch t.Kind() {
	case reflect.String:
		return codecString, nil
	case reflect.Bool:
		return codecBool, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return codecInt, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return codecUint, nil
	case reflect.Float32, reflect.Float64:
		return codecFloat, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return codecBytes, nil
		}
	case reflect.Struct:
		if t.ConvertibleTo(timeType) {
			return codecTime, nil // a named time has no methods of its own, and JSON would keep nothing of it
		}
		if !jsonKeeps(t) {
			return 0, fmt.Errorf("%w: %v has no exported fields, and JSON would keep nothing of it", ErrUnsupportedType, t)
		}
	case reflect.Array, reflect.Map, reflect.Pointer, reflect.Interface:
	default:
		return 0, fmt.Errorf("%w: %v", ErrUnsupportedType, t)
	}
	return codecJSON, nil
}

// jsonKeeps reports whether encoding/json sees anything of a struct.
func jsonKeeps(t reflect.Type) bool {
	if t.NumField() == 0 {
		return true
	}
	for _, m := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()} {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return true
		}
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() || f.Anonymous {
			return true
		}
	}
	return false
}

// encodeField returns a value's codec and encoding. v is not nil; the result shares
// nothing with it. No error holds anything of the value.
func encodeField(v reflect.Value) (codec, []byte, error) {
	c, err := codecOf(v.Type())
	if err != nil {
		return 0, nil, err
	}
	switch c {
	case codecString:
		return c, []byte(v.String()), nil
	case codecBytes:
		return c, append([]byte{}, v.Bytes()...), nil
	case codecInt:
		return c, binary.BigEndian.AppendUint64(nil, uint64(v.Int())), nil
	case codecUint:
		return c, binary.BigEndian.AppendUint64(nil, v.Uint()), nil
	case codecFloat:
		return c, appendFloat(nil, v.Float()), nil
	case codecBool:
		b := []byte{0}
		if v.Bool() {
			b[0] = 1
		}
		return c, b, nil
	case codecTime:
		t := v.Convert(timeType).Interface().(time.Time)
		b := binary.BigEndian.AppendUint64(nil, uint64(t.Unix()))
		return c, binary.BigEndian.AppendUint32(b, uint32(t.Nanosecond())), nil
	}
	b, err := encodeJSON(v)
	return c, b, err
}

// canonicalNaN is the one NaN that is written.
const canonicalNaN = 0x7ff8000000000000

func appendFloat(b []byte, f float64) []byte {
	bits := math.Float64bits(f)
	if f != f {
		bits = canonicalNaN
	}
	return binary.BigEndian.AppendUint64(b, bits)
}

// encodeJSON encodes a value as JSON, and makes sure that it comes back: that its
// encoding decodes into its type, and encodes to the same again. What doesn't (an
// integer beyond 2⁵³ in an any, a type that only marshals) would be lost.
func encodeJSON(v reflect.Value) (b []byte, err error) {
	t := v.Type()
	defer func() {
		if p := recover(); p != nil { // a marshaler of the caller's; what it says may be the value
			b, err = nil, fmt.Errorf("%w: %v: its JSON marshaler panics with a %T", ErrUnsupportedType, t, p)
		}
	}()
	own := reflect.New(t) // a pointer, so that methods on pointers are seen
	own.Elem().Set(v)
	if b, err = json.Marshal(own.Interface()); err != nil {
		return nil, fmt.Errorf("%w: %v: encoding/json refuses the value (%T)", ErrUnsupportedType, t, err)
	}
	again := reflect.New(t)
	if err := decodeJSON(b, again.Interface()); err != nil {
		return nil, fmt.Errorf("%w: %v: its JSON doesn't decode into it", ErrUnsupportedType, t)
	}
	b2, err := json.Marshal(again.Interface())
	if err != nil || !bytes.Equal(b, b2) {
		return nil, fmt.Errorf("%w: %v: the value doesn't survive JSON; give numbers in an any a type of their own", ErrUnsupportedType, t)
	}
	return b, nil
}

func decodeJSON(b []byte, dst any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic of type %T", p)
		}
	}()
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(dst); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF { //nolint:errorlint // Token returns it as it is
		return fmt.Errorf("data after the value")
	}
	return nil
}

// decodeField sets dst, which is settable, to a value that was sealed. What it sets
// shares nothing with b. Errors: *TypeError; ErrMalformed if b is not what a writer of
// this codec makes.
func decodeField(c codec, b []byte, dst reflect.Value) error {
	t := dst.Type()
	want, err := codecOf(t)
	if err != nil {
		return err
	}
	if c < codecString || c > codecJSON {
		return fmt.Errorf("%w: unknown %v of a field", ErrMalformed, c)
	}
	if c != want {
		return &TypeError{Written: c.String(), Wanted: fmt.Sprintf("%v (%v)", t, want)}
	}
	if n := codecSize[c]; n != 0 && len(b) != n {
		return fmt.Errorf("%w: a field's %v has %d bytes, got %d", ErrMalformed, c, n, len(b))
	}
	fits := true
	switch c {
	case codecString:
		dst.SetString(string(b))
	case codecBytes:
		dst.SetBytes(append([]byte{}, b...))
	case codecInt:
		n := int64(binary.BigEndian.Uint64(b))
		if fits = !dst.OverflowInt(n); fits {
			dst.SetInt(n)
		}
	case codecUint:
		n := binary.BigEndian.Uint64(b)
		if fits = !dst.OverflowUint(n); fits {
			dst.SetUint(n)
		}
	case codecFloat:
		return decodeFloat(b, dst)
	case codecBool:
		if b[0] > 1 {
			return fmt.Errorf("%w: a field's bool is neither 0 nor 1", ErrMalformed)
		}
		dst.SetBool(b[0] == 1)
	case codecTime:
		sec, nsec := int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])
		if nsec >= 1e9 {
			return fmt.Errorf("%w: a field's time has more than a second of nanoseconds", ErrMalformed)
		}
		dst.Set(reflect.ValueOf(time.Unix(sec, int64(nsec)).UTC()).Convert(t))
	case codecJSON:
		v := reflect.New(t)
		if decodeJSON(b, v.Interface()) != nil { // its text may hold the value
			return &TypeError{Written: c.String(), Wanted: t.String(), Reason: "the JSON doesn't decode into it"}
		}
		dst.Set(v.Elem())
	}
	if !fits {
		return &TypeError{Written: c.String(), Wanted: t.String(), Reason: "the value is out of its range"}
	}
	return nil
}

// codecSize is the length of each encoding in bytes, 0 if it varies.
var codecSize = [...]int{codecInt: 8, codecUint: 8, codecFloat: 8, codecBool: 1, codecTime: 12, codecJSON: 0}

func decodeFloat(b []byte, dst reflect.Value) error {
	bits := binary.BigEndian.Uint64(b)
	f := math.Float64frombits(bits)
	if f != f && bits != canonicalNaN {
		return fmt.Errorf("%w: a field's float is a NaN that no writer makes", ErrMalformed)
	}
	if dst.Kind() == reflect.Float32 && f == f && float64(float32(f)) != f {
		return &TypeError{Written: codecFloat.String(), Wanted: dst.Type().String(), Reason: "the value is out of its range"}
	}
	dst.SetFloat(f)
	return nil
}
