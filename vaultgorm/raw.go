package vaultgorm

import (
	"reflect"
	"slices"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
)

// sealVars seals the pending fields among the arguments of the caller's own SQL, each
// at the place that its At says:
//
//	db.Exec("UPDATE users SET email = ? WHERE id = ?", vault.Seal(email).At("users", "email", id), id)
//
// The columns of indexes are the caller's to fill then, with [vault.Vault.BlindIndex].
func (p *plugin) sealVars(db *gorm.DB) {
	if db.Error != nil {
		return
	}
	cloned := false
	for i, v := range db.Statement.Vars {
		box := boxOf(v)
		if box == nil || box.FieldState() != vault.FieldPending {
			continue
		}
		b, err := box.SealField(db.Statement.Context, vault.FieldBinding{Vault: p.vault})
		if err != nil {
			_ = db.AddError(&Error{Op: "raw", Fix: "say where it goes with At(table, column, row…)", Err: err})
			return
		}
		if !cloned {
			db.Statement.Vars, cloned = slices.Clone(db.Statement.Vars), true
		}
		db.Statement.Vars[i] = b
	}
}

// boxOf returns the field that an argument is, or nil.
func boxOf(v any) vault.FieldBox {
	if box, ok := v.(vault.FieldBox); ok && !reflect.ValueOf(v).IsNil() {
		return box
	}
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Struct || !vault.IsFieldType(t) {
		return nil
	}
	own := reflect.New(t)
	own.Elem().Set(reflect.ValueOf(v))
	return own.Interface().(vault.FieldBox)
}

// beforeRow is for Row and Rows, which nothing filters.
func (p *plugin) beforeRow(db *gorm.DB) {
	db.Statement.Settings.Delete(bucketSetting)
	p.sealVars(db)
	if db.Error == nil {
		p.checkJoins(db)
	}
}

// beforeDelete forgets what an earlier query of the same *gorm.DB left, so that a
// bucketed index is refused.
func (p *plugin) beforeDelete(db *gorm.DB) { db.Statement.Settings.Delete(bucketSetting) }
