package vault

import (
	"bytes"
	"context"
	"database/sql/driver"
	"fmt"
	"reflect"
)

// Encrypted is a column's value that is stored sealed: a box that holds nothing
// (NULL), a value that isn't sealed yet (pending), or sealed bytes. The value comes
// out through [Encrypted.Open] and nowhere else: what is printed, logged or marshalled
// is "[ENCRYPTED]".
//
//	type User struct {
//		ID    string
//		Email vault.Encrypted[string]
//	}
//	u := User{ID: id, Email: vault.Seal("ann@example.org")}
//	email, err := u.Email.Open(ctx)
//
// T is string, []byte, bool, an integer, a float or time.Time, a type made of one of
// these, or anything that encoding/json takes. What was sealed as a T is opened as a T:
// integers among integers of any size if the value fits, and so unsigned ones and
// floats; see [TypeError]. Times keep the instant in nanoseconds and come back in
// UTC. JSON keeps what encoding/json keeps: exported fields, and no difference
// between times that are equal; renaming a field of the struct loses it, and what
// wouldn't come back from JSON is refused when it is sealed.
//
// It is one pointer. The zero value is NULL; Seal("") is an empty string that is
// sealed, and not NULL. What it points to is never changed, so that it may be copied,
// shared and read by many goroutines. [Encrypted.Equal] compares; == and
// reflect.DeepEqual compare pointers. A field that is read and written back keeps its
// bytes.
//
// To write and read it, use an adapter; or, with database/sql alone, seal with
// [Encrypted.Sealed] before writing, and say where it was with [Encrypted.At] after
// reading.
type Encrypted[T any] struct{ b *box }

var (
	_ FieldBox      = (*Encrypted[string])(nil)
	_ driver.Valuer = Encrypted[string]{}
)

// Seal returns a pending field: v, which is copied, to be sealed when it is written.
// It can't fail; a T that can't be sealed is reported by what seals it.
func Seal[T any](v T) Encrypted[T] {
	var h hidden
	switch p := any(&v).(type) { // what most fields are needs no reflection
	case *string:
		h.codec, h.value = codecString, []byte(*p)
	case *[]byte:
		h.codec, h.value = codecBytes, append([]byte{}, *p...)
	default:
		h.codec, h.value, h.err = encodeField(reflect.ValueOf(&v).Elem())
	}
	h.known = true
	return Encrypted[T]{newBox(nil, h)}
}

// Null returns a field that is NULL: the zero value.
func Null[T any]() Encrypted[T] { return Encrypted[T]{} }

// SealedBytes returns the field whose sealed bytes, as a database has them, are data,
// which is copied; nil is NULL. [Encrypted.At] says where they are from.
func SealedBytes[T any](data []byte) Encrypted[T] {
	if data == nil {
		return Encrypted[T]{}
	}
	return Encrypted[T]{&box{sealed: append([]byte{}, data...)}}
}

// IsZero reports whether the field is NULL.
func (e Encrypted[T]) IsZero() bool { return e.b == nil }

// At returns the field in its place: where its bytes were read, or where it is going
// to be written. See [At] for what a row ID is.
func (e Encrypted[T]) At(table, column string, row ...any) Encrypted[T] {
	return e.AtLocation(At(table, column, row...))
}

// AtLocation is [Encrypted.At] with a [Location].
func (e Encrypted[T]) AtLocation(l Location) Encrypted[T] { return Encrypted[T]{e.b.at(l)} }

// Open returns the value. A pending field, and one that [OpenAll] has opened, has it
// at hand. A field that an adapter has read knows its vault, key context and location;
// any other takes the former two from ctx, and the location from [Encrypted.At]. Each
// call gives a value of its own.
//
// Errors: ErrNull; ErrNoVault, ErrNoContext, ErrNoLocation if they are missing;
// ErrContextConflict; those of [Vault.OpenField].
func (e Encrypted[T]) Open(ctx context.Context) (T, error) {
	var v T
	err := e.b.open(ctx, reflect.TypeFor[T](), func(c codec, value []byte) error { return decodeInto(c, value, &v) })
	if err != nil {
		var zero T
		return zero, err
	}
	return v, nil
}

// decodeInto is decodeField without reflection for what most fields are.
func decodeInto[T any](c codec, value []byte, v *T) error {
	switch p := any(v).(type) {
	case *string:
		if c == codecString {
			*p = string(value)
			return nil
		}
	case *[]byte:
		if c == codecBytes {
			*p = append([]byte{}, value...)
			return nil
		}
	}
	return decodeField(c, value, reflect.ValueOf(v).Elem())
}

