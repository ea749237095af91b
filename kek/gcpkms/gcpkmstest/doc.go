// Package gcpkmstest is a server that answers as Google Cloud KMS does, for
// tests: the SDK's own client talks gRPC to it over loopback.
//
//	srv := gcpkmstest.New(t)
//	key := srv.CreateKey("projects/my-project/locations/global/keyRings/ring/cryptoKeys/key")
//	root, err := gcpkms.New(ctx, srv.Client(), key.Name(), gcpkms.Options{})
//
// A program without tests has [NewServer] and [Server.Close].
//
// It is this project's, not Google's. It has GetCryptoKey, Encrypt and Decrypt of
// keys for symmetric encryption, with real AES-256-GCM, real checksums, versions
// and their states, and IAM as far as these three methods need it; the rest of
// the API answers UNIMPLEMENTED, and keys are made and changed by methods of
// [Server] and [Key]. Codes, details and texts of errors are those that Google documents;
// where the source of one is another, or there is none, a comment says so. What
// takes a while at Google, such as disabling a version, takes effect at once.
//
// # What can go wrong
//
// Keys: [Key.Rotate], [Key.SetState], [Key.Disable], [Key.ScheduleDestruction],
// [Key.Destroy], [Key.Delete], [Key.Replace]. Permissions: [Key.Grant],
// [Key.Revoke], [Server.ClientAs]. Credentials: [Server.ExpireCredentials],
// [Server.DeleteAccount]. The service: [Server.Throttle], [Server.Fail],
// [Server.Hang], [Server.Latency]. Answers that are damaged or wrong:
// [Server.Tamper]. What was asked: [Server.Calls].
package gcpkmstest
