package gormtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest"
)

// A Create seals each field once, though GORM's logger asks for the values again, and
// leaves the caller's struct as it was.
func TestCreateSealsOnce(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := newUser("u1")
		before := *u
		ok(t, e.db.Create(u).Error)
		if n := e.sealed(); n != 2 {
			t.Fatalf("two fields were sealed %d times", n)
		}
		if !reflect.DeepEqual(before, *u) || u.EmailBidx != nil {
			t.Fatal("the caller's struct was changed")
		}
		if !strings.Contains(e.log.String(), "INSERT INTO") {
			t.Fatal("the log shows no statement")
		}
		for _, secret := range []string{"u1@example.org", "secret-u1"} {
			if strings.Contains(e.log.String(), secret) {
				t.Fatal("the log shows a value")
			}
		}
		opens(t, e.user(t, "u1").Email, "u1@example.org")
		vaulttest.AssertSealed(t, e.raw, "users", "email", "u1@example.org")
		vaulttest.AssertSealed(t, e.raw, "users", "ssn", "secret-u1")
	})
}

// What can be given to Create: a struct that isn't a pointer, slices of structs and of
// pointers, arrays, batches, maps and slices of maps.
func TestCreateForms(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		ok(t, e.db.Omit(clause.Associations).Create(*newUser("value")).Error)
		slice := []User{*newUser("s1"), *newUser("s2")}
		ok(t, e.db.Create(&slice).Error)
		pointers := []*User{newUser("p1"), newUser("p2"), newUser("p3")}
		ok(t, e.db.CreateInBatches(pointers, 2).Error)
		m := map[string]any{"ID": "m1", "OrgID": "org_a", "Name": "x", "Email": vault.Seal("m1@example.org"), "ssn": nil}
		keep := maps.Clone(m)
		ok(t, e.db.Model(&User{}).Create(m).Error)
		if !reflect.DeepEqual(keep, m) {
			t.Fatal("the caller's map was changed")
		}
		two := []map[string]any{
			{"id": "m2", "org_id": "org_a", "name": "x", "email": vault.Seal("m2@example.org")},
			{"id": "m3", "org_id": "org_a", "name": "x", "email": new(vault.Seal("m3@example.org"))},
		}
		ok(t, e.db.Model(&User{}).Create(two).Error)
		for _, id := range []string{"value", "s1", "s2", "p1", "p2", "p3", "m1", "m2", "m3"} {
			u := e.user(t, id)
			opens(t, u.Email, id+"@example.org")
			if want := must(e.v.BlindIndex(t.Context(), orgA, emailIndex, id+"@example.org"))(t); !bytes.Equal(u.EmailBidx, want) {
				t.Fatalf("%s: the index is not the value's", id)
			}
		}
		if e.column(t, "users", "ssn", "m1") != nil {
			t.Fatal("nil in a map is not NULL")
		}
	})
}

var emailIndex = vault.Index{Table: "users", Column: "email", Normaliser: "email@1"}

