package vaultsql

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"

	"github.com/embedvault/vault"
)

// Model knows which fields of the struct T are encrypted columns of one table, by their
// vault tags (docs/FIELDS.md, "Tags"). With it rows are sealed whole before they are
// written, and bound after they were read. It is never changed, and safe for concurrent
// use.
type Model[T any] struct {
	v *vault.Vault
	m *vault.FieldModel
}

// NewModel returns the model of T in a table; the tag table: may give it another
// logical name. A column has the name of the tag db, as for sqlx, or else the field's
// in snake case. key are the names of the Go fields of the primary key, in its order;
// without any it is ID. v seals and opens the rows; nil is the vault of
// [vault.WithVault].
//
// Errors match [vault.ErrModel], and say what to do.
func NewModel[T any](v *vault.Vault, table string, key ...string) (*Model[T], error) {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("vaultsql: %w %v: want a struct", vault.ErrModel, t)
	}
	m, err := vault.ParseModel(t, vault.ModelSpec{Table: table, Key: key})
	if err != nil {
		return nil, fmt.Errorf("vaultsql: %w", err)
	}
	if len(m.Fields) == 0 {
		return nil, fmt.Errorf("vaultsql: %w %v: it has no field that is a vault.Encrypted", vault.ErrModel, t)
	}
	for _, f := range m.Fields {
		if name := hiddenPointer(t, f.Field.Index); name != "" {
			return nil, fmt.Errorf("vaultsql: %w %v: field %s: %s is embedded by pointer and not exported, so that no copy can be made of it; embed it by value, or export it", vault.ErrModel, t, f.Field.Name, name)
		}
	}
	return &Model[T]{v, m}, nil
}

// hiddenPointer returns the name of an unexported struct that is embedded by pointer on
// the way to a field.
func hiddenPointer(t reflect.Type, index []int) string {
	for _, x := range index {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		f := t.Field(x)
		if f.Type.Kind() == reflect.Pointer && !f.IsExported() {
			return f.Name
		}
		t = f.Type
	}
	return ""
}

// Seal returns a copy of a row with every field sealed in its place, and its blind
// indexes filled in: what can be written by any statement, also without [Wrap]. The row
// isn't changed. What isn't set stays NULL, so that it serves an update of some columns
// too. A field that was read from this very place keeps its bytes; and so does an index
// of that one column, if it was read with it.
//
// The key context is the row's, by the context tag, or that of ctx. Errors: those of
// [vault.FieldBox].SealField and of [vault.Vault.BlindIndex].
func (m *Model[T]) Seal(ctx context.Context, row *T) (T, error) {
	out := *row
	from, to := reflect.ValueOf(row).Elem(), reflect.ValueOf(&out).Elem()
	cloned := map[string]bool{}
	for _, f := range m.m.Fields {
		box := m.m.Box(f, from)
		if box == nil {
			continue
		}
		unchanged, err := m.sealField(ctx, f, from, ownField(to, f.Field.Index, cloned))
		if err == nil {
			err = m.fillIndexes(ctx, f, from, to, unchanged, cloned)
		}
		if err != nil {
			var none T
			return none, fmt.Errorf("vaultsql: %w", err)
		}
	}
	return out, nil
}

