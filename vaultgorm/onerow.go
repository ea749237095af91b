package vaultgorm

import "gorm.io/gorm/clause"

// key returns the condition that the row has its primary key.
func (u *updater) key() (exprs []clause.Expression) {
	for _, k := range u.m.Key {
		v, _ := u.m.schema.FieldsByDBName[k.Name].ValueOf(u.ctx, u.row)
		exprs = append(exprs, clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: k.Name}, Value: v})
	}
	return exprs
}

// ofOneRow reports whether the UPDATE is of the row and no other as it is. A condition
// with OR in it reaches further than GORM's own on the key, and what is sealed for the
// row would be stored in others.
func (u *updater) ofOneRow() bool {
	where, _ := u.stmt.Clauses["WHERE"].Expression.(clause.Where)
	found := 0
	for _, e := range where.Exprs {
		eq, ok := e.(clause.Eq)
		if !ok {
			return false
		}
		for _, k := range u.m.Key {
			if name, ok := eq.Column.(string); ok && name == k.Name {
				found++
			}
		}
	}
	return found == len(u.m.Key)
}

// condition adds to what the UPDATE is restricted to.
func (u *updater) condition(also ...clause.Expression) {
	if len(also) == 0 {
		return
	}
	c := u.stmt.Clauses["WHERE"]
	if where, _ := c.Expression.(clause.Where); len(where.Exprs) > 0 {
		also = append([]clause.Expression{group{where}}, also...)
	}
	c.Name, c.Expression = "WHERE", clause.Where{Exprs: also}
	u.stmt.Clauses["WHERE"] = c
}

// group is a condition in parentheses.
type group struct{ where clause.Where }

// Build is of [clause.Expression].
func (g group) Build(b clause.Builder) {
	_ = b.WriteByte('(')
	g.where.Build(b)
	_ = b.WriteByte(')')
}
