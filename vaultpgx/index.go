package vaultpgx

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"

	"github.com/embedvault/vault"
)

// Index is an argument that a [DB] replaces with a blind index, computed with its vault
// and the key context of the statement's ctx. Whatever prints it gets "[INDEX]".
type Index struct {
	// compute is a function because what it is made of must not be printed.
	do func(ctx context.Context, b vault.FieldBinding) ([]byte, error)
}

var _ driver.Valuer = Index{}

// IndexOf is the index of values, to be stored beside them: [vault.Vault.BlindIndex].
func IndexOf(ix vault.Index, values ...any) Index {
	return Index{func(ctx context.Context, b vault.FieldBinding) ([]byte, error) {
		return b.BlindIndex(ctx, ix, values...)
	}}
}

// Lookup is the index of values, to be searched for: [vault.Vault.BlindIndexQuery]. It
// makes no key; where there is none the statement fails with [vault.ErrKeyNotFound],
// and doesn't find nothing.
func Lookup(ix vault.Index, values ...any) Index {
	return Index{func(ctx context.Context, b vault.FieldBinding) ([]byte, error) {
		return b.BlindIndexQuery(ctx, ix, values...)
	}}
}

// compute returns the index, or an untyped nil for NULL.
func (x Index) compute(ctx context.Context, v *vault.Vault) (any, error) {
	if x.do == nil {
		return nil, nil
	}
	b, err := x.do(ctx, vault.FieldBinding{Vault: v})
	if err != nil || b == nil {
		return nil, err
	}
	return b, nil
}

// Value is [driver.Valuer]: without a [DB] it isn't computed, and gives
// [vault.ErrPending].
func (x Index) Value() (driver.Value, error) {
	return []byte{}, fmt.Errorf("vaultpgx: an index: %w", vault.ErrPending)
}

const redactedIndex = "[INDEX]"

// String returns "[INDEX]".
func (Index) String() string { return redactedIndex }

// Format prints String, whatever the verb.
func (Index) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redactedIndex) }

// LogValue is [slog.LogValuer].
func (Index) LogValue() slog.Value { return slog.StringValue(redactedIndex) }

// MarshalText gives String.
func (Index) MarshalText() ([]byte, error) { return []byte(redactedIndex), nil }
