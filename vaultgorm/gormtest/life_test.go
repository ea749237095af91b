package gormtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

// Transactions, nested ones with their save points, rollbacks and another try.
func TestTransactions(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		undo := errors.New("undo")
		u, inner := newUser("u1"), newUser("u2")
		ok(t, e.db.Transaction(func(tx *gorm.DB) error {
			ok(t, tx.Create(u).Error)
			is(t, tx.Transaction(func(tx *gorm.DB) error {
				ok(t, tx.Create(inner).Error)
				ok(t, tx.Model(&User{ID: "u1"}).Update("ssn", vault.Seal("undone")).Error)
				return undo
			}), undo)
			ok(t, tx.SavePoint("here").Error)
			ok(t, tx.Model(&User{ID: "u1"}).Update("email", vault.Seal("undone@example.org")).Error)
			return tx.RollbackTo("here").Error
		}))
		got := e.user(t, "u1")
		opens(t, got.Email, "u1@example.org")
		opens(t, got.SSN, must(u.SSN.Open(t.Context()))(t))
		ok(t, e.db.Transaction(func(tx *gorm.DB) error { return tx.Create(inner).Error }))
		opens(t, e.user(t, "u2").Email, "u2@example.org")
		// A refusal inside undoes what was before it.
		is(t, e.db.Transaction(func(tx *gorm.DB) error {
			ok(t, tx.Create(newUser("u3")).Error)
			return tx.Model(&User{ID: "u3"}).Update("ssn", "plain").Error
		}), vaultgorm.ErrPlaintext)
		is(t, e.db.First(&User{}, "id = ?", "u3").Error, gorm.ErrRecordNotFound)
	})
}

// Soft deletion, and what comes after it.
func TestSoftDelete(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := e.stored(t, "u1")
		before := e.columns(t, "u1")
		ok(t, e.db.Delete(&u).Error)
		e.same(t, "u1", before)
		is(t, e.db.First(&User{}, "id = ?", "u1").Error, gorm.ErrRecordNotFound)
		var again User
		ok(t, e.db.Unscoped().First(&again, "id = ?", "u1").Error)
		opens(t, again.Email, "u1@example.org")
		ok(t, e.db.Unscoped().Model(&again).Update("deleted_at", nil).Error)
		opens(t, e.user(t, "u1").Email, "u1@example.org")
		ok(t, e.db.Unscoped().Delete(&again).Error)
	})
}

// Hooked has hooks that make its key, change a field and open one.
type Hooked struct {
	ID     string                  `gorm:"primaryKey;size:36"`
	Secret vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
	Opened string                  `gorm:"-"`
}

func (h *Hooked) BeforeCreate(tx *gorm.DB) error {
	h.ID = "made by the hook"
	return nil
}

func (h *Hooked) BeforeSave(tx *gorm.DB) error {
	if h.Secret.IsZero() {
		h.Secret = vault.Seal("by the hook")
	}
	// A statement of its own, within the other.
	var n int64
	return tx.Model(&User{}).Where("1 = 1").Count(&n).Error
}

func (h *Hooked) BeforeUpdate(tx *gorm.DB) error {
	tx.Statement.SetColumn("Secret", vault.Seal("set in the hook"))
	return nil
}

func (h *Hooked) AfterFind(tx *gorm.DB) (err error) {
	h.Opened, err = h.Secret.Open(tx.Statement.Context)
	return err
}

func TestHooks(t *testing.T) {
	each(t, []any{&Hooked{}, &User{}, &Note{}}, func(t *testing.T, e *env) {
		h := &Hooked{}
		ok(t, e.db.Create(h).Error)
		var got Hooked
		ok(t, e.db.First(&got).Error)
		if got.ID != "made by the hook" || got.Opened != "by the hook" {
			t.Fatalf("%+v", got)
		}
		by := func(name string) error {
			return e.db.Model(&Hooked{ID: got.ID}).Updates(map[string]any{name: vault.Seal("in the map")}).Error
		}
		is(t, by("secret"), gorm.ErrInvalidField) // and by the hook under its other name
		ok(t, by("Secret"))
		ok(t, e.db.First(&got).Error)
		if got.Opened != "set in the hook" {
			t.Fatal(got.Opened)
		}
	})
}

