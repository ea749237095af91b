package vault

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted stands in place of every value.
const redacted = "[ENCRYPTED]"

// null stands in place of none: that a field is NULL is no secret.
const null = "[NULL]"

// String returns "[ENCRYPTED]", or "[NULL]".
func (e Encrypted[T]) String() string {
	if e.b == nil {
		return null
	}
	return redacted
}

// GoString is String.
func (e Encrypted[T]) GoString() string { return e.String() }

// Format prints String, whatever the verb.
func (e Encrypted[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, e.String()) }

// LogValue is [slog.LogValuer].
func (e Encrypted[T]) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON gives "[ENCRYPTED]", or null. [Revealed] and [SealedText] give more.
func (e Encrypted[T]) MarshalJSON() ([]byte, error) {
	if e.b == nil {
		return []byte("null"), nil
	}
	return []byte(`"` + redacted + `"`), nil
}

// MarshalText gives String.
func (e Encrypted[T]) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// MarshalBinary refuses with [ErrRedacted]: whoever decoded the result would have lost
// the value. It serves encoding/gob and its like, too.
func (e Encrypted[T]) MarshalBinary() ([]byte, error) { return nil, errRedacted() }

// UnmarshalJSON refuses with [ErrRedacted], null too: what was marshalled is no value,
// and would overwrite one. [Request] takes values from requests.
func (e *Encrypted[T]) UnmarshalJSON([]byte) error { return errRedacted() }

// UnmarshalText refuses with [ErrRedacted].
func (e *Encrypted[T]) UnmarshalText([]byte) error { return errRedacted() }

// UnmarshalBinary refuses with [ErrRedacted].
func (e *Encrypted[T]) UnmarshalBinary([]byte) error { return errRedacted() }

func errRedacted() error { return fmt.Errorf("vault: %w", ErrRedacted) }
