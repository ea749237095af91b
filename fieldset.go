package vault

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
)

// setExactly sets dst to a value as a program or a database driver has it, if dst can
// hold it without loss.
func setExactly(dst, v reflect.Value) bool {
	if v.Type().AssignableTo(dst.Type()) {
		dst.Set(v)
		return true
	}
	c, err := codecOf(dst.Type())
	if err != nil {
		return false
	}
	switch from, err := codecOf(v.Type()); {
	case err != nil:
		return false
	case from == c && c != codecJSON:
		b := reflect.New(dst.Type()).Elem()
		_, raw, err := encodeField(v)
		if err != nil || decodeField(c, raw, b) != nil {
			return false
		}
		dst.Set(b)
		return true
	case from == codecString || from == codecBytes:
		return setText(dst, c, textOf(v))
	case from == codecInt || from == codecUint || from == codecFloat:
		return setNumber(dst, c, v)
	}
	return false
}

func textOf(v reflect.Value) []byte {
	if v.Kind() == reflect.String {
		return []byte(v.String())
	}
	return v.Bytes()
}

// setText sets dst from text, as drivers give columns of many types.
func setText(dst reflect.Value, c codec, text []byte) bool {
	switch c {
	case codecString:
		dst.SetString(string(text))
		return true
	case codecBytes:
		dst.SetBytes(bytes.Clone(text))
		return true
	case codecInt:
		n, err := strconv.ParseInt(string(text), 10, dst.Type().Bits())
		if err != nil || strconv.FormatInt(n, 10) != string(text) {
			return false
		}
		dst.SetInt(n)
		return true
	case codecUint:
		n, err := strconv.ParseUint(string(text), 10, dst.Type().Bits())
		if err != nil || strconv.FormatUint(n, 10) != string(text) {
			return false
		}
		dst.SetUint(n)
		return true
	case codecJSON:
		v := reflect.New(dst.Type())
		if !json.Valid(text) || decodeJSON(text, v.Interface()) != nil {
			return false
		}
		dst.Set(v.Elem())
		return true
	}
	return false
}

// setNumber sets dst from a number of another sort.
func setNumber(dst reflect.Value, c codec, v reflect.Value) bool {
	switch {
	case c == codecInt && v.CanUint() && v.Uint() <= math.MaxInt64 && !dst.OverflowInt(int64(v.Uint())):
		dst.SetInt(int64(v.Uint()))
	case c == codecUint && v.CanInt() && v.Int() >= 0 && !dst.OverflowUint(uint64(v.Int())):
		dst.SetUint(uint64(v.Int()))
	case c == codecBool && v.CanInt() && (v.Int() == 0 || v.Int() == 1): // MySQL, SQLite
		dst.SetBool(v.Int() == 1)
	default:
		return false
	}
	return true
}
