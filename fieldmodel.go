package vault

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// ModelColumn is a column of a model, as an adapter knows it.
type ModelColumn struct {
	Field reflect.StructField // with Index being the path from the model's type
	Name  string              // of the column in the database

	// Type is the SQL type that is declared for it, in any case; "" if it isn't known.
	Type string

	PrimaryKey bool
	Generated  bool // the database makes its value: a serial key, auto-increment
}

// ModelSpec is what an adapter knows of a model.
type ModelSpec struct {
	// Table is the table's name in the database: the logical one too, unless a tag
	// says another.
	Table string

	// Columns are the model's columns, those of primary keys in the order of the key.
	// nil: every exported field is one, also those of embedded structs, with the name
	// of its tag db or else its own in snake case; the field ID is the primary key, or
	// those of Key.
	Columns []ModelColumn

	// Key are the names of the Go fields of the primary key, in its order, if Columns
	// is nil.
	Key []string
}

// FieldModel says which fields of a struct are encrypted and how: what every adapter
// reads from a model's tags. It is never changed after [ParseModel], and safe for
// concurrent use.
type FieldModel struct {
	Type  reflect.Type
	Table string // logical

	// Fields are the encrypted ones, in order.
	Fields []*ModelField

	// Context says which pairs the key context of a row has. Empty: the context comes
	// from ctx.
	Context []ModelContext

	// Key are the columns of the primary key, in order.
	Key []ModelColumn
}

// ModelField is an encrypted field.
type ModelField struct {
	ModelColumn
	Logical    string // the column's logical name
	BindColumn bool   // bound to the column and not to the row
	Indexes    []*ModelIndex
}

// ModelIndex is a blind index of an encrypted field, and the field that holds it.
type ModelIndex struct {
	Index
	Target ModelColumn   // the field of type []byte
	Parts  []ModelColumn // the fields it is computed from, in order
	Unique bool
}

// ModelContext says which field gives the value of a pair.
type ModelContext struct {
	Key   string
	Field ModelColumn
}

var fieldBoxType = reflect.TypeFor[FieldBox]()

// IsFieldType reports whether t is an [Encrypted] of some type.
func IsFieldType(t reflect.Type) bool { return reflect.PointerTo(t).Implements(fieldBoxType) }

// ParseModel reads the vault tags of a struct type and holds them against what spec
// says of its columns. A type without encrypted fields gives a FieldModel without
// Fields, and is refused if it has vault tags all the same.
//
// Errors match [ErrModel], name the type and the field, and say what to do: a tag that
// can't be read; an encrypted column of a text type; an index whose column isn't in the
// model or isn't a []byte, or that is also another's; a compound index or a context
// from a field that isn't there or can't be one; binding to the row without a primary
// key, or with one that the database makes. All of them are reported at once.
func ParseModel(t reflect.Type, spec ModelSpec) (*FieldModel, error) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("vault: %w %v: it is not a struct", ErrModel, t)
	}
	if spec.Columns == nil {
		columns, err := columnsWithKey(t, spec.Key)
		if err != nil {
			return nil, fmt.Errorf("vault: %w %v: %w", ErrModel, t, err)
		}
		spec.Columns = columns
	}
	p := modelParser{m: &FieldModel{Type: t, Table: spec.Table}, spec: spec, targets: map[string]string{}}
	p.read()
	if len(p.errs) > 0 {
		return nil, fmt.Errorf("vault: %w %v: %s", ErrModel, t, strings.Join(p.errs, "; "))
	}
	return p.m, nil
}

// modelParser collects a model and what is wrong with it.
type modelParser struct {
	m       *FieldModel
	spec    ModelSpec
	tags    []taggedColumn
	targets map[string]string // index column → field
	errs    []string
}

type taggedColumn struct {
	column ModelColumn
	tag    fieldTag
}

func (p *modelParser) fail(field, format string, args ...any) {
	p.errs = append(p.errs, "field "+field+": "+fmt.Sprintf(format, args...))
}

