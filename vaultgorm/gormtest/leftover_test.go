package gormtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
)

// A bucketed index stays refused after a query of the same *gorm.DB that was filtered,
// whether that found something or not.
func TestBucketedAfterAFind(t *testing.T) {
	each(t, []any{&Person{}}, func(t *testing.T, e *env) {
		ok(t, e.db.Create(&Person{ID: "p0", Country: "ch", Name: vault.Seal("name 7")}).Error)
		for _, name := range []string{"name 7", "name 8"} {
			for what, f := range map[string]func(tx *gorm.DB) error{
				"delete": func(tx *gorm.DB) error { return tx.Delete(&Person{}).Error },
				"update": func(tx *gorm.DB) error { return tx.Update("country", "xx").Error },
				"rows": func(tx *gorm.DB) error {
					rows, err := tx.Rows()
					if err == nil {
						_ = rows.Close()
					}
					return err
				},
				"count": func(tx *gorm.DB) error { return tx.Count(new(int64)).Error },
			} {
				tx := e.db.Model(&Person{}).Where(vaultgorm.Eq("Name", name))
				var got []Person
				ok(t, tx.Find(&got).Error)
				if err := f(tx); err == nil {
					t.Fatalf("%s after Find of %s: no error", what, name)
				} else {
					is(t, err, vaultgorm.ErrBucketed)
				}
			}
		}
		var all []Person
		ok(t, e.db.Find(&all).Error)
		if len(all) != 1 || all[0].Country != "ch" {
			t.Fatal("a row was changed or deleted")
		}
	})
}

// Conditions on models that are joined are looked at as those on the model itself.
func TestConditionsOnJoins(t *testing.T) {
	each(t, users, func(t *testing.T, e *env) {
		u := newUser("u1")
		u.Notes = []Note{{ID: "n1", Text: vault.Seal("t")}}
		ok(t, e.db.Create(u).Error)
		var ns []Note
		sql := e.db.Joins("JOIN users AS x ON x.id = notes.user_id")
		on := map[string]any{"ssn": "searched"}
		for what, tx := range map[string]*gorm.DB{
			"relation": e.db.Joins("User").Where(map[string]any{"User.ssn": "searched"}),
			"column":   e.db.Joins("User").Where(clause.Eq{Column: clause.Column{Table: "User", Name: "ssn"}, Value: "searched"}),
			"alone":    e.db.Joins("User").Where(clause.Eq{Column: "ssn", Value: "searched"}),
			"on":       e.db.Joins("User", e.db.Where(on)),
			"on inner": e.db.InnerJoins("User", e.db.Where(on)),
			"on or":    e.db.Joins("User", e.db.Where("1 = 0").Or(on)),
			"sql":      sql.Where(map[string]any{"x.ssn": "searched"}),
			"table":    e.db.Joins("JOIN users ON users.id = notes.user_id").Where(map[string]any{"users.ssn": "searched"}),
		} {
			if err := tx.Find(&ns).Error; err == nil {
				t.Fatalf("%s: no error", what)
			} else {
				is(t, err, vaultgorm.ErrCondition)
			}
		}
		rows, err := e.db.Model(&Note{}).Joins("User", e.db.Where(on)).Rows()
		if err == nil {
			_ = rows.Close()
		}
		is(t, err, vaultgorm.ErrCondition)
		if strings.Contains(e.log.String(), "searched") {
			t.Fatal("plain text in the log")
		}
		ok(t, e.db.Joins("User", e.db.Where(map[string]any{"name": u.Name})).Where(map[string]any{"User.org_id": "org_a"}).Find(&ns).Error)
		if len(ns) != 1 || ns[0].User == nil {
			t.Fatal("the join finds nothing")
		}
		opens(t, ns[0].Text, "t")
	})
}

// Conditions print nothing of what is searched.
func TestConditionsPrintNothing(t *testing.T) {
	for _, c := range []clause.Expression{
		vaultgorm.Eq("Email", "secret@x.y"), vaultgorm.In("Email", []string{"secret@x.y"}), vaultgorm.Candidates("Email", "secret@x.y"),
	} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+" "+verb+"\n", c, struct{ C any }{c})
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "c", c)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "c", c)
		b, err := json.Marshal(c)
		ok(t, err)
		out.Write(b)
		if strings.Contains(out.String(), "secret") || strings.Contains(out.String(), "7365637265") {
			t.Fatalf("printed: %s", out.String())
		}
	}
}
