package kektest

import (
	"context"
	"errors"
	"time"

	"github.com/embedvault/vault/kek"
)

// operation is one call of one method, not yet made.
type operation struct {
	name string
	call func(ctx context.Context) (result []byte, err error)
}

// operations returns a call of every method that w has, for wrapped and the
// suite's key and binding.
func (s *suite) operations(w kek.Wrapper, wrapped []byte) []operation {
	key, b := s.key, s.binding
	ops := []operation{
		{"Wrap", func(ctx context.Context) ([]byte, error) { return w.Wrap(ctx, key, b) }},
		{"Unwrap", func(ctx context.Context) ([]byte, error) { return w.Unwrap(ctx, wrapped, b) }},
	}
	if r, ok := w.(kek.Rewrapper); ok {
		ops = append(ops, operation{"Rewrap", func(ctx context.Context) ([]byte, error) { return r.Rewrap(ctx, wrapped, b) }})
	}
	return ops
}

// operationsAndCheck is operations and Check, if w has it.
func (s *suite) operationsAndCheck(w kek.Wrapper, wrapped []byte) []operation {
	ops := s.operations(w, wrapped)
	if c, ok := w.(kek.Checker); ok {
		ops = append(ops, operation{"Check", func(ctx context.Context) ([]byte, error) {
			_, err := c.Check(ctx)
			return []byte{}, err
		}})
	}
	return ops
}

// try makes the call and checks what must hold whatever comes of it. It gives
// up on a call that doesn't return; nothing of the test's is touched by that
// call any more, should it return after the test.
func (s *suite) try(ctx context.Context, op operation) (returned bool, err error) {
	s.Helper()
	type outcome struct {
		result []byte
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := guard(op.name, func() ([]byte, error) { return op.call(ctx) })
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		s.checkResult(op.name, o.result, o.err, s.binding)
		return true, o.err
	case <-time.After(patience):
		return false, nil
	}
}

// wantEnded makes a call whose ctx ends, and checks that it returns and how.
func (s *suite) wantEnded(when string, ctx context.Context, op operation) {
	s.Helper()
	returned, err := s.try(ctx, op)
	if !returned {
		s.Errorf("%s %s has not returned long after that", op.name, when)
		return
	}
	s.wantClass(op.name+" "+when, err, kek.ErrUnavailable)
	if want := ctx.Err(); want == nil || !errors.Is(err, want) {
		s.Errorf("%s %s: got error %v, want one that matches the context's, %v", op.name, when, brief(err), want)
	}
}

func checkEndedCtx(s *suite) {
	wrapped := s.mustWrap(s.kek)
	cancelled, cancel := context.WithCancel(s.Context())
	cancel()
	expired, cancel := context.WithDeadline(s.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, op := range s.operationsAndCheck(s.kek, wrapped) {
		s.wantEnded("with a ctx that was cancelled", cancelled, op)
		s.wantEnded("with a ctx that had expired", expired, op)
	}
	s.mustOpen(s.kek, s.mustWrap(s.kek))

	// A ctx that ends after the call is nobody's business.
	ctx, cancel := context.WithCancel(s.Context())
	wrapped, err := s.wrap(ctx, s.kek, s.key, s.binding)
	cancel()
	if err != nil {
		s.Fatalf("Wrap: %v", brief(err))
	}
	s.mustOpen(s.kek, wrapped)
}

func checkCtxEnds(s *suite) {
	wrapped := s.mustWrap(s.kek)
	restore := s.turn(s.h.Hang)
	for _, op := range s.operationsAndCheck(s.kek, wrapped) {
		ctx, cancel := context.WithCancel(s.Context())
		timer := time.AfterFunc(30*time.Millisecond, cancel)
		s.wantEnded("cancelled while the KMS hangs", ctx, op)
		timer.Stop()
		cancel()

		ctx, cancel = context.WithTimeout(s.Context(), 30*time.Millisecond)
		s.wantEnded("expiring while the KMS hangs", ctx, op)
		cancel()
	}
	restore()
	s.mustOpen(s.kek, wrapped)
	s.mustOpen(s.kek, s.mustWrap(s.kek))
}

func checkDenied(s *suite) { s.checkFailing("denied", s.h.Deny, kek.ErrDenied) }

func checkUnavailable(s *suite) {
	s.checkFailing("unavailable", s.h.Unavailable, kek.ErrUnavailable)
}

// checkFailing lets the KMS fail, looks at the class of every error, and lets
// the KMS work again.
func (s *suite) checkFailing(how string, fail switcher, class error) {
	s.Helper()
	wrapped := s.mustWrap(s.kek)
	restore := s.turn(fail)
	for _, op := range s.operations(s.kek, wrapped) {
		returned, err := s.try(s.Context(), op)
		if !returned {
			s.Errorf("%s when %s took longer than %v", op.name, how, patience)
			continue
		}
		s.wantClass(op.name+" when "+how, err, class)
	}
	restore()
	s.mustOpen(s.kek, wrapped)
	s.mustOpen(s.kek, s.mustWrap(s.kek))
}
