package vaultgorm

import (
	"fmt"
	"reflect"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Eq is the condition that an encrypted field has a value, by its blind index. field is
// the name of the Go field, or of its column.
//
//	db.WithContext(ctx).Where(vaultgorm.Eq("Email", "ann@example.org")).First(&u)
//
// With several values it is a compound index that is asked, and they are those of the
// field and of its and: fields, in order. Of several indexes that a field has, the first
// in its tag is asked that takes so many values: during a rotation of an index, change
// their order to switch. The values are normalised as those were that are stored. The
// key context is that of ctx, unless the index is global.
//
// A bucketed index finds more than was asked for. A Find into a slice of the model is
// filtered after it was read, for which the fields are opened, and any other statement
// is refused with ErrBucketed: First, Count, a Limit, Delete, a condition under OR or
// NOT. [Candidates] takes the bucket as it is.
//
// A query never makes an index key: where the context has none, which is so too if the
// vault, the namespace or the tenant is a wrong one, the statement fails with
// [vault.ErrKeyNotFound] instead of finding nothing. NULL is no value: use IS NULL.
// Other errors: ErrNoIndex; ErrNoPlugin; those of [vault.Vault.BlindIndexQuery].
func Eq(field string, values ...any) clause.Expression {
	return &condition{field: field, values: [][]any{values}, compound: len(values)}
}

// In is [Eq] with several values of a field, any of which it has. Without values
// nothing is found.
func In[T any](field string, values []T) clause.Expression {
	c := &condition{field: field, compound: 1, in: true}
	for _, v := range values {
		c.values = append(c.values, []any{v})
	}
	return c
}

// Candidates is [Eq] without the filter that a bucketed index needs: rows that perhaps
// have the value. Filter them with [vault.Index.Matches], or by opening the field.
func Candidates(field string, values ...any) clause.Expression {
	return &condition{field: field, values: [][]any{values}, compound: len(values), raw: true}
}

// condition is a comparison of a blind index. It is made anew by each call, and is known
// by its pointer.
type condition struct {
	field    string
	values   [][]any
	compound int // values that the index is computed from
	in       bool
	raw      bool
}

// Build is of [clause.Expression].
func (c *condition) Build(b clause.Builder) {
	if err := c.build(b); err != nil {
		_ = b.AddError(err)
		failing{err}.Build(b)
	}
}

func (c *condition) build(b clause.Builder) error {
	stmt, ok := b.(*gorm.Statement)
	if !ok {
		return fmt.Errorf("vaultgorm: %w: Eq stands outside of a statement", ErrNoPlugin)
	}
	p, err := pluginOf(stmt.DB)
	if err != nil {
		return err
	}
	m := p.modelOf(stmt)
	if m == nil || m.err != nil {
		return &Error{Op: "query", Table: stmt.Table, Column: c.field, Err: ErrNoIndex, Fix: "use it with a model, by Find or Model(…)"}
	}
	f, ix := c.index(m)
	if ix == nil {
		return &Error{Op: "query", Table: m.Table, Column: c.field, Err: ErrNoIndex, Fix: fmt.Sprintf("give the field the tag vault:\"index:COLUMN,NORMALISER\", or as many values as its index has columns; got %d", c.compound)}
	}
	if ix.Bits > 0 && !c.raw && !c.filtered(stmt) {
		return &Error{Op: "query", Table: m.Table, Column: f.Name, Err: ErrBucketed, Fix: "use Find into a slice of the model without Limit, and Eq as a condition of its own; or Candidates"}
	}
	return c.compare(p, stmt, ix)
}

// compare writes the comparison.
func (c *condition) compare(p *plugin, stmt *gorm.Statement, ix *vault.ModelIndex) error {
	args := make([]any, len(c.values))
	for i, v := range c.values {
		b, err := vault.FieldBinding{Vault: p.vault}.BlindIndexQuery(stmt.Context, ix.Index, v...)
		if err != nil {
			return err
		}
		args[i] = b
	}
	column := clause.Column{Table: clause.CurrentTable, Name: ix.Target.Name}
	if c.in {
		clause.IN{Column: column, Values: args}.Build(stmt)
		return nil
	}
	clause.Eq{Column: column, Value: args[0]}.Build(stmt)
	return nil
}

// index returns the index that is asked.
func (c *condition) index(m *model) (*vault.ModelField, *vault.ModelIndex) {
	for _, f := range m.Fields {
		if f.Field.Name != c.field && f.Name != m.column(c.field) {
			continue
		}
		for _, ix := range f.Indexes {
			if len(ix.Parts) == c.compound {
				return f, ix
			}
		}
	}
	return nil, nil
}

// filtered reports whether the plugin is going to filter what the condition finds.
func (c *condition) filtered(stmt *gorm.Statement) bool {
	v, _ := stmt.Settings.Load(bucketSetting)
	found, _ := v.([]*condition)
	for _, f := range found {
		if f == c {
			return true
		}
	}
	return false
}

// findBuckets notes the conditions that can be filtered after the query: those that
// stand alone or under AND, of a query that reads whole rows of the model into a slice.
func (p *plugin) findBuckets(db *gorm.DB, m *model) {
	stmt := db.Statement
	where, ok := stmt.Clauses["WHERE"].Expression.(clause.Where)
	if !ok || db.DryRun || stmt.ReflectValue.Kind() != reflect.Slice || rowType(stmt.ReflectValue) != m.Type {
		return
	}
	for _, name := range []string{"LIMIT", "GROUP BY", "SELECT"} {
		if _, ok := stmt.Clauses[name]; ok {
			return
		}
	}
	if len(stmt.Selects) > 0 || len(stmt.Omits) > 0 {
		return
	}
	if found := bucketsIn(where.Exprs, m); len(found) > 0 {
		stmt.Settings.Store(bucketSetting, found)
	}
}

func bucketsIn(exprs []clause.Expression, m *model) (found []*condition) {
	for _, e := range exprs {
		if or, ok := e.(clause.OrConditions); ok && len(or.Exprs) == 1 {
			return nil // it is joined to those beside it by OR
		}
	}
	for _, e := range exprs {
		switch e := e.(type) {
		case clause.AndConditions:
			found = append(found, bucketsIn(e.Exprs, m)...)
		case *condition:
			if _, ix := e.index(m); ix != nil && ix.Bits > 0 && !e.raw {
				found = append(found, e)
			}
		}
	}
	return found
}

// filterBuckets takes out of a result what doesn't have the values that were asked for.
// A field that can't be opened fails the query: whether its row belongs to the result
// isn't known.
func (p *plugin) filterBuckets(db *gorm.DB, m *model) {
	v, ok := db.Statement.Settings.LoadAndDelete(bucketSetting)
	if !ok {
		return
	}
	rows := db.Statement.ReflectValue
	kept := reflect.MakeSlice(rows.Type(), 0, rows.Len())
	for i := range rows.Len() {
		row, _ := m.Row(rows.Index(i))
		match, err := matchAll(db, m, row, v.([]*condition))
		if err != nil {
			_ = db.AddError(err)
			return
		}
		if match {
			kept = reflect.Append(kept, rows.Index(i))
		}
	}
	rows.Set(kept)
	db.RowsAffected = int64(kept.Len())
}

func matchAll(db *gorm.DB, m *model, row reflect.Value, conditions []*condition) (bool, error) {
	for _, c := range conditions {
		_, ix := c.index(m)
		values := make([]any, len(ix.Parts))
		for i, part := range ix.Parts {
			if v, err := row.FieldByIndexErr(part.Field.Index); err == nil {
				values[i] = v.Interface()
			}
		}
		match := false
		for _, want := range c.values {
			ok, err := ix.Matches(db.Statement.Context, want, values)
			if err != nil {
				return false, err
			}
			match = match || ok
		}
		if !match {
			return false, nil
		}
	}
	return true, nil
}
