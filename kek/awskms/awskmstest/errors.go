package awskmstest

import (
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// apiError is an error answer: its code, status and message.
//
// Codes and statuses of KMS's own errors are those of the KMS model, as the
// SDK's package kms/schemas has them (HTTPError traits). Those of every service
// are in "Common Errors" of the API references; KMS answers them with 400, as
// AWS JSON 1.1 services do. Messages are KMS's where they are published, with
// the place beside them; nothing should depend on their wording.
type apiError struct {
	code    string
	status  int
	message string
}

func errDisabled(k *Key) *apiError { // KMS Developer Guide, "Key states of KMS keys", [1]
	return &apiError{"DisabledException", http.StatusConflict, k.ARN() + " is disabled."}
}

// errState is for other states: the same table, [3] pending deletion, [5] pending
// import, [11] unavailable. Texts for Creating and Updating aren't in the
// published table we know; these are ours.
func errState(k *Key) *apiError {
	text := map[types.KeyState]string{
		types.KeyStatePendingDeletion:        " is pending deletion.",
		types.KeyStatePendingReplicaDeletion: " is pending deletion (or pending replica deletion).",
		types.KeyStatePendingImport:          " is pending import.",
		types.KeyStateUnavailable:            " is unavailable.",
		types.KeyStateCreating:               " is creating.",
		types.KeyStateUpdating:               " is updating.",
	}[k.state]
	return &apiError{"KMSInvalidStateException", http.StatusConflict, k.ARN() + text}
}

func errNotFound(what string) *apiError {
	return &apiError{"NotFoundException", http.StatusNotFound, what}
}

func errInvalidCiphertext() *apiError { // the model gives it no text
	return &apiError{"InvalidCiphertextException", http.StatusBadRequest, ""}
}

func errIncorrectKey() *apiError { // KMS Developer Guide, CloudTrail example "Decrypt failure"
	return &apiError{"IncorrectKeyException", http.StatusBadRequest,
		"The key ID in the request does not identify a CMK that can perform this operation."}
}

func errKeyUsage(k *Key) *apiError {
	return &apiError{"InvalidKeyUsageException", http.StatusBadRequest,
		k.ARN() + " key usage is " + string(k.opts.Usage) + " which is not valid for this operation."}
}

func errUnsupported(k *Key) *apiError { // "Key states of KMS keys", [6]
	return &apiError{"UnsupportedOperationException", http.StatusBadRequest,
		k.ARN() + " origin is " + string(k.opts.Origin) + " which is not valid for this operation."}
}

const accessDenied = "AccessDeniedException"

// errAccessDenied has the form of IAM User Guide, "Troubleshoot access denied
// error messages".
func errAccessDenied(p *Principal, action string, k *Key) *apiError {
	return &apiError{accessDenied, http.StatusBadRequest,
		"User: " + p.arn + " is not authorized to perform: " + action + " on resource: " + k.ARN() +
			" because no resource-based policy allows the " + action + " action"}
}

// errVague refuses in words about the key that the ciphertext names. Text:
// https://github.com/kubernetes-sigs/aws-encryption-provider/pull/78, where the
// ciphertext was another key's; elsewhere it is reported for missing permissions.
func errVague() *apiError {
	return &apiError{accessDenied, http.StatusBadRequest, "The ciphertext refers to a customer master key that does not exist, " +
		"does not exist in this region, or you are not allowed to access."}
}

// orDryRun is the answer to a dry run. The text is ours.
func orDryRun(err *apiError) *apiError {
	if err != nil {
		return err
	}
	return &apiError{"DryRunOperationException", http.StatusPreconditionFailed,
		"The request would have succeeded, but the DryRun option is set."}
}

func errValidation(message string) *apiError {
	return &apiError{"ValidationException", http.StatusBadRequest, message}
}

func errUnknownOperation() *apiError {
	return &apiError{"UnknownOperationException", http.StatusBadRequest, ""}
}

func errNoToken() *apiError {
	return &apiError{"MissingAuthenticationTokenException", http.StatusBadRequest, "Missing Authentication Token"}
}

func errUnrecognizedClient() *apiError {
	return &apiError{"UnrecognizedClientException", http.StatusBadRequest, "The security token included in the request is invalid."}
}

func errExpiredToken() *apiError {
	return &apiError{"ExpiredTokenException", http.StatusBadRequest, "The security token included in the request is expired"}
}
