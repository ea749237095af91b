package vaultgorm

import (
	"reflect"
	"strings"

	"github.com/embedvault/vault"
	"gorm.io/gorm/clause"
)

// sameBytes returns conditions that the row's key is spelled as it was given. A database
// may take u1, U1 and "u1 " for one key; bytes are bound to its spelling.
func (u *updater) sameBytes() (exprs []clause.Expression) {
	for _, k := range u.m.Key {
		if !u.m.isText(k) {
			continue
		}
		v, _ := u.m.schema.FieldsByDBName[k.Name].ValueOf(u.ctx, u.row)
		column := clause.Column{Table: clause.CurrentTable, Name: k.Name}
		switch u.stmt.Name() {
		case "mysql":
			exprs = append(exprs, clause.Expr{SQL: mysqlSameBytes("?"), Vars: []any{column, v}})
		case "sqlite":
			exprs = append(exprs, clause.Expr{SQL: "CAST(? AS BLOB) = CAST(? AS BLOB)", Vars: []any{column, v}})
		}
	}
	return exprs
}

// isText reports whether a column may be compared as text, by the rules of a language.
func (m *model) isText(k vault.ModelColumn) bool {
	t := strings.ToLower(k.Type)
	return m.schema.FieldsByDBName[k.Name].IndirectFieldType.Kind() == reflect.String &&
		!strings.Contains(t, "binary") && !strings.Contains(t, "blob")
}

// mysqlSameBytes compares an argument with another, whatever charsets they are in.
func mysqlSameBytes(with string) string {
	return "BINARY CONVERT(? USING utf8mb4) = BINARY CONVERT(" + with + " USING utf8mb4)"
}

// sameBytes is the same for an upsert on SQLite. On MySQL the assignments see to it.
func (u *upserter) sameBytes(e *clause.Expr) {
	if u.stmt.Name() != "sqlite" || !u.m.bound {
		return
	}
	for _, k := range u.m.Key {
		if !u.m.isText(k) {
			continue
		}
		if e.SQL != "" {
			e.SQL += " AND "
		}
		e.SQL += "CAST(? AS BLOB) = CAST(? AS BLOB)"
		e.Vars = append(e.Vars, clause.Column{Table: u.table(), Name: k.Name}, clause.Column{Table: "excluded", Name: k.Name})
	}
}

// checkUUID refuses textual keys that a column of type uuid gives back in another
// spelling.
func (s *sealer) checkUUID(f *vault.ModelField, row reflect.Value) error {
	if f.BindColumn || s.name == "sqlite" {
		return nil
	}
	for _, k := range s.m.Key {
		if !strings.EqualFold(k.Type, "uuid") || !s.m.isText(k) {
			continue
		}
		v := reflect.Indirect(fieldOf(row, k))
		if v.IsValid() && v.String() != "" && !isPlainUUID(v.String()) {
			return s.refuse(k.Name, ErrRowUnknown, "the column is a uuid and is read in lower case with hyphens: give it so")
		}
	}
	return nil
}

func isPlainUUID(id string) bool {
	return len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' && strings.ToLower(id) == id
}