// Sealed returns the field sealed for its location of [Encrypted.At], with the vault
// and the key context of ctx: what database/sql can store without an adapter. NULL
// stays NULL; a sealed one stays as it is if it is in its place.
//
// The errors are those of [FieldBox.SealField].
func (e Encrypted[T]) Sealed(ctx context.Context) (Encrypted[T], error) {
	data, err := e.SealField(ctx, FieldBinding{})
	if err != nil || data == nil {
		return Encrypted[T]{}, err
	}
	out := &Encrypted[T]{&box{sealed: data}}
	out.BindField(ctx, FieldBinding{Location: e.FieldLocation()})
	return *out, nil
}

// Equal reports whether two fields are the same: both NULL; both pending with equal
// values; or both sealed with the same bytes. One value that was sealed twice gives two
// fields that are not equal, and so are a pending field and the same one sealed: open
// them to compare values, or search by a blind index. It takes as long for equal as
// for unequal values of one length.
func (e Encrypted[T]) Equal(o Encrypted[T]) bool { return e.b.equal(o.b) }

// Value is [driver.Valuer]. A sealed field gives its bytes, NULL gives nil. A pending
// field gives [ErrPending], and beside it an empty []byte: some callers drop the error
// and would take nil for NULL.
func (e Encrypted[T]) Value() (driver.Value, error) {
	switch e.b.state() {
	case FieldNull:
		return nil, nil
	case FieldPending:
		return []byte{}, fmt.Errorf("vault: a field of type %v: %w", reflect.TypeFor[T](), ErrPending)
	}
	return bytes.Clone(e.b.sealed), nil
}

// Scan is [sql.Scanner]: it takes a copy of sealed bytes, or NULL, and does nothing
// else. See [FieldBox.Scan].
func (e *Encrypted[T]) Scan(src any) error {
	switch src := src.(type) {
	case nil:
		e.b = nil
	case []byte:
		// NULL is nil without a type; a driver may give an empty value as a nil []byte.
		e.b = &box{sealed: append([]byte{}, src...)}
	case string:
		*e = SealedBytes[T]([]byte(src))
	default:
		return fmt.Errorf("vault: scan a field of type %v: %w: the column gives a %T, want bytes: is its type bytea, blob or varbinary?", reflect.TypeFor[T](), ErrWrongType, src)
	}
	return nil
}

// FieldState is of [FieldBox].
func (e Encrypted[T]) FieldState() FieldState { return e.b.state() }

// FieldType is of [FieldBox].
func (e Encrypted[T]) FieldType() reflect.Type { return reflect.TypeFor[T]() }

// FieldLocation is of [FieldBox].
func (e Encrypted[T]) FieldLocation() Location {
	if e.b == nil {
		return Location{}
	}
	return e.b.hides().loc
}

// SealField is of [FieldBox].
func (e Encrypted[T]) SealField(ctx context.Context, b FieldBinding) ([]byte, error) {
	return e.b.sealAt(ctx, b, reflect.TypeFor[T](), checkDecodes[T])
}

// BindField is of [FieldBox].
func (e *Encrypted[T]) BindField(ctx context.Context, b FieldBinding) { e.b = e.b.bound(ctx, b) }

// OpenInPlace is of [FieldBox].
func (e *Encrypted[T]) OpenInPlace(ctx context.Context) error { return e.openWith(ctx, nil) }

func (e *Encrypted[T]) openWith(ctx context.Context, held *heldKey) error {
	b, err := e.b.opened(ctx, held, reflect.TypeFor[T](), checkDecodes[T])
	if err != nil {
		return err
	}
	e.b = b
	return nil
}

func checkDecodes[T any](c codec, value []byte) error {
	var v T
	return decodeInto(c, value, &v)
}

// SetPlain is of [FieldBox].
func (e *Encrypted[T]) SetPlain(v any) error {
	if v == nil {
		e.b = nil
		return nil
	}
	dst := reflect.New(reflect.TypeFor[T]()).Elem()
	if !setExactly(dst, reflect.ValueOf(v)) {
		return fmt.Errorf("vault: a field of type %v: %w: a %T can't be taken for it", dst.Type(), ErrWrongType, v)
	}
	sealed := Seal(dst.Interface().(T))
	if err := sealed.b.hides().err; err != nil {
		return err
	}
	*e = sealed
	return nil
}

func (e Encrypted[T]) look() *box { return e.b }
