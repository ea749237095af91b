package vault

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
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
