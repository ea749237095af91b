package vault

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// How Config.Authorizer is asked: whatever it does, panic, hang, or call back, the call
// ends, and ends denied.

// maxHanging is how many decisions may be left behind, by an authorizer that ignores
// its ctx, before nothing more is asked.
const maxHanging = 1000

// maxAsking is how many decisions may be under way: more than any program has, unless
// the authorizer calls the vault that asks it, without the ctx that it was given.
const maxAsking = 10_000

var (
	errAsking       = fmt.Errorf("more than %d decisions are under way; the authorizer must not call the vault that asks it", maxAsking)
	errActorChanged = errors.New("the actor's name has control characters, is not UTF-8, or is longer than 256 bytes; give it another")
	errAskedWithin  = errors.New("the authorizer called the vault that asked it")
	errHanging      = errors.New("too many earlier decisions still hang; the authorizer must return when its ctx ends")
	errNoAnswer     = errors.New("the authorizer ended without an answer")
)

// deciding marks the ctx of a decision of this vault's.
type deciding struct{ v *Vault }

// decide asks about a request and returns nil, ErrClosed, or an error that matches
// ErrAccessDenied. The caller has checked that there is an authorizer.
func (v *Vault) decide(ctx context.Context, r AccessRequest) error {
	if v.closed.Load() {
		return ErrClosed
	}
	err := v.ask(ctx, r.ownCopies(ctx))
	switch err { //nolint:errorlint // the very value: not what the authorizer returns, however deep it is
	case nil:
		return nil
	case errClosedMeanwhile:
		return ErrClosed
	}
	v.denied.Add(1)
	return fmt.Errorf("%w: %s: %w", ErrAccessDenied, r.Operation, err)
}

func (v *Vault) ask(ctx context.Context, r AccessRequest) error {
	switch {
	case actorIn(ctx).changed:
		return errActorChanged
	case ctx.Value(deciding{v}) != nil:
		return errAskedWithin // for ever, if it were asked
	}
	ctx = context.WithValue(ctx, deciding{v}, true)
	if v.asksAtOnce {
		return v.answer(ctx, r)
	}
	if v.hanging.Load() >= maxHanging {
		v.undecided.Add(1)
		return errHanging
	}
	return v.await(ctx, r)
}

// answer asks on this goroutine. A panic, and what ends the goroutine otherwise, is a
// denial; its value is not shown, since it may be a secret.
func (v *Vault) answer(ctx context.Context, r AccessRequest) (err error) {
	defer func() {
		if p := recover(); p != nil {
			v.undecided.Add(1)
			err = fmt.Errorf("the authorizer failed: panic of type %T", p)
		}
	}()
	defer v.asking.Add(-1)
	if v.asking.Add(1) > maxAsking {
		v.undecided.Add(1)
		return errAsking
	}
	if err := v.cfg.Authorizer.Authorize(ctx, r); err != nil {
		return newDenial(err)
	}
	return nil
}

// errClosedMeanwhile says that the vault was closed while a decision was waited for.
var errClosedMeanwhile = errors.New("closed meanwhile")

// decision is one that is waited for on another goroutine.
type decision struct {
	answer chan error // of one answer
	over   atomic.Bool
}

// await asks on a goroutine of its own, since there is no other way to leave an
// authorizer that ignores its ctx. It costs about two microseconds, next to nothing for
// what asks a policy engine; [ImmediateAuthorizer] is for what doesn't.
func (v *Vault) await(ctx context.Context, r AccessRequest) error {
	asked, cancel := context.WithTimeout(ctx, v.cfg.AuthorizerTimeout)
	defer cancel()
	d := &decision{answer: make(chan error, 1)}
	go v.decideAside(asked, r, d)
	select {
	case err := <-d.answer:
		if err != nil || asked.Err() == nil {
			return err
		}
		// It said yes because its time was up, or too late: both count for nothing.
	case <-asked.Done():
	case <-v.root.Done():
		v.leave(d)
		return errClosedMeanwhile
	}
	v.leave(d)
	return v.noAnswer(ctx)
}

func (v *Vault) decideAside(ctx context.Context, r AccessRequest, d *decision) {
	err := errNoAnswer // if the authorizer ends the goroutine
	defer func() {
		d.answer <- err
		if d.over.Swap(true) {
			v.hanging.Add(-1)
		}
	}()
	err = v.answer(ctx, r)
}

// leave goes on without an answer.
func (v *Vault) leave(d *decision) {
	v.hanging.Add(1)
	if d.over.Swap(true) {
		v.hanging.Add(-1) // it has ended
	}
}

// noAnswer says why there was no answer in time.
func (v *Vault) noAnswer(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, ErrClosed) {
			return errClosedMeanwhile
		}
		return fmt.Errorf("no answer of the authorizer: the call has ended: %w", cause)
	}
	v.undecided.Add(1)
	return fmt.Errorf("no answer of the authorizer within %v: %w", v.cfg.AuthorizerTimeout.Round(time.Millisecond), context.DeadlineExceeded)
}
