package vaultpgx

import (
	"context"
	"fmt"
	"maps"
	"reflect"

	"github.com/embedvault/vault"
)

// Sealed returns row, a struct with columns of the table such as the parameters that
// sqlc generates for a query, with every field sealed where it belongs and with the
// indexes of these in their columns. row itself isn't changed. NULL stays NULL, and so
// is its index; a field that was read from this very place keeps its bytes.
//
// The key context is the row's, by the tag context:, or that of ctx; where there are
// both they must agree.
//
// Errors: [vault.ErrModel] if something that is needed isn't among the columns: the
// primary key, or the index of a field, which would be left behind; those of
// [vault.FieldBox] and [vault.Vault.BlindIndex].
func Sealed[P any](ctx context.Context, t *Table, row P) (P, error) {
	var none P
	sh, err := t.shape(reflect.TypeFor[P]())
	if err == nil {
		err = sh.complete()
	}
	if err == nil {
		err = t.seal(ctx, sh, reflect.ValueOf(&row).Elem())
	}
	if err != nil {
		return none, err
	}
	return row, nil
}

// SealedRows is [Sealed] for many rows, in a slice of its own.
func SealedRows[P any](ctx context.Context, t *Table, rows []P) ([]P, error) {
	out := make([]P, len(rows))
	for i, row := range rows {
		var err error
		if out[i], err = Sealed(ctx, t, row); err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
	}
	return out, nil
}

// seal fills an addressable copy of a row. What is pending is indexed before it is
// sealed, and needn't be opened; what is sealed is first seen to be in its place.
func (t *Table) seal(ctx context.Context, sh *shape, row reflect.Value) error {
	err := t.sealThose(ctx, sh, row, vault.FieldSealed)
	if err == nil {
		err = t.fillIndexes(ctx, sh, row)
	}
	if err == nil {
		err = t.sealThose(ctx, sh, row, vault.FieldPending)
	}
	for _, path := range sh.whole {
		if err != nil {
			return err
		}
		var inner *shape
		part := row.FieldByIndex(path)
		if inner, err = t.shape(part.Type()); err == nil {
			err = t.seal(ctx, inner, part)
		}
	}
	return err
}

func (t *Table) fillIndexes(ctx context.Context, sh *shape, row reflect.Value) error {
	for _, f := range sh.m.Fields {
		for _, ix := range f.Indexes {
			b, err := sh.m.BlindIndex(ctx, t.v, ix, row)
			if err != nil {
				return err
			}
			target, err := row.FieldByIndexErr(ix.Target.Field.Index)
			if err != nil {
				return fmt.Errorf("vaultpgx: %w %v: the column %s is in an embedded struct that is nil", vault.ErrModel, sh.m.Type, ix.Target.Name)
			}
			target.SetBytes(b)
		}
	}
	return nil
}

func (t *Table) sealThose(ctx context.Context, sh *shape, row reflect.Value, state vault.FieldState) error {
	for _, f := range sh.m.Fields {
		if box := sh.m.Box(f, row); box != nil && box.FieldState() == state {
			if err := t.sealOne(ctx, sh, f, row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Table) sealOne(ctx context.Context, sh *shape, f *vault.ModelField, row reflect.Value) error {
	box := sh.m.Box(f, row)
	at, err := sh.m.Binding(t.v, f, row)
	if err != nil {
		return err
	}
	b, err := box.SealField(ctx, at)
	if err != nil || b == nil {
		return err
	}
	if err := box.Scan(b); err != nil {
		return err
	}
	box.BindField(ctx, at)
	return nil
}

// Bind binds the fields of rows that were read to their places and to their key
// context, so that Open needs nothing else. rows are pointers to structs, or slices of
// structs or of pointers to them: those of a whole row, those that sqlc generates for a
// query, which have some of the columns, or structs that have whole rows in them
// (sqlc.embed). Columns are found by their names; what of key and context isn't there,
// Open needs from its ctx or from [vault.Encrypted.At].
//
// It opens nothing, and one bad row doesn't fail it. The error is [vault.ErrModel] if
// rows are something else.
func (t *Table) Bind(ctx context.Context, rows ...any) error {
	_, given := vault.KeyContextFrom(ctx)
	b := binder{t: t, ctx: ctx, given: given}
	for _, r := range rows {
		v := reflect.ValueOf(r)
		if k := v.Kind(); k != reflect.Pointer && k != reflect.Slice {
			return fmt.Errorf("vaultpgx: bind: %w: got a %T, want a pointer to a row, or a slice", vault.ErrModel, r)
		}
		if err := b.all(v); err != nil {
			return err
		}
	}
	return nil
}

// binder binds rows one after another.
type binder struct {
	t     *Table
	ctx   context.Context
	given bool // ctx has a key context, and a row's must agree

	// of is the key context of the last row, and ofCtx a ctx that has it: the next row
	// is often the same tenant's, and what a ctx has is hashed once.
	of    vault.KeyContext
	ofCtx context.Context
}

func (b *binder) all(v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return b.all(v.Elem())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			if err := b.all(v.Index(i)); err != nil {
				return err
			}
		}
	case v.Kind() != reflect.Pointer:
		sh, err := b.t.shape(v.Type())
		if err != nil {
			return err
		}
		b.row(sh, v)
	}
	return nil
}

func (b *binder) row(sh *shape, row reflect.Value) {
	ctx, kc := b.whose(sh, row)
	for _, f := range sh.m.Fields {
		box := sh.m.Box(f, row)
		if box == nil || box.FieldState() != vault.FieldSealed {
			continue
		}
		at := vault.FieldBinding{Vault: b.t.v, Context: kc}
		if sh.key || f.BindColumn {
			at.Location = sh.m.Location(f, row)
		}
		box.BindField(ctx, at)
	}
	for _, path := range sh.whole {
		part := row.FieldByIndex(path)
		if inner, err := b.t.shape(part.Type()); err == nil {
			b.row(inner, part)
		}
	}
}

// whose returns a row's key context, in a ctx or beside it.
func (b *binder) whose(sh *shape, row reflect.Value) (context.Context, vault.KeyContext) {
	kc, err := sh.m.KeyContext(row)
	if err != nil || kc == nil {
		return b.ctx, nil
	}
	if b.given {
		return b.ctx, kc
	}
	if !maps.Equal(b.of, kc) {
		b.of, b.ofCtx = kc, vault.WithKeyContext(b.ctx, kc)
	}
	return b.ofCtx, nil
}