// Plain values for an encrypted column are refused wherever GORM skips serializers, and
// reach neither the database, nor the log, nor the caller's model.
func TestPlainValuesAreRefused(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := e.stored(t, "u1")
		before, keep := e.columns(t, "u1"), u
		const plain = "plaintext-canary"
		p := plain
		for name, tx := range map[string]*gorm.DB{
			"Update":             e.db.Model(&u).Update("email", plain),
			"Update by Go name":  e.db.Model(&u).Update("Email", plain),
			"Update in capitals": e.db.Model(&u).Update("EMAIL", plain),
			"Update with table":  e.db.Model(&u).Update("users.email", plain),
			"Update by pointer":  e.db.Model(&u).Update("ssn", &p),
			"Update by bytes":    e.db.Model(&u).Update("ssn", []byte(plain)),
			"Updates":            e.db.Model(&u).Updates(map[string]any{"name": "x", "ssn": plain}),
			"UpdateColumn":       e.db.Model(&u).UpdateColumn("ssn", plain),
			"UpdateColumns":      e.db.Model(&u).UpdateColumns(map[string]any{"ssn": plain}),
			"of many":            e.db.Model(&User{}).Where("1 = 1").Update("ssn", plain),
			"by table":           e.db.Table("users").Where("id = ?", "u1").Update("ssn", plain),
			"by table and map":   e.db.Table("users").Where("id = ?", "u1").Updates(map[string]any{"Ssn": plain}),
			"expression":         e.db.Model(&u).Update("ssn", gorm.Expr("upper(ssn)")),
			"subquery":           e.db.Model(&u).Update("ssn", e.db.Model(&User{}).Select("name")),
			"other struct":       e.db.Model(&u).Updates(struct{ SSN string }{plain}),
			"set clause":         e.db.Model(&u).Clauses(clause.Set{{Column: clause.Column{Name: "ssn"}, Value: plain}}).Updates(map[string]any{}),
			"create by map":      e.db.Model(&User{}).Create(map[string]any{"id": "u2", "org_id": "org_a", "email": plain}),
			"create by table":    e.db.Table("users").Create(map[string]any{"id": "u2", "org_id": "org_a", "email": plain}),
			"upsert": e.db.Clauses(clause.OnConflict{
				Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(map[string]any{"ssn": plain}),
			}).Create(newUser("u1")),
		} {
			if !errors.Is(tx.Error, vaultgorm.ErrPlaintext) {
				t.Fatalf("%s: got error %v, want ErrPlaintext", name, tx.Error)
			}
			var of *vaultgorm.Error
			if !errors.As(tx.Error, &of) || of.Table != "users" || of.Column == "" || of.Fix == "" {
				t.Fatalf("%s: the error %v doesn't say which column and what to do", name, tx.Error)
			}
			if strings.Contains(tx.Error.Error(), plain) {
				t.Fatalf("%s: the error shows the value", name)
			}
		}
		if strings.Contains(e.log.String(), plain) {
			t.Fatal("the log shows a value")
		}
		if !reflect.DeepEqual(keep, u) {
			t.Fatal("the caller's model was changed")
		}
		e.same(t, "u1", before)
		var n int64
		ok(t, e.db.Model(&User{}).Count(&n).Error)
		if n != 1 {
			t.Fatalf("%d rows, want 1", n)
		}
	})
}

// The columns of indexes follow their field, whatever the caller has in them, and
// can't be written.
func TestIndexColumns(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := newUser("u1")
		u.EmailBidx = []byte("forged forged 16")
		ok(t, e.db.Create(u).Error)
		want := must(e.v.BlindIndex(t.Context(), orgA, emailIndex, "u1@example.org"))(t)
		for name, change := range map[string]func(db *gorm.DB) *gorm.DB{
			"nothing": func(db *gorm.DB) *gorm.DB { return db.Model(&User{ID: "u1"}).Update("name", "y") },
			"struct with an index": func(db *gorm.DB) *gorm.DB {
				return db.Model(&User{ID: "u1"}).Updates(User{Name: "z", EmailBidx: []byte("x")})
			},
			"selected": func(db *gorm.DB) *gorm.DB {
				return db.Select("EmailBidx").Updates(&User{ID: "u1", EmailBidx: []byte("x")})
			},
			"without the index": func(db *gorm.DB) *gorm.DB {
				return db.Model(&User{ID: "u1"}).Omit("EmailBidx").Updates(User{Email: vault.Seal("u1@example.org")})
			},
			"the same as a map does": func(db *gorm.DB) *gorm.DB {
				return db.Model(&User{ID: "u1"}).Update("Email", vault.Seal("U1@example.org "))
			},
		} {
			ok(t, change(e.db).Error)
			if got := e.column(t, "users", "email_bidx", "u1"); !bytes.Equal(got, want) {
				t.Fatalf("%s: the index is not the value's", name)
			}
		}
		is(t, e.db.Model(&User{ID: "u1"}).Update("email_bidx", []byte("x")).Error, vaultgorm.ErrIndexColumn)
		is(t, e.db.Model(&User{ID: "u1"}).Updates(map[string]any{"EmailBidx": nil}).Error, vaultgorm.ErrIndexColumn)
		is(t, e.db.Model(&User{}).Create(map[string]any{"id": "u2", "org_id": "org_a", "email_bidx": []byte("x")}).Error, vaultgorm.ErrIndexColumn)
		ok(t, e.db.Omit("Email").Create(&User{ID: "u3", OrgID: "org_a", EmailBidx: []byte("x")}).Error)
		if e.column(t, "users", "email_bidx", "u3") != nil {
			t.Fatal("there is an index without its field")
		}
		ok(t, e.db.Model(&User{ID: "u1"}).Update("email", nil).Error)
		if e.column(t, "users", "email_bidx", "u1") != nil {
			t.Fatal("the index is there after its field has become NULL")
		}
	})
}

