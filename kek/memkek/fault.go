package memkek

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/embedvault/vault/kek"
)

// Fault is a way to fail. The zero value is none.
type Fault uint8

// The faults.
const (
	// None works.
	None Fault = iota

	// Denied fails with [kek.ErrDenied], as a key that was revoked.
	Denied

	// Unavailable fails with [kek.ErrUnavailable], as a KMS that is down.
	Unavailable

	// Hang doesn't answer until ctx ends, and then fails with
	// [kek.ErrUnavailable] and the context's error. Switching the fault off
	// doesn't release calls that hang already.
	Hang

	// Corrupt fails with [kek.ErrCorrupt].
	Corrupt

	// Garbage succeeds with wrong bytes: Wrap and Rewrap return what looks right
	// and doesn't unwrap, Unwrap returns 32 random bytes. Check tells the truth.
	Garbage

	// Panic panics, which no driver may do.
	Panic
)

func (f Fault) String() string {
	names := [...]string{"none", "denied", "unavailable", "hang", "corrupt", "garbage", "panic"}
	if int(f) >= len(names) {
		return fmt.Sprintf("fault(%d)", uint8(f))
	}
	return names[f]
}

// op is an operation of a KEK.
type op uint8

const (
	opWrap op = iota
	opUnwrap
	opRewrap
	opCheck
	opCount
)

func (o op) String() string {
	return [...]string{"wrap", "unwrap", "rewrap", "check"}[o]
}

// switches is what a test set.
type switches struct {
	faults    [opCount]Fault
	next      Fault // for the next nextCalls calls, before faults
	nextCalls int
	latency   time.Duration
	result    []byte // of every Unwrap; nil: the true one
}

// SetFault makes every call from now on fail like this, until it is set anew;
// [None] ends it. It is for all operations and replaces what was set for one.
func (k *KEK) SetFault(f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for o := range k.faults {
		k.faults[o] = f
	}
}

// SetWrapFault is SetFault for Wrap alone.
func (k *KEK) SetWrapFault(f Fault) { k.setOne(opWrap, f) }

// SetUnwrapFault is SetFault for Unwrap alone.
func (k *KEK) SetUnwrapFault(f Fault) { k.setOne(opUnwrap, f) }

// SetRewrapFault is SetFault for Rewrap alone.
func (k *KEK) SetRewrapFault(f Fault) { k.setOne(opRewrap, f) }

func (k *KEK) setOne(o op, f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults[o] = f
}

// FailNext makes the next n calls, of whatever operation, fail like f, before
// SetFault has its say again: FailNext(2, Unavailable) is an outage of two
// calls, and FailNext(2, None) lets two calls through that SetFault would have
// stopped. It replaces an earlier FailNext; n = 0 ends it.
func (k *KEK) FailNext(n int, f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nextCalls, k.next = n, f
}

// SetLatency makes every call from now on take at least d, or until its ctx
// ends. It uses package time alone, so the clock of testing/synctest drives it.
func (k *KEK) SetLatency(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.latency = d
}

// SetUnwrapResult makes every Unwrap from now on answer with a copy of b,
// whatever it is given: 31 bytes, none ([]byte{}), another's key. nil ends it.
// A fault comes first.
func (k *KEK) SetUnwrapResult(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.result = copyOf(b)
}

func (k *KEK) unwrapResult() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return copyOf(k.result)
}

// copyOf keeps nil nil, and empty not nil.
func copyOf(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// deniesSome reports whether wrapping or unwrapping alone is denied.
func (k *KEK) deniesSome() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.faults[:opCheck], Denied)
}

// enter counts a call, waits and fails as told. Whoever calls it must call
// leave afterwards. The fault it returns is one that succeeds: none, garbage or,
// for a check, denied.
func (k *KEK) enter(ctx context.Context, o op) (Fault, error) {
	fault, latency := k.count(o)
	if err := wait(ctx, latency); err != nil {
		return None, k.failed(o, kek.ErrUnavailable, err)
	}
	switch fault {
	case Hang:
		<-ctx.Done()
		return None, k.failed(o, kek.ErrUnavailable, ctx.Err())
	case Unavailable:
		return None, k.failed(o, kek.ErrUnavailable, errTold)
	case Denied:
		if o != opCheck {
			return None, k.failed(o, kek.ErrDenied, errTold)
		}
	case Corrupt:
		return None, k.failed(o, kek.ErrCorrupt, errTold)
	case Panic:
		panic("memkek: told to panic by SetFault")
	}
	return fault, nil
}

// wait sleeps for d or until ctx ends. A ctx that has ended never waits.
func wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// errTold is the cause of every fault.
var errTold = toldError{}

type toldError struct{}

func (toldError) Error() string { return "told to fail" }

func (k *KEK) failed(o op, class, cause error) error {
	return fmt.Errorf("memkek: %v with %s: %w: %w", o, k.uri, class, cause)
}
