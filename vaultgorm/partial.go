package vaultgorm

import (
	"reflect"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// partial says how a struct with some of a model's columns is bound as if it were a row
// of the model.
type partial struct {
	t      reflect.Type
	copied []pair // what fields depend on: the key, the context, indexes
	fields []pair // the encrypted fields
}

// pair is a column in the model and in the other struct.
type pair struct {
	of   *schema.Field
	in   *schema.Field
	what *vault.ModelField
}

// bindPartial binds a row that is of another struct than the model.
func (b *binder) bindPartial(row reflect.Value) {
	if b.parts == nil || b.parts.t != row.Type() {
		b.parts = b.partial(row)
	}
	if len(b.parts.fields) == 0 {
		return
	}
	ctx := b.stmt.Context
	own := vault.FieldBinding{Vault: b.p.vault}
	if b.m == nil || b.m.err != nil {
		for _, f := range b.parts.fields {
			f.box(b, row).BindField(ctx, own)
		}
		return
	}
	like := b.m.ownRow(reflect.Value{})
	for _, c := range b.parts.copied {
		fieldOf(like, columnOf(b.stmt.DB, c.of)).Set(c.in.ReflectValueOf(ctx, row))
	}
	for _, f := range b.parts.fields {
		fieldOf(like, f.what.ModelColumn).SetZero()
	}
	if kc, err := b.m.KeyContext(like); err == nil {
		own.Context = kc
	}
	for _, f := range b.parts.fields {
		binding := own
		if at := b.m.Location(f.what, like); at.Err() == nil {
			binding.Location = at
		}
		f.box(b, row).BindField(ctx, binding)
	}
}

func (c pair) box(b *binder, row reflect.Value) vault.FieldBox {
	return c.in.ReflectValueOf(b.stmt.Context, row).Addr().Interface().(vault.FieldBox)
}

// partial compares the columns of the model with those of another struct.
func (b *binder) partial(row reflect.Value) *partial {
	out := &partial{t: row.Type()}
	stmt := &gorm.Statement{DB: b.stmt.DB}
	if stmt.Parse(row.Addr().Interface()) != nil {
		return out
	}
	known := b.m.encrypts() && b.m.err == nil
	for _, name := range stmt.Schema.DBNames {
		in := stmt.Schema.FieldsByDBName[name]
		encrypted := vault.IsFieldType(in.FieldType)
		if !known {
			if encrypted {
				out.fields = append(out.fields, pair{in: in})
			}
			continue
		}
		of := b.m.schema.FieldsByDBName[name]
		if of == nil {
			continue
		}
		if f := b.m.fields[name]; f != nil && encrypted {
			out.fields = append(out.fields, pair{of, in, f})
		} else if b.m.needs(name) && of.FieldType == in.FieldType {
			out.copied = append(out.copied, pair{of, in, nil})
		}
	}
	return out
}
