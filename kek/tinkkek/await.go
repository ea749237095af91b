package tinkkek

import (
	"context"
	"errors"
	"fmt"
)

// errNoReturn is the error of a call that ended its goroutine instead of
// returning.
var errNoReturn = errors.New("the call did not return")

// await runs call in a goroutine of its own and returns when it does or when
// ctx ends, with the context's error. What a call returns too late is handed to
// late. A panic in call is an error.
//
// A call that never returns keeps its goroutine for ever: there is no way to
// stop one from outside.
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
				// Not the value itself: nobody knows what a foreign AEAD panics with.
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
		var none R
		return none, ctx.Err()
	}
}
