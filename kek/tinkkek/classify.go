package tinkkek

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"

	"github.com/embedvault/vault/kek"
)

// ClassifyLocal is an [Options.Classify] for an AEAD that works in this process
// and asks nobody: whatever it fails at, the wrapped bytes are wrong.
func ClassifyLocal(error) error { return kek.ErrCorrupt }

// codes are the error codes of KMSs, by class. Names of SDK types and of gRPC
// and Google's reasons; no name means different things in two of them.
var codes = map[string]error{
	// AWS.
	"AccessDeniedException":                        kek.ErrDenied,
	"AccessDenied":                                 kek.ErrDenied,
	"DisabledException":                            kek.ErrDenied,
	"KMSInvalidStateException":                     kek.ErrDenied, // pending deletion, pending import
	"InvalidStateException":                        kek.ErrDenied,
	"NotFoundException":                            kek.ErrDenied, // of the key: it was deleted
	"InvalidKeyUsageException":                     kek.ErrDenied,
	"InvalidGrantTokenException":                   kek.ErrDenied,
	"UnrecognizedClientException":                  kek.ErrDenied, // the credentials were deleted
	"InvalidClientTokenId":                         kek.ErrDenied,
	"InvalidCiphertextException":                   kek.ErrCorrupt,
	"IncorrectKeyException":                        kek.ErrCorrupt,
	"ThrottlingException":                          kek.ErrUnavailable,
	"LimitExceededException":                       kek.ErrUnavailable,
	"DependencyTimeoutException":                   kek.ErrUnavailable,
	"KMSInternalException":                         kek.ErrUnavailable,
	"KeyUnavailableException":                      kek.ErrUnavailable,
	"ServiceUnavailableException":                  kek.ErrUnavailable,
	"InternalFailure":                              kek.ErrUnavailable,
	"RequestTimeout":                               kek.ErrUnavailable,
	"RequestError":                                 kek.ErrUnavailable, // the SDK's own: nothing was sent
	"RequestExpired":                               kek.ErrUnavailable, // a wrong clock
	"SignatureDoesNotMatch":                        kek.ErrUnavailable,
	"ExpiredToken":                                 kek.ErrUnavailable, // says nothing about the key
	"ExpiredTokenException":                        kek.ErrUnavailable,
	"CloudHsmClusterInvalidConfigurationException": kek.ErrUnavailable,

	// gRPC, as in "rpc error: code = PermissionDenied".
	"PermissionDenied":   kek.ErrDenied,
	"NotFound":           kek.ErrDenied,
	"FailedPrecondition": kek.ErrDenied, // the key version is disabled or destroyed
	"InvalidArgument":    kek.ErrCorrupt,
	"Unavailable":        kek.ErrUnavailable,
	"DeadlineExceeded":   kek.ErrUnavailable,
	"ResourceExhausted":  kek.ErrUnavailable,
	"Internal":           kek.ErrUnavailable,
	"Aborted":            kek.ErrUnavailable,
	"Canceled":           kek.ErrUnavailable,
	"Unauthenticated":    kek.ErrUnavailable,

	// Google's REST reasons, as in "googleapi: Error 400: …, badRequest".
	"forbidden":          kek.ErrDenied,
	"notFound":           kek.ErrDenied,
	"failedPrecondition": kek.ErrDenied,
	"badRequest":         kek.ErrCorrupt,
	"invalidArgument":    kek.ErrCorrupt,
	"rateLimitExceeded":  kek.ErrUnavailable,
	"backendError":       kek.ErrUnavailable,
}

// Where codes, an HTTP status and a reason stand in the texts of errors that
// have no method for them.
var (
	awsCode      = regexp.MustCompile(`\b[A-Z][A-Za-z]+Exception\b`)
	grpcCode     = regexp.MustCompile(`\brpc error: code = ([A-Za-z]+)\b`)
	googleStatus = regexp.MustCompile(`\bgoogleapi: (?:got HTTP response code|Error) ([0-9]{3})\b`)
	googleReason = regexp.MustCompile(`\bgoogleapi: Error [0-9]{3}: (?s:.*), ([A-Za-z]+)$`)
	vaultStatus  = regexp.MustCompile(`\bCode: ([0-9]{3})\. Errors:`)
	vaultCorrupt = regexp.MustCompile(`message authentication failed|invalid ciphertext`)
)

