package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// maxLeft is how many calls of a KEK may go on after the callers have left. Each
// holds a goroutine and what it was to send.
const maxLeft = 64

var (
	// errLeft is the error of a call that isn't made, since too many were left.
	errLeft = errors.New("too many earlier calls still hang, in a source of tokens maybe")

	// errNoReturn is the error of a call that ended its goroutine instead of
	// returning.
	errNoReturn = errors.New("the call did not return")
)

// calls counts the calls of a KEK that nobody waits for any more.
type calls struct{ left atomic.Int32 }

// outcome is what came of a call.
type outcome[R any] struct {
	result R
	err    error
}

// await makes call in a goroutine of its own and returns when it does or when
// ctx ends, with the context's error. gRPC itself heeds ctx; the sources of tokens
// that users give to it need not, and neither do their interceptors. A panic in
// call is an error.
//
// call gets a copy of sent, which is zeroed when it returns: it may outlive this
// function, and the caller is about to zero its own. What it returns too late is
// handed to late.
func await[R any](ctx context.Context, c *calls, sent []byte, call func(sent []byte) (R, error), late func(R)) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if c.left.Load() >= maxLeft {
		return none, errLeft
	}
	sent = slices.Clone(sent)
	done := make(chan outcome[R])
	go func() {
		o := outcome[R]{err: errNoReturn}
		defer func() {
			clear(sent)
			if v := recover(); v != nil {
				// Not the value itself: it may have the request in it.
				o.err = fmt.Errorf("the call panicked with a value of type %T", v)
			}
			select {
			case done <- o:
			case <-ctx.Done(): // nobody receives: see below
				c.left.Add(-1)
				late(o.result)
			}
		}()
		o.result, o.err = call(sent)
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		c.left.Add(1)
		return none, ctx.Err()
	}
}
