package vaultgorm

import (
	"reflect"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// owners returns the conditions that the row has the key context that its new bytes are
// sealed for. Columns that are set in the same UPDATE are looked after by assignPlain.
func (u *updater) owners() (exprs []clause.Expression) {
	for _, c := range u.m.Context {
		if _, set := u.place[c.Field.Name]; set {
			continue
		}
		own := clause.Column{Table: clause.CurrentTable, Name: c.Field.Name}
		f := u.m.schema.FieldsByDBName[c.Field.Name]
		if v, zero := f.ValueOf(u.ctx, u.row); !zero {
			exprs = append(exprs, clause.Eq{Column: own, Value: v})
		} else if v, ok := u.ofContext(c); ok { // a row without an owner is of whom ctx says
			exprs = append(exprs, clause.Expr{SQL: "(? = ? OR ? IS NULL OR ? = ?)", WithoutParentheses: true,
				Vars: []any{own, v, own, own, zeroOf(u.m, c)}})
		}
	}
	return exprs
}

// ofContext returns what a column of the key context has for the key context of ctx.
func (s *sealer) ofContext(c vault.ModelContext) (any, bool) {
	kc, _ := vault.KeyContextFrom(s.ctx)
	text, ok := kc[c.Key]
	if !ok {
		return nil, false
	}
	row := s.m.ownRow(reflect.Value{})
	if !s.set(row, c.Field.Name, text) {
		return text, true
	}
	v, _ := s.m.schema.FieldsByDBName[c.Field.Name].ValueOf(s.ctx, row)
	return v, true
}

func zeroOf(m *model, c vault.ModelContext) any {
	t := m.schema.FieldsByDBName[c.Field.Name].FieldType
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return reflect.Zero(t).Interface()
}

// owners returns the condition that the row that is there has the key context of the one
// that was to be inserted; nothing if all that depends on it is written.
func (u *upserter) owners(given map[string]bool) (e clause.Expr) {
	e.WithoutParentheses = true
	for _, c := range u.m.Context {
		if given[c.Field.Name] && u.all(given) {
			continue
		}
		if e.SQL != "" {
			e.SQL += " AND "
		}
		u.owner(&e, c)
	}
	return e
}

func (u *upserter) owner(e *clause.Expr, c vault.ModelContext) {
	there := clause.Column{Table: u.table(), Name: c.Field.Name}
	mark, inserted := "?", clause.Column{Table: "excluded", Name: c.Field.Name}
	if u.mysql {
		mark, inserted.Table = "VALUES(?)", ""
	}
	zero := zeroOf(u.m, c)
	e.SQL += "(? = " + mark + " OR (" + mark + " IS NULL OR " + mark + " = ?) AND (? IS NULL OR ? = ?"
	e.Vars = append(e.Vars, there, inserted, inserted, inserted, zero, there, there, zero)
	if v, ok := u.ofContext(c); ok {
		e.SQL += " OR ? = ?"
		e.Vars = append(e.Vars, there, v)
	}
	e.SQL += "))"
}

// table returns how the statement calls its table.
func (u *upserter) table() string {
	if u.mysql || u.stmt.Table == "" {
		return u.m.schema.Table
	}
	return u.stmt.Table
}

// guard makes an upsert pass over rows of other key contexts, for which it then fails.
func (u *upserter) guard(on *clause.OnConflict, given map[string]bool) {
	e := u.owners(given)
	u.sameBytes(&e)
	if u.mysql || e.SQL == "" {
		return
	}
	if values, ok := u.stmt.Clauses["VALUES"].Expression.(clause.Values); ok && len(on.Where.Exprs) == 0 {
		u.stmt.Settings.Store(guardSetting, int64(len(values.Values)))
	}
	on.Where.Exprs = append([]clause.Expression{e}, groupOf(on.Where)...)
}

func groupOf(w clause.Where) []clause.Expression {
	if len(w.Exprs) == 0 {
		return nil
	}
	return []clause.Expression{group{w}}
}

// checkGuard fails an upsert that has passed over a row.
func (p *plugin) checkGuard(db *gorm.DB) {
	rows, ok := db.Statement.Settings.LoadAndDelete(guardSetting)
	if ok && !db.DryRun && db.Error == nil && db.RowsAffected < rows.(int64) {
		_ = db.AddError(&Error{Op: "upsert", Table: db.Statement.Table, Err: ErrOtherOwner, Fix: "upsert it under its own key context"})
	}
}
