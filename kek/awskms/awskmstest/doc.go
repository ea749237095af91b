// Package awskmstest is a fake of AWS KMS for tests and example programs, as
// package httptest is one of the web. It is ours and not Amazon's: it does what
// EmbedVault's driver needs, with the protocol, error codes and status codes
// that AWS publishes, and nothing more. What it says proves nothing about AWS.
//
//	srv := awskmstest.New(t)
//	key := srv.CreateKey(awskmstest.KeyOptions{})
//	k, err := awskms.New(ctx, srv.Client(key.Region()), key.ARN(), awskms.Options{})
//
// The SDK's own client talks to it over HTTP on loopback (AWS JSON 1.1). It
// answers Encrypt, Decrypt, ReEncrypt, DescribeKey, GetKeyRotationStatus,
// EnableKeyRotation and RotateKeyOnDemand. Ciphertexts are AES-256-GCM with the
// encryption context as associated data, under keys that have material of their
// own for each rotation.
//
// It differs from AWS KMS, among more, in this: requests are told apart by the
// access key ID in their Authorization header, and signatures are not verified;
// permissions are set by [Key.Allow], [Key.Deny] and [Key.RequireContext]
// instead of policies, without a deny that beats every allow; grant tokens are
// good if they begin with "token-", and grant nothing; of dry runs it knows those
// that ask for permissions only; changes are seen at once; there are no quotas but
// those that [Server.Inject] makes.
package awskmstest