func (p *modelParser) read() {
	seen := map[string]bool{}
	for _, c := range p.spec.Columns {
		seen[fmt.Sprint(c.Field.Index)] = true
		if c.PrimaryKey {
			p.m.Key = append(p.m.Key, c)
		}
		p.readTag(c)
	}
	// Fields that are no columns may have tags too: blank ones, and those that an
	// adapter leaves out.
	walkFields(p.m.Type, nil, func(f reflect.StructField) {
		if !seen[fmt.Sprint(f.Index)] {
			p.readTag(ModelColumn{Field: f})
		}
	})
	table := ""
	for _, t := range p.tags {
		if t.tag.table != "" && table != "" {
			p.fail(t.column.Field.Name, "table: stands on two fields of the model; keep one")
		}
		if t.tag.table != "" {
			table, p.m.Table = t.tag.table, t.tag.table
		}
		p.readContext(t)
	}
	for _, t := range p.tags {
		p.readField(t)
	}
	if len(p.m.Fields) == 0 && len(p.tags) > 0 && len(p.errs) == 0 {
		p.fail(p.tags[0].column.Field.Name, "it has a vault tag, and no field of the model is a vault.Encrypted")
	}
	if reason := badLocationName(p.m.Table); reason != "" && len(p.m.Fields) > 0 {
		p.fail(p.m.Fields[0].Field.Name, "the table: %s; add the tag table:NAME", reason)
	}
}

// readTag takes up a field that has a tag or is encrypted.
func (p *modelParser) readTag(c ModelColumn) {
	tag, tagged := c.Field.Tag.Lookup(tagName)
	encrypted := IsFieldType(c.Field.Type)
	if !tagged && !(encrypted && c.Name != "") {
		return
	}
	var t fieldTag
	if tagged {
		var err error
		if t, err = parseFieldTag(tag); err != nil {
			p.fail(c.Field.Name, "%v", err)
			return
		}
	}
	switch {
	case t.columnOnly() && !encrypted:
		p.fail(c.Field.Name, "index:, bind: and column: belong on a vault.Encrypted, and it is a %v", c.Field.Type)
		return
	case encrypted && c.Name == "":
		p.fail(c.Field.Name, "it has a vault tag and is no column of the model")
		return
	}
	p.tags = append(p.tags, taggedColumn{c, t})
}

func (p *modelParser) readContext(t taggedColumn) {
	if len(t.tag.context) > 0 && len(p.m.Context) > 0 {
		p.fail(t.column.Field.Name, "context: stands on two fields of the model; keep one")
		return
	}
	for _, c := range t.tag.context {
		from, ok := p.column(c.field)
		switch {
		case !ok:
			p.fail(t.column.Field.Name, "context: the model has no column field %s", c.field)
		case !canRowID(from.Field.Type):
			p.fail(t.column.Field.Name, "context: %s is a %v; want a string, an integer or a UUID", c.field, from.Field.Type)
		}
		p.m.Context = append(p.m.Context, ModelContext{c.key, from})
	}
}

func (p *modelParser) readField(t taggedColumn) {
	c := t.column
	if !IsFieldType(c.Field.Type) {
		return
	}
	f := &ModelField{ModelColumn: c, Logical: t.tag.column, BindColumn: t.tag.bindColumn}
	if f.Logical == "" {
		f.Logical = c.Name
	}
	for _, other := range p.m.Fields {
		if other.Logical == f.Logical {
			p.fail(c.Field.Name, "its logical column %q is %s's too; give it another with column:NAME", f.Logical, other.Field.Name)
		}
	}
	if reason := badLocationName(f.Logical); reason != "" {
		p.fail(c.Field.Name, "its column: %s; add the tag column:NAME", reason)
	}
	if isTextType(c.Type) {
		p.fail(c.Field.Name, "its column has the type %s, which is for text; sealed bytes need bytea, blob or varbinary", c.Type)
	}
	if _, err := codecOf(reflect.New(c.Field.Type).Interface().(FieldBox).FieldType()); err != nil {
		p.fail(c.Field.Name, "%v", err)
	}
	p.checkKey(f)
	p.m.Fields = append(p.m.Fields, f)
	for _, ix := range t.tag.indexes {
		p.readIndex(f, ix)
	}
}

