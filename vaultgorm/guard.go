package vaultgorm

import (
	"reflect"

	"gorm.io/gorm"
)

// beforeUpdate refuses what must not even reach the caller's model, into which GORM
// puts the values of an update.
func (p *plugin) beforeUpdate(db *gorm.DB) {
	db.Statement.Settings.Delete(bucketSetting)
	m := p.modelOf(db.Statement)
	if db.Error != nil || !m.encrypts() {
		return
	}
	if db.AddError(m.writable()) != nil {
		return
	}
	db.Statement.Settings.Store(rowSetting, m.rowOf(db.Statement.ReflectValue))
	s := p.sealer(db.Statement, m, "update")
	switch dest := db.Statement.Dest.(type) {
	case map[string]any:
		_ = db.AddError(s.checkMap(dest))
	case *map[string]any:
		_ = db.AddError(s.checkMap(*dest))
	default:
		_ = db.AddError(s.checkStruct(db, dest))
	}
}

// checkMap refuses plain values for encrypted columns, and any for those of indexes.
func (s *sealer) checkMap(values map[string]any) error {
	row := s.m.ownRow(reflect.Value{})
	for name, v := range values {
		name = s.m.column(name)
		if f := s.m.fields[name]; f != nil {
			if err := s.setBox(f, row, v); err != nil {
				return err
			}
		}
		if s.m.indexes[name] != nil {
			return s.refuse(name, ErrIndexColumn, "update the encrypted column instead")
		}
	}
	return nil
}

// checkStruct refuses structs of other types whose fields for encrypted columns aren't
// encrypted.
func (s *sealer) checkStruct(db *gorm.DB, dest any) error {
	stmt := &gorm.Statement{DB: db}
	if stmt.Parse(dest) != nil || stmt.Schema.ModelType == s.m.Type {
		return nil
	}
	for _, f := range s.m.Fields {
		if other := stmt.Schema.LookUpField(f.Name); other != nil && other.FieldType != f.Field.Type {
			return s.refuse(f.Name, ErrPlaintext, "make the field "+other.Name+" of the struct a "+f.Field.Type.String())
		}
	}
	return nil
}
