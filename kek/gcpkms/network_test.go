package gcpkms_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// intercepted returns a client whose interceptor calls f before each call of
// Encrypt and Decrypt, and fails with its error.
func intercepted(t testing.TB, srv *gcpkmstest.Server, f func(context.Context) error) *kms.KeyManagementClient {
	t.Helper()
	hook := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if _, lookup := req.(interface{ GetPlaintext() []byte }); lookup || method[len(method)-7:] == "Decrypt" {
			if err := f(ctx); err != nil {
				return err
			}
		}
		return invoker(ctx, method, req, reply, cc, opts...)
	}
	return must(srv.ClientAs(gcpkmstest.Owner, option.WithGRPCDialOption(grpc.WithUnaryInterceptor(hook))))(t)
}

// clientOf returns a client of an address, without credentials.
func clientOf(t testing.TB, addr string, creds credentials.TransportCredentials) *kms.KeyManagementClient {
	t.Helper()
	c := must(kms.NewKeyManagementClient(t.Context(), option.WithEndpoint(addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(creds))))(t)
	t.Cleanup(func() { _ = c.Close() })
	return once(c)
}

// What fails before Cloud KMS answers says nothing about the key.
func TestNetworkFailures(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	clear := insecure.NewCredentials()
	page := func(code int) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(code)
			_, _ = w.Write([]byte("<html>blocked by the proxy</html>"))
		}))
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	for name, client := range map[string]*kms.KeyManagementClient{
		"connection refused":     clientOf(t, refusing(t), clear),
		"no such host":           clientOf(t, "no-such-host.invalid:443", clear),
		"TLS to a plain server":  clientOf(t, f.srv.Addr(), credentials.NewTLS(nil)),
		"not TLS's certificate":  clientOf(t, untrusted(t), credentials.NewTLS(nil)),
		"closes at once":         clientOf(t, closing(t), clear),
		"a proxy's 403 page":     clientOf(t, page(403), clear),
		"a proxy's 404 page":     clientOf(t, page(404), clear),
		"a proxy's 401 page":     clientOf(t, page(401), clear),
		"a proxy's 502 page":     clientOf(t, page(502), clear),
		"a proxy's page of 200":  clientOf(t, page(200), clear),
		"no credentials":         clientOf(t, f.srv.Addr(), clear),
		"interceptor that fails": once(intercepted(t, f.srv, func(context.Context) error { return errors.New("no") })),
		"interceptor that panics": once(intercepted(t, f.srv, func(context.Context) error {
			panic("with the request in it")
		})),
	} {
		t.Run(name, func(t *testing.T) {
			k := must(gcpkms.New(t.Context(), client, keyName, gcpkms.Options{SkipLookup: true}))(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for method, err := range each(ctx, k, wrapped, b) {
				wantClass(t, err, kek.ErrUnavailable)
				if ctx.Err() != nil {
					t.Errorf("%s took until the deadline: %v", method, err)
				}
			}
			_, err := k.Check(ctx)
			wantClass(t, err, kek.ErrUnavailable)
		})
	}
}

// refusing returns an address that nobody listens at.
func refusing(t testing.TB) string {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	return l.Addr().String()
}

// closing returns the address of a server that closes each connection.
func closing(t testing.TB) string {
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// untrusted returns the address of a TLS server whose certificate nobody trusts.
func untrusted(t testing.TB) string {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.EnableHTTP2 = true
	s.StartTLS()
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}
