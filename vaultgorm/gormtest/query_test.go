package gormtest

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
)

// Whatever the order of the columns, fields are bound to the row that they came with.
func TestBindsAfterTheRow(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		e.stored(t, "u2")
		for _, columns := range []string{"ssn, id, org_id", "org_id, ssn, id", "id, org_id, ssn", "*"} {
			var us []User
			ok(t, e.db.WithContext(t.Context()).Select(columns).Order("id").Find(&us).Error)
			for i, u := range us {
				if got := must(u.SSN.Open(t.Context()))(t); !strings.HasPrefix(got, fmt.Sprintf("secret-u%d", i+1)) {
					t.Fatal("another row's")
				}
			}
		}
		// What the query didn't read, Open wants from its ctx, or from At.
		var u User
		ok(t, e.db.WithContext(t.Context()).Select("ssn", "id").First(&u, "id = ?", "u1").Error)
		_, err := u.SSN.Open(t.Context())
		is(t, err, vault.ErrNoContext)
		_ = must(u.SSN.Open(vault.WithKeyContext(t.Context(), orgA)))(t)
		u = User{}
		ok(t, e.db.Select("ssn").Take(&u, "id = ?", "u1").Error)
		_, err = u.SSN.Open(e.ctx)
		is(t, err, vault.ErrInvalidLocation)
		_ = must(u.SSN.At("users", "ssn", "u1").Open(vault.WithVault(e.ctx, e.v.Vault)))(t)
	})
}

// Card is a part of a User; Key has the key as well.
type Card struct {
	Name  string
	Email vault.Encrypted[string]
}

type Keyed struct {
	SSN   vault.Encrypted[string]
	ID    string
	OrgID string
}

// Structs with some columns: bound by Find as far as they have what it takes, and by
// Bind after a Scan.
func TestPartsOfRows(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := e.stored(t, "u1")
		ssn := must(u.SSN.Open(t.Context()))(t)
		free := e.db.WithContext(t.Context())

		var keyed []Keyed
		ok(t, free.Model(&User{}).Find(&keyed).Error)
		opens(t, keyed[0].SSN, ssn)
		var one Keyed
		ok(t, free.Model(&User{}).First(&one).Error)
		opens(t, one.SSN, ssn)
		one = Keyed{}
		ok(t, free.Table("users").Select("id, org_id, ssn").Take(&one).Error)
		opens(t, one.SSN, ssn)

		one = Keyed{}
		ok(t, free.Model(&User{}).Scan(&one).Error)
		_, err := one.SSN.Open(e.ctx)
		is(t, err, vault.ErrNoLocation)
		ok(t, vaultgorm.Bind(free.Model(&User{}), &one))
		opens(t, one.SSN, ssn)
		keyed = nil
		ok(t, free.Raw("SELECT ssn, id, org_id FROM users").Scan(&keyed).Error)
		ok(t, vaultgorm.Bind(free.Model(&User{}), &keyed))
		opens(t, keyed[0].SSN, ssn)

		var c Card
		ok(t, e.db.Model(&User{}).First(&c).Error)
		_, err = c.Email.Open(e.ctx)
		is(t, err, vault.ErrNoLocation)
		opens(t, c.Email.At("users", "email", "u1"), "u1@example.org")

		// A name that stands for another column is found out when it is opened.
		one = Keyed{}
		ok(t, free.Model(&User{}).Select("id, org_id, email AS ssn").Take(&one).Error)
		_, err = one.SSN.Open(e.ctx)
		is(t, err, vault.ErrWrongLocation)

		is(t, e.db.Create(&Card{Email: vault.Seal("x")}).Error, vault.ErrModel)
		is(t, vaultgorm.Bind(must(gorm.Open(e.e.open(e.dsn)))(t), &one), vaultgorm.ErrNoPlugin)
	})
}