// SealAll is Seal of many rows.
func (m *Model[T]) SealAll(ctx context.Context, rows []T) ([]T, error) {
	out := make([]T, len(rows))
	for i := range rows {
		var err error
		if out[i], err = m.Seal(ctx, &rows[i]); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return out, nil
}

func (m *Model[T]) sealField(ctx context.Context, f *vault.ModelField, row, dst reflect.Value) (unchanged bool, err error) {
	box := m.m.Box(f, row)
	b, err := m.m.Binding(m.v, f, row)
	if err != nil {
		return false, err
	}
	sealed, err := box.SealField(ctx, b)
	if err != nil || sealed == nil {
		return false, err
	}
	if box.FieldState() == vault.FieldSealed {
		before, err := box.(driver.Valuer).Value()
		unchanged = err == nil && bytes.Equal(before.([]byte), sealed)
	}
	to := dst.Addr().Interface().(vault.FieldBox)
	if err := to.Scan(sealed); err != nil {
		return false, err
	}
	to.BindField(ctx, b)
	return unchanged, nil
}

// fillIndexes computes the indexes of a field, unless neither has changed.
func (m *Model[T]) fillIndexes(ctx context.Context, f *vault.ModelField, row, out reflect.Value, unchanged bool, cloned map[string]bool) error {
	for _, ix := range f.Indexes {
		dst := ownField(out, ix.Target.Field.Index, cloned)
		if !dst.IsValid() || unchanged && len(ix.Parts) == 1 && dst.Len() > 0 {
			continue
		}
		index, err := m.m.BlindIndex(ctx, m.v, ix, row)
		if err != nil {
			return err
		}
		dst.SetBytes(index)
	}
	return nil
}

// ownField returns a field of a copy of a struct. Structs that are embedded by pointer
// are copied too, once: the caller's must not be changed.
func ownField(v reflect.Value, index []int, cloned map[string]bool) reflect.Value {
	for i, x := range index {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}
			}
			if path := fmt.Sprint(index[:i]); !cloned[path] {
				cloned[path] = true
				own := reflect.New(v.Type().Elem())
				own.Elem().Set(v.Elem())
				v.Set(own)
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v
}

// Bind says of rows that were read where they are from, so that their fields can be
// opened. It opens nothing and never fails: what is wrong, or wasn't read (the key, the
// columns of the context tag), is reported by Open. It is called with the ctx of the
// query.
func (m *Model[T]) Bind(ctx context.Context, rows ...*T) {
	for _, r := range rows {
		if r != nil {
			m.m.Bind(ctx, m.v, reflect.ValueOf(r).Elem())
		}
	}
}

// BindAll is Bind of a slice of rows.
func (m *Model[T]) BindAll(ctx context.Context, rows []T) {
	for i := range rows {
		m.Bind(ctx, &rows[i])
	}
}

// Index returns what to compare the column of a blind index with: values are that of
// the encrypted column, and of a compound index those of the others after it. The key
// context is that of ctx; a global index needs none.
//
// Errors: [vault.ErrModel] if the model has no such index column; those of
// [vault.Vault.BlindIndexQuery], such as ErrKeyNotFound where the context has no index.
func (m *Model[T]) Index(ctx context.Context, column string, values ...any) ([]byte, error) {
	for _, f := range m.m.Fields {
		i := slices.IndexFunc(f.Indexes, func(ix *vault.ModelIndex) bool { return ix.Target.Name == column })
		if i < 0 {
			continue
		}
		index, err := vault.FieldBinding{Vault: m.v}.BlindIndexQuery(ctx, f.Indexes[i].Index, values...)
		if err != nil {
			return nil, fmt.Errorf("vaultsql: %w", err)
		}
		return index, nil
	}
	return nil, fmt.Errorf("vaultsql: %w %v: it has no index column %.80q", vault.ErrModel, m.m.Type, column)
}

// Matches reports whether the field that the index column is computed from has a value
// that counts as equal to this one: the filter after a query by a bucketed index, for
// each row that was found. Indexes of several columns are refused.
//
// Errors: [vault.ErrModel]; those of [vault.Index.Matches].
func (m *Model[T]) Matches(ctx context.Context, row *T, column string, value any) (bool, error) {
	for _, f := range m.m.Fields {
		for _, ix := range f.Indexes {
			if ix.Target.Name != column || len(ix.Parts) > 1 {
				continue
			}
			return ix.Matches(ctx, []any{value}, []any{m.m.Box(f, reflect.ValueOf(row).Elem())})
		}
	}
	return false, fmt.Errorf("vaultsql: %w %v: it has no index column %.80q of one column", vault.ErrModel, m.m.Type, column)
}

// At returns the place of an encrypted column in the row with this primary key: for
// statements that write single columns.
//
//	note := vault.Seal("…").AtLocation(users.At("note", id))
//
// Of a column that is bound to itself alone, the key isn't looked at. What can't be (no
// such column, another number of key columns) is reported where the location is used,
// with [vault.ErrInvalidLocation].
func (m *Model[T]) At(column string, key ...any) vault.Location {
	i := slices.IndexFunc(m.m.Fields, func(f *vault.ModelField) bool { return f.Name == column })
	if i < 0 {
		return vault.InvalidLocation(m.m.Table, column, "the model has no such encrypted column")
	}
	f := m.m.Fields[i]
	switch {
	case f.BindColumn:
		return vault.AtColumn(m.m.Table, f.Logical)
	case len(key) != len(m.m.Key):
		return vault.InvalidLocation(m.m.Table, f.Logical, fmt.Sprintf("the primary key has %d columns, got %d values", len(m.m.Key), len(key)))
	}
	return vault.At(m.m.Table, f.Logical, key...)
}