// Fields that are bound to their row aren't written where the row isn't known.
func TestRowMustBeKnown(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		e.stored(t, "u2")
		one, two := e.columns(t, "u1"), e.columns(t, "u2")
		for name, tx := range map[string]*gorm.DB{
			"where":          e.db.Model(&User{}).Where("id = ?", "u1").Update("ssn", vault.Seal("x")),
			"where, struct":  e.db.Model(&User{}).Where("id = ?", "u1").Updates(User{SSN: vault.Seal("x")}),
			"several models": e.db.Model(&[]User{{ID: "u1"}, {ID: "u2"}}).Update("ssn", vault.Seal("x")),
			"by table":       e.db.Table("users").Where("id = ?", "u1").Update("ssn", vault.Seal("x")),
		} {
			if !errors.Is(tx.Error, vaultgorm.ErrRowUnknown) {
				t.Fatalf("%s: got error %v, want ErrRowUnknown", name, tx.Error)
			}
		}
		is(t, e.db.Create(&User{OrgID: "org_a", SSN: vault.Seal("x")}).Error, vault.ErrInvalidLocation)
		e.same(t, "u1", one)
		e.same(t, "u2", two)
		// NULL belongs to no row.
		ok(t, e.db.Model(&User{}).Where("id = ?", "u1").Update("ssn", vault.Null[string]()).Error)
		if e.column(t, "users", "ssn", "u1") != nil {
			t.Fatal("not NULL")
		}
	})
}

// A condition with OR in it doesn't carry what is sealed for one row into others.
func TestUpdateReachesOneRow(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		e.stored(t, "u2")
		two := e.columns(t, "u2")
		for i, tx := range []*gorm.DB{
			e.db.Model(&User{ID: "u1"}).Where("name = ?", "name of u1").Or("name = ?", "name of u2"),
			e.db.Model(&User{ID: "u1"}).Where("1 = 1\nOR\n1 = 1"),
			e.db.Model(&User{ID: "u1"}).Where(e.db.Where("1 = 1").Or("1 = 1")),
		} {
			ssn := fmt.Sprint("changed ", i)
			r := tx.Updates(User{SSN: vault.Seal(ssn)})
			ok(t, r.Error)
			if r.RowsAffected != 1 {
				t.Fatalf("%d rows", r.RowsAffected)
			}
			opens(t, e.user(t, "u1").SSN, ssn)
			e.same(t, "u2", two)
		}
	})
}

// An update by a struct with the key in the model, which gives GORM's serializers an
// empty key.
func TestUpdatesOfAModelByKey(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		model, set := User{ID: "u1"}, User{SSN: vault.Seal("changed"), Email: vault.Seal("New@example.org")}
		keep := set
		ok(t, e.db.Model(&model).Updates(set).Error)
		if !reflect.DeepEqual(keep, set) {
			t.Fatal("the caller's struct was changed")
		}
		u := e.user(t, "u1")
		opens(t, u.SSN, "changed")
		opens(t, u.Email, "New@example.org")
		var found User
		ok(t, e.db.Where(vaultgorm.Eq("Email", "new@EXAMPLE.org")).First(&found).Error)
		if found.ID != "u1" {
			t.Fatal("the index doesn't follow")
		}
	})
}

// The key, and the columns that say whose row it is, don't change under the fields.
func TestKeyAndContextStay(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		e.stored(t, "u1")
		before := e.columns(t, "u1")
		for name, tx := range map[string]*gorm.DB{
			"key":                 e.db.Model(&User{ID: "u1"}).Update("id", "u9"),
			"key of many":         e.db.Model(&User{}).Where("id = ?", "u1").Updates(User{ID: "u9", Name: "x"}),
			"key by an SQL":       e.db.Model(&User{ID: "u1"}).Update("id", gorm.Expr("upper(id)")),
			"tenant":              e.db.Model(&User{ID: "u1", OrgID: "org_a"}).Update("org_id", "org_b"),
			"unknown tenant":      e.db.Model(&User{ID: "u1"}).Update("org_id", "org_b"),
			"tenant of many":      e.db.Model(&User{}).Where("1 = 1").Update("org_id", "org_b"),
			"tenant and a column": e.db.WithContext(t.Context()).Model(&User{ID: "u1"}).Updates(map[string]any{"org_id": "org_b", "ssn": vault.Seal("x")}),
		} {
			if !errors.Is(tx.Error, vaultgorm.ErrKeyChanged) {
				t.Fatalf("%s: got error %v, want ErrKeyChanged", name, tx.Error)
			}
		}
		// A struct may say whose row it is. If it isn't, nothing is changed.
		tx := e.db.WithContext(t.Context()).Updates(&User{ID: "u1", OrgID: "org_b", Name: "moved"})
		ok(t, tx.Error)
		if tx.RowsAffected != 0 {
			t.Fatal("a row was moved to another tenant")
		}
		tx = e.db.Updates(&User{ID: "u1", OrgID: "org_a", Name: "renamed", SSN: vault.Seal("new")})
		ok(t, tx.Error)
		u := e.user(t, "u1")
		opens(t, u.SSN, "new")
		opens(t, u.Email, "u1@example.org")
		if u.OrgID != "org_a" || u.Name != "renamed" || e.columns(t, "u1")[0] != before[0] {
			t.Fatalf("%+v", u)
		}
		// All fields in one update: the row goes over.
		free := e.db.WithContext(t.Context())
		ok(t, free.Model(&User{ID: "u1"}).Updates(map[string]any{"org_id": "org_b", "email": vault.Seal("b@example.org"), "ssn": vault.Null[string]()}).Error)
		var b User
		ok(t, free.First(&b, "id = ?", "u1").Error)
		opens(t, b.Email, "b@example.org")
		// A field that was read for a tenant isn't written for another.
		b.OrgID = "org_c"
		is(t, free.Save(&b).Error, vault.ErrWrongContext)
	})
}

