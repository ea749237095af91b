package vaultgorm

import (
	"fmt"
	"log/slog"
)

// Format prints the field that is searched, and nothing of the values.
func (c *condition) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, c.String()) }

// String is of [fmt.Stringer].
func (c *condition) String() string { return "vaultgorm.Eq(" + c.field + ", [redacted])" }

// GoString is of [fmt.GoStringer].
func (c *condition) GoString() string { return c.String() }

// LogValue is of [slog.LogValuer].
func (c *condition) LogValue() slog.Value { return slog.StringValue(c.String()) }
