package vault

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
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

// box is what an Encrypted points to. It is never changed.
type box struct {
	sealed []byte // what a database has; nil if pending

	// hidden returns what must not be printed. It is a function, because package fmt,
	// reflect and their like walk into unexported fields of other structs without
	// calling methods, and can't walk into this.
	hidden func() *hidden
}

type hidden struct {
	known bool // value is there: pending, or opened
	codec codec
	value []byte
	err   error // why the value couldn't be encoded

	loc   Location
	scope *Scope // set by binding, if what it knew sufficed
	v     *Vault // set by binding; nil: not known
	bad   error  // why it must not be opened where it was bound
}

var nothingHidden = new(hidden)

func newBox(sealed []byte, h hidden) *box {
	own := &h
	return &box{sealed: sealed, hidden: func() *hidden { return own }}
}

func (b *box) hides() *hidden {
	if b.hidden == nil {
		return nothingHidden
	}
	return b.hidden()
}

func (b *box) state() FieldState {
	switch {
	case b == nil:
		return FieldNull
	case b.sealed == nil:
		return FieldPending
	}
	return FieldSealed
}

// at returns the box at another location, unbound from the one before.
func (b *box) at(l Location) *box {
	if b == nil {
		return nil
	}
	h := *b.hides()
	if b.sealed != nil && h.known && !h.loc.same(l) {
		h.known, h.codec, h.value = false, 0, nil // it was opened elsewhere
	}
	h.loc = l
	return newBox(b.sealed, h)
}

// where returns the vault, key context and location of a box that is to be opened.
func (b *box) where(ctx context.Context) (*Scope, Location, error) {
	h := b.hides()
	if h.bad != nil {
		return nil, h.loc, h.bad
	}
	if err := h.loc.Err(); err != nil {
		return nil, h.loc, err
	}
	if h.scope != nil {
		return h.scope, h.loc, h.scope.agrees(ctx)
	}
	s, err := scopeFor(ctx, h.v, nil)
	return s, h.loc, err
}

// open gives the value to decode.
func (b *box) open(ctx context.Context, want reflect.Type, decode func(codec, []byte) error) error {
	if b == nil {
		return ErrNull
	}
	h := b.hides()
	if b.sealed == nil && h.err != nil {
		return h.err
	}
	if h.known {
		if h.scope != nil {
			if err := h.scope.agrees(ctx); err != nil {
				return err
			}
		}
		return decode(h.codec, h.value)
	}
	s, at, err := b.where(ctx)
	if err != nil {
		return fmt.Errorf("vault: open field %v: %w", at, err)
	}
	return s.openField(ctx, nil, at, b.sealed, want, decode)
}

// opened returns the box with its value beside the sealed bytes.
func (b *box) opened(ctx context.Context, held *heldKey, want reflect.Type, check func(codec, []byte) error) (*box, error) {
	if b == nil || b.hides().known || b.sealed == nil {
		return b, nil
	}
	s, at, err := b.where(ctx)
	if err != nil {
		return b, fmt.Errorf("vault: open field %v: %w", at, err)
	}
	h := *b.hides()
	h.scope, h.loc = s, at
	err = s.openField(ctx, held, at, b.sealed, want, func(c codec, value []byte) error {
		h.known, h.codec, h.value = true, c, bytes.Clone(value)
		return check(c, value)
	})
	if err != nil {
		return b, err
	}
	return newBox(b.sealed, h), nil
}

// bound returns the box bound to what was read.
func (b *box) bound(ctx context.Context, f FieldBinding) *box {
	if b == nil || b.sealed == nil {
		return b
	}
	h := *b.hides()
	if !f.Location.IsZero() {
		h.loc = f.Location
	}
	h.known, h.codec, h.value = false, 0, nil
	h.scope, h.v, h.bad = nil, f.Vault, nil
	s, err := scopeFor(ctx, f.Vault, f.Context)
	switch {
	case err == nil:
		h.scope = s
	case errors.Is(err, ErrNoContext) || errors.Is(err, ErrNoVault):
		// Open's ctx may have it.
	default:
		h.bad = err
	}
	return newBox(b.sealed, h)
}

// sealAt returns the bytes to store at f.
func (b *box) sealAt(ctx context.Context, f FieldBinding, want reflect.Type, check func(codec, []byte) error) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	h := b.hides()
	at := f.Location
	if at.IsZero() {
		at = h.loc
	}
	wrap := func(err error) ([]byte, error) { return nil, fmt.Errorf("vault: seal field %v: %w", at, err) }
	if err := at.Err(); err != nil {
		return wrap(err)
	}
	if b.sealed == nil && h.err != nil {
		return wrap(h.err)
	}
	if f.Vault == nil {
		f.Vault = h.v
	}
	s, err := scopeFor(ctx, f.Vault, f.Context)
	if b.knowsWhose(f, err) {
		s, err = h.scope, nil
	}
	if err == nil {
		err = h.bad
	}
	if err != nil {
		return wrap(err)
	}
	if b.sealed == nil {
		return s.sealField(ctx, at, h.codec, h.value)
	}
	if h.scope != nil && (h.scope.v != s.v || h.scope.c.Hash != s.c.Hash) {
		return wrap(fmt.Errorf("%w: it was read for context %s; open it, and seal what comes out", ErrWrongContext, h.scope.c.Hash.Short()))
	}
	if h.scope != nil && h.loc.same(at) {
		return bytes.Clone(b.sealed), nil
	}
	return b.moveTo(ctx, s, at, want, check)
}

// knowsWhose reports whether a sealed box was bound to a key context, and that is all
// that is missing to write it: a row that was read is written back without a context.
func (b *box) knowsWhose(f FieldBinding, err error) bool {
	s := b.hides().scope
	return b.sealed != nil && s != nil && errors.Is(err, ErrNoContext) && (f.Vault == nil || f.Vault == s.v)
}

// moveTo returns the bytes of a sealed box for another place. Of a box that nobody
// bound it isn't known where it is from: it must open at the place where it goes.
func (b *box) moveTo(ctx context.Context, s *Scope, at Location, want reflect.Type, check func(codec, []byte) error) ([]byte, error) {
	h := b.hides()
	from := h.loc
	if from.IsZero() {
		from = at
	}
	var value []byte
	var c codec
	err := s.openField(ctx, nil, from, b.sealed, want, func(k codec, v []byte) error {
		c, value = k, bytes.Clone(v)
		return check(k, v)
	})
	defer func() { clear(value) }()
	if err != nil {
		return nil, err
	}
	if from.same(at) {
		return bytes.Clone(b.sealed), nil
	}
	return s.sealField(ctx, at, c, value)
}

// equal compares two boxes in constant time for their lengths: pending ones by their
// values, sealed ones by their sealed bytes.
func (b *box) equal(o *box) bool {
	if b.state() != o.state() {
		return false
	}
	switch b.state() {
	case FieldNull:
		return true
	case FieldSealed:
		return subtle.ConstantTimeCompare(b.sealed, o.sealed) == 1
	}
	x, y := b.hides(), o.hides()
	return x.err == nil && y.err == nil && x.codec == y.codec && subtle.ConstantTimeCompare(x.value, y.value) == 1
}
