package vaultgorm

import "errors"

// The errors of this package, to test for with errors.Is. All come as an [*Error].
var (
	// ErrPlaintext: something that isn't sealed was to be stored in an encrypted
	// column: a string, a number, an SQL expression.
	ErrPlaintext = errors.New("not a vault.Encrypted")

	// ErrRowUnknown: a field that is bound to its row was to be written, and the
	// statement doesn't say which row, or says more than one.
	ErrRowUnknown = errors.New("the field is bound to its row, and the statement isn't of one row")

	// ErrUpsertTarget: an upsert would store fields that are bound to the new row in
	// whichever row it conflicts with.
	ErrUpsertTarget = errors.New("the fields are bound to their row, and the upsert isn't on the primary key")

	// ErrCondition: an encrypted column was to be compared with a value.
	ErrCondition = errors.New("an encrypted column can't be compared with a value")

	// ErrIndexColumn: the column of a blind index was to be written or left stale.
	ErrIndexColumn = errors.New("the column is a blind index, which the plugin computes")

	// ErrKeyChanged: the primary key, or a column that the key context is taken from,
	// was to change under fields that are bound to it.
	ErrKeyChanged = errors.New("fields are bound to the column, and can't be read after it changes")

	// ErrOtherOwner: an upsert was to write fields of one key context into a row that is
	// there and belongs to another, or has its key in another spelling. Where that is so in an update, no row is affected.
	ErrOtherOwner = errors.New("the row that is there belongs to another key context, or its key is spelled otherwise")

	// ErrNoIndex: a field that was to be searched has no blind index of that kind.
	ErrNoIndex = errors.New("the field has no such blind index")

	// ErrBucketed: a query by a bucketed index that can't be filtered afterwards.
	ErrBucketed = errors.New("the index is bucketed, and what it finds must be filtered")

	// ErrScanType: a column was to be read into something that can't hold a sealed
	// field.
	ErrScanType = errors.New("an encrypted column is read as a vault.Encrypted, or as []byte to have it sealed")

	// ErrNoPlugin: the *gorm.DB doesn't use the plugin.
	ErrNoPlugin = errors.New("the *gorm.DB has no vaultgorm.Plugin: call db.Use first")
)

// Error says which column a statement was refused for, and what to do instead. It
// holds nothing of a value.
type Error struct {
	Op     string // "create", "update", "upsert", "query", "raw"
	Table  string
	Column string
	Fix    string
	Err    error
}

func (e *Error) Error() string {
	s := "vaultgorm: " + e.Op
	if e.Table != "" || e.Column != "" {
		s += " " + e.Table + "." + e.Column
	}
	s += ": " + e.Err.Error()
	if e.Fix != "" {
		s += ": " + e.Fix
	}
	return s
}

// Unwrap returns the class, and what it wraps.
func (e *Error) Unwrap() error { return e.Err }
