package vault

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

// message returns what is authenticated: of one column its normalised value, of
// several each with its length before it. nil if any is NULL.
func (ix Index) message(ctx context.Context, values []any) ([]byte, error) {
	parts := ix.parts()
	if len(values) != len(parts) {
		return nil, fmt.Errorf("%w: it has %d columns, got %d values", ErrInvalidIndex, len(parts), len(values))
	}
	message := []byte{}
	for i, p := range parts {
		text, isNull, err := indexText(ctx, values[i])
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", p.Column, err)
		}
		if isNull {
			return nil, nil
		}
		b, err := normalise(p.Normaliser, text)
		if err != nil {
			return nil, fmt.Errorf("column %q: %s: %w", p.Column, p.Normaliser, err)
		}
		if len(parts) > 1 {
			message = binary.BigEndian.AppendUint16(message, uint16(len(b)))
		}
		message = append(message, b...)
	}
	return message, nil
}

// Matches reports whether values are, after normalisation, the same as want: the
// filter after a query by a bucketed index. Each has as many values as BlindIndex
// takes; NULL matches nothing. Fields are opened.
func (ix Index) Matches(ctx context.Context, want, values []any) (bool, error) {
	if err := ix.Validate(); err != nil {
		return false, err
	}
	a, err := ix.message(ctx, want)
	if err != nil {
		return false, fmt.Errorf("vault: match index %v: %w", ix, err)
	}
	b, err := ix.message(ctx, values)
	if err != nil {
		return false, fmt.Errorf("vault: match index %v: %w", ix, err)
	}
	return a != nil && b != nil && subtle.ConstantTimeCompare(a, b) == 1, nil
}

// indexText returns a value as text, before it is normalised.
func indexText(ctx context.Context, v any) (text []byte, isNull bool, err error) {
	if f, ok := v.(interface {
		look() *box
		FieldType() reflect.Type
	}); ok {
		if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() || f.look() == nil {
			return nil, true, nil
		}
		err := f.look().open(ctx, f.FieldType(), func(c codec, value []byte) error {
			text, err = codecText(c, value)
			return err
		})
		return text, false, err
	}
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	if !r.IsValid() || r.Kind() == reflect.Pointer {
		return nil, true, nil
	}
	c, b, err := encodeField(r)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrNotIndexable, err)
	}
	text, err = codecText(c, b)
	return text, false, err
}

// codecText returns an encoded value as text: strings and bytes as they are, integers
// in decimal, times in UTC as RFC 3339 with as many fractional digits as they need.
func codecText(c codec, b []byte) ([]byte, error) {
	switch c {
	case codecString, codecBytes:
		return append([]byte{}, b...), nil
	case codecInt:
		return strconv.AppendInt(nil, int64(binary.BigEndian.Uint64(b)), 10), nil
	case codecUint:
		return strconv.AppendUint(nil, binary.BigEndian.Uint64(b), 10), nil
	case codecTime:
		var t time.Time
		if err := decodeField(c, b, reflect.ValueOf(&t).Elem()); err != nil {
			return nil, err
		}
		return t.AppendFormat(nil, time.RFC3339Nano), nil
	}
	return nil, fmt.Errorf("%w: it is a %v", ErrNotIndexable, c)
}
