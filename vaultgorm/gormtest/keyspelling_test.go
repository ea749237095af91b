package gormtest

import (
	"testing"

	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
)

// noCase has a key that the database compares without regard to case.
type noCase struct {
	ID  string                  `gorm:"primaryKey;size:36"`
	SSN vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

func (noCase) TableName() string { return "no_cases" }

// A key that the database takes for the row's, and that is spelled in another way, is
// another key: bytes that are bound to it would fit no row.
func TestKeySpelledInAnotherWay(t *testing.T) {
	each(t, nil, func(t *testing.T, e *env) {
		if e.e.name == "sqlite" {
			e.exec(t, "CREATE TABLE no_cases (id text COLLATE NOCASE PRIMARY KEY, ssn blob)")
		} else {
			ok(t, e.db.AutoMigrate(&noCase{}))
		}
		ok(t, e.db.Create(&noCase{ID: "u1", SSN: vault.Seal("old")}).Error)
		onID := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"ssn"})}
		for what, f := range map[string]func() error{
			"update": func() error { return e.db.Model(&noCase{ID: "U1"}).Update("SSN", vault.Seal("new")).Error },
			"space":  func() error { return e.db.Model(&noCase{ID: "u1 "}).Update("SSN", vault.Seal("new")).Error },
			"save":   func() error { return e.db.Save(&noCase{ID: "U1", SSN: vault.Seal("new")}).Error },
			"upsert": func() error { return e.db.Clauses(onID).Create(&noCase{ID: "U1", SSN: vault.Seal("new")}).Error },
		} {
			err := f()
			var all []noCase
			ok(t, e.db.Where("id = ?", "u1").Find(&all).Error)
			for _, u := range all {
				if _, oerr := u.SSN.Open(t.Context()); oerr != nil {
					t.Fatalf("%s: %v; row %s: %v", what, err, u.ID, oerr)
				}
			}
		}
		ok(t, e.db.Model(&noCase{ID: "u1"}).Update("SSN", vault.Seal("mine")).Error)
		var u noCase
		ok(t, e.db.First(&u, "id = ?", "u1").Error)
		opens(t, u.SSN, "mine")
	})
}

type textUUID struct {
	ID  string                  `gorm:"primaryKey;type:uuid"`
	SSN vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

// A uuid column gives back another spelling than it was given.
func TestUUIDInUpperCase(t *testing.T) {
	each(t, []any{&textUUID{}}, func(t *testing.T, e *env) {
		for _, id := range []string{"0190B6A0-7C1E-7A3C-9F00-0123456789AB", "0190b6a07c1e7a3c9f000123456789ac", "0190b6a0-7c1e-7a3c-9f00-0123456789ad"} {
			err := e.db.Create(&textUUID{ID: id, SSN: vault.Seal("x")}).Error
			if e.e.name != "sqlite" && id[8:9]+id[4:8] != "-b6a0" {
				is(t, err, vaultgorm.ErrRowUnknown)
				continue
			}
			ok(t, err)
			var u textUUID
			ok(t, e.db.First(&u, "id = ?", id).Error)
			opens(t, u.SSN, "x")
		}
	})
}
