package vaultpgx

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/embedvault/vault"
)

// shape is how a table's columns lie in some struct: that of a whole row, or one that a
// query needs or gives. Columns are found by their names, and tags of it don't count.
type shape struct {
	m     *vault.FieldModel // what of the table's model is in it
	key   bool              // the whole primary key is
	lost  []string          // what Sealed needs and isn't in it
	whole [][]int           // fields that are whole rows themselves: sqlc.embed
}

// shape returns how the table lies in a struct.
func (t *Table) shape(in reflect.Type) (*shape, error) {
	if known, ok := t.shapes.Load(in); ok {
		return known.(*shape), nil
	}
	if in.Kind() != reflect.Struct {
		return nil, fmt.Errorf("vaultpgx: %w %v: it is not a struct", vault.ErrModel, in)
	}
	sh := t.newShape(in)
	if len(sh.m.Fields) == 0 && len(sh.whole) == 0 {
		return nil, fmt.Errorf("vaultpgx: %w %v: it has no encrypted column of %v", vault.ErrModel, in, t.m.Type)
	}
	t.shapes.Store(in, sh)
	return sh, nil
}

func (t *Table) newShape(in reflect.Type) *shape {
	columns := map[string]vault.ModelColumn{}
	sh := &shape{m: &vault.FieldModel{Type: in, Table: t.m.Table}}
	for _, c := range vault.ModelColumns(in) {
		if _, twice := columns[c.Name]; !twice {
			columns[c.Name] = c
		}
		if c.Field.Type == t.m.Type {
			sh.whole = append(sh.whole, c.Field.Index)
		}
	}
	sh.m.Key, sh.key = find(columns, t.m.Key)
	for _, c := range t.m.Context {
		if found, ok := columns[c.Field.Name]; ok {
			sh.m.Context = append(sh.m.Context, vault.ModelContext{Key: c.Key, Field: found})
		}
	}
	if len(sh.m.Context) != len(t.m.Context) {
		sh.m.Context = nil // half of it is another context
	}
	for _, f := range t.m.Fields {
		sh.addField(f, columns)
	}
	return sh
}

// find returns columns of the same names, and whether all were there.
func find(columns map[string]vault.ModelColumn, want []vault.ModelColumn) ([]vault.ModelColumn, bool) {
	var found []vault.ModelColumn
	for _, w := range want {
		c, ok := columns[w.Name]
		if !ok {
			return nil, false
		}
		found = append(found, c)
	}
	return found, true
}

func (sh *shape) addField(f *vault.ModelField, columns map[string]vault.ModelColumn) {
	own := *f
	own.Indexes = nil
	c, here := columns[f.Name]
	here = here && vault.IsFieldType(c.Field.Type)
	if here {
		own.ModelColumn = c
		sh.m.Fields = append(sh.m.Fields, &own)
		if !sh.key && !f.BindColumn {
			sh.lose("the primary key, to which %s is bound", c.Field.Name)
		}
	}
	for _, ix := range f.Indexes {
		target, hasTarget := columns[ix.Target.Name]
		hasTarget = hasTarget && target.Field.Type == ix.Target.Field.Type
		parts, hasParts := find(columns, ix.Parts)
		switch {
		case !here && !hasTarget:
		case here && hasTarget && hasParts:
			x := *ix
			x.Target, x.Parts = target, parts
			own.Indexes = append(own.Indexes, &x)
		case !hasTarget:
			sh.lose("the column %s, an index of %s that would be left behind", ix.Target.Name, f.Name)
		default:
			sh.lose("a column that the index %s is computed from", ix.Target.Name)
		}
	}
}

func (sh *shape) lose(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(sh.lost, s) {
		sh.lost = append(sh.lost, s)
	}
}

// complete reports what is missing in order to seal rows of this shape.
func (sh *shape) complete() error {
	if len(sh.lost) == 0 {
		return nil
	}
	return fmt.Errorf("vaultpgx: %w %v: it hasn't %s; add it to the query", vault.ErrModel, sh.m.Type, strings.Join(sh.lost, "; nor "))
}
