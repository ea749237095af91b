package vaultgorm

import (
	"database/sql/driver"
	"reflect"
	"strings"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// buildWhere refuses conditions that compare an encrypted column with a value: nothing
// is ever found by them, and nobody would notice. Conditions that are SQL of the
// caller's aren't looked into.
func (p *plugin) buildWhere(stmt *gorm.Statement, c *clause.Clause) bool {
	where, ok := c.Expression.(clause.Where)
	m := p.modelOf(stmt)
	if !ok || !m.encrypts() || m.err != nil {
		return true
	}
	s := p.sealer(stmt, m, "query")
	if err := s.checkConditions(stmt, where.Exprs); err != nil {
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

func (s *sealer) checkConditions(stmt *gorm.Statement, exprs []clause.Expression) error {
	for _, e := range exprs {
		var err error
		switch e := e.(type) {
		case clause.AndConditions:
			err = s.checkConditions(stmt, e.Exprs)
		case clause.OrConditions:
			err = s.checkConditions(stmt, e.Exprs)
		case clause.NotConditions:
			err = s.checkConditions(stmt, e.Exprs)
		case group:
			err = s.checkConditions(stmt, e.where.Exprs)
		case clause.Eq:
			err = s.checkCondition(stmt, e.Column, e.Value)
		case clause.Neq:
			err = s.checkCondition(stmt, e.Column, e.Value)
		case clause.IN:
			err = s.checkCondition(stmt, e.Column, e.Values...)
		case clause.Like:
			err = s.checkCondition(stmt, e.Column, e.Value)
		case clause.Gt:
			err = s.checkCondition(stmt, e.Column, e.Value)
		case clause.Gte:
			err = s.checkCondition(stmt, e.Column, e.Value)
		case clause.Lt:
			err = s.checkCondition(stmt, e.Column, e.Value)
		case clause.Lte:
			err = s.checkCondition(stmt, e.Column, e.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCondition allows NULL and sealed bytes: which row has this very ciphertext.
func (s *sealer) checkCondition(stmt *gorm.Statement, column any, values ...any) error {
	f := s.encrypted(stmt, column)
	if f == nil {
		return nil
	}
	for _, v := range values {
		if !mayCompare(v) {
			return s.refuse(f.Name, ErrCondition, "search with vaultgorm.Eq, by the column's blind index")
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

// encrypted returns the encrypted field of the statement's own table that a condition
// is about, if it is about one.
func (s *sealer) encrypted(stmt *gorm.Statement, column any) *vault.ModelField {
	table, name := "", ""
	switch c := column.(type) {
	case string:
		name = c
	case clause.Column:
		table, name = c.Table, c.Name
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 && table == "" {
		table = columnKey(name[:i])
	}
	if table != "" && table != clause.CurrentTable && columnKey(table) != columnKey(stmt.Table) {
		return nil
	}
	return s.m.fields[s.m.column(name)]
}
