package vault

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"

	"github.com/embedvault/vault/envelope"
)

// sealedTextPrefix starts the text form of a field's sealed bytes.
// SPEC: docs/SPEC.md, "Text form of fields".
const sealedTextPrefix = "vlf1."

// SealedText is a sealed field for caches, queues and exports: it is marshalled as its
// sealed bytes in text form ("vlf1." and base64url; null if NULL) and unmarshalled from
// that, and shows no value anywhere. Where a field is from isn't in it: after
// unmarshalling say so with [Encrypted.At], as after reading it from a database.
//
//	b, err := json.Marshal(vault.SealedText[string]{Encrypted: u.Email})
type SealedText[T any] struct{ Encrypted[T] }

// MarshalJSON gives the text form, or null. A pending field is [ErrPending].
func (s SealedText[T]) MarshalJSON() ([]byte, error) {
	if s.IsZero() {
		return []byte("null"), nil
	}
	text, err := s.MarshalText()
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(text))
}

// MarshalText gives the text form, and nothing for NULL.
func (s SealedText[T]) MarshalText() ([]byte, error) {
	switch s.FieldState() {
	case FieldNull:
		return []byte{}, nil
	case FieldPending:
		return nil, fmt.Errorf("vault: a field of type %v as sealed text: %w", reflect.TypeFor[T](), ErrPending)
	}
	if err := isField(s.b.sealed); err != nil {
		return nil, fmt.Errorf("vault: a field as sealed text: %w", err)
	}
	return append([]byte(sealedTextPrefix), base64.RawURLEncoding.EncodeToString(s.b.sealed)...), nil
}

// UnmarshalJSON takes the text form, or null. Anything else is [ErrMalformed].
func (s *SealedText[T]) UnmarshalJSON(b []byte) error {
	if string(bytes.TrimSpace(b)) == "null" {
		s.Encrypted = Encrypted[T]{}
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return fmt.Errorf("vault: sealed text of a field: %w: it is not a JSON string", ErrMalformed)
	}
	if text == "" {
		return fmt.Errorf("vault: sealed text of a field: %w: it is empty", ErrMalformed)
	}
	return s.UnmarshalText([]byte(text))
}

// UnmarshalText takes the text form, or nothing for NULL. What doesn't encode to the
// same text again is [ErrMalformed].
func (s *SealedText[T]) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		s.Encrypted = Encrypted[T]{}
		return nil
	}
	data, err := decodeSealedText(string(text))
	if err != nil {
		return fmt.Errorf("vault: sealed text of a field: %w", err)
	}
	s.Encrypted = SealedBytes[T](data)
	return nil
}

// MarshalBinary gives the text form, for encoding/gob and its like.
func (s SealedText[T]) MarshalBinary() ([]byte, error) { return s.MarshalText() }

// UnmarshalBinary takes the text form.
func (s *SealedText[T]) UnmarshalBinary(b []byte) error { return s.UnmarshalText(b) }

func decodeSealedText(text string) ([]byte, error) {
	code, ok := strings.CutPrefix(text, sealedTextPrefix)
	if !ok {
		return nil, fmt.Errorf("%w: it doesn't start with %q", ErrMalformed, sealedTextPrefix)
	}
	if strings.ContainsAny(code, "\r\n") { // encoding/base64 skips them even when strict
		return nil, fmt.Errorf("%w: it has a line break", ErrMalformed)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(code)
	if err != nil {
		return nil, fmt.Errorf("%w: it is not base64url", ErrMalformed)
	}
	return b, isField(b)
}

func isField(b []byte) error {
	e, err := envelope.Parse(b)
	if err == nil && e.Kind.Reference() != envelope.KindField {
		err = fmt.Errorf("%w: it is a %v", ErrMalformed, e.Kind)
	}
	return err
}

// Request is a value that comes in with a request: it is unmarshalled from the value
// itself, as a T is, and marshalled and printed as [Encrypted] is. null, and a field
// that the request doesn't have, give NULL.
type Request[T any] struct{ e Encrypted[T] }

// Encrypted returns the value as a pending field, or NULL.
func (r Request[T]) Encrypted() Encrypted[T] { return r.e }

// IsZero reports whether there is no value.
func (r Request[T]) IsZero() bool { return r.e.IsZero() }

// UnmarshalJSON takes a T, or null. Its errors match [ErrWrongType] and hold nothing of
// the value.
func (r *Request[T]) UnmarshalJSON(b []byte) error {
	if string(bytes.TrimSpace(b)) == "null" {
		r.e = Encrypted[T]{}
		return nil
	}
	var v T
	if decodeJSON(b, &v) != nil {
		return fmt.Errorf("vault: a value of a request: %w: the JSON is not a %v", ErrWrongType, reflect.TypeFor[T]())
	}
	r.e = Seal(v)
	return nil
}

// UnmarshalText takes the text of a form or a query, for a T that is made of a string
// or bytes.
func (r *Request[T]) UnmarshalText(text []byte) error {
	var v T
	dst := reflect.ValueOf(&v).Elem()
	if c, err := codecOf(dst.Type()); err != nil || c == codecJSON || !setText(dst, c, text) {
		return fmt.Errorf("vault: a value of a request: %w: the text is not a %v", ErrWrongType, dst.Type())
	}
	r.e = Seal(v)
	return nil
}

// String returns "[ENCRYPTED]", or "[NULL]".
func (r Request[T]) String() string { return r.e.String() }

// GoString is String.
func (r Request[T]) GoString() string { return r.e.String() }

// Format prints String, whatever the verb.
func (r Request[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.e.String()) }

// LogValue is [slog.LogValuer].
func (r Request[T]) LogValue() slog.Value { return r.e.LogValue() }

// MarshalJSON gives "[ENCRYPTED]", or null.
func (r Request[T]) MarshalJSON() ([]byte, error) { return r.e.MarshalJSON() }

// MarshalText gives String.
func (r Request[T]) MarshalText() ([]byte, error) { return r.e.MarshalText() }

// Revealed is a value that goes out with an answer: it is marshalled to JSON as the
// value itself, by whoever chose this type for it. Printed and logged it is redacted
// all the same. NULL is null.
type Revealed[T any] struct{ e Encrypted[T] }

// Reveal opens a field for an answer. The errors are those of [Encrypted.Open], but
// that NULL is none.
func Reveal[T any](ctx context.Context, e Encrypted[T]) (Revealed[T], error) {
	if e.IsZero() {
		return Revealed[T]{}, nil
	}
	v, err := e.Open(ctx)
	if err != nil {
		return Revealed[T]{}, err
	}
	return Revealed[T]{Seal(v)}, nil
}

// MarshalJSON gives the value, or null.
func (r Revealed[T]) MarshalJSON() ([]byte, error) {
	if r.e.IsZero() {
		return []byte("null"), nil
	}
	v, err := r.e.Open(context.Background()) // it is at hand: nothing is waited for
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(&v)
	if err != nil {
		return nil, fmt.Errorf("vault: a revealed value of type %T: encoding/json refuses it (%T)", v, err)
	}
	return b, nil
}

// String returns "[ENCRYPTED]", or "[NULL]".
func (r Revealed[T]) String() string { return r.e.String() }

// GoString is String.
func (r Revealed[T]) GoString() string { return r.e.String() }

// Format prints String, whatever the verb.
func (r Revealed[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.e.String()) }

// LogValue is [slog.LogValuer].
func (r Revealed[T]) LogValue() slog.Value { return r.e.LogValue() }
