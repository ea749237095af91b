package vault

import (
	"context"
	"reflect"
)

// FieldState says what a field holds. The zero value is invalid.
type FieldState uint8

// The states.
const (
	FieldNull    FieldState = iota + 1 // nothing: NULL
	FieldPending                       // a value that isn't sealed yet
	FieldSealed                        // sealed bytes, as a database has them; perhaps opened already
)

// FieldBinding says where a field is: what an adapter knows of it.
type FieldBinding struct {
	// Vault seals and opens it. nil: the vault of [WithVault].
	Vault *Vault

	// Context is the key context that the row gives, by the model's context tag. nil:
	// that of [WithKeyContext]. Where there are both they must agree.
	Context KeyContext

	// Location is where the field is, or is going to be. Zero: what
	// [Encrypted.At] said.
	Location Location

	// Indexes are, of a field that was read, the blind indexes that were read beside
	// it, in the order of [ModelField.Indexes]; nil where there is none. They are
	// copied. [FieldModel.Indexes] gives them back to who writes the field unchanged.
	Indexes [][]byte
}

// FieldBox is a field as adapters see it, whatever its type: a *[Encrypted] of some T
// is one, and nothing else can be. Its methods may grow.
//
// An adapter's life of a field, in the order in which it happens:
//
//   - write: [FieldBox.SealField] gives the bytes for the column, nil for NULL. The
//     box, which is the caller's, isn't changed. [Vault.BlindIndex] takes boxes
//     as values.
//   - read: Scan takes the column's bytes, then [FieldBox.BindField] says
//     where they came from, once the row's key is known.
//   - eager mode: [OpenAll].
type FieldBox interface {
	// FieldState says what the box holds.
	FieldState() FieldState

	// FieldType returns T.
	FieldType() reflect.Type

	// FieldLocation returns the location that At or BindField gave, or zero.
	FieldLocation() Location

	// SealField returns the bytes to store at b, and leaves the box as it is: safe for
	// concurrent use with other readers.
	//
	// NULL gives nil and no error. A pending value is sealed anew at each call: with
	// the box's own location if b has none. A sealed one gives its very bytes where
	// they belong at b: that is known if the box was bound, and else found out by
	// opening it. Bound to another location it is opened and sealed anew; bound to
	// another vault or key context it is refused: open it, and seal what comes out.
	//
	// Errors: ErrNoVault, ErrNoContext, ErrContextConflict, ErrNoLocation,
	// ErrInvalidLocation, ErrUnsupportedType, ErrWrongContext; those of
	// [Vault.SealField] and, of sealed boxes, of [Vault.OpenField].
	SealField(ctx context.Context, b FieldBinding) ([]byte, error)

	// Scan is [sql.Scanner]: it takes a copy of a column's bytes. The box is sealed,
	// or NULL, and unbound after it.
	Scan(src any) error

	// BindField says where the bytes of a sealed box were read, so that opening it
	// needs nothing else. It does no I/O and never fails: what is wrong is reported
	// when the box is opened, and what is missing is taken from the ctx it is opened
	// with. On others than sealed boxes it does nothing. Copies of the box that were
	// made before are not bound.
	BindField(ctx context.Context, b FieldBinding)

	// OpenInPlace opens a sealed box, so that opening it after that costs nothing and
	// is no event. NULL and pending boxes are left alone. The errors are those of
	// [Encrypted.Open].
	OpenInPlace(ctx context.Context) error

	// SetPlain makes the box a pending value: v is a T, or of the type that T is made
	// of; or as a database driver gives it (int64, float64, bool, []byte, string,
	// time.Time) and exactly convertible, or nil for NULL. Errors: ErrWrongType
	// without anything of v; the box is as it was.
	SetPlain(v any) error

	// look returns what the box holds. It keeps other types out.
	look() *box
	openWith(ctx context.Context, held *heldKey) error
}
