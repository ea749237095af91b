package awskms_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
)

// What the key's owner does, through the real SDK.
func TestOwnersChanges(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(b *bench)
		class error
		but   []string // calls that don't fail, or fail otherwise
	}{
		"disabled":                 {func(b *bench) { b.key.Disable() }, kek.ErrDenied, []string{"Check"}},
		"pending deletion":         {func(b *bench) { b.key.ScheduleDeletion() }, kek.ErrDenied, []string{"Check"}},
		"pending replica deletion": {state(types.KeyStatePendingReplicaDeletion), kek.ErrDenied, []string{"Check"}},
		"pending import":           {state(types.KeyStatePendingImport), kek.ErrDenied, []string{"Check"}},
		"key store disconnected":   {state(types.KeyStateUnavailable), kek.ErrDenied, []string{"Check"}},
		"creating":                 {state(types.KeyStateCreating), kek.ErrUnavailable, []string{"Check"}},
		"updating":                 {state(types.KeyStateUpdating), kek.ErrUnavailable, []string{"Check"}},
		"deleted":                  {func(b *bench) { b.key.Delete() }, kek.ErrDenied, nil},
		"no permission":            {func(b *bench) { b.key.Deny(b.principal) }, kek.ErrDenied, nil},
		"no permission to decrypt": {func(b *bench) { b.key.Deny(b.principal, "kms:Decrypt") }, kek.ErrDenied, []string{"Wrap", "Rewrap", "Check"}},
		"no permission to encrypt": {func(b *bench) { b.key.Deny(b.principal, "kms:Encrypt") }, kek.ErrDenied, []string{"Unwrap", "Rewrap", "Check"}},
		"no permission to rewrap":  {func(b *bench) { b.key.Deny(b.principal, "kms:ReEncryptTo") }, kek.ErrDenied, []string{"Wrap", "Unwrap", "Check"}},
		"no permission to look":    {func(b *bench) { b.key.Deny(b.principal, "kms:DescribeKey") }, kek.ErrDenied, []string{"Wrap", "Unwrap", "Rewrap"}},
		"another tenant only": {func(b *bench) {
			b.key.RequireContext(map[string]string{"organization_id": "org_beta_02"}, cryptographic...)
		},
			kek.ErrDenied, []string{"Check"}},
		"access key deleted":  {func(b *bench) { b.principal.DeleteCredentials() }, kek.ErrDenied, nil},
		"credentials expired": {func(b *bench) { b.principal.ExpireCredentials() }, kek.ErrUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, awskms.Options{})
			c.do(b)
			b.wantAll(c.class, c.but...)
			for _, op := range b.operations() {
				for _, but := range c.but {
					if err := op.call(t.Context()); op.name == but && err != nil {
						t.Errorf("%s: %v", op.name, err)
					}
				}
			}
		})
	}
}

func state(s types.KeyState) func(*bench) { return func(b *bench) { b.key.SetState(s) } }

// cryptographic is the actions of calls that have an encryption context.
var cryptographic = []string{"kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"}

const store = "KMSInvalidStateException"

const keyARN = "arn:aws:kms:us-west-2:111122223333:key/" + uuid

