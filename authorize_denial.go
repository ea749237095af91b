package vault

import (
	"errors"
	"strings"
)

// maxDenial is how many bytes of an authorizer's text are kept.
const maxDenial = 1024

// denial is an authorizer's error as it stands in the call's. It matches what that error
// matches and has its text, but none of its methods can panic out of a call of the
// vault's, or of whoever handles the call's error.
type denial struct {
	err  error
	text string
}

// newDenial asks for the text at once, while there is a timeout.
func newDenial(err error) (d *denial) {
	d = &denial{err: err, text: "the authorizer denied it, and its error's text panics"}
	defer func() { _ = recover() }() // the value may be a secret
	d.text = err.Error()
	if len(d.text) > maxDenial {
		d.text = strings.ToValidUTF8(d.text[:maxDenial], "") + "…"
	}
	return d
}

func (d *denial) Error() string { return d.text }

// Is and As stand in for Unwrap, which would let package errors call what panics.
func (d *denial) Is(target error) (is bool) {
	defer func() {
		if recover() != nil {
			is = false
		}
	}()
	return errors.Is(d.err, target)
}

func (d *denial) As(target any) (as bool) {
	defer func() {
		if recover() != nil {
			as = false
		}
	}()
	return errors.As(d.err, target)
}
