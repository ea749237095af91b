package vaultgorm

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// tables are the models with encrypted columns, by the table they are of. A table may
// have several.
type tables struct {
	mu sync.RWMutex
	of map[string][]*model // by columnKey; the slices are never changed
}

func (t *tables) add(m *model) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[string][]*model{}
	}
	key := columnKey(m.schema.Table)
	t.of[key] = append(slices.Clip(t.of[key]), m)
}

func (t *tables) named(name string) []*model {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.of[columnKey(name)]
}

func (t *tables) all() (out []*model) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, ms := range t.of {
		out = append(out, ms...)
	}
	return out
}

// Parts of an SQL name.
const (
	namePart = "(?:`[^`]+`|\"[^\"]+\"|\\[[^\\]]+\\]|[\\pL_][\\pL\\pN_$]*)"
	fullName = namePart + `(?:\s*\.\s*` + namePart + `)*`
)

var (
	tableName = regexp.MustCompile(`(?i)^\s*(` + fullName + `)(?:\s+(AS\s+)?(` + namePart + `))?\s*$`)
	sqlWord   = regexp.MustCompile(`[\pL_][\pL\pN_$]*`)
)

// tableOf returns the name of the table that a statement is of, without its alias. It
// isn't clear if the caller's SQL for it is more than a name and an alias.
func (p *plugin) tableOf(stmt *gorm.Statement) (name string, clear bool) {
	if stmt.TableExpr == nil {
		return stmt.Table, true
	}
	return p.nameIn(*stmt.TableExpr)
}

func (p *plugin) nameIn(e clause.Expr) (string, bool) {
	if len(e.Vars) == 1 && strings.TrimSpace(e.SQL) == "?" {
		switch v := e.Vars[0].(type) {
		case clause.Expr:
			return p.nameIn(v)
		case clause.Table:
			return v.Name, v.Name != clause.CurrentTable
		}
	}
	found := tableName.FindStringSubmatch(e.SQL)
	if found == nil || len(e.Vars) > 0 {
		return "", false
	}
	name, as, alias := found[1], found[2], found[3]
	// What looks like a name may be a word of the dialect, as in ONLY users.
	if as == "" && alias != "" && p.tables.named(name) == nil && p.tables.named(alias) != nil {
		return "", false
	}
	return name, true
}

// others returns the models besides m whose columns a statement may write: those of
// the same table or, where it isn't clear which that is, all.
func (p *plugin) others(stmt *gorm.Statement, m *model) (out []*model) {
	name, clear := p.tableOf(stmt)
	if !clear {
		out = p.tables.all()
	} else {
		out = slices.Clone(p.tables.named(name))
		if m.encrypts() && m.schema != nil {
			out = append(out, p.tables.named(m.schema.Table)...)
		}
	}
	return slices.DeleteFunc(out, func(o *model) bool { return o == m })
}

// checkAssigned refuses to write a column that isn't encrypted in the statement's own
// model, and is in another one of the table.
func (p *plugin) checkAssigned(stmt *gorm.Statement, m *model, op, column string, value any) error {
	if isNull(value) || p.looksAfter(m, column) {
		return nil
	}
	for _, o := range p.others(stmt, m) {
		name := o.column(column)
		if o.fields[name] != nil {
			return &Error{Op: op, Table: o.Table, Column: name, Err: ErrPlaintext,
				Fix: "write it through its model, Model(&" + o.Type.Name() + "{}), or name the table by Table(\"" + o.schema.Table + "\")"}
		}
		if o.indexes[name] != nil {
			return &Error{Op: op, Table: o.Table, Column: name, Err: ErrIndexColumn,
				Fix: "write the encrypted column through its model, Model(&" + o.Type.Name() + "{})"}
		}
	}
	return nil
}

// looksAfter reports whether a model seals a column itself.
func (*plugin) looksAfter(m *model, column string) bool {
	if !m.encrypts() || m.err != nil {
		return false
	}
	name := m.column(column)
	return m.fields[name] != nil || m.indexes[name] != nil
}

func isNull(value any) bool {
	v := reflect.ValueOf(value)
	return !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil()
}

// mentioned returns the models whose tables a piece of the caller's SQL has the names of.
func (p *plugin) mentioned(sql string) (out []*model) {
	for _, word := range sqlWord.FindAllString(sql, -1) {
		out = append(out, p.tables.named(word)...)
	}
	return out
}
