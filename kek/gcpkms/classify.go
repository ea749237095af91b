package gcpkms

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/googleapi"
	rpc "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// byCode is the class of each code, where nothing else is known. The codes are
// those of https://cloud.google.com/apis/design/errors
var byCode = map[codes.Code]error{
	codes.PermissionDenied: kek.ErrDenied,
	codes.NotFound:         kek.ErrDenied, // the key or its project was deleted
	// The key's version is disabled, destroyed or scheduled for it; see
	// byViolation for what else it may be.
	codes.FailedPrecondition: kek.ErrDenied,
	// Of Decrypt it is corrupt: see classify.
	codes.InvalidArgument: kek.ErrDenied,

	// Expired or missing credentials say nothing about the key.
	codes.Unauthenticated:   kek.ErrUnavailable,
	codes.Unavailable:       kek.ErrUnavailable,
	codes.ResourceExhausted: kek.ErrUnavailable,
	codes.DeadlineExceeded:  kek.ErrUnavailable,
	codes.Canceled:          kek.ErrUnavailable,
	codes.Aborted:           kek.ErrUnavailable,
	codes.Internal:          kek.ErrUnavailable, // also an answer that can't be decoded
	codes.Unknown:           kek.ErrUnavailable,
	codes.DataLoss:          kek.ErrUnavailable,
	codes.OutOfRange:        kek.ErrUnavailable,
	codes.AlreadyExists:     kek.ErrUnavailable,
	codes.Unimplemented:     kek.ErrUnavailable, // this isn't Cloud KMS that answers
}

// infrastructure is the ErrorInfo domain of the reasons below: what stands before
// every Google API refuses, not IAM and not Cloud KMS.
const infrastructure = "googleapis.com"

// byReason is the class of the ErrorInfo reasons of google/api/error_reason.proto
// that say more than their code.
var byReason = map[string]error{
	"ACCOUNT_STATE_INVALID": kek.ErrDenied, // the service account was disabled or deleted; its code is UNAUTHENTICATED
	"SERVICE_DISABLED":      kek.ErrDenied, // the API is off in the project
	"BILLING_DISABLED":      kek.ErrDenied,
	"CONSUMER_SUSPENDED":    kek.ErrDenied,

	"ACCESS_TOKEN_EXPIRED":    kek.ErrUnavailable,
	"CREDENTIALS_MISSING":     kek.ErrUnavailable,
	"RATE_LIMIT_EXCEEDED":     kek.ErrUnavailable,
	"RESOURCE_QUOTA_EXCEEDED": kek.ErrUnavailable,
}

// byViolation is the class of the types of PreconditionFailure violations, which
// come with FAILED_PRECONDITION. Those of external keys (Cloud EKM), where an
// outage has that code as well, are of
// https://cloud.google.com/kms/docs/reference/ekm_errors
// Of the others only KEY_DISABLED (gcloud prints it) and KEY_PENDING_GENERATION
// (programs wait for it) were seen; the rest follow from the names of the states.
// Should Google's differ, they count as denied, like all that are unknown.
var byViolation = map[string]error{
	"KEY_DISABLED":                      kek.ErrDenied,
	"KEY_DESTROYED":                     kek.ErrDenied,
	"KEY_DESTROY_SCHEDULED":             kek.ErrDenied,
	"EXTERNAL_PERMISSION_DENIED":        kek.ErrDenied, // Cloud EKM then disables the version, too
	"EXTERNAL_NOT_FOUND":                kek.ErrDenied,
	"EXTERNAL_KEY_URI_INVALID":          kek.ErrDenied,
	"EXTERNAL_KEY_HOST_NOT_WHITELISTED": kek.ErrDenied,

	// A version that isn't there yet.
	"KEY_PENDING_GENERATION": kek.ErrUnavailable,
	"KEY_PENDING_IMPORT":     kek.ErrUnavailable,

	"DNS":                         kek.ErrUnavailable,
	"EXTERNAL_RESOURCE_EXHAUSTED": kek.ErrUnavailable,
	"UNREACHABLE_NETWORK":         kek.ErrUnavailable,
	"OVERLOADED_EKM":              kek.ErrUnavailable,
	"TIMEOUT":                     kek.ErrUnavailable,
	"REQUEST_CANCELLED":           kek.ErrUnavailable,
	"TLS_CERT":                    kek.ErrUnavailable,
	"UNEXPECTED_RESPONSE":         kek.ErrUnavailable,
	"EXTERNAL_SERVER_ERROR":       kek.ErrUnavailable,
	"EXTERNAL_NOT_IMPLEMENTED":    kek.ErrUnavailable,
	"UNEXPECTED_ERROR":            kek.ErrUnavailable,
}

