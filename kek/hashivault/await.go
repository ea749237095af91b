package hashivault

import (
	"context"
	"fmt"
	"sync/atomic"
)

// maxLeft is how many calls of a KEK may go on after their callers have left.
// Each holds a goroutine and what it was to send.
const maxLeft = 64

// note is an error of this package's own, whose text may be repeated.
type note string

func (n note) Error() string { return string(n) }

const (
	errLeft     = note("too many earlier calls still hang")
	errNoReturn = note("the call did not return") // it ended its goroutine instead
)

// left counts the calls of a KEK that go on and that nobody waits for any more.
type left struct{ n atomic.Int32 }

// await makes call in a goroutine of its own and returns when it does or when
// ctx ends, with the context's error. The SDK alone doesn't see to that: it looks
// up SRV records, where it is told to, without any context, and calls functions
// of the client's owner's. What call returns too late is dropped: it is strings,
// which can't be zeroed. A panic in call is an error.
func await[R any](ctx context.Context, l *left, call func() (R, error)) (R, error) {
	type outcome struct {
		result R
		err    error
	}
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if l.n.Load() >= maxLeft {
		return none, errLeft
	}
	done := make(chan outcome)
	go func() {
		o := outcome{err: errNoReturn}
		defer func() {
			if v := recover(); v != nil {
				// Not the value itself: it may have the request in it.
				o.err = note(fmt.Sprintf("the call panicked with a value of type %.100T", v))
			}
			select {
			case done <- o:
			case <-ctx.Done(): // nobody receives: see below
				l.n.Add(-1)
			}
		}()
		o.result, o.err = call()
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-ctx.Done():
		l.n.Add(1)
		return none, ctx.Err()
	}
}
