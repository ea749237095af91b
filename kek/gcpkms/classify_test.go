package gcpkms_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What really comes back through the SDK, for everything that the server can do
// or is told to answer.
func TestClassify(t *testing.T) {
	denied, unavailable, corrupt := kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt
	fail := func(err error) func(fixture) { return func(f fixture) { f.srv.Fail("", err) } }
	code := func(c codes.Code) func(fixture) { return fail(status.Error(c, "some words")) }
	external := func(domain string) func(fixture) { return fail(gcpkmstest.External(keyName, domain)) }
	state := func(s kmspb.CryptoKeyVersion_CryptoKeyVersionState) func(fixture) {
		return func(f fixture) { f.key.SetState(1, s) }
	}
	revoke := func(what ...string) func(fixture) {
		return func(f fixture) { f.key.Revoke(gcpkmstest.Owner, what...) }
	}
	for _, c := range []struct {
		name         string
		do           func(fixture)
		wrap, unwrap error // nil: it works
		code         codes.Code
	}{
		{"disabled", func(f fixture) { f.key.Disable() }, denied, denied, codes.FailedPrecondition},
		{"scheduled for destruction", func(f fixture) { f.key.ScheduleDestruction() }, denied, denied, codes.FailedPrecondition},
		{"destroyed", func(f fixture) { f.key.Destroy() }, denied, denied, codes.FailedPrecondition},
		{"destroyed, and rotated since", func(f fixture) { f.key.Destroy(); f.key.Rotate() }, nil, denied, codes.FailedPrecondition},
		{"old version disabled", func(f fixture) { f.key.Rotate(); f.key.SetState(1, kmspb.CryptoKeyVersion_DISABLED) }, nil, denied, codes.FailedPrecondition},
		{"new version disabled", func(f fixture) { f.key.SetState(f.key.Rotate(), kmspb.CryptoKeyVersion_DISABLED) }, denied, nil, codes.FailedPrecondition},
		{"being generated", state(kmspb.CryptoKeyVersion_PENDING_GENERATION), unavailable, unavailable, codes.FailedPrecondition},
		{"being imported", state(kmspb.CryptoKeyVersion_PENDING_IMPORT), unavailable, unavailable, codes.FailedPrecondition},
		{"import failed", state(kmspb.CryptoKeyVersion_IMPORT_FAILED), denied, denied, codes.FailedPrecondition},
		{"generation failed", state(kmspb.CryptoKeyVersion_GENERATION_FAILED), denied, denied, codes.FailedPrecondition},
		{"external key destroyed", state(kmspb.CryptoKeyVersion_PENDING_EXTERNAL_DESTRUCTION), denied, denied, codes.FailedPrecondition},
		{"deleted", func(f fixture) { f.key.Delete() }, denied, denied, codes.NotFound},
		{"replaced by another of the same name", func(f fixture) { f.key.Replace() }, nil, corrupt, codes.InvalidArgument},

		{"no permission", revoke(), denied, denied, codes.PermissionDenied},
		{"no permission to encrypt", revoke(gcpkmstest.PermissionEncrypt), denied, nil, codes.PermissionDenied},
		{"no permission to decrypt", revoke(gcpkmstest.PermissionDecrypt), nil, denied, codes.PermissionDenied},
		{"API disabled", fail(gcpkmstest.ServiceDisabled()), denied, denied, codes.PermissionDenied},
		{"billing disabled", fail(gcpkmstest.BillingDisabled()), denied, denied, codes.PermissionDenied},
		{"outside the perimeter", fail(gcpkmstest.PerimeterDenied()), denied, denied, codes.PermissionDenied},

		{"expired credentials", func(f fixture) { f.srv.ExpireCredentials(gcpkmstest.Owner) }, unavailable, unavailable, codes.Unauthenticated},
		{"deleted service account", func(f fixture) { f.srv.DeleteAccount(gcpkmstest.Owner) }, denied, denied, codes.Unauthenticated},
		{"bare unauthenticated", code(codes.Unauthenticated), unavailable, unavailable, codes.Unauthenticated},

		{"throttled", func(f fixture) { f.srv.Throttle(100) }, unavailable, unavailable, codes.ResourceExhausted},
		{"unavailable", code(codes.Unavailable), unavailable, unavailable, codes.Unavailable},
		{"internal", code(codes.Internal), unavailable, unavailable, codes.Internal},
		{"unknown", code(codes.Unknown), unavailable, unavailable, codes.Unknown},
		{"aborted", code(codes.Aborted), unavailable, unavailable, codes.Aborted},
		{"the server's deadline", code(codes.DeadlineExceeded), unavailable, unavailable, codes.DeadlineExceeded},
		{"cancelled by the server", code(codes.Canceled), unavailable, unavailable, codes.Canceled},
		{"data loss", code(codes.DataLoss), unavailable, unavailable, codes.DataLoss},
		{"unimplemented", code(codes.Unimplemented), unavailable, unavailable, codes.Unimplemented},
		{"out of range", code(codes.OutOfRange), unavailable, unavailable, codes.OutOfRange},
		{"already exists", code(codes.AlreadyExists), unavailable, unavailable, codes.AlreadyExists},
		{"a code that doesn't exist", code(codes.Code(99)), unavailable, unavailable, codes.Code(99)},
		{"not found, bare", code(codes.NotFound), denied, denied, codes.NotFound},
		{"permission denied, bare", code(codes.PermissionDenied), denied, denied, codes.PermissionDenied},
		{"failed precondition, bare", code(codes.FailedPrecondition), denied, denied, codes.FailedPrecondition},
		{"invalid argument, bare", code(codes.InvalidArgument), denied, corrupt, codes.InvalidArgument},
		{"a checksum that didn't match there", fail(status.Error(codes.InvalidArgument, "The checksum in field ciphertext_crc32c did not match the data in field ciphertext.")),
			unavailable, unavailable, codes.InvalidArgument},

		{"API key invalid", fail(gcpkmstest.RequestInvalid("API_KEY_INVALID")), unavailable, unavailable, codes.InvalidArgument},
		{"a header invalid", fail(gcpkmstest.RequestInvalid("ORG_RESTRICTION_HEADER_INVALID")), unavailable, unavailable, codes.InvalidArgument},
		{"a parameter unknown", fail(gcpkmstest.RequestInvalid("SYSTEM_PARAMETER_UNSUPPORTED")), unavailable, unavailable, codes.InvalidArgument},

		{"external: no permission", external("EXTERNAL_PERMISSION_DENIED"), denied, denied, codes.FailedPrecondition},
		{"external: not found", external("EXTERNAL_NOT_FOUND"), denied, denied, codes.FailedPrecondition},
		{"external: timeout", external("TIMEOUT"), unavailable, unavailable, codes.FailedPrecondition},
		{"external: network", external("UNREACHABLE_NETWORK"), unavailable, unavailable, codes.FailedPrecondition},
		{"external: DNS", external("DNS"), unavailable, unavailable, codes.FailedPrecondition},
		{"external: TLS", external("TLS_CERT"), unavailable, unavailable, codes.FailedPrecondition},
		{"external: throttled", external("EXTERNAL_RESOURCE_EXHAUSTED"), unavailable, unavailable, codes.FailedPrecondition},
		{"external: garbage", external("UNEXPECTED_RESPONSE"), unavailable, unavailable, codes.FailedPrecondition},
		{"external: something new", external("SOMETHING_NEW"), denied, denied, codes.FailedPrecondition},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			b := bindingOf(t)
			wrapped := wrap(t, f.kek, secret(), b)
			c.do(f)
			errs := each(t.Context(), f.kek, wrapped, b)
			wantClass(t, errs["Wrap"], c.wrap)
			wantClass(t, errs["Unwrap"], c.unwrap)
			if c.unwrap != nil {
				wantClass(t, errs["Rewrap"], c.unwrap)
			} else {
				wantClass(t, errs["Rewrap"], c.wrap)
			}
			for method, err := range errs {
				if err != nil {
					wantCode(t, method, err, c.code)
				}
			}
		})
	}
}

