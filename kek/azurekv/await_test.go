package azurekv_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// deaf is a credential that, once it is to, waits for its gate and for no ctx.
type deaf struct {
	azcore.TokenCredential
	on     atomic.Bool
	inside chan struct{} // gets a value when somebody waits
	gate   chan struct{}
}

func (d *deaf) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if d.on.Load() {
		select {
		case d.inside <- struct{}{}:
		default:
		}
		<-d.gate
	}
	return d.TokenCredential.GetToken(context.WithoutCancel(ctx), o)
}

// useDeaf gives e a client with a credential that is deaf from now on. The tokens
// that it gave out are worth nothing.
func useDeaf(t *testing.T, e *env) *deaf {
	d := &deaf{TokenCredential: e.srv.Credential(azurekvtest.App), inside: make(chan struct{}, 1), gate: make(chan struct{})}
	o := e.srv.ClientOptions()
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	e.client = must(azkeys.NewClient("https://"+host, d, o))(t)
	e.kek = e.open(t)
	wrap(t, e.kek, secret()) // all is known that is asked once
	d.on.Store(true)
	e.srv.Credential(azurekvtest.App).Fail(nil)()
	return d
}

// A credential that doesn't heed ctx holds up nobody beyond their own; neither
// the caller that it gets the token for, nor those that wait for the same token.
func TestContextWhileATokenIsAwaited(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	d := useDeaf(t, e)
	first := make(chan error, 1)
	go func() { _, err := e.kek.Unwrap(context.Background(), wrapped, binding(t)); first <- err }()
	<-d.inside
	all := calls(e.kek, wrapped, binding(t))
	all["New"] = func(ctx context.Context) error {
		_, err := azurekv.New(ctx, e.client, rootID, e.options)
		return err
	}
	all["FetchVerifyingKey"] = func(ctx context.Context) error {
		_, _, err := azurekv.FetchVerifyingKey(ctx, e.client, signID, e.options)
		return err
	}
	for name, call := range all {
		wantEndsWithContext(t, name, call)
	}
	close(d.gate)
	ok(t, <-first)
	wantOpens(t, e.kek, wrapped, key)
}

// The one who gets the token.
func TestContextOfADeafCredential(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	d := useDeaf(t, e)
	wantEndsWithContext(t, "Unwrap", calls(e.kek, wrapped, binding(t))["Unwrap"])
	close(d.gate)
	wantOpens(t, e.kek, wrapped, key)
}

func wantEndsWithContext(t *testing.T, name string, call func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := call(ctx)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("%s took %v", name, took)
	}
	wantClass(t, err, kek.ErrUnavailable)
	wantError(t, err, context.DeadlineExceeded)
}

// What comes too late is zeroed by whoever is handed it, and not returned.
func TestLateResults(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	gate, late := make(chan struct{}), make(chan []byte, 1)
	go cancel()
	got, err := azurekv.Await(ctx, func() ([]byte, error) { <-gate; return []byte("key"), nil }, func(b []byte) { late <- b })
	wantError(t, err, context.Canceled)
	if got != nil {
		t.Errorf("got %q", got)
	}
	close(gate)
	if b := <-late; !bytes.Equal(b, []byte("key")) {
		t.Errorf("late: %q", b)
	}
}

// A call that doesn't return is an error, and the value of a panic is not in it.
func TestCallsThatDoNotReturn(t *testing.T) {
	_, err := azurekv.Await(t.Context(), func() ([]byte, error) { panic("a key") }, nil)
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("a key")) {
		t.Errorf("got %v", err)
	}
	_, err = azurekv.Await(t.Context(), func() ([]byte, error) { runtime.Goexit(); return nil, nil }, nil)
	if err == nil {
		t.Error("no error")
	}
	failed := errors.New("failed")
	_, err = azurekv.Await(t.Context(), func() ([]byte, error) { return nil, failed }, nil)
	wantError(t, err, failed)
}

// azkeys panics on a challenge whose authority has no path. Whoever can write
// into the connection gets no further with it than to an outage.
func TestMalformedChallenges(t *testing.T) {
	e := newEnv(t, unsigned)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	o := e.srv.ClientOptions()
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	challenge := &rewriteChallenge{Client: e.srv.HTTPClient()}
	o.Transport = challenge
	e.client = must(azkeys.NewClient("https://"+host, e.srv.Credential(azurekvtest.App), o))(t)
	k := e.open(t)
	for _, value := range []string{
		`Bearer authorization="login.microsoftonline.com", resource="https://vault.azure.net"`,
		`Bearer authorization="https://login.microsoftonline.com", resource="https://vault.azure.net"`,
		`Bearer authorization="https://login.microsoftonline.com/t", resource="https://evil.example"`,
		`Bearer authorization="https://login.microsoftonline.com/t"`,
		`Bearer`,
	} {
		challenge.value = value
		for _, call := range calls(k, wrapped, binding(t)) {
			wantOpens(t, k, wrapped, key)                 // the client has a token now
			e.srv.Credential(azurekvtest.App).Fail(nil)() // it is taken back: a challenge follows
			if err := call(t.Context()); err == nil {
				t.Errorf("%s: no error", value)
			} else {
				wantClass(t, err, kek.ErrUnavailable)
			}
		}
	}
	challenge.value = ""
	wantOpens(t, k, wrapped, key)
}
