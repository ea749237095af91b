package gcpkms

import (
	"context"
	"errors"
	"fmt"
)

// errNoReturn is the error of a call that ended its goroutine instead of
// returning.
var errNoReturn = errors.New("the call did not return")

// await makes call in a goroutine of its own and returns when it does or when
// ctx ends, with the context's error. gRPC itself heeds ctx; the sources of
// tokens that users give to it need not, and neither do their interceptors. What
// call returns too late is handed to late. A panic in call is an error.
func await[R any](ctx context.Context, call func() (R, error), late func(R)) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
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
				o.err = fmt.Errorf("the call panicked with a value of type %T", v)
			}
			select {
			case done <- o:
			case <-ctx.Done():
				late(o.result)
			}
		}()
		o.result, o.err = call()
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
