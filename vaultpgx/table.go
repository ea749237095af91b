package vaultpgx

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/embedvault/vault"
)

// Table knows the encrypted columns of a table from the vault tags of the struct of its
// rows, such as sqlc generates: where a row's fields belong, whose they are, and how
// their blind indexes are computed. It is safe for concurrent use.
type Table struct {
	v      *vault.Vault
	m      *vault.FieldModel
	shapes sync.Map // reflect.Type → *shape
}

// NewTable reads the tags of Row, the struct of a whole row. Its columns are named by
// their tags db (sqlc: emit_db_tags), or else as its fields are in snake case. name is
// the table's logical name, unless a tag table: says another; key names the columns of
// the primary key, "id" if there are none. v may be nil: then [vault.WithVault] says
// which vault.
//
// Errors match [vault.ErrModel], and say what to change: see [vault.ParseModel].
func NewTable[Row any](v *vault.Vault, name string, key ...string) (*Table, error) {
	if len(key) == 0 {
		key = []string{"id"}
	}
	t := reflect.TypeFor[Row]()
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("vaultpgx: %w %v: it is not a struct", vault.ErrModel, t)
	}
	columns := vault.ModelColumns(t)
	for i := range columns {
		columns[i].PrimaryKey = false
	}
	spec := vault.ModelSpec{Table: name}
	for _, k := range key { // in the order of the key
		i := slices.IndexFunc(columns, func(c vault.ModelColumn) bool { return c.Name == k })
		if i < 0 {
			return nil, fmt.Errorf("vaultpgx: %w %v: it has no column %.80q, which is to be of its primary key", vault.ErrModel, t, k)
		}
		columns[i].PrimaryKey = true
		spec.Columns = append(spec.Columns, columns[i])
		columns = slices.Delete(columns, i, i+1)
	}
	spec.Columns = append(spec.Columns, columns...)
	m, err := vault.ParseModel(t, spec)
	if err != nil {
		return nil, fmt.Errorf("vaultpgx: table %.80q: %w", name, err)
	}
	if len(m.Fields) == 0 {
		return nil, fmt.Errorf("vaultpgx: %w %v: no field of it is a vault.Encrypted", vault.ErrModel, t)
	}
	return &Table{v: v, m: m}, nil
}

// Model returns what the tags say.
func (t *Table) Model() *vault.FieldModel { return t.m }

// Index returns the blind index that is stored in a column. An unknown one is a
// [vault.ErrModel].
func (t *Table) Index(column string) (vault.Index, error) {
	ix, err := t.index(column)
	if err != nil {
		return vault.Index{}, err
	}
	return ix.Index, nil
}

func (t *Table) index(column string) (*vault.ModelIndex, error) {
	for _, f := range t.m.Fields {
		for _, ix := range f.Indexes {
			if ix.Target.Name == column {
				return ix, nil
			}
		}
	}
	return nil, fmt.Errorf("vaultpgx: %w %v: no tag has an index in the column %.80q", vault.ErrModel, t.m.Type, column)
}

// Lookup returns what to search for in an index's column to find values; more than one
// if the index is compound. The key context is that of ctx, and isn't needed if the
// index is global.
//
// It makes no key: [vault.ErrKeyNotFound] says that nothing was ever indexed for this
// context in this database. See [Table.Prepare] and [vault.Vault.BlindIndexQuery].
func (t *Table) Lookup(ctx context.Context, column string, values ...any) ([]byte, error) {
	ix, err := t.index(column)
	if err != nil {
		return nil, err
	}
	return vault.FieldBinding{Vault: t.v}.BlindIndexQuery(ctx, ix.Index, values...)
}

// Prepare makes and loads the keys that the table needs for the key context of ctx:
// before a transaction, where a new key would need a second connection, and so that
// [Table.Lookup] finds nothing, instead of failing, before the first row.
func (t *Table) Prepare(ctx context.Context) error {
	v := t.v
	if v == nil {
		v, _ = vault.VaultFrom(ctx)
	}
	kc, ok := vault.KeyContextFrom(ctx)
	switch {
	case v == nil:
		return fmt.Errorf("vaultpgx: prepare: %w", vault.ErrNoVault)
	case !ok:
		return fmt.Errorf("vaultpgx: prepare: %w", vault.ErrNoContext)
	}
	if err := v.Prepare(ctx, kc); err != nil {
		return err
	}
	var indexes []vault.Index
	for _, f := range t.m.Fields {
		for _, ix := range f.Indexes {
			indexes = append(indexes, ix.Index)
		}
	}
	return v.PrepareIndex(ctx, kc, indexes...)
}
