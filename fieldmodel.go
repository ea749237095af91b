package vault

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
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
func IsFieldType(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	if is, ok := fieldTypes.Load(t); ok {
		return is.(bool)
	}
	is := reflect.PointerTo(t).Implements(fieldBoxType)
	fieldTypes.Store(t, is)
	return is
}

// fieldTypes remembers what IsFieldType found: it is asked for each field of each row.
var fieldTypes sync.Map // reflect.Type → bool

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