// errorCodes is every code of the table, and some that are not in it, as KMS would
// answer them.
var errorCodes = []struct {
	code, message string
	status        int
	class         error
}{
	{"AccessDeniedException", "User: arn is not authorized", 400, kek.ErrDenied},
	{"AccessDenied", "", 403, kek.ErrDenied},
	{"NotAuthorized", "", 401, kek.ErrDenied},
	{"OptInRequired", "", 403, kek.ErrDenied},
	{"DisabledException", "arn is disabled.", 409, kek.ErrDenied},
	{"DisabledException", "arn is pending deletion.", 409, kek.ErrDenied},
	{"NotFoundException", "Key 'arn' does not exist", 404, kek.ErrDenied},
	{"InvalidArnException", "", 400, kek.ErrDenied},
	{"InvalidKeyUsageException", "", 400, kek.ErrDenied},
	{"InvalidGrantTokenException", "", 400, kek.ErrDenied},
	{"UnrecognizedClientException", "The security token included in the request is invalid.", 400, kek.ErrDenied},
	{"InvalidClientTokenId", "", 403, kek.ErrDenied},

	// Texts of KMS Developer Guide, "Key states of KMS keys".
	{store, keyARN + " is pending deletion.", 409, kek.ErrDenied},
	{store, keyARN + " is pending deletion (or pending replica deletion).", 409, kek.ErrDenied},
	{store, keyARN + " is pending import.", 409, kek.ErrDenied},
	{store, keyARN + " is unavailable.", 409, kek.ErrDenied},
	{store, keyARN + " is creating.", 409, kek.ErrUnavailable},
	{store, keyARN + " is in a state of the future.", 409, kek.ErrUnavailable},
	{store, "", 409, kek.ErrUnavailable},
	{store, "The external key manager is unavailable.", 409, kek.ErrUnavailable},

	// Of "Troubleshooting external key stores", all that cryptographic operations
	// can end with. The first four are the customer's doing.
	{store, "The external key store proxy rejected the request because it could not find the external key.", 409, kek.ErrDenied},
	{store, "The external key store proxy rejected the request because the external key is not enabled in the external key manager.", 409, kek.ErrDenied},
	{store, "The external key store proxy rejected the request because the external key does not support the requested operation.", 409, kek.ErrDenied},
	{store, "The external key store proxy denied access to the operation. Verify that the user and the external key are both authorized for this operation, and try the request again.", 409, kek.ErrDenied},
	{store, "The external key store proxy rejected the request because the specified ciphertext or additional authenticated data is corrupted, missing, or otherwise invalid.", 409, kek.ErrCorrupt},
	{store, "The ciphertext that the external key store proxy submitted for decryption, or the encryption context, is corrupted, missing, or otherwise invalid.", 409, kek.ErrCorrupt},
	{store, "The external key store proxy did not respond to the request in the time allotted. Retry the request. If you see this error repeatedly, report it to your external key store proxy administrator.", 409, kek.ErrUnavailable},
	{store, "AWS KMS rejected the request because the external key store proxy did not respond in time. Retry the request.", 409, kek.ErrUnavailable},
	{store, "AWS KMS cannot communicate with the external key store proxy. This might be a transient network issue.", 409, kek.ErrUnavailable},
	{store, "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS configuration, including its certificate.", 409, kek.ErrUnavailable},
	{store, "AWS KMS cannot interpret the response from the external key store proxy. If you see this error repeatedly, consult your external key store proxy administrator.", 409, kek.ErrUnavailable},
	{store, "The external key store proxy rejected the request because it cannot communicate with the external key manager. Verify that the external key store proxy configuration is correct and that the external key manager is available.", 409, kek.ErrUnavailable},
	{store, "The external key store proxy rejected the request due to a very high request rate. Reduce the frequency of your calls using KMS keys in this external key store.", 409, kek.ErrUnavailable},
	{store, "The external key store proxy is in an unhealthy state. If you see this message repeatedly, notify your external key store proxy administrator.", 409, kek.ErrUnavailable},
	{store, "The external key store proxy rejected the request because it could not authenticate AWS KMS. Verify the credentials for your external key store and update if necessary.", 409, kek.ErrUnavailable},
	{store, "The external key store proxy rejected the request because it does not support the requested cryptographic operation.", 409, kek.ErrUnavailable},

	// Of "Troubleshooting a custom key store".
	{store, "KMS cannot communicate with your CloudHSM cluster", 409, kek.ErrUnavailable},

	{"InvalidCiphertextException", "", 400, kek.ErrCorrupt},
	{"IncorrectKeyException", "", 400, kek.ErrCorrupt},

	{"ThrottlingException", "Rate exceeded", 400, kek.ErrUnavailable},
	{"Throttling", "", 400, kek.ErrUnavailable},
	{"RequestLimitExceeded", "", 503, kek.ErrUnavailable},
	{"LimitExceededException", "", 400, kek.ErrUnavailable},
	{"KeyUnavailableException", "", 500, kek.ErrUnavailable},
	{"DependencyTimeoutException", "", 503, kek.ErrUnavailable},
	{"KMSInternalException", "", 500, kek.ErrUnavailable},
	{"InternalFailure", "", 500, kek.ErrUnavailable},
	{"ServiceUnavailable", "", 503, kek.ErrUnavailable},
	{"ServiceUnavailableException", "", 503, kek.ErrUnavailable},
	{"RequestTimeoutException", "", 408, kek.ErrUnavailable},
	{"CloudHsmClusterInvalidConfigurationException", "", 400, kek.ErrUnavailable},
	{"ExpiredTokenException", "", 400, kek.ErrUnavailable},
	{"ExpiredToken", "", 400, kek.ErrUnavailable},
	{"RequestExpired", "", 400, kek.ErrUnavailable},
	{"RequestTimeTooSkewed", "", 403, kek.ErrUnavailable},
	{"InvalidSignatureException", "Signature expired: 20200101T000000Z is now earlier than …", 400, kek.ErrUnavailable},
	{"SignatureDoesNotMatch", "", 403, kek.ErrUnavailable},
	{"IncompleteSignature", "", 400, kek.ErrUnavailable},
	{"MissingAuthenticationToken", "", 403, kek.ErrUnavailable},
	{"MissingAuthenticationTokenException", "", 400, kek.ErrUnavailable},
	{"ValidationException", "", 400, kek.ErrUnavailable},
	{"ValidationError", "", 400, kek.ErrUnavailable},
	{"SomethingNewException", "", 400, kek.ErrUnavailable},
	{"SomethingNewException", "", 403, kek.ErrUnavailable},
	{"com.amazonaws.kms#DisabledException", "with its namespace", 409, kek.ErrDenied},
	{"DisabledException:http://internal.amazon.com/", "with a URI", 409, kek.ErrDenied},
}

