package vaultgorm

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// sealer seals fields of rows of one statement.
type sealer struct {
	ctx   context.Context
	vault *vault.Vault
	m     *model
	op    string
	name  string // of the dialect
}

func (p *plugin) sealer(stmt *gorm.Statement, m *model, op string) *sealer {
	return &sealer{ctx: stmt.Context, vault: p.vault, m: m, op: op, name: stmt.Name()}
}

func (s *sealer) refuse(column string, class error, fix string) error {
	return &Error{Op: s.op, Table: s.m.Table, Column: column, Fix: fix, Err: class}
}

// seal returns what is to be stored in a field's column, and in those of its indexes in
// the order of f.Indexes: a []byte or nil each. row is addressable, and isn't changed.
func (s *sealer) seal(f *vault.ModelField, row reflect.Value) (sealed any, indexes []any, err error) {
	box := s.m.Box(f, row)
	indexes = make([]any, len(f.Indexes))
	if box == nil || box.FieldState() == vault.FieldNull {
		return nil, indexes, nil
	}
	if err := s.checkUUID(f, row); err != nil {
		return nil, nil, err
	}
	binding, err := s.m.Binding(s.vault, f, row)
	if err != nil {
		return nil, nil, err
	}
	b, err := box.SealField(s.ctx, binding)
	if err != nil {
		return nil, nil, err
	}
	if len(f.Indexes) > 0 {
		if indexes, err = s.indexes(f, row); err != nil {
			return nil, nil, err
		}
	}
	return b, indexes, nil
}

func (s *sealer) indexes(f *vault.ModelField, row reflect.Value) ([]any, error) {
	ixs, err := s.m.Indexes(s.ctx, s.vault, f, row)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(ixs))
	for i, ix := range ixs {
		if ix != nil { // a nil []byte isn't NULL to every driver
			out[i] = ix
		}
	}
	return out, nil
}

// setBox puts a value that a statement has for an encrypted column into the box of a
// row: a field, or nil. The row is the plugin's own.
func (s *sealer) setBox(f *vault.ModelField, row reflect.Value, value any) error {
	dst := fieldOf(row, f.ModelColumn)
	value, err := unwrapSerialized(value)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch {
	case !v.IsValid() || v.Kind() == reflect.Pointer:
		dst.SetZero()
		return nil
	case v.Type() == f.Field.Type:
		dst.Set(v)
		return nil
	case vault.IsFieldType(v.Type()):
		return s.refuse(f.Name, vault.ErrWrongType, fmt.Sprintf("give it a %v, not a %v", f.Field.Type, v.Type()))
	}
	return s.refuse(f.Name, ErrPlaintext, fmt.Sprintf("give it vault.Seal(value), a %v; it is a %T", f.Field.Type, value))
}

// unwrapSerialized returns the field that GORM has wrapped in a serializer, or value.
func unwrapSerialized(value any) (any, error) {
	box, isField := value.(driver.Valuer)
	if !isField || vault.IsFieldType(reflect.TypeOf(value)) {
		return value, nil
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && (v.IsNil() || vault.IsFieldType(v.Type().Elem())) {
		return value, nil
	}
	_, err := box.Value()
	var u *unsealedError
	if !errors.As(err, &u) {
		return value, nil
	}
	inner, _ := u.box()
	return inner, nil
}

// set puts a value that a statement has for a column that isn't encrypted into a row of
// the plugin's own. It reports whether it could: what is an SQL expression, or of
// another type, isn't known here.
func (s *sealer) set(row reflect.Value, column string, value any) bool {
	switch value.(type) {
	case clause.Expression, *gorm.DB, clause.Column: // GORM's Set passes over these
		return false
	}
	f := s.m.schema.FieldsByDBName[column]
	return f != nil && f.Set(s.ctx, row, value) == nil
}

// fieldOf returns a column of a row, and makes the embedded structs that it is in.
func fieldOf(row reflect.Value, c vault.ModelColumn) reflect.Value {
	for i, n := range c.Field.Index {
		if i > 0 && row.Kind() == reflect.Pointer {
			if row.IsNil() {
				row.Set(reflect.New(row.Type().Elem()))
			}
			row = row.Elem()
		}
		row = row.Field(n)
	}
	return row
}

// ownRow returns a row of the plugin's own, an addressable copy of one of a statement's
// if there is one. Embedded structs behind pointers are copied too, since boxes are set
// in it.
func (m *model) ownRow(from reflect.Value) reflect.Value {
	row := reflect.New(m.Type).Elem()
	if !from.IsValid() {
		return row
	}
	row.Set(from)
	for _, f := range m.schema.Fields {
		at := row
		for i, n := range f.StructField.Index {
			if n >= 0 || i == len(f.StructField.Index)-1 {
				if n >= 0 {
					at = at.Field(n)
				}
				continue
			}
			at = at.Field(-n - 1)
			if at.IsNil() {
				break
			}
			own := reflect.New(at.Type().Elem())
			own.Elem().Set(at.Elem())
			at.Set(own)
			at = own.Elem()
		}
	}
	return row
}