// Contact is embedded by value and by pointer.
type Contact struct {
	Phone     vault.Encrypted[string] `gorm:"serializer:vault;type:bytes" vault:"index:phone_bidx,e164@1"`
	PhoneBidx []byte                  `gorm:"size:16"`
}

type Home struct {
	City vault.Encrypted[string] `gorm:"serializer:vault;type:bytes"`
}

type Customer struct {
	ID string `gorm:"primaryKey;size:36"`
	Contact
	*Home
	Work Job `gorm:"embedded;embeddedPrefix:work_"`
}

type Job struct {
	Title vault.Encrypted[string]    `gorm:"serializer:vault;type:bytes"`
	Since vault.Encrypted[time.Time] `gorm:"serializer:vault;type:bytes"`
}

func TestEmbedded(t *testing.T) {
	each(t, []any{&Customer{}}, func(t *testing.T, e *env) {
		since := time.Date(2020, 2, 29, 12, 0, 0, 1, time.UTC)
		home := &Home{City: vault.Seal("Bern")}
		c := &Customer{ID: "c1", Contact: Contact{Phone: vault.Seal("+41 44 555 00 00")}, Home: home, Work: Job{Title: vault.Seal("clerk"), Since: vault.Seal(since)}}
		ok(t, e.db.Create([]*Customer{c, {ID: "c2"}}).Error)
		var got Customer
		ok(t, e.db.Where(vaultgorm.Eq("Phone", "+41445550000")).First(&got).Error)
		opens(t, got.City, "Bern")
		opens(t, got.Work.Title, "clerk")
		opens(t, got.Work.Since, since)
		ok(t, e.db.Model(&got).Updates(map[string]any{"work_title": vault.Seal("boss"), "city": vault.Seal("Basel")}).Error)
		ok(t, e.db.Model(&Customer{ID: "c1"}).Updates(Customer{Contact: Contact{Phone: vault.Seal("+41445550001")}}).Error)
		got = Customer{}
		ok(t, e.db.Where(vaultgorm.Eq("Phone", "+41445550001")).First(&got).Error)
		opens(t, got.City, "Basel")
		opens(t, got.Work.Title, "boss")
		if v := must(home.City.Open(t.Context()))(t); v != "Bern" {
			t.Fatal("the caller's embedded struct was changed")
		}
		var second Customer
		ok(t, e.db.First(&second, "id = ?", "c2").Error)
		if !second.Phone.IsZero() || !second.Work.Title.IsZero() {
			t.Fatal("not NULL")
		}
	})
}

// SQL of the caller's takes fields that say where they go, and refuses others.
func TestRaw(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		const canary = "canary-in-raw"
		is(t, e.db.Exec("UPDATE users SET ssn = ? WHERE id = ?", vault.Seal(canary), "u1").Error, vault.ErrNoLocation)
		is(t, e.db.WithContext(t.Context()).Exec("UPDATE users SET ssn = ?", vault.Seal(canary).At("users", "ssn", "u1")).Error, vault.ErrNoContext)
		e.same(t, "u1", before)
		ok(t, e.db.Exec("UPDATE users SET ssn = ? WHERE id = ?", vault.Seal("raw").At("users", "ssn", "u1"), "u1").Error)
		u := e.user(t, "u1")
		opens(t, u.SSN, "raw")
		ok(t, e.db.Exec("UPDATE users SET ssn = ?, email = @email WHERE id = 'u1'", u.SSN, map[string]any{"email": u.Email}).Error)
		opens(t, e.user(t, "u1").SSN, "raw")
		pointer := vault.Seal("named").At("users", "ssn", "u1")
		ok(t, e.db.Exec("UPDATE users SET ssn = @ssn WHERE id = 'u1'", map[string]any{"ssn": &pointer}).Error)
		opens(t, e.user(t, "u1").SSN, "named")
		if e.e.dialect != fieldtest.MySQL { // which has no RETURNING in an UPDATE
			var got User
			q := "UPDATE users SET ssn = ? WHERE id = 'u1' RETURNING *"
			ok(t, e.db.Raw(q, vault.Seal("returned").At("users", "ssn", "u1")).Scan(&got).Error)
			ok(t, vaultgorm.Bind(e.db, &got))
			opens(t, got.SSN, "returned")
		}
		if strings.Contains(e.log.String(), canary) {
			t.Fatal("the log shows a value")
		}
	})
}

