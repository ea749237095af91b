package gormtest

import (
	"errors"
	"testing"

	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

func onID(c clause.OnConflict) clause.OnConflict {
	c.Columns = []clause.Column{{Name: "id"}}
	return c
}

// An upsert on the primary key writes fields and their indexes; one that updates some
// columns leaves the others.
func TestUpsert(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		ssn := e.columns(t, "u1")[2]
		u := newUser("u1")
		u.Email = vault.Seal("new@example.org")
		ok(t, e.db.Clauses(onID(clause.OnConflict{DoUpdates: clause.AssignmentColumns([]string{"email"})})).Create(u).Error)
		opens(t, e.user(t, "u1").Email, "new@example.org")
		if e.columns(t, "u1")[2] != ssn {
			t.Fatal("a column that wasn't in the upsert was written")
		}
		var found User
		ok(t, e.db.Where(vaultgorm.Eq("Email", "new@example.org")).First(&found).Error)
		u.Email = vault.Null[string]()
		ok(t, e.db.Clauses(clause.OnConflict{UpdateAll: true}).Create([]*User{u, newUser("u2")}).Error)
		if e.column(t, "users", "email", "u1") != nil || e.column(t, "users", "email_bidx", "u1") != nil {
			t.Fatal("not NULL, or an index without its field")
		}
		opens(t, e.user(t, "u2").Email, "u2@example.org")
		before := e.columns(t, "u2")
		ok(t, e.db.Clauses(clause.OnConflict{DoNothing: true}).Create(newUser("u2")).Error)
		e.same(t, "u2", before)
	})
}

// An upsert that conflicts elsewhere than on the primary key would store what is bound
// to the new row in another one.
func TestUpsertOnAnotherTarget(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		other := newUser("u9")
		other.Email = vault.Seal("u1@example.org") // the unique index is u1's
		if e.db.Create(other).Error == nil {
			t.Fatal("two rows have a unique index")
		}
		columns := []clause.Column{{Name: "email_bidx"}}
		all := clause.OnConflict{Columns: columns, UpdateAll: true}
		some := clause.OnConflict{Columns: columns, DoUpdates: clause.AssignmentColumns([]string{"ssn", "name"})}
		for _, c := range []clause.OnConflict{all, some, {OnConstraint: "idx_users_email_bidx", DoUpdates: some.DoUpdates}} {
			err := e.db.Clauses(c).Create(other).Error
			if e.e.dialect == fieldtest.MySQL { // which doesn't heed the target; the statement fails there
				if err == nil {
					t.Fatal("it was taken")
				}
			} else {
				is(t, err, vaultgorm.ErrUpsertTarget)
			}
		}
		if err := e.db.Clauses(clause.OnConflict{UpdateAll: true}).Create(other).Error; err == nil {
			t.Fatal("the row of another key was overwritten")
		}
		if err := e.db.Save([]*User{other}).Error; err == nil {
			t.Fatal("the row of another key was overwritten")
		}
		e.same(t, "u1", before)
		opens(t, e.user(t, "u1").SSN, must(e.user(t, "u1").SSN.Open(t.Context()))(t))
		// Without the encrypted columns it is nobody's business.
		ok(t, e.db.Clauses(clause.OnConflict{Columns: columns, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(other).Error)
		if u := e.user(t, "u1"); u.Name != "name of u9" {
			t.Fatal(u.Name)
		}
		e.same(t, "u1", before)
	})
}

// What an upsert can't do without losing something is refused.
func TestUpsertRefuses(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		for class, c := range map[error]clause.OnConflict{
			vaultgorm.ErrIndexColumn: {DoUpdates: clause.AssignmentColumns([]string{"email_bidx"})},
			vaultgorm.ErrPlaintext:   {DoUpdates: clause.Assignments(map[string]any{"email": vault.Seal("x@example.org")})},
			vaultgorm.ErrKeyChanged:  {DoUpdates: clause.Assignments(map[string]any{"id": "u7"})},
		} {
			if err := e.db.Clauses(onID(c)).Create(newUser("u1")).Error; !errors.Is(err, class) {
				t.Fatalf("got error %v, want %v", err, class)
			}
		}
		// A row doesn't change its tenant while fields of it stay.
		b := &User{ID: "u1", OrgID: "org_b", Name: "moved", SSN: vault.Seal("x")}
		ok(t, e.db.WithContext(t.Context()).Clauses(onID(clause.OnConflict{DoUpdates: clause.AssignmentColumns([]string{"org_id", "name"})})).Create(b).Error)
		if u := e.user(t, "u1"); u.OrgID != "org_a" || u.Name != "moved" {
			t.Fatalf("%+v", u)
		}
		e.same(t, "u1", before)
		opens(t, e.user(t, "u1").Email, "u1@example.org")
	})
}