// classify returns the class of what was answered to op.
func classify(op operation, a answer) error {
	if a.foreign {
		return kek.ErrUnavailable
	}
	if class := byReason[a.reason]; class != nil && a.domain == infrastructure {
		return class
	}
	if a.code == codes.InvalidArgument && a.domain == infrastructure {
		return kek.ErrUnavailable // an API key or a header is at fault: Cloud KMS never saw the request
	}
	switch a.code {
	case codes.FailedPrecondition:
		return classOfViolations(a.violations)
	case codes.InvalidArgument:
		return classOfArgument(op, a.message)
	}
	if class := byCode[a.code]; class != nil {
		return class
	}
	return kek.ErrUnavailable
}

// classOfViolations: of an external key there are two, the key's state and what
// came of the attempt to reach it. Either may deny.
func classOfViolations(violations []string) error {
	known := byCode[codes.FailedPrecondition]
	for _, v := range violations {
		switch byViolation[v] {
		case kek.ErrDenied:
			return kek.ErrDenied
		case kek.ErrUnavailable:
			known = kek.ErrUnavailable
		}
	}
	return known
}

// classOfArgument: INVALID_ARGUMENT is the answer to a ciphertext or associated
// data that isn't the key's, and to a checksum that doesn't match what arrived:
// "The checksum in field plaintext_crc32c did not match the data in field
// plaintext." Nothing but the text tells the two apart.
// https://cloud.google.com/kms/docs/data-integrity-guidelines
func classOfArgument(op operation, message string) error {
	switch {
	case strings.HasPrefix(message, "The checksum in field ") && strings.Contains(message, " did not match "):
		return kek.ErrUnavailable
	case op == opDecrypt:
		return kek.ErrCorrupt
	}
	return byCode[codes.InvalidArgument]
}

// answer is what an error of the SDK says.
type answer struct {
	code       codes.Code
	message    string
	reason     string   // of ErrorInfo
	domain     string   // of ErrorInfo
	violations []string // the types of PreconditionFailure
	foreign    bool     // it is not Cloud KMS that answered, but something on the way
}

// unheard is an error that came without an answer of a server. It may look like
// one: whoever issues tokens is often an API of Google's, too, with errors of the
// same types.
type unheard struct{ error }

func (u *unheard) Unwrap() error { return u.error }

// heard reports whether err came with an answer. from is whom gRPC talked to: it
// stays empty if the call never got to its connection, for lack of a token or of a
// connection. REST's transport returns what isn't an answer as a *url.Error, a
// token source's errors inside it.
func heard(err error, from peer.Peer) bool {
	var unsent *url.Error
	if errors.As(err, &unsent) {
		return false
	}
	var rest *googleapi.Error
	return from.Addr != nil || errors.As(err, &rest)
}

func answerOf(err error) answer {
	a := saidBy(err)
	var silent *unheard
	if errors.As(err, &silent) {
		a.foreign = true
	}
	return a
}

// saidBy is what err says, whosoever it is.
func saidBy(err error) answer {
	var api *apierror.APIError
	if !errors.As(err, &api) {
		// gax leaves some errors of gRPC as they are, and contexts' of course.
		s, ok := status.FromError(err)
		if !ok {
			return answer{code: codes.Unknown}
		}
		return answer{code: s.Code(), message: s.Message()}
	}
	a := answer{code: api.GRPCStatus().Code(), message: api.Message(), reason: api.Reason(), domain: api.Domain()}
	for _, v := range api.Details().PreconditionFailure.GetViolations() {
		a.violations = append(a.violations, v.GetType())
	}
	// The client of gRPC makes a code of the HTTP status where a proxy's page
	// comes instead of an answer (internal/transport of grpc-go).
	a.foreign = strings.HasPrefix(a.message, "unexpected HTTP status code received from server")
	var rest *googleapi.Error
	if errors.As(err, &rest) {
		a.code, a.foreign = codeOfREST(rest)
	}
	return a
}

// codeOfREST returns the code in the body of a REST answer: HTTP's 400 is both
// INVALID_ARGUMENT and FAILED_PRECONDITION. A body without one isn't Google's.
func codeOfREST(err *googleapi.Error) (code codes.Code, foreign bool) {
	var body struct {
		Error struct {
			Status string `json:"status"`
		} `json:"error"`
	}
	if json.Unmarshal([]byte(err.Body), &body) != nil {
		return codes.Unknown, true
	}
	n, ok := rpc.Code_value[body.Error.Status]
	if !ok {
		return codes.Unknown, true
	}
	return codes.Code(n), false
}

// word is what the answer refuses with, in Google's own word, as short as can be.
func (a answer) word() string {
	for _, v := range a.violations {
		if byViolation[v] != nil {
			return v
		}
	}
	if a.reason != "" {
		return a.reason
	}
	return rpc.Code(a.code).String()
}
