package vault

import (
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// Row returns the struct of a row, through pointers and interfaces, and whether it is
// of the model's type.
func (m *FieldModel) Row(row reflect.Value) (reflect.Value, bool) {
	for row.Kind() == reflect.Pointer || row.Kind() == reflect.Interface {
		if row.IsNil() {
			return row, false
		}
		row = row.Elem()
	}
	return row, row.IsValid() && row.Type() == m.Type
}

// Box returns the field box of an addressable row. It is nil if it lies in an embedded
// struct whose pointer is nil.
func (m *FieldModel) Box(f *ModelField, row reflect.Value) FieldBox {
	v, err := row.FieldByIndexErr(f.Field.Index)
	if err != nil || !v.CanAddr() {
		return nil
	}
	return v.Addr().Interface().(FieldBox)
}

// KeyContext returns the key context that a row gives: nil if the model has no context
// tag, or none of its fields is set, as in an update of some columns; ctx must have it
// then. Where only some are set the error matches [ErrNoContext]. It holds no value.
func (m *FieldModel) KeyContext(row reflect.Value) (KeyContext, error) {
	set := false
	for _, c := range m.Context {
		v, err := row.FieldByIndexErr(c.Field.Field.Index)
		set = set || err == nil && !v.IsZero()
	}
	if !set {
		return nil, nil
	}
	kc := make(KeyContext, len(m.Context))
	for _, c := range m.Context {
		id, reason := columnID(row, c.Field)
		if reason != "" {
			return nil, fmt.Errorf("vault: model %v: %w: the field %s, of its context tag, %s", m.Type, ErrNoContext, c.Field.Field.Name, reason)
		}
		kc[c.Key] = string(id)
	}
	return kc, nil
}

// Location returns where a field of a row is. Binding to a row whose key isn't set yet
// is an [ErrInvalidLocation], by [Location.Err].
func (m *FieldModel) Location(f *ModelField, row reflect.Value) Location {
	if f.BindColumn {
		return AtColumn(m.Table, f.Logical)
	}
	ids := make([]any, len(m.Key))
	zero := true
	for i, k := range m.Key {
		v, err := row.FieldByIndexErr(k.Field.Index)
		if err != nil {
			return badLocation(m.Table, f.Logical, "its key "+k.Field.Name+" is in an embedded struct that is nil")
		}
		zero = zero && v.IsZero()
		ids[i] = v.Interface()
	}
	if zero {
		return badLocation(m.Table, f.Logical, "the row has no primary key: set it before the field is sealed, read it with the field, or tag the field bind:column")
	}
	return At(m.Table, f.Logical, ids...)
}

// Binding returns what the model and a row say of a field; v as in [FieldBinding].
func (m *FieldModel) Binding(v *Vault, f *ModelField, row reflect.Value) (FieldBinding, error) {
	kc, err := m.KeyContext(row)
	if err != nil {
		return FieldBinding{}, err
	}
	return FieldBinding{Vault: v, Context: kc, Location: m.Location(f, row)}, nil
}

// Bind binds every field of an addressable row that was read. What is wrong is reported
// when a field is opened: one bad row doesn't fail a query. What the query didn't read,
// such as the columns of the context tag or the key, is missing then too, and Open
// needs it from its ctx or from [Encrypted.At].
func (m *FieldModel) Bind(ctx context.Context, v *Vault, row reflect.Value) {
	kc, err := m.KeyContext(row)
	if err != nil {
		kc = nil // the query read only some of it
	}
	for _, f := range m.Fields {
		if box := m.Box(f, row); box != nil {
			box.BindField(ctx, FieldBinding{Vault: v, Context: kc, Location: m.Location(f, row), Indexes: readIndexes(f, row)})
		}
	}
}

// BlindIndex returns the blind index of a row, nil if it is NULL; v as in
// [FieldBinding]. The errors are those of [Vault.BlindIndex].
func (m *FieldModel) BlindIndex(ctx context.Context, v *Vault, ix *ModelIndex, row reflect.Value) ([]byte, error) {
	b := FieldBinding{Vault: v}
	if !ix.Global {
		kc, err := m.KeyContext(row)
		if err != nil {
			return nil, err
		}
		b.Context = kc
	}
	values := make([]any, len(ix.Parts))
	for i, p := range ix.Parts {
		f, err := row.FieldByIndexErr(p.Field.Index)
		if err == nil {
			values[i] = m.bindCopy(ctx, v, p, row, f).Interface()
		}
	}
	return b.BlindIndex(ctx, ix.Index, values...)
}

// columnID returns a column of a row as text that identifies something.
func columnID(row reflect.Value, c ModelColumn) (id []byte, reason string) {
	v, err := row.FieldByIndexErr(c.Field.Index)
	if err != nil {
		return nil, "is in an embedded struct that is nil"
	}
	if v.IsZero() {
		return nil, "is not set"
	}
	return rowID(v.Interface())
}

// canRowID reports whether values of a type can be part of a row ID.
func canRowID(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && (t.Kind() == reflect.Slice || t.Len() == 16) {
			return true
		}
	}
	return t.Implements(reflect.TypeFor[driver.Valuer]()) && !IsFieldType(t)
}

