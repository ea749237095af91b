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

	// patience is how long a call must have gone unanswered for its
	// cancellation to count as the KEK's failure and not as its caller's haste.
	patience = time.Second
)

// gate stands before one KEK, so that one that is slow or dead costs those who
// need it little, and everyone else nothing: so many calls are under way at
// once and no more, and one that has stopped answering isn't asked for a while.
// A KEK that says no is answering.
type gate struct {
	places  chan struct{}
	breaker *gobreaker.CircuitBreaker[[]byte]
}

func newGate(concurrency int) gate {
	return gate{
		places: make(chan struct{}, concurrency),
		breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
			Timeout:      openFor,
			ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
			IsSuccessful: func(err error) bool { return kek.Class(err) != kek.ErrUnavailable },
			IsExcluded:   func(err error) bool { return errors.As(err, new(hasty)) },
		}),
	}
}

// hasty marks the error of a call that its caller gave up before the KEK had a
// fair time to answer.
type hasty struct{ error }

func (h hasty) Unwrap() error { return h.error }

// pass makes the call f when there is a place for it, and doesn't if the KEK has
// stopped answering or ctx ends first; the error then matches
// [kek.ErrUnavailable].
func (g gate) pass(ctx context.Context, f func() ([]byte, error)) ([]byte, error) {
	select {
	case g.places <- struct{}{}:
		defer func() { <-g.places }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting for other calls to the KEK: %w", kek.ErrUnavailable, ctx.Err())
	}
	out, err := g.breaker.Execute(func() ([]byte, error) {
		start := time.Now()
		out, err := f()
		if err != nil && errors.Is(ctx.Err(), context.Canceled) && time.Since(start) < patience {
			err = hasty{err}
		}
		return out, err
	})
	if h := (hasty{}); errors.As(err, &h) {
		err = h.error
	}
	if closedGate(err) {
		err = fmt.Errorf("%w: it has not been answering and is not asked again before %v have passed: %w", kek.ErrUnavailable, openFor, err)
	}
	return out, err
}

// closedGate reports whether err says that no call was made because the KEK has
// not been answering.
func closedGate(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}

// answering reports whether the KEK is asked as usual.
func (g gate) answering() bool { return g.breaker.State() == gobreaker.StateClosed }