func TestErrorCodes(t *testing.T) {
	b := newBench(t, awskms.Options{})
	for _, c := range errorCodes {
		t.Run(c.code, func(t *testing.T) {
			remove := b.srv.Inject(awskmstest.Fault{Code: c.code, Status: c.status, Message: c.message})
			b.TB = t
			b.wantAll(c.class)
			err := b.operations()[1].call(t.Context())
			var api smithy.APIError
			if !errors.As(err, &api) || !strings.Contains(c.code, api.ErrorCode()) {
				t.Errorf("the SDK's error isn't in the chain: %v", err)
			}
			remove()
			b.wantWorks()
		})
	}
}

// Every code that the driver knows is tried above.
func TestErrorCodesAreAllTried(t *testing.T) {
	tried := map[string]bool{}
	for _, c := range errorCodes {
		tried[c.code] = true
	}
	for _, code := range awskms.Codes() {
		if !tried[code] {
			t.Errorf("TestErrorCodes doesn't try %s", code)
		}
	}
}

// Everything that is no answer of KMS.
func TestNoAnswer(t *testing.T) {
	refused := func() string { // an address where nobody listens
		l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer l.Close()
		return l.Addr().String()
	}()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report each handshake
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	for name, do := range map[string]func(b *bench){
		"DNS failure": func(b *bench) {
			b.transport = dialing(func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "kms.us-west-2.amazonaws.com", IsNotFound: true}
			})
		},
		"connection refused": func(b *bench) { b.transport = to("http://" + refused) },
		"TLS: unknown authority": func(b *bench) {
			b.transport = to(untrusted.URL)
		},
		"TLS: not TLS at all": func(b *bench) { b.transport = to(strings.Replace(b.srv.URL, "http:", "https:", 1)) },
		"client's timeout": func(b *bench) {
			b.srv.Inject(awskmstest.Hang())
			transport := b.transport
			b.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
				return (&http.Client{Transport: transport, Timeout: 20 * time.Millisecond}).Do(r)
			})
		},
		"connection closed":   func(b *bench) { b.srv.Inject(awskmstest.Fault{Drop: true}) },
		"500":                 func(b *bench) { b.srv.Inject(awskmstest.InternalError()) },
		"503 without JSON":    func(b *bench) { b.srv.Inject(awskmstest.ServiceUnavailable()) },
		"403 of a proxy":      func(b *bench) { b.srv.Inject(awskmstest.Fault{Status: 403, Body: []byte("<html>Forbidden</html>")}) },
		"403 without a code":  func(b *bench) { b.srv.Inject(awskmstest.Fault{Status: 403, Body: []byte("{}")}) },
		"404 without a code":  func(b *bench) { b.srv.Inject(awskmstest.Fault{Status: 404, Body: []byte(`{"message":"Not Found"}`)}) },
		"a redirect":          func(b *bench) { b.srv.Inject(awskmstest.Fault{Status: 302, Body: []byte("moved")}) },
		"key unavailable":     func(b *bench) { b.srv.Inject(awskmstest.KeyUnavailable()) },
		"throttled":           func(b *bench) { b.srv.Inject(awskmstest.Throttled()) },
		"clock skew":          func(b *bench) { b.srv.Inject(awskmstest.ClockSkew()) },
		"garbage":             func(b *bench) { b.srv.Inject(awskmstest.Garbage()) },
		"an empty answer":     func(b *bench) { b.srv.Inject(awskmstest.Fault{Body: []byte{}}) },
		"an empty object":     func(b *bench) { b.srv.Inject(awskmstest.Fault{Body: []byte("{}")}) },
		"null":                func(b *bench) { b.srv.Inject(awskmstest.Fault{Body: []byte("null")}) },
		"a list":              func(b *bench) { b.srv.Inject(awskmstest.Fault{Body: []byte("[1]")}) },
		"wrong types":         func(b *bench) { b.srv.Inject(awskmstest.Fault{Body: []byte(`{"KeyId":1,"KeyMetadata":"x"}`)}) },
		"a truncated answer":  func(b *bench) { b.srv.Inject(awskmstest.Fault{Truncate: 20}) },
		"an over-long answer": func(b *bench) { b.srv.Inject(awskmstest.Fault{Body: overlong(200)}) },
		"an over-long error":  func(b *bench) { b.srv.Inject(awskmstest.Fault{Status: 400, Body: overlong(400)}) },
		"no credentials": func(b *bench) {
			b.credentials = failing(errors.New("no EC2 IMDS role found"))
		},
		"STS can't be reached": func(b *bench) {
			b.credentials = failing(stsError(&net.DNSError{Err: "no such host", Name: "sts.amazonaws.com"}))
		},
		"STS throttles": func(b *bench) { b.credentials = failing(stsError(answered(400, "Throttling"))) },
		"STS: the web identity expired": func(b *bench) {
			b.credentials = failing(stsError(answered(400, "ExpiredTokenException")))
		},
		"another service refuses": func(b *bench) {
			b.credentials = failing(&smithy.OperationError{ServiceID: "SSO", OperationName: "GetRoleCredentials",
				Err: answered(403, "AccessDeniedException")})
		},
		"a credentials endpoint refuses": func(b *bench) {
			b.credentials = failing(&smithy.GenericAPIError{Code: "AccessDenied"})
		},
		// Of chained roles: STS was to be asked with credentials of another source.
		"a credentials endpoint refuses, before STS": func(b *bench) {
			b.credentials = failing(stsError(identity(&smithy.GenericAPIError{Code: "AccessDenied"})))
		},
		"another service refuses, before STS": func(b *bench) {
			b.credentials = failing(stsError(identity(&smithy.OperationError{ServiceID: "SSO", OperationName: "GetRoleCredentials",
				Err: answered(403, "AccessDeniedException")})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, awskms.Options{})
			do(b)
			b.wantAll(kek.ErrUnavailable)
		})
	}
}

