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
	"KMSInvalidStateException":    kek.ErrDenied, // pending deletion, pending import, …; see states
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
// failure with many possible causes" (its documentation in the KMS model).
// Without one of these texts it is denied.
//
// Sources: KMS Developer Guide, "Troubleshooting external key stores" (latency
// and timeout errors; decryption errors) and "Key states of KMS keys", which
// calls Creating and Updating transient. A key store that was disconnected, "is
// unavailable", is the customer's own switch: denied.
var states = []struct {
	text  string
	class error
}{
	{"specified ciphertext or additional authenticated data is corrupted", kek.ErrCorrupt},
	{"ciphertext that the external key store proxy submitted for decryption", kek.ErrCorrupt},
	{"did not respond", kek.ErrUnavailable},
	{"cannot communicate with the external key store proxy", kek.ErrUnavailable},
	{" is creating", kek.ErrUnavailable},
	{" is updating", kek.ErrUnavailable},
}

// classOf returns the class of an error of the SDK's.
func classOf(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return kek.ErrUnavailable
	}
	if !fromKMS(err) {
		return classOfCredentials(err, api)
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
		if strings.Contains(message, s.text) {
			return s.class
		}
	}
	return classes["KMSInvalidStateException"]
}

// classOfCredentials is for errors on the way to credentials. Only one thing
// there says that access was taken away: STS refuses the role, because the
// customer removed the trust in it, or knows our own access key no longer.
func classOfCredentials(err error, api smithy.APIError) error {
	if serviceOf(err) != "STS" {
		return kek.ErrUnavailable
	}
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "UnrecognizedClientException":
		return kek.ErrDenied
	}
	return kek.ErrUnavailable
}

// fromKMS reports whether err is an answer of KMS, and not one of a service
// that was asked for credentials first: a response that no other service's
// operation stands before in the chain.
func fromKMS(err error) bool {
	for ; err != nil; err = next(err) {
		switch e := err.(type) {
		case *smithy.OperationError:
			if e.ServiceID != kms.ServiceID {
				return false
			}
		case *awshttp.ResponseError:
			return true
		}
	}
	return false
}

// serviceOf returns the service of the last operation in the chain.
func serviceOf(err error) (service string) {
	for ; err != nil; err = next(err) {
		if op, ok := err.(*smithy.OperationError); ok {
			service = op.ServiceID
		}
	}
	return service
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
