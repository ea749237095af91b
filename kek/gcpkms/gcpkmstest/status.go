package gcpkmstest

import (
	"fmt"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
)

// The errors that the server answers with. "Text: ours" marks texts for which no
// source was found; programs should look at codes and details.

func newStatus(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	s := status.New(code, message)
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	}
	return s.Err()
}

// infra is the ErrorInfo of what stands before every Google API. Reasons, domain
// and metadata: google/api/error_reason.proto.
func infra(reason string, metadata map[string]string) *errdetails.ErrorInfo {
	metadata["service"] = "cloudkms.googleapis.com"
	return &errdetails.ErrorInfo{Reason: reason, Domain: "googleapis.com", Metadata: metadata}
}

// Text: https://github.com/hashicorp/terraform-provider-google/issues/15415 and
// others. Google's answers say "or it may not exist" to those who may not know.
// The details are those of IAM's refusals in general,
// https://cloud.google.com/iam/docs/permission-error-messages
func errPermission(permission, resource string) error {
	return newStatus(codes.PermissionDenied,
		fmt.Sprintf("Permission '%s' denied on resource '%s' (or it may not exist).", permission, resource),
		&errdetails.ErrorInfo{Reason: "IAM_PERMISSION_DENIED", Domain: "cloudkms.googleapis.com",
			Metadata: map[string]string{"permission": permission, "resource": resource}})
}

// Text: ours. Code: google/rpc/code.proto.
func errNotFound(name string) error {
	return newStatus(codes.NotFound, fmt.Sprintf("CryptoKey %s not found.", name))
}

// Text: https://github.com/sethvargo/vault-on-gke/issues/56, also in
// https://cloud.google.com/kubernetes-engine/docs/how-to/encrypting-secrets.
// The violation's subject and the type KEY_DISABLED are as gcloud prints them;
// KEY_PENDING_GENERATION is known from programs that wait for it. The other types
// are made like these.
func errState(version string, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) error {
	return newStatus(codes.FailedPrecondition,
		fmt.Sprintf("%s is not enabled, current state is: %s.", version, state),
		&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: "KEY_" + state.String(), Subject: version},
		}})
}

// Text: ours, after
// https://github.com/hashicorp/terraform-provider-google/issues/7044
func errPurpose(k *cryptoKey) error {
	return newStatus(codes.FailedPrecondition,
		fmt.Sprintf("The request cannot be fulfilled. Resource %s has value %s in field crypto_key.purpose.", k.name, k.options.Purpose))
}

// Text: ours.
func errNoPrimary(k *cryptoKey) error {
	return newStatus(codes.FailedPrecondition, fmt.Sprintf("CryptoKey %s has no primary version.", k.name))
}

// Text: https://github.com/googleapis/nodejs-kms/issues/145
func errWrongKey() error {
	return newStatus(codes.InvalidArgument, "Decryption failed: verify that 'name' refers to the correct CryptoKey.")
}

// Text: https://github.com/GoogleCloudPlatform/python-docs-samples/issues/2465
func errCiphertext() error {
	return newStatus(codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.")
}

// Text and code: https://cloud.google.com/kms/docs/data-integrity-guidelines
func errChecksum(field string) error {
	return newStatus(codes.InvalidArgument,
		fmt.Sprintf("The checksum in field %s_crc32c did not match the data in field %s.", field, field))
}

// Text: ours. Limits: EncryptRequest in google/cloud/kms/v1/service.proto.
func errTooLarge() error {
	return newStatus(codes.InvalidArgument, "The plaintext or the additional authenticated data is too large.")
}

// Code and reason of the next three: google/api/error_reason.proto and
// https://cloud.google.com/docs/authentication; texts: ours.

func errTokenExpired(method string) error {
	return newStatus(codes.Unauthenticated, "Request had invalid authentication credentials. Expected OAuth 2 access token.",
		infra("ACCESS_TOKEN_EXPIRED", map[string]string{"method": method}))
}

func errAccountState(method, email string) error {
	return newStatus(codes.Unauthenticated, "Request had invalid authentication credentials. The account is disabled or deleted.",
		infra("ACCOUNT_STATE_INVALID", map[string]string{"method": method, "email": email}))
}

func errCredentialsMissing(method string) error {
	return newStatus(codes.Unauthenticated, "Request is missing required authentication credential. Expected OAuth 2 access token.",
		infra("CREDENTIALS_MISSING", map[string]string{"method": method}))
}

// Code: https://cloud.google.com/kms/quotas. Reason and metadata:
// google/api/error_reason.proto. Text: ours.
func errThrottled() error {
	return newStatus(codes.ResourceExhausted, "Quota exceeded for quota metric 'Cryptographic requests'.",
		infra("RATE_LIMIT_EXCEEDED", map[string]string{
			"consumer": "projects/123", "quota_metric": "cloudkms.googleapis.com/crypto_requests",
		}))
}

// Errors for [Server.Fail].

// ServiceDisabled is the error where the Cloud KMS API is off in the project.
// Reason and metadata: google/api/error_reason.proto. Text:
// https://github.com/GoogleCloudPlatform/berglas/issues/30
func ServiceDisabled() error {
	return newStatus(codes.PermissionDenied, "Google Cloud KMS API has not been used in this project before, or it is disabled. "+
		"Enable it by visiting https://console.developers.google.com/apis/api/cloudkms.googleapis.com/overview?project=123 then retry.",
		infra("SERVICE_DISABLED", map[string]string{"consumer": "projects/123"}))
}

// BillingDisabled is the error where the project's billing is off. Reason and
// metadata: google/api/error_reason.proto. Text: ours.
func BillingDisabled() error {
	return newStatus(codes.PermissionDenied, "This API method requires billing to be enabled. Please enable billing on project #123.",
		infra("BILLING_DISABLED", map[string]string{"consumer": "projects/123"}))
}

// PerimeterDenied is the error where VPC Service Controls forbid the call. Reason:
// google/api/error_reason.proto. Text:
// https://cloud.google.com/vpc-service-controls/docs/troubleshooting
func PerimeterDenied() error {
	return newStatus(codes.PermissionDenied, "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: 0123456789",
		infra("SECURITY_POLICY_VIOLATED", map[string]string{"consumer": "projects/123", "uid": "0123456789"}))
}

// RequestInvalid is the error where what stands before Cloud KMS finds fault with
// the request, whatever the key: "API_KEY_INVALID",
// "ORG_RESTRICTION_HEADER_INVALID", "SYSTEM_PARAMETER_UNSUPPORTED". Code, reasons
// and metadata: google/api/error_reason.proto. Text: ours.
func RequestInvalid(reason string) error {
	return newStatus(codes.InvalidArgument, "The request is not valid. Please pass a valid one.", infra(reason, map[string]string{}))
}

// External is the error where an external key manager (Cloud EKM) can't be
// reached or refuses: FAILED_PRECONDITION with two violations, the type of the
// second being the domain, such as "TIMEOUT" or "EXTERNAL_PERMISSION_DENIED".
// https://cloud.google.com/kms/docs/reference/ekm_errors. Text, and what stands
// in the first violation: ours.
func External(name, domain string) error {
	return newStatus(codes.FailedPrecondition, "The external key manager failed: "+domain,
		&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: "EXTERNAL_KEY_STATE", Subject: name}, {Type: domain, Subject: name},
		}})
}