// isTextType reports whether a declared SQL type holds text, which a database checks
// or converts.
func isTextType(t string) bool {
	t, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(t)), "(")
	switch strings.TrimSpace(t) {
	case "text", "varchar", "char", "character", "character varying", "string", "nvarchar", "nchar", "ntext",
		"tinytext", "mediumtext", "longtext", "citext", "clob", "json", "jsonb", "bpchar", "varchar2":
		return true
	}
	return false
}

// walkFields calls visit for every field of a struct and of those embedded in it, with
// the path to it as its Index.
func walkFields(t reflect.Type, path []int, visit func(reflect.StructField)) {
	for i := range t.NumField() {
		f := t.Field(i)
		f.Index = append(append([]int{}, path...), i)
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if f.Anonymous && inner.Kind() == reflect.Struct && !IsFieldType(inner) && inner != t && len(path) < 8 {
			walkFields(inner, f.Index, visit)
			continue
		}
		visit(f)
	}
}

// ModelColumns returns the columns of a struct as [ModelSpec] takes them where Columns
// is nil: for adapters that know a little more, such as the primary key.
func ModelColumns(t reflect.Type) []ModelColumn { return columnsOf(t, nil) }

// columnsOf are the columns of a struct where no adapter says them.
func columnsOf(t reflect.Type, _ []int) []ModelColumn {
	columns := []ModelColumn{}
	walkFields(t, nil, func(f reflect.StructField) {
		name, _, _ := strings.Cut(f.Tag.Get("db"), ",")
		if !f.IsExported() || name == "-" {
			return
		}
		if name == "" {
			name = snake(f.Name)
		}
		columns = append(columns, ModelColumn{Field: f, Name: name, PrimaryKey: f.Name == "ID"})
	})
	return columns
}

// columnsWithKey are the columns of a struct whose primary key are these fields, in
// their order and before the others; the field ID, if none is named.
func columnsWithKey(t reflect.Type, key []string) ([]ModelColumn, error) {
	columns := columnsOf(t, nil)
	if len(key) == 0 {
		return columns, nil
	}
	ordered := []ModelColumn{}
	for _, name := range key {
		path, ok := fieldByName(t, name)
		i := slices.IndexFunc(columns, func(c ModelColumn) bool { return slices.Equal(c.Field.Index, path) })
		if !ok || i < 0 {
			return nil, fmt.Errorf("its primary key: there is no column field %.80q, or it is named twice", name)
		}
		columns[i].PrimaryKey = true
		ordered = append(ordered, columns[i])
		columns = slices.Delete(columns, i, i+1)
	}
	for _, c := range columns {
		c.PrimaryKey = false
		ordered = append(ordered, c)
	}
	return ordered, nil
}

// snake returns OrgID as org_id.
func snake(s string) string {
	var b strings.Builder
	rs := []rune(s)
	for i, r := range rs {
		startsWord := i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1]))
		if startsWord && rs[i-1] != '_' {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// fieldByName finds a field by its Go name, or by a path of names with dots, and
// returns its index.
func fieldByName(t reflect.Type, name string) ([]int, bool) {
	var path []int
	for part := range strings.SplitSeq(name, ".") {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return nil, false
		}
		f, ok := t.FieldByName(part)
		if !ok {
			return nil, false
		}
		path = append(path, f.Index...)
		t = f.Type
	}
	return path, true
}