// RETURNING gives fields that are bound.
func TestReturning(t *testing.T) {
	for _, en := range engines {
		if en.dialect == fieldtest.MySQL {
			continue // it has none
		}
		t.Run(en.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, en, options{}, users...)
			u := newUser("u1")
			ok(t, e.db.Clauses(clause.Returning{}).Create(u).Error)
			if u.Email.FieldState() != vault.FieldSealed || len(u.EmailBidx) != 16 {
				t.Fatal("it didn't come back")
			}
			opens(t, u.Email, "u1@example.org")
			model := User{ID: "u1"}
			ok(t, e.db.Model(&model).Clauses(clause.Returning{}).Update("ssn", vault.Seal("new")).Error)
			opens(t, model.SSN, "new")
			opens(t, model.Email, "u1@example.org")
			var gone []User
			ok(t, e.db.Unscoped().Clauses(clause.Returning{}).Where("id = ?", "u1").Delete(&gone).Error)
			opens(t, gone[0].Email, "u1@example.org")
		})
	}
}

// A dry run shows the statement with sealed values, or refuses it.
func TestDryRun(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		dry := e.db.Session(&gorm.Session{DryRun: true})
		for _, tx := range []*gorm.DB{
			dry.Create(newUser("u2")), dry.Save(newUser("u1")), dry.Model(&User{ID: "u1"}).Update("ssn", vault.Seal("canary")),
			dry.Where(vaultgorm.Eq("Email", "u1@example.org")).Find(&[]User{}),
		} {
			ok(t, tx.Error)
			for _, v := range tx.Statement.Vars {
				if s := fmt.Sprint(v); strings.Contains(s, "canary") || strings.Contains(s, "secret") || strings.Contains(s, "xample") {
					t.Fatal("an argument shows a value")
				}
				if f, isField := v.(vault.Encrypted[string]); isField {
					t.Fatalf("a field wasn't sealed: %v", f)
				}
			}
			if tx.Statement.SQL.Len() == 0 {
				t.Fatal("no statement")
			}
		}
		is(t, dry.Model(&User{ID: "u1"}).Update("ssn", "canary").Error, vaultgorm.ErrPlaintext)
		is(t, dry.Where(User{Email: vault.Seal("canary@example.org")}).Find(&[]User{}).Error, vaultgorm.ErrCondition)
		sql := e.db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Create(newUser("canary")) })
		if strings.Contains(sql, "canary@") {
			t.Fatal("ToSQL shows a value")
		}
		e.same(t, "u1", before)
	})
}

// Sessions of one *gorm.DB are used by many at once, each with its tenant.
func TestConcurrentTenants(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		var wg sync.WaitGroup
		for g := range 8 {
			org := fmt.Sprint("org_", g%3)
			ctx := vault.WithKeyContext(context.WithoutCancel(t.Context()), vault.KeyContext{"organization_id": org})
			wg.Go(func() {
				db := e.db.WithContext(ctx)
				for i := range 4 {
					u := newUser(fmt.Sprintf("u%d-%d", g, i))
					u.OrgID = org
					if err := db.Create(u).Error; err != nil {
						t.Errorf("create: %v", err)
						return
					}
					var got User
					if err := db.Where(vaultgorm.Eq("Email", u.ID+"@example.org")).First(&got).Error; err != nil {
						t.Errorf("find: %v", err)
						return
					}
					if s, err := got.Email.Open(ctx); err != nil || got.ID != u.ID || s != u.ID+"@example.org" {
						t.Errorf("open: %v", err)
					}
				}
			})
		}
		wg.Wait()
	})
}
