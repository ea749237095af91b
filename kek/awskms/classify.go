package awskms

import (
	"errors"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/embedvault/vault/kek"
)

// classes sorts the error codes that KMS answers with. Where AWS writes a code
// with and without "Exception", both stand here. A code that isn't here, and
// everything that is no answer of KMS, is unavailable: it says nothing about the
// key, so it must be tried again.
//
// Sources: the KMS model (package kms/types, errors.go) for KMS's own; "Common
// errors" of the KMS API reference for those of all services.
var classes = map[string]error{
	// KMS answers and will not: the key, or our right to it.
	"AccessDeniedException":       kek.ErrDenied,
	"AccessDenied":                kek.ErrDenied,
	"NotAuthorized":               kek.ErrDenied,
	"OptInRequired":               kek.ErrDenied, // the account isn't subscribed
	"DisabledException":           kek.ErrDenied,
	"KMSInvalidStateException":    kek.ErrDenied, // or otherwise: see states
	"NotFoundException":           kek.ErrDenied, // of the key: it was deleted
	"InvalidArnException":         kek.ErrDenied, // our ARN is well formed; it isn't one here
	"InvalidKeyUsageException":    kek.ErrDenied,
	"InvalidGrantTokenException":  kek.ErrDenied, // the grant was revoked or retired
	"UnrecognizedClientException": kek.ErrDenied, // the access key was deleted
	"InvalidClientTokenId":        kek.ErrDenied, // likewise

	// It is not what this key wrapped with this binding. A wrong encryption
	// context gives InvalidCiphertextException.
	"InvalidCiphertextException": kek.ErrCorrupt,
	"IncorrectKeyException":      kek.ErrCorrupt,

	// Nothing was said about the key.
	"ThrottlingException":                          kek.ErrUnavailable,
	"Throttling":                                   kek.ErrUnavailable,
	"RequestLimitExceeded":                         kek.ErrUnavailable,
	"LimitExceededException":                       kek.ErrUnavailable,
	"KeyUnavailableException":                      kek.ErrUnavailable,
	"DependencyTimeoutException":                   kek.ErrUnavailable,
	"KMSInternalException":                         kek.ErrUnavailable,
	"InternalFailure":                              kek.ErrUnavailable,
	"ServiceUnavailable":                           kek.ErrUnavailable,
	"ServiceUnavailableException":                  kek.ErrUnavailable,
	"RequestTimeoutException":                      kek.ErrUnavailable,
	"CloudHsmClusterInvalidConfigurationException": kek.ErrUnavailable,
	"ExpiredTokenException":                        kek.ErrUnavailable, // of the credentials: they are fetched anew
	"ExpiredToken":                                 kek.ErrUnavailable,
	"RequestExpired":                               kek.ErrUnavailable, // a wrong clock, as the three after it
	"RequestTimeTooSkewed":                         kek.ErrUnavailable,
	"InvalidSignatureException":                    kek.ErrUnavailable, // "Signature expired", or a wrong secret
	"SignatureDoesNotMatch":                        kek.ErrUnavailable,
	"IncompleteSignature":                          kek.ErrUnavailable,
	"MissingAuthenticationToken":                   kek.ErrUnavailable, // no credentials
	"MissingAuthenticationTokenException":          kek.ErrUnavailable,
	"ValidationException":                          kek.ErrUnavailable, // the request is at fault, not the key
	"ValidationError":                              kek.ErrUnavailable,
}

// states sorts KMSInvalidStateException further, by its text, since KMS has no
// code for what it means. For keys in custom key stores it "represents a general
// failure with many possible causes" (its documentation in the KMS model), among
// them every trouble of a network. So what isn't here is unavailable.
//
// Sources: KMS Developer Guide, "Key states of KMS keys", "Troubleshooting
// external key stores" and "Troubleshooting a custom key store" (CloudHSM). A key
// store that was disconnected, "is unavailable", is the customer's own switch, and
// so is what they do to the key in their external key manager: denied. A proxy
// that can't authenticate KMS, doesn't answer, answers nonsense or is unhealthy
// says nothing about the key.
var states = []struct {
	text  string
	class error
	ofKey bool // the text stands behind the key's ARN, not in a longer story
}{
	{" is pending deletion", kek.ErrDenied, true}, // also of a replica
	{" is pending import", kek.ErrDenied, true},
	{" is unavailable", kek.ErrDenied, true},
	{"could not find the external key", kek.ErrDenied, false},
	{"the external key is not enabled", kek.ErrDenied, false},
	{"the external key does not support the requested operation", kek.ErrDenied, false},
	{"external key store proxy denied access to the operation", kek.ErrDenied, false},

	{"specified ciphertext or additional authenticated data is corrupted", kek.ErrCorrupt, false},
	{"ciphertext that the external key store proxy submitted for decryption", kek.ErrCorrupt, false},
}

// classOf returns the class of an error of the SDK's.
func classOf(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return kek.ErrUnavailable
	}
	switch answeredBy(err) {
	case kms.ServiceID:
	case "STS":
		return classOfRole(api)
	default:
		return kek.ErrUnavailable
	}
	class, known := classes[api.ErrorCode()]
	switch {
	case !known:
		return kek.ErrUnavailable
	case api.ErrorCode() == "KMSInvalidStateException":
		return classOfState(api.ErrorMessage())
	}
	return class
}

func classOfState(message string) error {
	for _, s := range states {
		if strings.Contains(message, s.text) && (!s.ofKey || strings.HasPrefix(message, "arn:")) {
			return s.class
		}
	}
	return kek.ErrUnavailable
}

// classOfRole is for answers of STS, which is asked for credentials. Only one
// thing there says that access was taken away: it refuses the role, because the
// customer removed the trust in it, or knows our own access key no longer.
func classOfRole(api smithy.APIError) error {
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "UnrecognizedClientException":
		return kek.ErrDenied
	}
	return kek.ErrUnavailable
}

// blamesCiphertext reports whether KMS refuses access in words about the
// ciphertext ("the ciphertext refers to a customer master key that …", "the
// resource associated with this ciphertext") and not about the key that was named.
func blamesCiphertext(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "AccessDenied") && strings.Contains(api.ErrorMessage(), "ciphertext")
}

// answeredBy returns the service whose answer err is, or "" if it is no answer
// of one: the service of the last operation that stands before a response. Before
// KMS is asked for anything, STS may be asked for credentials, and before STS
// another; and the endpoint that hands credentials to a container has answers
// like theirs, but no operation and no response in the chain.
func answeredBy(err error) (service string) {
	for ; err != nil; err = next(err) {
		switch e := err.(type) {
		case *smithy.OperationError:
			service = e.ServiceID
		case *awshttp.ResponseError:
			return service
		}
	}
	return ""
}

// next goes down the chain, to the first of several errors that has an API error.
func next(err error) error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return errors.Unwrap(err)
	}
	for _, e := range several.Unwrap() {
		var api smithy.APIError
		if errors.As(e, &api) {
			return e
		}
	}
	return nil
}
