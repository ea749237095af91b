package awskms_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
)

// bench is a KEK of a new key, whose client's transport and credentials a test
// can exchange.
type bench struct {
	testing.TB
	srv         *awskmstest.Server
	key         *awskmstest.Key
	principal   *awskmstest.Principal
	kek         *awskms.KEK
	transport   http.RoundTripper
	credentials aws.CredentialsProvider

	secret  []byte
	binding kek.Binding
	wrapped []byte
}

func newBench(t testing.TB, o awskms.Options) *bench {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	b := &bench{TB: t, srv: awskmstest.New(t), transport: transport, secret: random(32), binding: bindingOf(t, orgA)}
	b.key = b.srv.CreateKey(awskmstest.KeyOptions{})
	b.principal = b.srv.Principal(awskmstest.DefaultPrincipal)
	b.credentials = b.principal.Credentials()
	b.kek = must(awskms.New(t.Context(), b.client(), b.key.ARN(), o))(t)
	b.wrapped = wrap(t, b.kek, b.secret, b.binding)
	return b
}

func (b *bench) client() *kms.Client {
	return b.srv.Client(b.key.Region(), func(o *kms.Options) {
		o.HTTPClient = roundTripper(func(r *http.Request) (*http.Response, error) { return b.transport.RoundTrip(r) })
		o.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return b.credentials.Retrieve(ctx)
		})
	})
}

// roundTripper is a transport, and a client that uses it.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
func (f roundTripper) Do(r *http.Request) (*http.Response, error)        { return f(r) }

// operation is a call of one method.
type operation struct {
	name string
	call func(ctx context.Context) error
}

func (b *bench) operations() []operation {
	return []operation{
		{"Wrap", func(ctx context.Context) error { _, err := b.kek.Wrap(ctx, b.secret, b.binding); return err }},
		{"Unwrap", func(ctx context.Context) error { _, err := b.kek.Unwrap(ctx, b.wrapped, b.binding); return err }},
		{"Rewrap", func(ctx context.Context) error { _, err := b.kek.Rewrap(ctx, b.wrapped, b.binding); return err }},
		{"Check", func(ctx context.Context) error { _, err := b.kek.Check(ctx); return err }},
	}
}

// wantAll makes every call and checks the class of its error.
func (b *bench) wantAll(class error, but ...string) {
	b.Helper()
calls:
	for _, op := range b.operations() {
		for _, name := range but {
			if op.name == name {
				continue calls
			}
		}
		err := op.call(b.Context())
		if err == nil {
			b.Errorf("%s: no error, want %q", op.name, class)
			continue
		}
		wantClass(b, err, class)
	}
}

// wantWorks checks that nothing is wrong any more.
func (b *bench) wantWorks() {
	b.Helper()
	for _, op := range b.operations() {
		if err := op.call(b.Context()); err != nil {
			b.Errorf("%s: %v", op.name, err)
		}
	}
	wantOpens(b, b.kek, b.wrapped, b.binding, b.secret)
}

// echo is a transport by which error messages repeat the request, line breaks
// and all. It keeps what it made up.
func echo(transport http.RoundTripper, echoed *string) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
		resp, err := transport.RoundTrip(r)
		if err != nil || resp.StatusCode == http.StatusOK {
			return resp, err
		}
		defer resp.Body.Close()
		var answer, request map[string]any
		if err := errors.Join(json.NewDecoder(resp.Body).Decode(&answer), json.Unmarshal(sent, &request)); err != nil {
			return nil, err
		}
		answer["message"] = fmt.Sprintf("you sent\n\x1b[31m%s: %v", sent, request)
		*echoed = answer["message"].(string) + *echoed
		body, err := json.Marshal(answer)
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return resp, err
	})
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// wantOptionsError checks that New refuses what it was given.
func wantOptionsError(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, awskms.ErrOptions) || errors.Is(err, kek.ErrDenied) || errors.Is(err, kek.ErrUnavailable) || errors.Is(err, kek.ErrCorrupt) {
		t.Errorf("got %v, want one that matches ErrOptions", err)
	}
}
