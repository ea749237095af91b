package kektest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// maxErrorText is how long an error's text may be: more must be a dump of the
// input.
const maxErrorText = 8 << 10

// patience is how long the suite waits for a call that ought to have returned
// since its ctx has ended. The suite's own tests shorten it.
var patience = 10 * time.Second

// classes are the errors of which every error must match exactly one.
var classes = []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt}

// suite is what a check works with. It makes calls, and holds every one of them
// to what the contract says of all calls.
type suite struct {
	testing.TB
	h   Harness
	kek kek.Wrapper

	key     []byte // a context key
	binding kek.Binding
}

func newSuite(t testing.TB, h Harness) *suite {
	s := &suite{TB: t, h: h, key: random(32)}
	s.binding = s.bindingOf(keyctx.KeyContext{
		"organization_id": "org-" + rand.Text(),
		"user/id":         "Zoë " + rand.Text(),
	})
	if s.kek = h.New(t); s.kek == nil {
		t.Fatal("Harness.New returned nil")
	}
	return s
}

// bindingOf returns a binding for kc with a random key ID.
func (s *suite) bindingOf(kc keyctx.KeyContext) kek.Binding {
	s.Helper()
	hash, err := kc.Hash()
	if err != nil {
		s.Fatalf("kektest: its own context: %v", err)
	}
	b := kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
	_, _ = rand.Read(b.KeyID[:]) // never fails: crypto/rand crashes the program instead
	return b
}

// wrap calls w.Wrap and checks what must hold whatever comes of it.
func (s *suite) wrap(ctx context.Context, w kek.Wrapper, key []byte, b kek.Binding) ([]byte, error) {
	s.Helper()
	wrapped, err := guard("Wrap", func() ([]byte, error) { return w.Wrap(ctx, key, b) })
	s.checkResult("Wrap", wrapped, err, b)
	if n := len(wrapped); err == nil && (n < 1 || n > keyctx.MaxWrappedLen) {
		s.Errorf("Wrap returned %d bytes, want 1 to %d", n, keyctx.MaxWrappedLen)
	}
	return wrapped, err
}

// unwrap calls w.Unwrap and checks what must hold whatever comes of it.
func (s *suite) unwrap(ctx context.Context, w kek.Wrapper, wrapped []byte, b kek.Binding) ([]byte, error) {
	s.Helper()
	key, err := guard("Unwrap", func() ([]byte, error) { return w.Unwrap(ctx, wrapped, b) })
	s.checkResult("Unwrap", key, err, b)
	return key, err
}

// rewrap calls w.Rewrap and checks what must hold whatever comes of it.
func (s *suite) rewrap(ctx context.Context, w kek.Rewrapper, wrapped []byte, b kek.Binding) ([]byte, error) {
	s.Helper()
	rewrapped, err := guard("Rewrap", func() ([]byte, error) { return w.Rewrap(ctx, wrapped, b) })
	s.checkResult("Rewrap", rewrapped, err, b)
	if n := len(rewrapped); err == nil && (n < 1 || n > keyctx.MaxWrappedLen) {
		s.Errorf("Rewrap returned %d bytes, want 1 to %d", n, keyctx.MaxWrappedLen)
	}
	return rewrapped, err
}

// status calls w.Check and checks what must hold whatever comes of it.
func (s *suite) status(ctx context.Context, w kek.Checker) (kek.Status, error) {
	s.Helper()
	status, err := guard("Check", func() (kek.Status, error) { return w.Check(ctx) })
	if err != nil {
		s.checkError("Check", err, s.binding)
	}
	return status, err
}

// panicError is a panic of the driver's.
type panicError struct {
	what  string
	value any
}

func (e panicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.what, e.value) }

// guard turns a panic of call into a panicError, which has no class and so
// fails every check.
func guard[R any](what string, call func() (R, error)) (result R, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError{what, v}
		}
	}()
	return call()
}

func (s *suite) checkResult(what string, result []byte, err error, b kek.Binding) {
	s.Helper()
	if err != nil {
		s.checkError(what, err, b)
	} else if result == nil {
		s.Errorf("%s returned nil and no error", what)
	}
}

// checkError checks what must hold of every error: one class, and no secrets.
func (s *suite) checkError(what string, err error, b kek.Binding) {
	s.Helper()
	n := 0
	for _, class := range classes {
		if errors.Is(err, class) {
			n++
		}
	}
	if n != 1 {
		s.Errorf("%s: the error matches %d of ErrDenied, ErrUnavailable and ErrCorrupt, want exactly one: %v", what, n, brief(err))
	}
	text := fmt.Sprintf("%v %+v", err, err)
	if len(text) > maxErrorText {
		s.Errorf("%s: the error's text has %d bytes", what, len(text))
		return
	}
	if leaks(text, s.key) {
		s.Errorf("%s: the error's text has bytes of the key in it", what)
	}
	for k, v := range b.Context {
		if strings.Contains(text, v) {
			s.Errorf("%s: the error's text has the value of the pair %q in it", what, k)
		}
	}
}

// mustWrap wraps the suite's key with its binding.
func (s *suite) mustWrap(w kek.Wrapper) []byte {
	s.Helper()
	return s.mustWrapKey(w, s.key, s.binding)
}

func (s *suite) mustWrapKey(w kek.Wrapper, key []byte, b kek.Binding) []byte {
	s.Helper()
	wrapped, err := s.wrap(s.Context(), w, key, b)
	if err != nil {
		s.Fatalf("Wrap: %v", brief(err))
	}
	return wrapped
}

// mustOpen unwraps and compares with the suite's key.
func (s *suite) mustOpen(w kek.Wrapper, wrapped []byte) {
	s.Helper()
	s.mustOpenKey(w, wrapped, s.binding, s.key)
}

func (s *suite) mustOpenKey(w kek.Wrapper, wrapped []byte, b kek.Binding, want []byte) {
	s.Helper()
	got, err := s.unwrap(s.Context(), w, wrapped, b)
	if err != nil {
		s.Fatalf("Unwrap: %v", brief(err))
	}
	if !bytes.Equal(got, want) {
		s.Fatalf("Unwrap returned %d bytes that are not the key of %d bytes", len(got), len(want))
	}
}

// wantClass checks that err matches one of the classes.
func (s *suite) wantClass(what string, err error, want ...error) {
	s.Helper()
	for _, class := range want {
		if errors.Is(err, class) {
			return
		}
	}
	s.Errorf("%s: got error %v, want one that matches %q", what, brief(err), want)
}

// wantCorrupt checks that wrapped doesn't unwrap with b, for the right reason.
func (s *suite) wantCorrupt(what string, wrapped []byte, b kek.Binding) {
	s.Helper()
	_, err := s.unwrap(s.Context(), s.kek, wrapped, b)
	s.wantClass("Unwrap: "+what, err, kek.ErrCorrupt)
}

// sample returns the indexes below n that a check tries: all, or 16 of them,
// the first and the last included.
func (s *suite) sample(n int) []int {
	count := n
	if s.h.Costly {
		count = min(n, 16)
	}
	indexes := make([]int, count)
	for i := range indexes {
		indexes[i] = i
		if count < n {
			indexes[i] = i * (n - 1) / (count - 1)
		}
	}
	return indexes
}

// brief cuts an error's text to a readable length.
func brief(err error) string {
	if err == nil {
		return "nil"
	}
	return fmt.Sprintf("%.300q", err.Error())
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