// maxText is how much of an error's text is looked at, in bytes.
const maxText = 8 << 10

// classify returns the class of an AEAD's error, and whether it is known and
// not merely assumed.
func classify(err error, own func(error) error) (class error, known bool) {
	if own != nil {
		switch class := own(err); class {
		case kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt:
			return class, true
		}
	}
	for _, rule := range []func(error) error{classOfContext, classOfOurs, classOfCode, classOfText, classOfStatus, classOfNet} {
		if class := rule(err); class != nil {
			return class, true
		}
	}
	return kek.ErrUnavailable, false
}

func classOfContext(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return kek.ErrUnavailable
	}
	return nil
}

// classOfOurs is for AEADs that are made of KEKs themselves.
func classOfOurs(err error) error {
	if errors.Is(err, kek.ErrDenied) || errors.Is(err, kek.ErrUnavailable) || errors.Is(err, kek.ErrCorrupt) {
		return kek.Class(err)
	}
	return nil
}

// code returns an error's code by the methods that SDKs have for it.
func code(err error) string {
	var smithy interface{ ErrorCode() string }
	if errors.As(err, &smithy) {
		return smithy.ErrorCode()
	}
	var awserr interface{ Code() string }
	if errors.As(err, &awserr) {
		return awserr.Code()
	}
	return ""
}

func classOfCode(err error) error { return codes[code(err)] }

// classOfText looks for codes in the text. Should it find several that differ,
// it knows nothing.
func classOfText(err error) error {
	text := textOf(err)
	found := awsCode.FindAllString(text, -1)
	for _, re := range []*regexp.Regexp{grpcCode, googleReason} {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
	}
	var class error
	for _, name := range found {
		c := codes[name]
		if c != nil && class != nil && c != class {
			return nil
		}
		if c != nil {
			class = c
		}
	}
	if class == nil && vaultStatus.MatchString(text) && vaultCorrupt.MatchString(text) {
		return kek.ErrCorrupt
	}
	return class
}

// classOfStatus goes by the HTTP status, by a method or in the text. 400 alone
// tells nothing, and neither does 401: credentials may have expired.
func classOfStatus(err error) error {
	switch status := status(err); {
	case status == http.StatusForbidden || status == http.StatusNotFound || status == http.StatusGone:
		return kek.ErrDenied
	case status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500:
		return kek.ErrUnavailable
	}
	return nil
}

func status(err error) int {
	var smithy interface{ HTTPStatusCode() int }
	if errors.As(err, &smithy) {
		return smithy.HTTPStatusCode()
	}
	var awserr interface{ StatusCode() int }
	if errors.As(err, &awserr) {
		return awserr.StatusCode()
	}
	var google interface{ HTTPCode() int }
	if errors.As(err, &google) && google.HTTPCode() > 0 {
		return google.HTTPCode()
	}
	for _, re := range []*regexp.Regexp{googleStatus, vaultStatus} {
		if m := re.FindStringSubmatch(textOf(err)); m != nil {
			n, _ := strconv.Atoi(m[1]) // three digits
			return n
		}
	}
	return 0
}

func classOfNet(err error) error {
	var netErr net.Error
	if errors.As(err, &netErr) {
		return kek.ErrUnavailable
	}
	return nil
}

func textOf(err error) string {
	text := err.Error()
	return text[:min(len(text), maxText)]
}

// reason is why a key is denied, in the KMS's own word if there is one.
func reason(err error) string {
	if c := code(err); c != "" {
		return c
	}
	if name := awsCode.FindString(textOf(err)); name != "" {
		return name
	}
	if m := grpcCode.FindStringSubmatch(textOf(err)); m != nil {
		return m[1]
	}
	return "denied"
}