// Other ways to read rows.
func TestOtherReads(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		e.stored(t, "u2")
		var us []User
		ok(t, e.db.Raw("SELECT * FROM users ORDER BY id").Find(&us).Error) // as Scan, but bound
		opens(t, us[1].Email, "u2@example.org")
		ok(t, e.db.Raw("SELECT * FROM users ORDER BY id").Scan(&us).Error)
		ok(t, vaultgorm.Bind(e.db, us))
		opens(t, us[1].Email, "u2@example.org")

		rows := must(e.db.Model(&User{}).Order("id").Rows())(t)
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var u User
			ok(t, e.db.ScanRows(rows, &u))
			ok(t, vaultgorm.Bind(e.db, &u))
			opens(t, u.Email, u.ID+"@example.org")
		}
		ok(t, rows.Err())

		seen := 0
		ok(t, e.db.FindInBatches(&us, 1, func(tx *gorm.DB, _ int) error {
			seen++
			opens(t, us[0].Email, us[0].ID+"@example.org")
			us[0].Name = "in batches"
			return tx.Save(&us[0]).Error
		}).Error)
		if seen != 2 {
			t.Fatal(seen)
		}
		var emails []vault.Encrypted[string]
		ok(t, e.db.Model(&User{}).Order("id").Pluck("Email", &emails).Error)
		opens(t, emails[1].At("users", "email", "u2"), "u2@example.org")
		var sealed [][]byte
		ok(t, e.db.Model(&User{}).Order("id").Pluck("email", &sealed).Error)
		if string(sealed[0]) != e.columns(t, "u1")[0] {
			t.Fatal("other bytes")
		}
		var maps []map[string]any
		ok(t, e.db.Model(&User{}).Order("id").Find(&maps).Error)
		if string(maps[0]["email"].([]byte)) != e.columns(t, "u1")[0] {
			t.Fatal("other bytes")
		}
		// A pointer that is nil, an array, a slice of pointers.
		var p *User
		ok(t, e.db.First(&p, "id = ?", "u2").Error)
		opens(t, p.Email, "u2@example.org")
		var a [2]User
		ok(t, e.db.Order("id").Find(&a).Error)
		opens(t, a[1].Email, "u2@example.org")
	})
}

// Sealed bytes aren't read into strings, where they would be taken for the value.
func TestScanTypes(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		var (
			texts []string
			null  []sql.NullString
			text  string
			dto   []struct{ Email string }
		)
		for i, tx := range []*gorm.DB{
			e.db.Model(&User{}).Pluck("email", &texts),
			e.db.Model(&User{}).Pluck("users.email", &texts),
			e.db.Model(&User{}).Select("email").Find(&texts),
			e.db.Model(&User{}).Pluck("email", &null),
			e.db.Model(&User{}).Select("email").Take(&text),
			e.db.Model(&User{}).Find(&dto),
		} {
			if !errors.Is(tx.Error, vaultgorm.ErrScanType) {
				t.Fatalf("%d: got error %v, want ErrScanType", i, tx.Error)
			}
		}
		ok(t, e.db.Model(&User{}).Pluck("name", &texts).Error)
	})
}

// Rows that came with others: by joins and by preloads, to any depth.
func TestRelations(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := newUser("u1")
		u.Notes = []Note{{ID: "n1", Text: vault.Seal("one")}, {ID: "n2", Text: vault.Seal("two")}}
		ok(t, e.db.Create(u).Error)
		n := &Note{ID: "n3", Text: vault.Seal("three"), User: newUser("u2")}
		ok(t, e.db.Create(n).Error)

		var got User
		ok(t, e.db.Preload("Notes", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).First(&got, "id = ?", "u1").Error)
		opens(t, got.Notes[1].Text, "two")
		var notes []Note
		ok(t, e.db.Joins("User").Order("notes.id").Find(&notes).Error)
		opens(t, notes[2].Text, "three")
		opens(t, notes[0].User.Email, "u1@example.org")
		opens(t, notes[2].User.Email, "u2@example.org")
		notes = nil
		ok(t, e.db.InnerJoins("User", e.db.Where(&User{Name: "name of u2"})).Find(&notes).Error)
		if len(notes) != 1 {
			t.Fatal(len(notes))
		}
		opens(t, notes[0].User.Email, "u2@example.org")

		ok(t, e.db.Model(&got).Association("Notes").Append(&Note{ID: "n4", Text: vault.Seal("four")}))
		var added []Note
		ok(t, e.db.Model(&User{ID: "u1"}).Order("id").Association("Notes").Find(&added))
		opens(t, added[2].Text, "four")

		// Everything that hangs together, saved at once.
		got.Notes[0].Text = vault.Seal("changed")
		got.Email = vault.Seal("changed@example.org")
		ok(t, e.db.Session(&gorm.Session{FullSaveAssociations: true}).Save(&got).Error)
		var after User
		ok(t, e.db.Preload("Notes", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).First(&after, "id = ?", "u1").Error)
		opens(t, after.Email, "changed@example.org")
		opens(t, after.Notes[0].Text, "changed")
		opens(t, after.Notes[1].Text, "two")
	})
}