// wantCode checks that the SDK's own error can be had, with the code.
func wantCode(t testing.TB, method string, err error, want codes.Code) {
	t.Helper()
	var api *apierror.APIError
	if !errors.As(err, &api) || api.GRPCStatus().Code() != want {
		t.Errorf("%s: the SDK's error is not in %v, or not %v", method, err, want)
	}
}

// A KEK goes on where it was when what was wrong is over.
func TestExpiringCredentials(t *testing.T) {
	f := newFixture(t)
	b, key := bindingOf(t), secret()
	wrapped := wrap(t, f.kek, key, b)
	restore := f.srv.ExpireCredentials(gcpkmstest.Owner)
	for _, err := range each(t.Context(), f.kek, wrapped, b) {
		wantClass(t, err, kek.ErrUnavailable)
	}
	restore()
	wantOpens(t, f.kek, wrapped, b, key)
}

// A ciphertext of a deleted key's is denied, and corrupt to a key that took its
// name, never opened by it.
func TestRecreatedKey(t *testing.T) {
	f := newFixture(t)
	b, key := bindingOf(t), secret()
	wrapped := wrap(t, f.kek, key, b)
	f.key.Delete()
	_, err := f.kek.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrDenied)
	f.srv.CreateKey(keyName)
	_, err = f.kek.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
	wantOpens(t, f.kek, wrap(t, f.kek, key, b), b, key)
}

// A wrong key, a wrong binding: the same class, and it is Cloud KMS that says so.
func TestWrongKeyAndBinding(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	other := open(t, f.srv.Client(), f.srv.CreateKey(ring+"other").Name())
	_, err := other.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
	wantCode(t, "Unwrap", err, codes.InvalidArgument)
	b.Version++
	_, err = f.kek.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
	wantCode(t, "Unwrap", err, codes.InvalidArgument)
	for _, c := range f.srv.Calls() {
		if c.Resource != keyName && c.Resource != other.URI()[len("gcp-kms://"):] {
			t.Errorf("a call about %q", c.Resource)
		}
	}
}

// An interceptor, or a test's client, may return an error of ours; it must not
// make two classes.
func TestForeignClassInTheChain(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	for _, c := range classes {
		k := open(t, once(intercepted(t, f.srv, func(ctx context.Context) error { return c })), keyName)
		for _, err := range each(t.Context(), k, wrapped, b) {
			wantClass(t, err, kek.ErrUnavailable)
		}
	}
}

// Many deadlines that pass while the server counts the same time: whoever is
// first, the error is the context's.
func TestDeadlines(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	defer f.srv.Hang()()
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		_, err := f.kek.Unwrap(ctx, wrapped, b)
		wantClass(t, err, kek.ErrUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not the context's error: %v", err)
		}
		cancel()
	}
}
