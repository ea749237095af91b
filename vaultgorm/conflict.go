package vaultgorm

import (
	"slices"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// buildConflict looks after what an INSERT stores in rows that are there already.
func (p *plugin) buildConflict(stmt *gorm.Statement, c *clause.Clause) bool {
	on, ok := c.Expression.(clause.OnConflict)
	m := p.modelOf(stmt)
	if !ok || stmt.Error != nil || on.DoNothing {
		return stmt.Error == nil
	}
	for _, a := range on.DoUpdates {
		if isExcluded(a, columnKey(a.Column.Name)) {
			continue // the value to be inserted, which was looked at
		}
		if err := p.checkAssigned(stmt, m, "upsert", a.Column.Name, a.Value); err != nil {
			return stmt.AddError(err) == nil
		}
	}
	if !m.encrypts() {
		return true
	}
	if m.err != nil {
		return stmt.AddError(m.err) == nil
	}
	u := upserter{sealer: p.sealer(stmt, m, "upsert"), stmt: stmt, on: on, mysql: stmt.Name() == "mysql"}
	out, err := u.check()
	if err != nil {
		return stmt.AddError(err) == nil
	}
	c.Expression = out
	return true
}

// upserter goes through the assignments of an upsert.
type upserter struct {
	*sealer
	stmt  *gorm.Statement
	on    clause.OnConflict
	given map[string]bool // what is updated
	mysql bool            // every unique key is a target, whatever the statement says
}

func (u *upserter) check() (clause.OnConflict, error) {
	out := u.on
	out.DoUpdates = nil
	given, writes := map[string]bool{}, false
	u.given = given
	for _, a := range u.on.DoUpdates {
		given[u.m.column(a.Column.Name)] = true
	}
	for _, a := range u.on.DoUpdates {
		name := u.m.column(a.Column.Name)
		f := u.m.fields[name]
		switch {
		case u.m.keys[name] && u.m.bound && !(isExcluded(a, name) && u.onKey() && !u.mysql):
			return out, u.refuse(name, ErrKeyChanged, "leave the primary key out")
		case u.m.indexes[name] != nil:
			if !given[u.m.indexes[name].Name] {
				return out, u.refuse(name, ErrIndexColumn, "update the encrypted column too")
			}
			continue // comes with its field
		case u.m.context[name] && !u.all(given):
			continue // a row that is there stays with the tenant that its fields belong to
		case !u.m.follow(name, given):
			return out, u.refuse(name, ErrIndexColumn, "a compound index is over it: update the encrypted column too")
		case f == nil:
			out.DoUpdates = append(out.DoUpdates, a)
			continue
		}
		if !isExcluded(a, name) {
			return out, u.refuse(name, ErrPlaintext, "update it with what was to be inserted: clause.AssignmentColumns, or UpdateAll")
		}
		if !f.BindColumn && !u.mysql && !u.onKey() {
			return out, u.refuse(name, ErrUpsertTarget, "make the conflict target the primary key, or leave the encrypted columns out of what is updated")
		}
		writes = true
		out.DoUpdates = append(out.DoUpdates, u.assign(f, f.ModelColumn))
		for _, ix := range f.Indexes {
			out.DoUpdates = append(out.DoUpdates, u.assign(f, ix.Target))
		}
	}
	out.DoNothing = len(out.DoUpdates) == 0
	if writes {
		u.guard(&out, given)
	}
	return out, nil
}

// assign returns the assignment of an encrypted column or an index. To MySQL every
// unique key is a target, and the row that is there may be another than the one that
// the bytes are bound to: then the statement must fail.
func (u *upserter) assign(f *vault.ModelField, column vault.ModelColumn) clause.Assignment {
	own := clause.Column{Name: column.Name}
	owners := u.owners(u.given)
	if !u.mysql || f.BindColumn && owners.SQL == "" {
		return clause.Assignment{Column: own, Value: clause.Column{Table: "excluded", Name: column.Name}}
	}
	e := clause.Expr{SQL: "IF(TRUE", WithoutParentheses: true}
	if owners.SQL != "" {
		e.SQL += " AND " + owners.SQL
		e.Vars = append(e.Vars, owners.Vars...)
	}
	for _, k := range u.m.Key {
		if f.BindColumn {
			break
		}
		if u.m.isText(k) {
			e.SQL += " AND " + mysqlSameBytes("VALUES(?)")
		} else {
			e.SQL += " AND ? = VALUES(?)"
		}
		e.Vars = append(e.Vars, clause.Column{Table: u.m.schema.Table, Name: k.Name}, clause.Column{Name: k.Name})
	}
	e.SQL += ", VALUES(?), (SELECT 'the row with this unique key is another one, or of another key context' UNION ALL SELECT ?))"
	e.Vars = append(e.Vars, own, clause.Column{Table: u.m.schema.Table, Name: column.Name})
	return clause.Assignment{Column: own, Value: e}
}

// onKey reports whether the conflict target is the primary key.
func (u *upserter) onKey() bool {
	if u.on.OnConstraint != "" || len(u.on.Columns) != len(u.m.Key) || len(u.on.TargetWhere.Exprs) > 0 {
		return false
	}
	return !slices.ContainsFunc(u.on.Columns, func(c clause.Column) bool { return !u.m.keys[u.m.column(c.Name)] })
}

func (u *upserter) all(given map[string]bool) bool {
	return !slices.ContainsFunc(u.m.Fields, func(f *vault.ModelField) bool { return !given[f.Name] })
}

// follow reports whether the compound indexes over a column are updated with it.
func (m *model) follow(column string, given map[string]bool) bool {
	return !slices.ContainsFunc(m.parts[column], func(f *vault.ModelField) bool { return !given[f.Name] })
}

// isExcluded reports whether an assignment takes the value that was to be inserted.
func isExcluded(a clause.Assignment, name string) bool {
	c, ok := a.Value.(clause.Column)
	return ok && c.Table == "excluded" && columnKey(c.Name) == columnKey(name)
}
