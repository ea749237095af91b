package tinkkek_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
)

// Errors shaped like those of SDKs.
type (
	awserrError struct { // aws-sdk-go v1
		code   string
		status int
	}
	smithyStatus int // the response of aws-sdk-go-v2
	googleStatus int // gax's apierror
)

func (e awserrError) Error() string        { return "awserr" }
func (e awserrError) Code() string         { return e.code }
func (e awserrError) StatusCode() int      { return e.status }
func (e smithyStatus) Error() string       { return "https response error" }
func (e smithyStatus) HTTPStatusCode() int { return int(e) }
func (e googleStatus) Error() string       { return "apierror" }
func (e googleStatus) HTTPCode() int       { return int(e) }

const vaultText = "Error making API request.\n\nURL: PUT https://vault:8200/v1/transit/decrypt/root\nCode: %d. Errors:\n\n* %s"

func TestClassify(t *testing.T) {
	text := func(format string, args ...any) error { return fmt.Errorf(format, args...) }
	for _, c := range []struct {
		err   error
		class error
		known bool
	}{
		{codeError("AccessDeniedException"), kek.ErrDenied, true},
		{codeError("DisabledException"), kek.ErrDenied, true},
		{codeError("KMSInvalidStateException"), kek.ErrDenied, true},
		{codeError("NotFoundException"), kek.ErrDenied, true},
		{codeError("InvalidCiphertextException"), kek.ErrCorrupt, true},
		{codeError("IncorrectKeyException"), kek.ErrCorrupt, true},
		{codeError("ThrottlingException"), kek.ErrUnavailable, true},
		{codeError("KMSInternalException"), kek.ErrUnavailable, true},
		{fmt.Errorf("wrapped: %w", codeError("DisabledException")), kek.ErrDenied, true},
		{errors.Join(smithyStatus(400), codeError("DisabledException")), kek.ErrDenied, true},
		{errors.Join(smithyStatus(403), codeError("ExpiredTokenException")), kek.ErrUnavailable, true},
		{awserrError{"AccessDeniedException", 400}, kek.ErrDenied, true},
		{awserrError{"ThrottlingException", 400}, kek.ErrUnavailable, true},
		{awserrError{"SomethingNew", 400}, kek.ErrUnavailable, false},
		{awserrError{"SomethingNew", 503}, kek.ErrUnavailable, true},
		{smithyStatus(403), kek.ErrDenied, true},
		{smithyStatus(404), kek.ErrDenied, true},
		{smithyStatus(429), kek.ErrUnavailable, true},
		{smithyStatus(500), kek.ErrUnavailable, true},
		{smithyStatus(400), kek.ErrUnavailable, false},
		{smithyStatus(401), kek.ErrUnavailable, false},
		{googleStatus(403), kek.ErrDenied, true},
		{googleStatus(-1), kek.ErrUnavailable, false},

		{text("operation error KMS: Decrypt, InvalidCiphertextException: "), kek.ErrCorrupt, true},
		{text("rpc error: code = PermissionDenied desc = Permission 'cloudkms.use' denied"), kek.ErrDenied, true},
		{text("rpc error: code = FailedPrecondition desc = key is not enabled"), kek.ErrDenied, true},
		{text("rpc error: code = InvalidArgument desc = Decryption failed"), kek.ErrCorrupt, true},
		{text("rpc error: code = Unavailable desc = connection refused"), kek.ErrUnavailable, true},
		{text("rpc error: code = Unauthenticated desc = token expired"), kek.ErrUnavailable, true},
		{text("googleapi: Error 403: Permission denied on resource, forbidden"), kek.ErrDenied, true},
		{text("googleapi: Error 404: Not found, for ever, notFound"), kek.ErrDenied, true},
		{text("googleapi: Error 400: Decryption failed: the ciphertext is invalid., badRequest"), kek.ErrCorrupt, true},
		{text("googleapi: Error 400: key is not enabled, failedPrecondition"), kek.ErrDenied, true},
		{text("googleapi: got HTTP response code 503 with body: "), kek.ErrUnavailable, true},
		{text(vaultText, 403, "permission denied"), kek.ErrDenied, true},
		{text(vaultText, 400, "cipher: message authentication failed"), kek.ErrCorrupt, true},
		{text(vaultText, 400, "invalid ciphertext: no prefix"), kek.ErrCorrupt, true},
		{text(vaultText, 400, "encryption key not found"), kek.ErrUnavailable, false},
		{text(vaultText, 503, "Vault is sealed"), kek.ErrUnavailable, true},

		{text("not a code: NotFound, forbidden, AccessDenied"), kek.ErrUnavailable, false},
		{text("message authentication failed"), kek.ErrUnavailable, false},
		{text("InvalidCiphertextException while DisabledException"), kek.ErrUnavailable, false},
		{text("%sDisabledException", strings.Repeat(".", 9000)), kek.ErrUnavailable, false},
		{errors.New(""), kek.ErrUnavailable, false},

		{context.DeadlineExceeded, kek.ErrUnavailable, true},
		{fmt.Errorf("get: %w", context.Canceled), kek.ErrUnavailable, true},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, kek.ErrUnavailable, true},
		{&net.DNSError{}, kek.ErrUnavailable, true},
		{fmt.Errorf("ours: %w", kek.ErrDenied), kek.ErrDenied, true},
		{fmt.Errorf("ours: %w", kek.ErrCorrupt), kek.ErrCorrupt, true},
	} {
		if class, known := tinkkek.Classify(c.err, nil); class != c.class || known != c.known {
			t.Errorf("%.100q is %q, known %v; want %q, %v", c.err, class, known, c.class, c.known)
		}
	}
}

func TestClassifyByOption(t *testing.T) {
	denied := codeError("DisabledException")
	for _, c := range []struct{ says, want error }{
		{kek.ErrCorrupt, kek.ErrCorrupt},
		{kek.ErrUnavailable, kek.ErrUnavailable},
		{nil, kek.ErrDenied},                 // no opinion
		{errors.New("what?"), kek.ErrDenied}, // no class
	} {
		if got, known := tinkkek.Classify(denied, func(error) error { return c.says }); got != c.want || !known {
			t.Errorf("Classify says %v: got %v, want %v", c.says, got, c.want)
		}
	}
	if got := tinkkek.ClassifyLocal(denied); got != kek.ErrCorrupt {
		t.Errorf("ClassifyLocal says %v", got)
	}
}
