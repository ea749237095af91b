package gcpkms_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
)

// A source of tokens knows no ctx, or ignores it: the call returns all the same.
func TestHangingCredentials(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	gate := make(chan struct{})
	defer close(gate)
	k := open(t, once(intercepted(t, f.srv, func(context.Context) error { <-gate; return errors.New("late") })), keyName)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	for _, err := range each(ctx, k, wrapped, b) {
		wantClass(t, err, kek.ErrUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not the context's error: %v", err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Calls that hang after their callers have left are bounded: then none is made
// any more until some end.
func TestCallsLeftBehind(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	gate := make(chan struct{})
	k := open(t, once(intercepted(t, f.srv, func(context.Context) error { <-gate; return nil })), keyName)
	before := runtime.NumGoroutine()
	for range 3 * gcpkms.MaxLeft {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := k.Unwrap(ctx, wrapped, b)
		wantClass(t, err, kek.ErrUnavailable)
		cancel()
	}
	if n := runtime.NumGoroutine() - before; n > gcpkms.MaxLeft+10 {
		t.Errorf("%d goroutines were left", n)
	}
	for _, err := range each(t.Context(), k, wrapped, b) { // at once: the ctx has no deadline
		wantClass(t, err, kek.ErrUnavailable)
	}
	close(gate)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := k.Unwrap(t.Context(), wrapped, b); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("still: %v", err)
		}
	}
	for _, err := range each(t.Context(), k, wrapped, b) {
		wantClass(t, err, nil)
	}
}

// What comes too late is zeroed, and so is the copy of what was sent, which
// alone the call sees.
func TestLateResults(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	gate, late := make(chan struct{}), make(chan []byte)
	sent, copied := []byte("plaintext"), make(chan []byte, 1)
	_, err := gcpkms.Await(ctx, sent, func(b []byte) ([]byte, error) {
		copied <- b
		cancel()
		<-gate
		if string(b) != "plaintext" {
			t.Error("the copy was changed while it was used")
		}
		return []byte("result"), nil
	}, func(b []byte) { late <- b })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	clear(sent)
	close(gate)
	if got := <-late; string(got) != "result" {
		t.Errorf("late got %q", got)
	}
	if got := <-copied; string(got) != string(make([]byte, len(sent))) {
		t.Errorf("the copy is still %q", got)
	}
}
