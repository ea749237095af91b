package keyring

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/kek"
)

// KEKCall is what Config.TraceKEK is told of a call to a KEK.
type KEKCall struct {
	URI string
	Ask string // "wrap", "unwrap", "rewrap" or "check"

	// Items is how many keys it is about: 1, or more in a batch. The error of a batch
	// is that of the first item that failed.
	Items int

	// Attempt is which try it is, from 1: what an unavailable KEK didn't answer is
	// tried again.
	Attempt int
}

// errUnfinished is the error of a call whose driver has panicked, or ended its
// goroutine.
var errUnfinished = fmt.Errorf("%w: the driver did not return", kek.ErrUnavailable)

// attemptInCtx is under what key a ctx has the number of a try.
type attemptInCtx struct{}

// withAttempt notes which try a call belongs to, if anyone wants to know.
func (r *Keyring) withAttempt(ctx context.Context, n int) context.Context {
	if r.cfg.TraceKEK == nil {
		return ctx
	}
	return context.WithValue(ctx, attemptInCtx{}, n)
}

// traceKEK tells of a call that begins, and replaces ctx. What it returns is to be
// deferred; err is the call's at that time, and until then that it didn't return.
func (r *Keyring) traceKEK(ctx *context.Context, call KEKCall, err *error) (end func()) {
	if r.cfg.TraceKEK == nil {
		return func() {}
	}
	if call.Attempt, _ = (*ctx).Value(attemptInCtx{}).(int); call.Attempt == 0 {
		call.Attempt = 1
	}
	inner, done := r.cfg.TraceKEK(*ctx, call)
	*ctx, *err = inner, errUnfinished
	return func() { done(oneClass(*err)) }
}

// oneClass gives the error of a driver exactly one class.
func oneClass(err error) error {
	switch class := kek.Class(err); {
	case err == nil || classes(err) == 1:
		return err
	case classes(err) == 0:
		return fmt.Errorf("%w: %w", class, err)
	default: // against its contract: the others are there as text
		return fmt.Errorf("%w: %v", class, err)
	}
}

// firstFailed returns the error of the first item of a batch that failed, nil if
// none did.
func firstFailed(results []kek.BatchResult) error {
	for _, r := range results {
		if r.Err != nil {
			return r.Err
		}
		if r.Bytes == nil {
			return fmt.Errorf("%w: %w", kek.ErrCorrupt, errNoResult)
		}
	}
	return nil
}
