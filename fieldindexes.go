package vault

import (
	"bytes"
	"context"
	"reflect"
	"slices"
)

// Indexes returns the blind indexes of a field of a row that is to be written, in the
// order of f.Indexes, nil where they are NULL; v as in [FieldBinding]. A field that goes
// back to where it was read keeps the indexes that were read beside it, so that writing
// a row that nobody changed opens nothing. All others are computed, compound ones
// always, and for that a sealed field is opened.
//
// The errors are those of [Vault.BlindIndex].
func (m *FieldModel) Indexes(ctx context.Context, v *Vault, f *ModelField, row reflect.Value) ([][]byte, error) {
	out := make([][]byte, len(f.Indexes))
	kept := m.keptIndexes(ctx, v, f, row)
	for i, ix := range f.Indexes {
		if i < len(kept) && len(ix.And) == 0 && len(kept[i]) == ix.Size() {
			out[i] = kept[i]
			continue
		}
		b, err := m.BlindIndex(ctx, v, ix, row)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

// keptIndexes returns the indexes that were read beside a field, if the row is the one
// that it was read from.
func (m *FieldModel) keptIndexes(ctx context.Context, v *Vault, f *ModelField, row reflect.Value) [][]byte {
	r, err := row.FieldByIndexErr(f.Field.Index)
	if err != nil {
		return nil
	}
	b := r.Interface().(interface{ look() *box }).look()
	if b.state() != FieldSealed || b.hides().scope == nil {
		return nil
	}
	h, at := b.hides(), m.Location(f, row)
	kc, err := m.KeyContext(row)
	if err != nil || at.Err() != nil || !h.there || !h.loc.same(at) {
		return nil
	}
	s, err := scopeFor(ctx, v, kc)
	if b.knowsWhose(FieldBinding{Vault: v}, err) {
		s, err = h.scope, nil
	}
	if err != nil || s.v != h.scope.v || s.c.Hash != h.scope.c.Hash {
		return nil
	}
	return cloneIndexes(h.indexes)
}

// bindCopy returns value, a column of a row; if it is a sealed field that nobody has
// bound, a copy that is bound to the row. The row isn't changed.
func (m *FieldModel) bindCopy(ctx context.Context, v *Vault, c ModelColumn, row, value reflect.Value) reflect.Value {
	i := slices.IndexFunc(m.Fields, func(f *ModelField) bool { return slices.Equal(f.Field.Index, c.Field.Index) })
	if i < 0 {
		return value
	}
	bound := reflect.New(value.Type())
	bound.Elem().Set(value)
	box := bound.Interface().(FieldBox)
	if box.FieldState() == FieldSealed && box.FieldLocation().IsZero() {
		if b, err := m.Binding(v, m.Fields[i], row); err == nil {
			box.BindField(ctx, b)
		}
	}
	return bound.Elem()
}

// readIndexes returns the indexes of a field as a row has them.
func readIndexes(f *ModelField, row reflect.Value) [][]byte {
	if len(f.Indexes) == 0 {
		return nil
	}
	out := make([][]byte, len(f.Indexes))
	for i, ix := range f.Indexes {
		if v, err := row.FieldByIndexErr(ix.Target.Field.Index); err == nil {
			out[i] = v.Bytes()
		}
	}
	return out
}

func cloneIndexes(ixs [][]byte) [][]byte {
	if ixs == nil {
		return nil
	}
	out := make([][]byte, len(ixs))
	for i, ix := range ixs {
		out[i] = bytes.Clone(ix)
	}
	return out
}