// checkKey refuses to bind to a row whose ID isn't known when it is written.
func (p *modelParser) checkKey(f *ModelField) {
	if f.BindColumn {
		return
	}
	const instead = "use keys that the program makes, such as UUIDs of version 7, or add the tag bind:column"
	if len(p.m.Key) == 0 {
		p.fail(f.Field.Name, "it is bound to its row, and the model has no primary key; %s", instead)
	}
	for _, k := range p.m.Key {
		switch {
		case k.Generated:
			p.fail(f.Field.Name, "it is bound to its row, whose key %s the database makes; %s", k.Field.Name, instead)
		case !canRowID(k.Field.Type):
			p.fail(f.Field.Name, "it is bound to its row, whose key %s is a %v; %s", k.Field.Name, k.Field.Type, instead)
		}
	}
}

func (p *modelParser) readIndex(f *ModelField, t tagIndex) {
	ix := &ModelIndex{Unique: t.unique, Parts: []ModelColumn{f.ModelColumn}, Index: Index{
		Table: p.m.Table, Column: f.Logical, Normaliser: t.normaliser,
		Global: t.global, Generation: t.generation, Bits: t.bits,
	}}
	target := slices.IndexFunc(p.spec.Columns, func(c ModelColumn) bool { return c.Name == t.column })
	switch {
	case target < 0:
		p.fail(f.Field.Name, "index: the model has no column %q; add a field of type []byte for it", t.column)
	case p.spec.Columns[target].Field.Type != reflect.TypeFor[[]byte]():
		p.fail(f.Field.Name, "index: the column %q is a %v; its field must be a []byte", t.column, p.spec.Columns[target].Field.Type)
	case isTextType(p.spec.Columns[target].Type):
		p.fail(f.Field.Name, "index: the column %q has the type %s, which is for text; it needs bytea, binary or blob", t.column, p.spec.Columns[target].Type)
	default:
		ix.Target = p.spec.Columns[target]
	}
	if other, taken := p.targets[t.column]; taken {
		p.fail(f.Field.Name, "index: the column %q is an index of %s already; each index needs a column of its own", t.column, other)
	}
	p.targets[t.column] = f.Field.Name
	for _, and := range t.and {
		c, ok := p.column(and.field)
		if !ok {
			p.fail(f.Field.Name, "index: and: the model has no column field %s", and.field)
			continue
		}
		ix.And = append(ix.And, IndexPart{p.logicalName(c), and.normaliser})
		ix.Parts = append(ix.Parts, c)
	}
	if p.m.Table != "" {
		if err := ix.Validate(); err != nil {
			p.fail(f.Field.Name, "%v", err)
		}
	}
	f.Indexes = append(f.Indexes, ix)
}

// logicalName returns the logical name of a column, encrypted or not.
func (p *modelParser) logicalName(c ModelColumn) string {
	for _, t := range p.tags {
		if slices.Equal(t.column.Field.Index, c.Field.Index) && t.tag.column != "" {
			return t.tag.column
		}
	}
	return c.Name
}

// column finds a column by the name of its Go field.
func (p *modelParser) column(goName string) (ModelColumn, bool) {
	f, ok := fieldByName(p.m.Type, goName)
	if !ok {
		return ModelColumn{}, false
	}
	i := slices.IndexFunc(p.spec.Columns, func(c ModelColumn) bool { return slices.Equal(c.Field.Index, f) })
	if i < 0 {
		return ModelColumn{}, false
	}
	return p.spec.Columns[i], true
}
