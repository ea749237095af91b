package vaultgorm

import (
	"reflect"
	"slices"
	"strings"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
)

// Names of settings of a statement.
const (
	eagerSetting  = "vault:eager"
	errorSetting  = "vault:open_error"
	bucketSetting = "vault:buckets"
	rowSetting    = "vault:row"
	guardSetting  = "vault:guard"
)

// Eager makes a query open all fields that it reads, as [Plugin] with Eager does: a
// scope, to be used as db.Scopes(vaultgorm.Eager).Find(&rows).
func Eager(db *gorm.DB) *gorm.DB { return db.Set(eagerSetting, true) }

// OpenError returns which fields an eager query couldn't open and why, all joined and
// each with its place in the result, or nil. The query itself hasn't failed because of
// them. tx is what the query returned.
func OpenError(tx *gorm.DB) error {
	v, _ := tx.Statement.Settings.Load(errorSetting)
	err, _ := v.(error)
	return err
}

// Bind binds what was read by a way that the plugin doesn't see the end of, so that
// Open needs nothing else: db.Scan, db.ScanRows, rows of database/sql. dest is a
// pointer to a model or to a struct with some of its columns, or to a slice of them.
// For structs that aren't models say of which model they are:
//
//	err := db.Model(&User{}).Select("id", "email").Scan(&rows).Error
//	…
//	err = vaultgorm.Bind(db.Model(&User{}), &rows)
//
// A row without its primary key can't be bound to it; its fields then need
// [vault.Encrypted.At]. Errors: ErrNoPlugin; [vault.ErrModel]; those of GORM if dest
// isn't a struct.
func Bind(db *gorm.DB, dest any) error {
	p, err := pluginOf(db)
	if err != nil {
		return err
	}
	of := db.Statement.Model
	if of == nil {
		of = dest
	}
	stmt := &gorm.Statement{DB: db, Context: db.Statement.Context}
	if err := stmt.Parse(of); err != nil {
		return err
	}
	m := p.modelOf(stmt)
	if m.encrypts() && m.err != nil && !m.partly {
		return m.err
	}
	b := binder{p: p, stmt: stmt, m: m}
	b.bind(reflect.ValueOf(dest))
	return nil
}

// beforeQuery refuses to read into what can't hold a sealed field, and seals what raw
// SQL has for arguments.
func (p *plugin) beforeQuery(db *gorm.DB) {
	db.Statement.Settings.Delete(errorSetting)
	db.Statement.Settings.Delete(bucketSetting)
	if db.Error != nil {
		return
	}
	if db.Statement.SQL.Len() > 0 {
		p.sealVars(db)
	}
	if p.checkJoins(db); db.Error != nil {
		return
	}
	m := p.modelOf(db.Statement)
	if !m.encrypts() || m.partly {
		return
	}
	if db.AddError(m.err) != nil {
		return
	}
	s := p.sealer(db.Statement, m, "query")
	if err := s.checkDest(db); err != nil {
		_ = db.AddError(err)
		return
	}
	p.findBuckets(db, m)
}

// checkDest looks at what a query reads into.
func (s *sealer) checkDest(db *gorm.DB) error {
	t := rowType(db.Statement.ReflectValue)
	switch {
	case t == nil || t == s.m.Type || vault.IsFieldType(t):
		return nil
	case t.Kind() == reflect.Struct && !isValue(t):
		stmt := &gorm.Statement{DB: db}
		if stmt.Parse(db.Statement.Dest) != nil {
			return nil
		}
		for _, f := range s.m.Fields {
			if other := stmt.Schema.LookUpField(f.Name); other != nil && !holdsSealed(other.FieldType) {
				return s.refuse(f.Name, ErrScanType, "make the field "+other.Name+" of the struct a "+f.Field.Type.String())
			}
		}
		return nil
	}
	if f := s.m.fields[selected(db.Statement, s.m)]; f != nil && !holdsSealed(t) {
		return s.refuse(f.Name, ErrScanType, "read it into a []"+f.Field.Type.String())
	}
	return nil
}

func holdsSealed(t reflect.Type) bool {
	return vault.IsFieldType(t) || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 || t.Kind() == reflect.Map || t.Kind() == reflect.Interface
}

// isValue reports whether a struct stands for one value, as sql.NullString does.
func isValue(t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(interface{ Scan(any) error })
	return ok
}

// selected returns the one column that a query reads, or "".
func selected(stmt *gorm.Statement, m *model) string {
	names := slices.Clone(stmt.Selects)
	if sel, ok := stmt.Clauses["SELECT"].Expression.(clause.Select); ok {
		for _, c := range sel.Columns {
			names = append(names, c.Name)
		}
	}
	if len(names) != 1 {
		return ""
	}
	return m.column(strings.TrimSpace(names[0]))
}

