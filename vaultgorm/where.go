package vaultgorm

import (
	"database/sql/driver"
	"reflect"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// buildWhere refuses conditions that compare an encrypted column with a value: nothing
// is ever found by them, and nobody would notice. Conditions that are SQL of the
// caller's aren't looked into.
func (p *plugin) buildWhere(stmt *gorm.Statement, c *clause.Clause) bool {
	where, ok := c.Expression.(clause.Where)
	if !ok {
		return true
	}
	s := checker{p: p, stmt: stmt, own: p.modelOf(stmt), table: stmt.Table}
	if err := s.checkConditions(where.Exprs); err != nil {
		_ = stmt.AddError(err)
		c.Expression = clause.Where{Exprs: []clause.Expression{failing{err}}}
	}
	return true
}

// failing is a condition that no statement survives. The error of a subquery isn't
// looked at by GORM; what can't be made an argument of the statement is.
type failing struct{ err error }

// Build is of [clause.Expression].
func (f failing) Build(b clause.Builder) {
	_, _ = b.WriteString("NULL = ")
	b.AddVar(b, failingArg{func() error { return f.err }})
}

type failingArg struct{ err func() error }

// Value fails.
func (f failingArg) Value() (driver.Value, error) { return []byte{}, f.err() }

func (s *checker) checkConditions(exprs []clause.Expression) error {
	for _, e := range exprs {
		var err error
		switch e := e.(type) {
		case clause.AndConditions:
			err = s.checkConditions(e.Exprs)
		case clause.OrConditions:
			err = s.checkConditions(e.Exprs)
		case clause.NotConditions:
			err = s.checkConditions(e.Exprs)
		case group:
			err = s.checkConditions(e.where.Exprs)
		case clause.Eq:
			err = s.checkCondition(e.Column, e.Value)
		case clause.Neq:
			err = s.checkCondition(e.Column, e.Value)
		case clause.IN:
			err = s.checkCondition(e.Column, e.Values...)
		case clause.Like:
			err = s.checkCondition(e.Column, e.Value)
		case clause.Gt:
			err = s.checkCondition(e.Column, e.Value)
		case clause.Gte:
			err = s.checkCondition(e.Column, e.Value)
		case clause.Lt:
			err = s.checkCondition(e.Column, e.Value)
		case clause.Lte:
			err = s.checkCondition(e.Column, e.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCondition allows NULL and sealed bytes: which row has this very ciphertext.
func (s *checker) checkCondition(column any, values ...any) error {
	for _, v := range values {
		if mayCompare(v) {
			continue
		}
		if m, f := s.encrypted(column); f != nil {
			return &Error{Op: "query", Table: m.Table, Column: f.Name, Err: ErrCondition,
				Fix: "search with vaultgorm.Eq, by the column's blind index"}
		}
	}
	return nil
}

// mayCompare reports whether a value is what an encrypted column has: NULL, or bytes.
func mayCompare(v any) bool {
	switch v := v.(type) {
	case nil, []byte, clause.Column:
		return true
	case vault.FieldBox:
		return v.FieldState() != vault.FieldPending
	case driver.Valuer:
		if !vault.IsFieldType(reflect.TypeOf(v)) {
			return false
		}
		_, err := v.Value()
		return err == nil
	}
	return false
}