// overlong is so many times 8 KiB of an error's JSON.
func overlong(n int) []byte {
	return []byte(`{"__type":"DisabledException","message":"` + strings.Repeat("disabled", n<<10) + `"}`)
}

// to is a transport that goes to another server whatever the request says.
func to(base string) http.RoundTripper {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = u.Scheme, u.Host
		transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
		return transport.RoundTrip(r)
	})
}

func dialing(dial func(ctx context.Context, network, addr string) (net.Conn, error)) http.RoundTripper {
	return &http.Transport{DialContext: dial}
}

func failing(err error) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, err })
}

// stsError is an error as a provider that assumes a role returns it.
func stsError(err error) error {
	return fmt.Errorf("failed to refresh cached credentials, %w",
		&smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRole", Err: err})
}

// answered is a service's answer as the SDK's clients of all services return it
// (aws/transport/http, ResponseErrorWrapper). The client of credentials endpoints
// returns the innermost error alone (credentials/endpointcreds/internal/client).
func answered(status int, code string) error {
	return &awshttp.ResponseError{RequestID: "x", ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
		Err:      &smithy.GenericAPIError{Code: code, Message: "no"},
	}}
}

// identity is an error of the provider that a client asks for its own credentials.
func identity(err error) error {
	return fmt.Errorf("get identity: get credentials: failed to refresh cached credentials, %w", err)
}

// The customer removed the trust in our role: STS refuses it, and KMS is never
// asked.
func TestRoleTrustRemoved(t *testing.T) {
	for _, code := range []string{"AccessDenied", "AccessDeniedException", "InvalidClientTokenId"} {
		b := newBench(t, awskms.Options{})
		calls := b.srv.Calls("")
		works := b.credentials
		b.credentials = failing(stsError(answered(403, code)))
		b.wantAll(kek.ErrDenied)
		if got := b.srv.Calls(""); got != calls {
			t.Errorf("%d calls reached KMS", got-calls)
		}
		b.credentials = works
		b.wantWorks()
	}
}

// Temporary credentials expire, and it is an outage until the provider has new
// ones; nothing that is cached may be dropped for it.
func TestCredentialsExpire(t *testing.T) {
	b := newBench(t, awskms.Options{})
	b.principal.ExpireCredentials()
	b.wantAll(kek.ErrUnavailable)
	b.principal.RenewCredentials()
	b.wantWorks()
}

// An error has one class, also if the user's transport uses ours for its own
// errors.
func TestErrorOfAnotherClass(t *testing.T) {
	b := newBench(t, awskms.Options{})
	b.transport = roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("circuit breaker: %w", errors.Join(kek.ErrDenied, kek.ErrCorrupt))
	})
	b.wantAll(kek.ErrUnavailable)
}

// The context's own error is in the chain, and the class is unavailable,
// whatever was answered.
func TestContextEnds(t *testing.T) {
	b := newBench(t, awskms.Options{})
	b.key.Deny(nil)
	transport := b.transport
	ctx, cancel := context.WithCancel(t.Context())
	b.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
		cancel() // between the answer and its reading
		return resp, err
	})
	for _, op := range b.operations() {
		err := op.call(ctx)
		wantClass(t, err, kek.ErrUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want one that matches the context's error", op.name, err)
		}
	}
}
