package gormtest

import (
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
)

// byTable are ways to name a table that no model is given for.
func byTable(db *gorm.DB) map[string]*gorm.DB {
	out := map[string]*gorm.DB{
		"expr":         db.Table("?", gorm.Expr("users")),
		"expr alias":   db.Table("?", gorm.Expr("users AS u")),
		"clause.Table": db.Table("?", clause.Table{Name: "users"}),
		"comment":      db.Table("users /* of all */"),
		"expression":   db.Table("users, ?", gorm.Expr("notes")),
	}
	for _, name := range []string{"users", "users AS u", "users u", "users  as u", "main.users", "`users`", `"users"`, "main . `users` u", "USERS", "ONLY users"} {
		out[name] = db.Table(name)
	}
	return out
}

// A table that is named by an alias, in quotes, with its schema or by an expression has
// the encrypted columns that it has.
func TestTableByAnyName(t *testing.T) {
	type dto struct{ ID, OrgID, SSN string }
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		for what, write := range map[string]func(db *gorm.DB) error{
			"updates map": func(db *gorm.DB) error {
				return db.Where("id = ?", "u1").Updates(map[string]any{"ssn": "PLAIN"}).Error
			},
			"update":        func(db *gorm.DB) error { return db.Where("id = ?", "u1").Update("ssn", "PLAIN").Error },
			"update column": func(db *gorm.DB) error { return db.Where("id = ?", "u1").UpdateColumn("ssn", "PLAIN").Error },
			"updates dto":   func(db *gorm.DB) error { return db.Where("id = ?", "u1").Updates(&dto{SSN: "PLAIN"}).Error },
			"create map": func(db *gorm.DB) error {
				return db.Create(map[string]any{"id": "u2", "org_id": "org_a", "ssn": "PLAIN"}).Error
			},
			"create dto": func(db *gorm.DB) error { return db.Create(&dto{"u2", "org_a", "PLAIN"}).Error },
		} {
			for name, db := range byTable(e.db) {
				err := write(db)
				if err == nil {
					t.Fatalf("%s of table %s: no error", what, name)
				}
				is(t, err, vaultgorm.ErrPlaintext)
			}
		}
		e.same(t, "u1", before)
		var n int64
		ok(t, e.db.Model(&User{}).Count(&n).Error)
		if n != 1 || strings.Contains(e.log.String(), "PLAIN") {
			t.Fatalf("%d rows, or plain text in the log", n)
		}
		ok(t, e.db.Table("users AS u").Where("id = ?", "u1").Pluck("name", new([]string)).Error)
	})
}

func TestConditionsUnderAnAlias(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		for _, name := range []string{"users AS u", "`users`"} {
			for _, column := range []string{"ssn", "u.ssn", "users.ssn"} {
				var ids []string
				is(t, e.db.Table(name).Where(map[string]any{column: "searched"}).Pluck("id", &ids).Error, vaultgorm.ErrCondition)
			}
		}
		if strings.Contains(e.log.String(), "searched") {
			t.Fatal("plain text in the log")
		}
	})
}

type firstOfTwo struct {
	ID    string                  `gorm:"primaryKey;size:36"`
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

type secondOfTwo struct {
	ID    string                  `gorm:"primaryKey;size:36"`
	Email vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
	SSN   vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

func (firstOfTwo) TableName() string  { return "twos" }
func (secondOfTwo) TableName() string { return "twos" }

// What one model of a table has encrypted can't be written as plain text through another.
func TestTwoModelsOfATable(t *testing.T) {
	each(t, []any{&firstOfTwo{}, &secondOfTwo{}}, func(t *testing.T, e *env) {
		ok(t, e.db.Create(&secondOfTwo{ID: "u1", SSN: vault.Seal("x")}).Error)
		before := string(e.column(t, "twos", "ssn", "u1"))
		plain := map[string]any{"ssn": "PLAIN"}
		for _, db := range []*gorm.DB{e.db.Table("twos"), e.db.Model(&firstOfTwo{}), e.db.Table("twos AS t")} {
			is(t, db.Where("id = ?", "u1").Updates(plain).Error, vaultgorm.ErrPlaintext)
		}
		upsert := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(plain)}
		is(t, e.db.Clauses(upsert).Create(&firstOfTwo{ID: "u1", Email: vault.Seal("e")}).Error, vaultgorm.ErrPlaintext)
		if string(e.column(t, "twos", "ssn", "u1")) != before {
			t.Fatal("the column has changed")
		}
		ok(t, e.db.Model(&firstOfTwo{}).Where("id = ?", "u1").Update("ssn", nil).Error)
		ok(t, e.db.Model(&firstOfTwo{ID: "u1"}).Update("email", vault.Seal("e")).Error)
	})
}
