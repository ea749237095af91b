package vault

import "errors"

// The errors of fields and blind indexes, to test for with errors.Is. Their texts
// name types, tables, columns and Go fields, and hold no plaintext, row ID or value
// of a key context.
var (
	// ErrNoContext: a field call has a key context neither from [WithKeyContext] nor
	// from the row. There is no default key.
	ErrNoContext = errors.New("no key context: use vault.WithKeyContext, or the tag context:… on the model")

	// ErrContextConflict: ctx has another key context than the row, or than the one
	// that a field was bound to when it was read.
	ErrContextConflict = errors.New("the key context of ctx is not the row's")

	// ErrNoVault: a field call has a vault neither from an adapter nor from
	// [WithVault].
	ErrNoVault = errors.New("no vault: use an adapter, or vault.WithVault")

	// ErrNoLocation: it isn't known which column and row a field belongs to. An
	// adapter says it, or [Encrypted.At].
	ErrNoLocation = errors.New("no location: use an adapter, or At(table, column, row)")

	// ErrInvalidLocation: a table, a column or a row ID can't be bound to.
	ErrInvalidLocation = errors.New("invalid location")

	// ErrWrongLocation: the field is intact, and was sealed for another table, column
	// or row than the one it was found in.
	ErrWrongLocation = errors.New("the field was sealed for another table, column or row")

	// ErrWrongType: the field was sealed as another type than the one it is opened
	// as, or has a value that this one can't hold. See [TypeError].
	ErrWrongType = errors.New("the field has another type")

	// ErrUnsupportedType: values of this Go type can't be sealed in a field.
	ErrUnsupportedType = errors.New("the type can't be sealed in a field")

	// ErrNull: a field that is unset, NULL, has no value to open.
	ErrNull = errors.New("the field is NULL: look at IsZero before Open")

	// ErrPending: a field that isn't sealed yet was given to a database, or an encoder
	// of sealed fields, that can't seal it.
	ErrPending = errors.New("the field is not sealed yet: write it through an adapter, or call Sealed first")

	// ErrRedacted: an Encrypted was to be encoded or decoded where that would lose or
	// show its value. [Request], [Revealed] and [SealedText] are for that.
	ErrRedacted = errors.New("an Encrypted is not encoded: use vault.Request, vault.Revealed or vault.SealedText")

	// ErrInvalidIndex: a blind index is described in a way that makes no sense.
	ErrInvalidIndex = errors.New("invalid blind index")

	// ErrNotIndexable: a value that a normaliser refuses.
	ErrNotIndexable = errors.New("the value can't be indexed")

	// ErrModel: a model's vault tags, or what they say of its columns, are wrong.
	ErrModel = errors.New("invalid model")
)

// TypeError says which type a field was sealed as and which one was asked for. It
// matches [ErrWrongType].
type TypeError struct {
	Written string // how the field was sealed: "string", "int", "json", …
	Wanted  string // the Go type that it was to be opened as
	Reason  string // "" if the two are different codecs
}

func (e *TypeError) Error() string {
	s := "the field was written as " + e.Written + ", and is opened as " + e.Wanted
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns [ErrWrongType].
func (e *TypeError) Unwrap() error { return ErrWrongType }
