package vaultgorm

import (
	"reflect"
	"strings"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
)

// checker looks at the conditions of a statement, or at those of one of its joins.
type checker struct {
	p     *plugin
	stmt  *gorm.Statement
	own   *model // what columns without a table are of
	table string // how the statement calls its table
}

// checkJoins looks at the conditions that are given with Joins.
func (p *plugin) checkJoins(db *gorm.DB) {
	stmt := db.Statement
	for _, j := range stmt.Joins {
		if j.On == nil {
			continue
		}
		c := checker{p: p, stmt: stmt, own: p.joined(stmt, j.Name), table: joinAlias(j.Name, j.Alias)}
		if err := c.checkConditions(j.On.Exprs); err != nil {
			_ = db.AddError(err)
			return
		}
	}
}

// joinAlias returns how GORM calls the table of a relation that is joined.
func joinAlias(name, alias string) string {
	if alias != "" {
		return alias
	}
	return strings.ReplaceAll(name, ".", "__")
}

// joined returns the model of a relation that is joined, by its path; nil if the join
// is SQL of the caller's.
func (p *plugin) joined(stmt *gorm.Statement, path string) *model {
	s := stmt.Schema
	for _, name := range strings.Split(path, ".") {
		if s = relation(s, name); s == nil {
			return nil
		}
	}
	return p.model(stmt.DB, s)
}

func relation(s *schema.Schema, name string) *schema.Schema {
	if s == nil || s.Relationships.Relations[name] == nil {
		return nil
	}
	return s.Relationships.Relations[name].FieldSchema
}

// encrypted returns the encrypted field that a condition is about, if it is about one.
func (c *checker) encrypted(column any) (*model, *vault.ModelField) {
	table, name := "", ""
	switch col := column.(type) {
	case string:
		name = col
	case clause.Column:
		table, name = col.Table, col.Name
	default:
		if v := reflect.ValueOf(column); v.Kind() == reflect.String {
			name = v.String()
		}
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 && (table == "" || table == clause.CurrentTable) {
		table = name[:i]
	}
	for _, m := range c.models(table) {
		if m == nil || m.err != nil {
			continue
		}
		if f := m.fields[m.column(name)]; f != nil {
			return m, f
		}
	}
	return nil, nil
}

// models returns those that a column of a table may be of.
func (c *checker) models(table string) []*model {
	key := columnKey(table)
	if table == "" || table == clause.CurrentTable || key == columnKey(c.table) {
		out := []*model{c.own}
		if c.table == c.stmt.Table {
			name, clear := c.p.tableOf(c.stmt)
			out = append(out, c.p.tables.named(name)...)
			if !clear {
				out = append(out, c.p.mentioned(c.stmt.TableExpr.SQL)...)
			}
		}
		if table == "" {
			out = append(out, c.otherTables("")...)
		}
		return out
	}
	return append(c.p.tables.named(table), c.otherTables(key)...)
}

// otherTables returns the models of what is joined under an alias, or of all that is
// joined. What the caller's SQL calls by aliases may be any table that it names.
func (c *checker) otherTables(key string) (out []*model) {
	known := false
	for _, j := range c.stmt.Joins {
		if m := c.p.joined(c.stmt, j.Name); m != nil && (key == "" || key == columnKey(joinAlias(j.Name, j.Alias))) {
			out, known = append(out, m), true
		}
	}
	if known && key != "" {
		return out
	}
	if c.stmt.TableExpr != nil {
		out = append(out, c.p.mentioned(c.stmt.TableExpr.SQL)...)
	}
	for _, j := range c.stmt.Joins {
		if c.p.joined(c.stmt, j.Name) == nil {
			out = append(out, c.p.mentioned(j.Name)...)
		}
	}
	return out
}
