package gormtest

import (
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
)

// Bytes of one tenant's key never reach another tenant's row, whose fields nobody could
// open any more.
func TestRowOfAnotherTenant(t *testing.T) {
	onID := func(columns ...string) clause.OnConflict {
		return clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns(columns)}
	}
	ofB := func() *User {
		u := newUser("u1")
		u.OrgID, u.SSN, u.Email = "org_b", vault.Seal("of b"), vault.Null[string]()
		return u
	}
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		b := e.db.WithContext(vault.WithKeyContext(t.Context(), orgB))
		unowned := ofB()
		unowned.OrgID = ""
		for what, tx := range map[string]*gorm.DB{
			"update":          b.Model(&User{ID: "u1"}).Update("SSN", vault.Seal("of b")),
			"update with org": b.Model(&User{ID: "u1", OrgID: "org_b"}).Update("SSN", vault.Seal("of b")),
			"updates struct":  b.Model(&User{ID: "u1"}).Updates(User{SSN: vault.Seal("of b")}),
			"updates org":     b.Model(&User{ID: "u1"}).Updates(User{OrgID: "org_b", SSN: vault.Seal("of b")}),
			"alias":           b.Table("users").Model(&User{ID: "u1"}).Update("SSN", vault.Seal("of b")),
			"upsert":          b.Clauses(onID("ssn")).Create(ofB()),
			"upsert org":      b.Clauses(onID("org_id", "ssn")).Create(ofB()),
			"upsert unowned":  b.Clauses(onID("ssn")).Create(unowned),
		} {
			if tx.RowsAffected != 0 && tx.Error == nil {
				t.Fatalf("%s: a row was affected", what)
			}
			if what[:3] == "ups" && tx.Error == nil {
				t.Fatalf("%s: no error", what)
			}
			if what[:3] == "ups" && e.e.name != "mariadb" {
				is(t, tx.Error, vaultgorm.ErrOtherOwner)
			}
			e.same(t, "u1", before)
		}
		u := e.user(t, "u1")
		if _, err := u.SSN.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A tenant's own rows, and rows of nobody's, are written as before.
func TestRowOfTheSameTenant(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		ok(t, e.db.Create(&User{ID: "u2", SSN: vault.Seal("nobody's")}).Error)
		onID := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"ssn"})}
		for _, id := range []string{"u1", "u2"} {
			ok(t, e.db.Model(&User{ID: id}).Update("SSN", vault.Seal("one")).Error)
			u := e.user(t, id)
			opens(t, u.SSN, "one")
			ok(t, e.db.Clauses(onID).Create(&User{ID: id, SSN: vault.Seal("two")}).Error)
			u = e.user(t, id)
			opens(t, u.SSN, "two")
			u.SSN = vault.Seal("three")
			ok(t, e.db.Save(&u).Error)
			u = e.user(t, id)
			opens(t, u.SSN, "three")
		}
		// Of several rows, one that can't be written fails all of them.
		b := e.db.WithContext(vault.WithKeyContext(t.Context(), orgB))
		err := b.Clauses(onID).Create([]User{{ID: "u9", OrgID: "org_b", SSN: vault.Seal("x")}, {ID: "u1", OrgID: "org_b", SSN: vault.Seal("x")}}).Error
		if err == nil {
			t.Fatal("no error")
		}
		if err := e.db.First(&User{}, "id = ?", "u9").Error; !errors.Is(err, gorm.ErrRecordNotFound) {
			t.Fatalf("a part was written: %v", err)
		}
	})
}
