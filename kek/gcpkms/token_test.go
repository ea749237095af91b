package gcpkms_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failingTokens is a source of tokens that fails.
type failingTokens struct{ err error }

func (f failingTokens) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return nil, f.err
}
func (failingTokens) RequireTransportSecurity() bool                    { return false }
func (f failingTokens) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// Whoever issues tokens may be an API of Google's, and its errors look like those
// of Cloud KMS. They say nothing about the key: not that it is denied, nor that
// the ciphertext isn't its own.
func TestTokenSourceIsNotCloudKMS(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	for _, c := range []struct {
		code codes.Code
		http int
		name string
	}{
		{codes.InvalidArgument, 400, "INVALID_ARGUMENT"}, {codes.NotFound, 404, "NOT_FOUND"}, {codes.FailedPrecondition, 400, "FAILED_PRECONDITION"},
		{codes.PermissionDenied, 403, "PERMISSION_DENIED"}, {codes.Unauthenticated, 401, "UNAUTHENTICATED"}, {codes.Unavailable, 503, "UNAVAILABLE"},
	} {
		ofGRPC := failingTokens{fmt.Errorf("fetch a token: %w", status.Error(c.code, "from iamcredentials"))}
		ofREST := failingTokens{fmt.Errorf("fetch a token: %w", &googleapi.Error{Code: c.http, Message: "x",
			Body: fmt.Sprintf(`{"error":{"code":%d,"message":"Request had invalid lifetime.","status":%q}}`, c.http, c.name)})}
		for name, client := range map[string]*kms.KeyManagementClient{
			"gRPC":                 must(f.srv.ClientAs(gcpkmstest.Owner, option.WithGRPCDialOption(grpc.WithPerRPCCredentials(ofGRPC))))(t),
			"gRPC, source of REST": must(f.srv.ClientAs(gcpkmstest.Owner, option.WithGRPCDialOption(grpc.WithPerRPCCredentials(ofREST))))(t),
			"REST":                 restThrough(t, ofREST),
			"REST, source of gRPC": restThrough(t, ofGRPC),
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				k := must(gcpkms.New(t.Context(), once(client), keyName, gcpkms.Options{SkipLookup: true}))(t)
				for _, err := range each(t.Context(), k, wrapped, b) {
					wantClass(t, err, kek.ErrUnavailable)
				}
				_, err := k.Check(t.Context())
				wantClass(t, err, kek.ErrUnavailable)
				_, err = gcpkms.New(t.Context(), client, keyName, gcpkms.Options{})
				wantClass(t, err, kek.ErrUnavailable)
			})
		}
	}
}

// restThrough returns a REST client of a transport.
func restThrough(t testing.TB, transport http.RoundTripper) *kms.KeyManagementClient {
	t.Helper()
	c := must(kms.NewKeyManagementRESTClient(t.Context(), option.WithoutAuthentication(), option.WithHTTPClient(&http.Client{Transport: transport})))(t)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
