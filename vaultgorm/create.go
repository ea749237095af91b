package vaultgorm

import (
	"reflect"
	"slices"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// beforeCreate refuses structs that can't be written.
func (p *plugin) beforeCreate(db *gorm.DB) {
	db.Statement.Settings.Delete(bucketSetting)
	db.Statement.Settings.Delete(guardSetting)
	if db.Error != nil {
		return
	}
	if m := p.modelOf(db.Statement); m.encrypts() {
		_ = db.AddError(m.writable())
	}
}

// buildValues seals what an INSERT stores.
func (p *plugin) buildValues(stmt *gorm.Statement, c *clause.Clause) bool {
	values, ok := c.Expression.(clause.Values)
	m := p.modelOf(stmt)
	if !ok || stmt.Error != nil {
		return stmt.Error == nil
	}
	if err := p.checkValues(stmt, m, values); err != nil {
		return stmt.AddError(err) == nil
	}
	if !m.encrypts() {
		return true
	}
	if m.err != nil {
		return stmt.AddError(m.err) == nil
	}
	w := inserter{sealer: p.sealer(stmt, m, "create"), stmt: stmt, values: values}
	sealed, err := w.seal()
	if err != nil {
		return stmt.AddError(err) == nil
	}
	c.Expression = sealed
	return true
}

// checkValues refuses what other models of the table have encrypted.
func (p *plugin) checkValues(stmt *gorm.Statement, m *model, values clause.Values) error {
	if len(p.others(stmt, m)) == 0 {
		return nil
	}
	for i, c := range values.Columns {
		for _, row := range values.Values {
			if err := p.checkAssigned(stmt, m, "create", c.Name, row[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// inserter seals the rows of an INSERT.
type inserter struct {
	*sealer
	stmt   *gorm.Statement
	values clause.Values
	out    clause.Values

	names   []string        // the columns, by their own names
	columns map[string]int  // column → its place in out
	fields  []insertedField // the encrypted ones
	nulls   []int           // places of indexes whose field isn't written
}

type insertedField struct {
	*vault.ModelField
	at      int
	indexes []int // places of its indexes
}

func (w *inserter) seal() (clause.Values, error) {
	w.out.Columns = slices.Clone(w.values.Columns)
	w.columns = map[string]int{}
	for i, c := range w.values.Columns {
		name := w.m.column(c.Name)
		w.names = append(w.names, name)
		w.columns[name] = i
	}
	w.place()
	w.out.Values = make([][]any, len(w.values.Values))
	for i, vals := range w.values.Values {
		row, err := w.row(i, vals)
		if err != nil {
			return w.out, err
		}
		w.out.Values[i] = make([]any, len(w.out.Columns))
		copy(w.out.Values[i], vals)
		if err := w.sealRow(row, w.out.Values[i]); err != nil {
			return w.out, err
		}
	}
	return w.out, nil
}

// place finds the encrypted columns, and adds those of their indexes.
func (w *inserter) place() {
	for _, f := range w.m.Fields {
		at, ok := w.columns[f.Name]
		if !ok {
			for _, ix := range f.Indexes {
				if i, ok := w.columns[ix.Target.Name]; ok {
					w.nulls = append(w.nulls, i)
				}
			}
			continue
		}
		in := insertedField{ModelField: f, at: at}
		for _, ix := range f.Indexes {
			i, ok := w.columns[ix.Target.Name]
			if !ok {
				i = len(w.out.Columns)
				w.out.Columns = append(w.out.Columns, clause.Column{Name: ix.Target.Name})
			}
			in.indexes = append(in.indexes, i)
		}
		w.fields = append(w.fields, in)
	}
}

func (w *inserter) sealRow(row reflect.Value, vals []any) error {
	for _, i := range w.nulls {
		vals[i] = nil
	}
	for _, f := range w.fields {
		sealed, indexes, err := w.sealer.seal(f.ModelField, row)
		if err != nil {
			return err
		}
		vals[f.at] = sealed
		for i, at := range f.indexes {
			vals[at] = indexes[i]
		}
	}
	return nil
}

// row returns a row of the statement: the caller's struct, which nothing is written to,
// or one made from a map.
func (w *inserter) row(i int, vals []any) (reflect.Value, error) {
	from := w.stmt.ReflectValue
	if from.Kind() == reflect.Slice || from.Kind() == reflect.Array {
		from = from.Index(i)
	}
	if row, ok := w.m.Row(from); ok {
		if row.CanAddr() {
			return row, nil
		}
		return w.m.ownRow(row), nil
	}
	row := w.m.ownRow(reflect.Value{})
	for j, name := range w.names {
		f, encrypted := w.m.fields[name]
		if encrypted {
			if err := w.setBox(f, row, vals[j]); err != nil {
				return row, err
			}
			continue
		}
		if w.m.indexes[name] != nil {
			return row, w.refuse(name, ErrIndexColumn, "leave it out")
		}
		if w.m.needs(name) && !w.set(row, name, vals[j]) {
			return row, w.refuse(name, ErrRowUnknown, "give the value itself and no SQL expression: encrypted columns depend on it")
		}
	}
	return row, nil
}

// needs reports whether encrypted fields depend on a column.
func (m *model) needs(column string) bool {
	return m.context[column] || m.keys[column] || m.parts[column] != nil
}
