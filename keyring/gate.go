package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/sony/gobreaker/v2"
)

// Of the circuit breaker before each KEK.
const (
	// tripAfter is how many calls in a row must fail to get an answer before no
	// more are made. With half of all calls throttled, so many come in a row once
	// in 65,000.
	tripAfter = 16

	// openFor is how long no call is made then; after it one call at a time is
	// tried, until one is answered.
	openFor = 5 * time.Second
)

// gate stands before one KEK, so that one that is slow or dead costs those who
// need it little, and everyone else nothing: so many calls are under way at
// once and no more, and one that has stopped answering isn't asked for a while.
// A KEK that says no is answering.
type gate struct {
	r       *Keyring
	places  chan struct{}
	breaker *gobreaker.CircuitBreaker[any]
}

func newGate(r *Keyring) gate {
	return gate{
		r:      r,
		places: make(chan struct{}, r.cfg.KEKConcurrency),
		breaker: gobreaker.NewCircuitBreaker[any](gobreaker.Settings{
			Timeout:      openFor,
			ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
			IsSuccessful: func(err error) bool { return err == nil || !errors.Is(err, kek.ErrUnavailable) },
			IsExcluded:   func(err error) bool { return errors.As(err, new(neutral)) },
		}),
	}
}

// neutral marks an error that says nothing of whether the KEK is answering: its
// caller gave up early, or the driver broke its contract.
type neutral struct{ error }

func (n neutral) Unwrap() error { return n.error }

// errClosedGate is matched when no call was made because the KEK has not been
// answering.
var errClosedGate = fmt.Errorf("it has not been answering and is not asked again before %v have passed", openFor)

// pass makes the call f when there is a place for it, with a deadline, and
// doesn't if the KEK has stopped answering or ctx ends first: the error then
// matches [kek.ErrUnavailable]. A result that nobody waits for any more goes to
// forget.
func pass[T any](ctx context.Context, g *gate, f func(context.Context) (T, error), forget func(T)) (T, error) {
	if g.breaker.State() != gobreaker.StateClosed {
		return probe(ctx, g, f, forget)
	}
	var none T
	select {
	case g.places <- struct{}{}:
		defer func() { <-g.places }()
	case <-ctx.Done():
		return none, fmt.Errorf("%w: waiting for other calls to the KEK: %w", kek.ErrUnavailable, ctx.Err())
	}
	if err := ctx.Err(); err != nil { // both were ready
		return none, fmt.Errorf("%w: waiting for other calls to the KEK: %w", kek.ErrUnavailable, err)
	}
	return admit(ctx, g, f)
}

// probe is pass while the KEK is not known to answer. Where the breaker lets a
// call through, it is not the caller's alone: a caller in a hurry must not take
// the one try from those who would wait for its answer.
func probe[T any](ctx context.Context, g *gate, f func(context.Context) (T, error), forget func(T)) (T, error) {
	type result struct {
		out T
		err error
	}
	done, left := make(chan result), make(chan struct{})
	free := context.WithoutCancel(ctx)
	if !g.r.goRun(func() {
		tried := result{err: errGoexit}
		defer func() {
			select {
			case done <- tried:
			case <-left:
				if tried.err == nil {
					forget(tried.out)
				}
			}
		}()
		free, cancel := context.WithCancel(free)
		defer cancel()
		defer context.AfterFunc(g.r.done, cancel)()
		tried.out, tried.err = admit(free, g, f)
	}) {
		var none T
		return none, ErrClosed
	}
	select {
	case r := <-done:
		return r.out, r.err
	case <-ctx.Done():
		close(left)
		var none T
		return none, fmt.Errorf("%w: %w", kek.ErrUnavailable, ctx.Err())
	}
}

// errGoexit is for drivers, most likely test doubles, that end the goroutine.
var errGoexit = errors.New("the driver ended its goroutine")

// admit makes the call if the breaker lets it through.
func admit[T any](ctx context.Context, g *gate, f func(context.Context) (T, error)) (T, error) {
	var out T
	_, err := g.breaker.Execute(func() (any, error) {
		start := time.Now()
		callCtx, cancel := context.WithTimeout(ctx, g.r.cfg.CallTimeout)
		defer cancel()
		var err error
		out, err = guarded(callCtx, f)
		return nil, g.judged(ctx, callCtx, err, time.Since(start))
	})
	if n := (neutral{}); errors.As(err, &n) {
		err = n.error
	}
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = fmt.Errorf("%w: %w", kek.ErrUnavailable, errClosedGate)
	}
	return out, err
}

// guarded calls a driver. Its panic is an error.
func guarded[T any](ctx context.Context, f func(context.Context) (T, error)) (out T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = neutral{errors.New(panicText(p))}
		}
	}()
	return f(ctx)
}

// judged marks an error of a call that was made as neutral if it is. What counts
// against the KEK is its driver's own word that there was no answer, and our
// deadline; not that a caller had less time than is fair, nor an error of no
// class.
func (g *gate) judged(ctx, callCtx context.Context, err error, took time.Duration) error {
	switch {
	case err == nil || errors.As(err, new(neutral)):
		return err
	case ctx.Err() != nil:
		if took < g.r.cfg.CallTimeout/2 {
			return neutral{err}
		}
	case callCtx.Err() != nil:
		return unanswered{err}
	case classes(err) == 0:
		return neutral{err}
	}
	return err
}

// unanswered marks the error of a call that was cut off by our deadline, whatever
// the driver calls it.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

// Is makes the breaker count it. The driver's own class is found first where
// there is one.
func (u unanswered) Is(target error) bool {
	return target == kek.ErrUnavailable && classes(u.error) == 0
}

// answering reports whether the KEK is asked as usual.
func (g *gate) answering() bool { return g.breaker.State() == gobreaker.StateClosed }