// rowType returns the type of one row of what a statement reads into.
func rowType(v reflect.Value) reflect.Type {
	if !v.IsValid() {
		return nil
	}
	t := v.Type()
	for (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && !holdsSealed(t) {
		t = t.Elem()
	}
	return t
}

// afterQuery binds what was read, before preloads and hooks see it.
func (p *plugin) afterQuery(db *gorm.DB) {
	stmt := db.Statement
	defer stmt.Settings.Delete(bucketSetting) // another statement may follow on the same *gorm.DB
	if db.DryRun || stmt.Dest == nil || db.RowsAffected == 0 {
		return
	}
	m := p.modelOf(stmt)
	if m != nil && !m.encrypts() && len(stmt.Joins) == 0 && rowType(stmt.ReflectValue) == m.Type {
		return
	}
	b := binder{p: p, stmt: stmt, m: m}
	b.bind(stmt.ReflectValue)
	if m.encrypts() && m.err == nil && db.Error == nil {
		p.filterBuckets(db, m)
	}
}

// openAll opens what was read and preloaded, if that was asked for.
func (p *plugin) openAll(db *gorm.DB) {
	stmt := db.Statement
	_, one := db.Get(eagerSetting)
	if !p.eager && !one || db.DryRun || db.Error != nil || stmt.Dest == nil || db.RowsAffected == 0 {
		return
	}
	switch stmt.ReflectValue.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Array:
		if err := vault.OpenAll(stmt.Context, stmt.Dest); err != nil {
			stmt.Settings.Store(errorSetting, err)
		}
	}
}

// afterWrite binds what a write has read back by RETURNING.
func (p *plugin) afterWrite(db *gorm.DB) {
	db.Statement.Settings.Delete(rowSetting)
	p.checkGuard(db)
	if _, ok := db.Statement.Clauses["RETURNING"]; !ok || db.DryRun || db.Error != nil {
		return
	}
	b := binder{p: p, stmt: db.Statement, m: p.modelOf(db.Statement)}
	b.bind(db.Statement.ReflectValue)
}

// binder binds the rows that a statement has read.
type binder struct {
	p     *plugin
	stmt  *gorm.Statement
	m     *model
	parts *partial
}

func (b *binder) bind(v reflect.Value) {
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		if t := rowType(v); t.Kind() != reflect.Struct && t.Kind() != reflect.Interface {
			return
		}
		for i := range v.Len() {
			b.bind(v.Index(i))
		}
	case reflect.Struct:
		if v.CanAddr() {
			b.bindStruct(v)
		}
	}
}

func (b *binder) bindStruct(row reflect.Value) {
	switch {
	case b.m != nil && b.m.err == nil && row.Type() == b.m.Type:
		b.bindRow(b.m, row)
	case vault.IsFieldType(row.Type()):
		b.bindField(row)
	case !isValue(row.Type()):
		b.bindPartial(row)
	}
	if b.stmt.Schema != nil && row.Type() == b.stmt.Schema.ModelType {
		for _, j := range b.stmt.Joins {
			b.bindJoin(b.stmt.Schema, row, strings.Split(j.Name, "."))
		}
	}
}

func (b *binder) bindRow(m *model, row reflect.Value) {
	if len(m.Fields) > 0 {
		m.Bind(b.stmt.Context, b.p.vault, row)
	}
}

// bindJoin binds a row of another model that was read with this one.
func (b *binder) bindJoin(s *schema.Schema, row reflect.Value, path []string) {
	rel, ok := s.Relationships.Relations[path[0]]
	if !ok {
		return
	}
	v := rel.Field.ReflectValueOf(b.stmt.Context, row)
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if m := b.p.model(b.stmt.DB, rel.FieldSchema); m.encrypts() && m.err == nil && v.Type() == m.Type && v.CanAddr() {
		b.bindRow(m, v)
	}
	if len(path) > 1 {
		b.bindJoin(rel.FieldSchema, v, path[1:])
	}
}

// bindField binds a field that was read alone, as Pluck does: as far as is known.
func (b *binder) bindField(v reflect.Value) {
	binding := vault.FieldBinding{Vault: b.p.vault}
	if b.m.encrypts() && b.m.err == nil {
		if f := b.m.fields[selected(b.stmt, b.m)]; f != nil && f.BindColumn {
			binding.Location = vault.AtColumn(b.m.Table, f.Logical)
		}
	}
	v.Addr().Interface().(vault.FieldBox).BindField(b.stmt.Context, binding)
}
