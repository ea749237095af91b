package azurekv_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// accident is something that happens to a key, and what each method must say of
// it; nil is success. Rewrap says what Unwrap says, and, if that succeeds, what
// Wrap says.
type accident struct {
	name                string
	happen              func(e *env) (restore func())
	wrap, unwrap, check error
}

func inject(f azurekvtest.Fault) func(e *env) func() {
	return func(e *env) func() { return e.srv.Inject(f) }
}

func answers(status int, code, inner string) func(e *env) func() {
	return inject(azurekvtest.Fault{Status: status, Code: code, Inner: inner})
}

func do(on, off func(e *env)) func(e *env) func() {
	return func(e *env) func() { on(e); return func() { off(e) } }
}

func tokens(err error) func(e *env) func() {
	return func(e *env) func() { return e.srv.Credential(azurekvtest.App).Fail(err) }
}

// entraError looks like azidentity's AuthenticationFailedError, which this module
// doesn't require.
type entraError string

func (e entraError) Error() string {
	return "ClientSecretCredential authentication failed. " + string(e)
}
func (entraError) NonRetriable() {}

const (
	hour     = time.Hour
	quotable = "\"error_description\": \"%s: Trace ID: 1\""
)

var accidents = []accident{
	// The owner of the vault.
	{"disabled", do(func(e *env) { e.key.Disable() }, func(e *env) { e.key.Enable() }), kek.ErrDenied, kek.ErrDenied, nil},
	{"deleted", do(func(e *env) { e.key.Delete() }, func(e *env) { e.key.Recover() }), kek.ErrDenied, kek.ErrDenied, nil},
	{"expired", do(func(e *env) { e.key.SetDates(time.Time{}, time.Now().Add(-hour)) }, noDates), kek.ErrDenied, nil, nil},
	{"not yet valid", do(func(e *env) { e.key.SetDates(time.Now().Add(hour), time.Time{}) }, noDates), kek.ErrDenied, nil, nil},
	{"key_ops", do(func(e *env) { e.key.SetOps("encrypt") }, func(e *env) { e.key.SetOps() }), kek.ErrDenied, kek.ErrDenied, nil},
	{"no permission", func(e *env) func() { return e.key.Deny(azurekvtest.App) }, kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"may not wrap", func(e *env) func() { return e.key.Deny(azurekvtest.App, azurekvtest.WrapKey) }, kek.ErrDenied, nil, nil},
	{"may not unwrap", func(e *env) func() { return e.key.Deny(azurekvtest.App, azurekvtest.UnwrapKey) }, nil, kek.ErrDenied, nil},
	{"firewall", inject(azurekvtest.Firewalled()), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"access policy", answers(403, "Forbidden", "ForbiddenByPolicy"), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"forbidden, no more said", answers(403, "Forbidden", ""), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"being deleted", answers(409, "Conflict", "ObjectIsBeingDeleted"), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"deleted but recoverable", answers(409, "Conflict", "ObjectIsDeletedButRecoverable"), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"application removed", tokens(entraError(fmt.Sprintf(quotable, "AADSTS700016"))), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"application disabled", tokens(entraError(fmt.Sprintf(quotable, "AADSTS7000112"))), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},
	{"service principal deleted", tokens(entraError(fmt.Sprintf(quotable, "AADSTS7000229"))), kek.ErrDenied, kek.ErrDenied, kek.ErrDenied},

	// The request.
	{"bad parameter", answers(400, "BadParameter", ""), kek.ErrDenied, kek.ErrCorrupt, kek.ErrDenied},

	// Nobody.
	{"throttled", inject(azurekvtest.Throttled(100)), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"request timeout", answers(408, "RequestTimeout", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"500", inject(azurekvtest.ServerError(500)), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"502 of a proxy", answers(502, "", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"503", inject(azurekvtest.ServerError(503)), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"another conflict", answers(409, "Conflict", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"403 of a proxy", answers(403, "", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"404 of a proxy", answers(404, "", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"400 of a proxy", answers(400, "", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"an unknown bad request", answers(400, "UnsupportedApiVersion", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"a code that isn't one", answers(403, "no code, for it has spaces", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"an answer without kid", inject(azurekvtest.OfAnotherKey("")), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"an unknown status", answers(418, "Teapot", ""), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"expired token", func(e *env) func() { return e.srv.Credential(azurekvtest.App).Expire() }, kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"wrong secret", tokens(entraError(fmt.Sprintf(quotable, "AADSTS7000215"))), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"expired secret", tokens(entraError(fmt.Sprintf(quotable, "AADSTS7000222"))), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"clock skew", tokens(entraError(fmt.Sprintf(quotable, "AADSTS700024"))), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"a chain that failed twice", tokens(entraError("AADSTS700016: … AADSTS7000222: …")), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"no credential", tokens(errors.New("no credential is configured, AADSTS700016x")), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"connection cut", inject(azurekvtest.Fault{Drop: true}), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"truncated answer", inject(azurekvtest.Truncated()), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"garbage", inject(azurekvtest.Garbage()), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"empty answer", inject(azurekvtest.Empty()), kek.ErrUnavailable, kek.ErrUnavailable, kek.ErrUnavailable},
	{"over-long answer", inject(azurekvtest.Overlong(1 << 20)), nil, nil, nil},

	// An answer that can't be right.
	{"another key's answer", inject(azurekvtest.OfAnotherKey("https://" + host + "/keys/other/0123456789abcdef0123456789abcdef")), kek.ErrCorrupt, kek.ErrCorrupt, kek.ErrCorrupt},
	{"another vault's answer", inject(azurekvtest.OfAnotherKey("https://evil.vault.azure.net/keys/vault-root/0123456789abcdef0123456789abcdef")), kek.ErrCorrupt, kek.ErrCorrupt, kek.ErrCorrupt},
	{"a value too short", inject(azurekvtest.WithValue(func(v []byte) []byte { return v[:len(v)-1] })), kek.ErrCorrupt, kek.ErrCorrupt, nil},
	{"a value too long", inject(azurekvtest.WithValue(func(v []byte) []byte { return append(v, 0) })), kek.ErrCorrupt, kek.ErrCorrupt, nil},
}

func noDates(e *env) { e.key.SetDates(time.Time{}, time.Time{}) }

// TestErrorClasses lets every accident happen to every kind of key, through
// Microsoft's client and over the network.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		e := newEnv(t, m)
		key := secret()
		wrapped := wrap(t, e.kek, key)
		for _, a := range accidents {
			t.Run(string(m)+"/"+a.name, func(t *testing.T) {
				restore := a.happen(e)
				defer restore()
				a.try(t, e, wrapped)
				restore()
				wantOpens(t, e.kek, wrapped, key)
			})
		}
	}
}

func (a accident) try(t *testing.T, e *env, wrapped []byte) {
	want := map[string]error{"Wrap": a.wrap, "Unwrap": a.unwrap, "Rewrap": a.unwrap, "Check": a.check}
	if a.unwrap == nil {
		want["Rewrap"] = a.wrap
	}
	for name, call := range calls(e.kek, wrapped, binding(t)) {
		err := call(t.Context())
		if want[name] == nil {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: no error, want %v", name, want[name])
			continue
		}
		wantClass(t, err, want[name])
	}
}

// transport is a client whose connections fail in some way.
func transport(e *env, dial func(ctx context.Context, network, addr string) (net.Conn, error), roots *x509.CertPool, timeout time.Duration) *azkeys.ClientOptions {
	o := &azkeys.ClientOptions{}
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	o.Transport = &http.Client{Timeout: timeout, Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	return o
}

func TestNetworkErrors(t *testing.T) {
	e := newEnv(t, unsigned)
	good := new(net.Dialer)
	toServer := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return good.DialContext(ctx, network, e.srv.Addr())
	}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	nobody := listener.Addr().String()
	ok(t, listener.Close())
	noDNS := &net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}}
	restore := e.srv.Inject(azurekvtest.Fault{Hang: true})
	defer restore()
	for name, o := range map[string]*azkeys.ClientOptions{
		"DNS": transport(e, noDNS.DialContext, nil, 0),
		"connection refused": transport(e, func(ctx context.Context, network, _ string) (net.Conn, error) {
			return good.DialContext(ctx, network, nobody)
		}, nil, 0),
		"TLS":     transport(e, toServer, x509.NewCertPool(), 0),
		"timeout": {ClientOptions: policy.ClientOptions{Transport: &http.Client{Timeout: 50 * time.Millisecond, Transport: e.srv.HTTPClient().Transport}, Retry: policy.RetryOptions{MaxRetries: -1}}},
	} {
		client := must(azkeys.NewClient("https://"+host, e.srv.Credential(azurekvtest.App), o))(t)
		_, err := azurekv.New(t.Context(), client, rootID, azurekv.Options{InsecureUnsigned: true})
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantClass(t, err, kek.ErrUnavailable)
	}
}

// With the SDK's default retries a call lasts until ctx ends and no longer.
func TestContextEndsDefaultRetries(t *testing.T) {
	e := newEnv(t, signed)
	wrapped := wrap(t, e.kek, secret())
	e.client = must(azkeys.NewClient("https://"+host, e.srv.Credential(azurekvtest.App), e.srv.ClientOptions()))(t)
	k := e.open(t)
	for _, f := range []azurekvtest.Fault{azurekvtest.Throttled(100), azurekvtest.ServerError(503), {Drop: true}, {Hang: true}} {
		restore := e.srv.Inject(f)
		for name, call := range calls(k, wrapped, binding(t)) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			start := time.Now()
			err := call(ctx)
			cancel()
			wantClass(t, err, kek.ErrUnavailable)
			wantError(t, err, context.DeadlineExceeded)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
		restore()
	}
}

// The SDK's retries are the caller's to have: the driver leaves them alone.
func TestDefaultRetriesHelp(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	wrapped := wrap(t, e.kek, key)
	o := e.srv.ClientOptions()
	o.Retry = policy.RetryOptions{RetryDelay: time.Millisecond, MaxRetries: 3}
	e.client = must(azkeys.NewClient("https://"+host, e.srv.Credential(azurekvtest.App), o))(t)
	k := e.open(t)
	defer e.srv.Inject(azurekvtest.Fault{Times: 2, Status: 503, Code: "ServiceUnavailable"})()
	wantOpens(t, k, wrapped, key)
}