// Eager mode opens all in the query, and one field that can't be opened is no failure
// of the query.
func TestEager(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := newUser("u1")
		u.Notes = []Note{{ID: "n1", Text: vault.Seal("one")}}
		ok(t, e.db.Create(u).Error)
		e.stored(t, "u2")
		e.exec(t, "UPDATE users SET ssn = email WHERE id = 'u2'")

		tx := e.db.Scopes(vaultgorm.Eager).Preload("Notes").Order("id")
		var us []User
		tx = tx.Find(&us)
		ok(t, tx.Error)
		is(t, vaultgorm.OpenError(tx), vault.ErrWrongLocation)
		if !strings.Contains(vaultgorm.OpenError(tx).Error(), "[1].SSN") {
			t.Fatalf("%v doesn't say where", vaultgorm.OpenError(tx))
		}
		before := e.decrypted()
		opens(t, us[0].Email, "u1@example.org")
		opens(t, us[0].Notes[0].Text, "one")
		opens(t, us[1].Email, "u2@example.org")
		if e.decrypted() != before {
			t.Fatal("something was opened again")
		}
		_, err := us[1].SSN.Open(t.Context())
		is(t, err, vault.ErrWrongLocation)

		db := e.open(t, options{plugin: vaultgorm.Plugin{Eager: true}}, e.v.Vault)
		var one User
		tx = db.First(&one, "id = ?", "u1")
		ok(t, tx.Error)
		ok(t, vaultgorm.OpenError(tx))
		before = e.decrypted()
		opens(t, one.Email, "u1@example.org")
		if e.decrypted() != before {
			t.Fatal("it wasn't opened by the query")
		}
	})
}

// A list decrypts nothing; the rows of a tenant that was cut off still load.
func TestLazy(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		for i := range 5 {
			e.stored(t, fmt.Sprint("u", i))
		}
		free := e.db.WithContext(t.Context())
		b := &User{ID: "b1", OrgID: "org_b", Email: vault.Seal("b1@example.org")}
		ok(t, free.Create(b).Error)
		before := e.decrypted()
		var us []User
		ok(t, free.Order("id").Find(&us).Error)
		if e.decrypted() != before || len(us) != 6 {
			t.Fatalf("%d rows, %d decryptions", len(us), e.decrypted()-before)
		}
		_ = must(e.v.Shred(t.Context(), orgB, vault.ShredOptions{}))(t)
		ok(t, free.Order("id").Find(&us).Error)
		_, err := us[0].Email.Open(t.Context())
		is(t, err, vault.ErrKeyShredded)
		opens(t, us[1].Email, "u0@example.org")
		if i := slices.IndexFunc(us, func(u User) bool { return u.ID == "b1" }); i != 0 {
			t.Fatal(i)
		}
	})
}

// Two databases, each with its vault, in one process; and one whose vault comes with
// each ctx.
func TestTwoVaults(t *testing.T) {
	t.Parallel()
	for _, en := range engines {
		t.Run(en.name, func(t *testing.T) {
			t.Parallel()
			a, b := newEnv(t, en, options{}, users...), newEnv(t, en, options{}, users...)
			a.stored(t, "u1")
			b.stored(t, "u1")
			if a.sealed() != 2 || b.sealed() != 2 {
				t.Fatalf("%d and %d", a.sealed(), b.sealed())
			}
			other := a.open(t, options{}, b.v.Vault)
			var u User
			ok(t, other.First(&u).Error)
			if _, err := u.Email.Open(a.ctx); err == nil {
				t.Fatal("another vault's field was opened")
			}
			both := a.open(t, options{}, nil)
			is(t, both.Create(newUser("u2")).Error, vault.ErrNoVault)
			ok(t, both.WithContext(vault.WithVault(a.ctx, a.v.Vault)).Create(newUser("u2")).Error)
			opens(t, a.user(t, "u2").Email, "u2@example.org")
			u = User{}
			ok(t, both.First(&u, "id = ?", "u2").Error)
			_, err := u.Email.Open(t.Context())
			is(t, err, vault.ErrNoVault)
			if got := must(u.Email.Open(vault.WithVault(t.Context(), a.v.Vault)))(t); got != "u2@example.org" {
				t.Fatal(got)
			}
		})
	}
}
