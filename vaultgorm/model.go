package vaultgorm

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// model is what the plugin knows of a struct. It is never changed after it is made.
type model struct {
	*vault.FieldModel
	schema *schema.Schema
	err    error // why it isn't a model
	partly bool  // it has encrypted fields without serializer:vault: a struct to read into

	fields  map[string]*vault.ModelField // by column
	indexes map[string]*vault.ModelField // by the column of an index
	context map[string]bool              // columns that the key context is from
	parts   map[string][]*vault.ModelField
	keys    map[string]bool
	bound   bool // a field is bound to the row
}

// encrypts reports whether the plugin has anything to do.
func (m *model) encrypts() bool { return m != nil && (m.err != nil || len(m.Fields) > 0) }

// writable returns why rows of the struct can't be written.
func (m *model) writable() error { return m.err }

// model returns the model of a schema, which is parsed at its first use.
func (p *plugin) model(db *gorm.DB, s *schema.Schema) *model {
	if s == nil {
		return nil
	}
	if m, ok := p.models.Load(s); ok {
		return m.(*model)
	}
	m := parseModel(db, s)
	if actual, loaded := p.models.LoadOrStore(s, m); loaded {
		return actual.(*model)
	}
	if m.err == nil && len(m.Fields) > 0 {
		p.tables.add(m)
	}
	return m
}

// modelOf returns the model of a statement: that of its schema or, where it has none or
// one without encrypted fields, of its table. Of several models of a table that is the
// one with the most encrypted fields.
func (p *plugin) modelOf(stmt *gorm.Statement) *model {
	m := p.model(stmt.DB, stmt.Schema)
	if m.encrypts() && !m.partly {
		return m
	}
	name, _ := p.tableOf(stmt)
	var most *model
	for _, t := range p.tables.named(name) {
		if most == nil || len(t.Fields) > len(most.Fields) {
			most = t
		}
	}
	if most != nil {
		return most
	}
	return m
}

func parseModel(db *gorm.DB, s *schema.Schema) *model {
	m := &model{schema: s, FieldModel: &vault.FieldModel{Type: s.ModelType}}
	spec := vault.ModelSpec{Table: s.Table, Columns: []vault.ModelColumn{}}
	for _, f := range s.PrimaryFields {
		spec.Columns = append(spec.Columns, columnOf(db, f))
	}
	for _, name := range s.DBNames {
		f := s.FieldsByDBName[name]
		if m.err = checkField(f); m.err != nil {
			m.err = fmt.Errorf("vaultgorm: %w %v: field %s: %w", vault.ErrModel, s.ModelType, f.Name, m.err)
			return m
		}
		_, ours := f.Serializer.(Serializer)
		m.partly = m.partly || vault.IsFieldType(f.FieldType) && !ours
		if !f.PrimaryKey {
			spec.Columns = append(spec.Columns, columnOf(db, f))
		}
	}
	if m.partly {
		m.err = fmt.Errorf("vaultgorm: %w %v: an encrypted field has no tag serializer:vault; without it the struct is for reading only", vault.ErrModel, s.ModelType)
		return m
	}
	fm, err := vault.ParseModel(s.ModelType, spec)
	if err != nil {
		m.err = err
		return m
	}
	m.FieldModel = fm
	m.index()
	m.err = m.checkDefaults()
	return m
}

// checkField refuses what ParseModel can't see.
func checkField(f *schema.Field) error {
	_, ours := f.Serializer.(Serializer)
	switch {
	case f.FieldType.Kind() == reflect.Pointer && vault.IsFieldType(f.IndirectFieldType):
		return fmt.Errorf("it is a pointer; make it a %v, whose zero value is NULL", f.IndirectFieldType)
	case ours && !vault.IsFieldType(f.FieldType):
		return fmt.Errorf("it is a %v with serializer:vault; make it a vault.Encrypted[%v]", f.FieldType, f.FieldType)
	case vault.IsFieldType(f.FieldType) && f.HasDefaultValue:
		return fmt.Errorf("it has a default, which the database would store as plain text; remove it")
	case vault.IsFieldType(f.FieldType) && f.PrimaryKey:
		return fmt.Errorf("it is encrypted and a primary key; use another key")
	}
	return nil
}

func (m *model) checkDefaults() error {
	for name := range m.indexes {
		if f := m.schema.FieldsByDBName[name]; f != nil && f.HasDefaultValue {
			return fmt.Errorf("vaultgorm: %w %v: field %s: it is a blind index and has a default; remove it", vault.ErrModel, m.Type, f.Name)
		}
	}
	return nil
}

// columnOf returns a column as vault.ParseModel takes it.
func columnOf(db *gorm.DB, f *schema.Field) vault.ModelColumn {
	sf := f.StructField
	sf.Index = make([]int, len(f.StructField.Index))
	for i, n := range f.StructField.Index {
		if n < 0 { // GORM's way to say that an embedded struct is a pointer
			n = -n - 1
		}
		sf.Index[i] = n
	}
	sqlType := db.DataTypeOf(f)
	if sqlType == "" {
		sqlType = string(f.DataType)
	}
	return vault.ModelColumn{
		Field: sf, Name: f.DBName, Type: sqlType,
		PrimaryKey: f.PrimaryKey, Generated: f.AutoIncrement || f.HasDefaultValue,
	}
}

// index fills the maps.
func (m *model) index() {
	m.fields, m.indexes = map[string]*vault.ModelField{}, map[string]*vault.ModelField{}
	m.context, m.keys, m.parts = map[string]bool{}, map[string]bool{}, map[string][]*vault.ModelField{}
	for _, k := range m.Key {
		m.keys[k.Name] = true
	}
	for _, c := range m.Context {
		m.context[c.Field.Name] = true
	}
	for _, f := range m.Fields {
		m.fields[f.Name] = f
		m.bound = m.bound || !f.BindColumn
		for _, ix := range f.Indexes {
			m.indexes[ix.Target.Name] = f
			for _, part := range ix.Parts[1:] {
				m.parts[part.Name] = append(m.parts[part.Name], f)
			}
		}
	}
}

// column returns the name of the column that a statement means by name: a column's, in
// any case, quoted or with its table before it, since databases take all that; or a Go
// field's.
func (m *model) column(name string) string {
	if f := m.schema.LookUpField(name); f != nil && f.DBName != "" {
		return f.DBName
	}
	key := columnKey(name)
	for _, f := range m.schema.Fields {
		if f.DBName != "" && columnKey(f.DBName) == key {
			return f.DBName
		}
	}
	return name
}

// columnKey returns the last part of a name without quotes and in lower case.
func columnKey(name string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	return strings.ToLower(strings.Trim(name, "`\"[] \t\r\n"))
}
