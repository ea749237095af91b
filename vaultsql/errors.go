package vaultsql

import (
	"database/sql/driver"
	"errors"
	"fmt"
)

// ErrSearch: a field that isn't sealed yet is an argument of a SELECT or a DELETE.
// Sealed anew it would equal nothing that is stored, and nothing would be found.
var ErrSearch = errors.New("an encrypted column can't be compared with a value: query by its blind index, or by IS NULL")

// sealError says why an argument couldn't be sealed. It matches what the vault's error
// matches, save driver.ErrBadConn: that would be of a connection of the vault's own
// store, and database/sql would take it for its own, throw it away and try again.
type sealError struct {
	argument string
	err      error
}

func argumentError(a driver.NamedValue, err error) error {
	name := fmt.Sprintf("%d", a.Ordinal)
	if a.Name != "" {
		name = fmt.Sprintf("%.60q", a.Name)
	}
	return &sealError{name, err}
}

func (e *sealError) Error() string { return "vaultsql: argument " + e.argument + ": " + e.err.Error() }

// Is stands in place of Unwrap, which would let ErrBadConn through.
func (e *sealError) Is(target error) bool {
	return target != driver.ErrBadConn && errors.Is(e.err, target) //nolint:errorlint // it is the target
}

// As is as Is.
func (e *sealError) As(target any) bool { return errors.As(e.err, target) }
