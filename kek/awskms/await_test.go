package awskms_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
)

// hanging is a provider of credentials that doesn't heed ctx.
func hanging(gate <-chan struct{}) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		<-gate
		return aws.Credentials{}, errors.New("late")
	})
}

// A provider of credentials ignores its ctx, with the SDK's cache before it or
// without: the call returns all the same.
func TestHangingCredentials(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	for name, credentials := range map[string]aws.CredentialsProvider{"bare": hanging(gate), "cached": aws.NewCredentialsCache(hanging(gate))} {
		b := newBench(t, awskms.Options{})
		b.credentials = credentials
		for _, op := range b.operations() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			start := time.Now()
			err := op.call(ctx)
			wantClass(t, err, kek.ErrUnavailable)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s, %s: not the context's error: %v", name, op.name, err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s, %s: it took %v", name, op.name, took)
			}
			cancel()
		}
	}
}

// A provider, or a transport, that panics is an outage.
func TestPanickingCredentials(t *testing.T) {
	b := newBench(t, awskms.Options{})
	works := b.credentials
	b.credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { panic("with the request in it") })
	b.wantAll(kek.ErrUnavailable)
	b.credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		runtime.Goexit()
		return aws.Credentials{}, nil
	})
	b.wantAll(kek.ErrUnavailable)
	b.credentials = works
	b.wantWorks()
}

// Calls that hang after their callers have left are bounded: then none is made
// any more until some end.
func TestCallsLeftBehind(t *testing.T) {
	b := newBench(t, awskms.Options{})
	gate, works := make(chan struct{}), b.credentials
	b.credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		<-gate
		return works.Retrieve(ctx)
	})
	before := runtime.NumGoroutine()
	for range 3 * awskms.MaxLeft {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := b.kek.Unwrap(ctx, b.wrapped, b.binding)
		wantClass(t, err, kek.ErrUnavailable)
		cancel()
	}
	if n := runtime.NumGoroutine() - before; n > awskms.MaxLeft+10 {
		t.Errorf("%d goroutines were left", n)
	}
	b.wantAll(kek.ErrUnavailable) // at once: the ctx has no deadline
	close(gate)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := b.kek.Unwrap(t.Context(), b.wrapped, b.binding); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("still: %v", err)
		}
	}
	b.wantWorks()
}

// What comes too late is zeroed, and so is the copy of what was sent, which
// alone the call sees.
func TestLateResults(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	gate, late := make(chan struct{}), make(chan []byte)
	sent, copied := []byte("plaintext"), make(chan []byte, 1)
	_, err := awskms.Await(ctx, sent, func(b []byte) ([]byte, error) {
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
