package gcpkms_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// restClient returns the SDK's REST client of a front of srv's: JSON over HTTP,
// as google.api.http in google/cloud/kms/v1/service.proto maps it.
func restClient(t testing.TB, srv *gcpkmstest.Server) *kms.KeyManagementClient {
	t.Helper()
	return restClientOf(t, transcoding(t, srv))
}

// transcoding is a front of srv's.
func transcoding(t testing.TB, srv *gcpkmstest.Server) http.HandlerFunc {
	behind := once(must(srv.ClientAs(gcpkmstest.Owner))(t))
	return func(w http.ResponseWriter, r *http.Request) {
		resp, err := transcode(r, behind)
		if err != nil {
			sendError(w, status.Convert(err))
			return
		}
		b, _ := protojson.Marshal(resp)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b)
	}
}

func restClientOf(t testing.TB, handler http.HandlerFunc) *kms.KeyManagementClient {
	t.Helper()
	front := httptest.NewServer(handler)
	t.Cleanup(front.Close)
	client := must(kms.NewKeyManagementRESTClient(t.Context(), option.WithEndpoint(front.URL),
		option.WithoutAuthentication(), option.WithHTTPClient(front.Client())))(t)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// atServer is a transport that leads to a server with the handler, whatever the
// request says.
func atServer(t testing.TB, handler http.HandlerFunc) http.RoundTripper {
	front := httptest.NewServer(handler)
	t.Cleanup(front.Close)
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host = "http", front.Listener.Addr().String()
		return front.Client().Transport.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// transcode makes the call that an HTTP request means.
func transcode(r *http.Request, behind *kms.KeyManagementClient) (proto.Message, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), ":")
	switch verb {
	case "encrypt":
		req := &kmspb.EncryptRequest{}
		if err := protojson.Unmarshal(body, req); err != nil {
			return nil, err
		}
		req.Name = name
		return behind.Encrypt(r.Context(), req)
	case "decrypt":
		req := &kmspb.DecryptRequest{}
		if err := protojson.Unmarshal(body, req); err != nil {
			return nil, err
		}
		req.Name = name
		return behind.Decrypt(r.Context(), req)
	default:
		return behind.GetCryptoKey(r.Context(), &kmspb.GetCryptoKeyRequest{Name: name})
	}
}

// limited is a transport that reads no more than 1 MiB of an answer.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, 1<<20)
	}
	return resp, err
}

// The transport that docs/providers/google-cloud-kms.md shows ends answers without
// end, and lets others through.
func TestRESTAnswersAreLimited(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	through := func(transport http.RoundTripper) *kms.KeyManagementClient { return restThrough(t, limited{transport}) }
	for _, code := range []int{200, 400} {
		var sent atomic.Int64
		client := through(atServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"plaintext":"`)
			for range 64 { // MiB
				n, err := w.Write(bytes.Repeat([]byte("A"), 1<<20))
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		}))
		k := must(gcpkms.New(t.Context(), once(client), keyName, gcpkms.Options{SkipLookup: true}))(t)
		_, err := k.Unwrap(t.Context(), wrapped, b)
		wantClass(t, err, kek.ErrUnavailable)
		if n := sent.Load(); n >= 32<<20 {
			t.Errorf("status %d: %d MiB were read", code, n>>20)
		}
	}
	good := through(atServer(t, transcoding(t, f.srv)))
	wantOpens(t, open(t, good, keyName), wrapped, b, must(f.kek.Unwrap(t.Context(), wrapped, b))(t))
}

// httpCode is google/rpc/code.proto's mapping, as far as it is needed.
var httpCode = map[code.Code]int{
	code.Code_INVALID_ARGUMENT: 400, code.Code_FAILED_PRECONDITION: 400, code.Code_UNAUTHENTICATED: 401,
	code.Code_PERMISSION_DENIED: 403, code.Code_NOT_FOUND: 404, code.Code_RESOURCE_EXHAUSTED: 429,
	code.Code_UNAVAILABLE: 503, code.Code_DEADLINE_EXCEEDED: 504,
}

// sendError sends the form of https://cloud.google.com/apis/design/errors#http_mapping
func sendError(w http.ResponseWriter, s *status.Status) {
	c := code.Code(s.Code())
	n := httpCode[c]
	if n == 0 {
		n = 500
	}
	b, _ := protojson.Marshal(s.Proto())
	// In JSON the field "code" is HTTP's, and the code's name is in "status".
	body := strings.Replace(string(b), "{", `{"status":"`+c.String()+`",`, 1)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(n)
	_, _ = io.WriteString(w, `{"error":`+body+`}`)
}

// HTTP's 400 is both a disabled key and a wrong ciphertext, and whatever isn't
// Google's JSON isn't Google's answer.
func TestRESTErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		class  error // of Unwrap
	}{
		{"disabled", 400, `{"error":{"code":400,"message":"x is not enabled, current state is: DISABLED.","status":"FAILED_PRECONDITION"}}`, kek.ErrDenied},
		{"wrong ciphertext", 400, `{"error":{"code":400,"message":"Decryption failed: the ciphertext is invalid.","status":"INVALID_ARGUMENT"}}`, kek.ErrCorrupt},
		{"external key manager", 400, `{"error":{"code":400,"message":"x","status":"FAILED_PRECONDITION","details":[{"@type":"type.googleapis.com/google.rpc.PreconditionFailure","violations":[{"type":"KEY_STATE"},{"type":"TIMEOUT"}]}]}}`, kek.ErrUnavailable},
		{"no permission", 403, `{"error":{"code":403,"message":"x","status":"PERMISSION_DENIED"}}`, kek.ErrDenied},
		{"throttled", 429, `{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}`, kek.ErrUnavailable},
		{"expired", 401, `{"error":{"code":401,"message":"x","status":"UNAUTHENTICATED"}}`, kek.ErrUnavailable},
		{"a proxy's 403", 403, `<html>Forbidden</html>`, kek.ErrUnavailable},
		{"a proxy's 404", 404, ``, kek.ErrUnavailable},
		{"other JSON", 400, `{"error":"no"}`, kek.ErrUnavailable},
		{"unknown status", 400, `{"error":{"status":"NO_SUCH_THING"}}`, kek.ErrUnavailable},
		{"a page of 500", 500, strings.Repeat("<p>", 1<<16), kek.ErrUnavailable},
		{"no JSON of 200", 200, `<html>log in</html>`, kek.ErrUnavailable},
		{"JSON of something else", 200, `{"hello":"world"}`, kek.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			b := bindingOf(t)
			wrapped := wrap(t, f.kek, secret(), b)
			client := restClientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			k := must(gcpkms.New(t.Context(), once(client), keyName, gcpkms.Options{SkipLookup: true}))(t)
			_, err := k.Unwrap(t.Context(), wrapped, b)
			wantClass(t, err, c.class)
			var rest *googleapi.Error
			if c.status != 200 && !errors.As(err, &rest) {
				t.Errorf("the SDK's error is not in %v", err)
			}
		})
	}
}