// A row that was read and is saved keeps what wasn't changed, byte for byte, and
// nothing is opened for it.
func TestSaveKeepsBytes(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := e.stored(t, "u1")
		before, n, d := e.columns(t, "u1"), e.sealed(), e.decrypted()
		u.Name = "another"
		ok(t, e.db.Save(&u).Error)
		ok(t, e.db.Save(&u).Error) // changes nothing: MySQL counts no row, and GORM upserts
		ok(t, e.db.Save([]User{u}).Error)
		ok(t, e.db.Updates(&u).Error)
		e.same(t, "u1", before)
		if e.sealed() != n || e.decrypted() != d {
			t.Fatalf("%d fields were sealed, %d opened", e.sealed()-n, e.decrypted()-d)
		}
		u.SSN = vault.Seal("other")
		ok(t, e.db.Save(&u).Error)
		if now := e.columns(t, "u1"); now[0] != before[0] || now[1] != before[1] || now[2] == before[2] {
			t.Fatal("a field that wasn't changed was written anew, or one that was, not")
		}
		opens(t, e.user(t, "u1").SSN, "other")

		// An earlier version of a field brings its own index back.
		first := e.user(t, "u1")
		ok(t, e.db.Model(&User{ID: "u1"}).Update("email", vault.Seal("second@example.org")).Error)
		second := e.user(t, "u1")
		second.Email = first.Email
		ok(t, e.db.Save(&second).Error)
		if e.columns(t, "u1")[1] != before[1] {
			t.Fatal("the index is another value's")
		}
		// Read without its index, it gets the index by being opened.
		var some User
		ok(t, e.db.Omit("EmailBidx").First(&some, "id = ?", "u1").Error)
		ok(t, e.db.Save(&some).Error)
		if e.columns(t, "u1")[1] != before[1] {
			t.Fatal("the index was lost")
		}
	})
}

// Fields of models whose keys the database makes are bound to their columns.
func TestSerialKeys(t *testing.T) {
	each(t, []any{&Device{}}, func(t *testing.T, e *env) {
		d := []Device{{Token: vault.Seal("t1"), Room: "x"}, {Token: vault.Seal("t2"), Pin: vault.Seal(7), Room: "x"}}
		ok(t, e.db.Create(&d).Error)
		if d[0].ID == 0 || d[1].ID == d[0].ID {
			t.Fatalf("keys %d, %d", d[0].ID, d[1].ID)
		}
		ok(t, e.db.Model(&Device{}).Where("room = ?", "x").Update("pin", vault.Seal(9)).Error)
		var got []Device
		ok(t, e.db.Order("id").Find(&got).Error)
		opens(t, got[0].Token, "t1")
		opens(t, got[1].Token, "t2")
		opens(t, got[0].Pin, 9)
		opens(t, got[1].Pin, 9)
		m := map[string]any{"Token": vault.Seal("t3"), "Room": "y"}
		ok(t, e.db.Model(&Device{}).Create(m).Error)
		var third Device
		ok(t, e.db.First(&third, "room = ?", "y").Error)
		opens(t, third.Token, "t3")
		var tokens []vault.Encrypted[string]
		ok(t, e.db.Model(&Device{}).Order("id").Pluck("token", &tokens).Error)
		opens(t, tokens[1], "t2")
	})
}
