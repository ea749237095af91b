package azurekv

import (
	"context"
	"errors"
	"fmt"
)

// errNoReturn is the error of a call that ended its goroutine instead of
// returning.
var errNoReturn = errors.New("the call did not return")

// await makes call in a goroutine of its own and returns when it does or when
// ctx ends, with the context's error. The SDK alone doesn't see to that: while a
// credential gets a token for one caller, azcore has all others wait on a
// sync.Cond, and a credential need not heed ctx. Whoever waits for a token that
// never comes leaves the goroutine behind.
//
// What call returns too late is handed to late, if there is one. A panic in call
// is an error: azkeys indexes into a challenge that it has not measured.
func await[R any](ctx context.Context, call func() (R, error), late func(R)) (R, error) {
	type outcome struct {
		result R
		err    error
	}
	done := make(chan outcome)
	go func() {
		o := outcome{err: errNoReturn}
		defer func() {
			if v := recover(); v != nil {
				// Not the value itself: it may have the request in it.
				o.err = fmt.Errorf("the call panicked with a value of type %.100T", v)
			}
			select {
			case done <- o:
			case <-ctx.Done():
				if late != nil {
					late(o.result)
				}
			}
		}()
		o.result, o.err = call()
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}
