// Package gcpkms makes a KEK of a key of Google Cloud KMS: one for symmetric
// encryption, in software, in an HSM, or outside Google (Cloud EKM).
//
//	client, err := kms.NewKeyManagementClient(ctx)
//	root, err := gcpkms.New(ctx, client, "projects/my-project/locations/europe-west1/keyRings/vault/cryptoKeys/root", gcpkms.Options{})
//
// Wrap is one call of Encrypt and Unwrap one of Decrypt, with the binding's bytes
// ([kek.Binding.AppendBytes]) as additional authenticated data. CRC32C checksums
// are sent and checked in both directions. For tests there is a server in
// [github.com/embedvault/vault/kek/gcpkms/gcpkmstest].
//
// # Formats
//
// The URI is "gcp-kms://" and the name of the key, without a version. What is
// wrapped is
//
//	u8   format      0x01
//	u64  version     of the key, from EncryptResponse.name; not 0
//	u32  checksum    CRC32C of format ‖ version ‖ ciphertext
//	n    ciphertext  Cloud KMS's own, 1 to 4083 bytes
//
// with integers in big endian. The version says to a rewrap what is current and
// decides nothing else; the checksum finds accidents, not attackers. Neither the
// name of a key nor anything else that could lead a call elsewhere is in there.
//
// # Permissions
//
// What the process runs as needs this role on the key, not on the ring or the
// project:
//
//	gcloud kms keys add-iam-policy-binding root --keyring vault --location europe-west1 \
//	    --member serviceAccount:app@my-project.iam.gserviceaccount.com \
//	    --role roles/cloudkms.cryptoKeyEncrypterDecrypter
//
// The two permissions of it that are used are
// cloudkms.cryptoKeyVersions.useToEncrypt and
// cloudkms.cryptoKeyVersions.useToDecrypt. [New] and [KEK.Check] also ask for the
// key itself, which takes cloudkms.cryptoKeys.get (roles/cloudkms.viewer has it).
// Without that they work; New can't tell then whether the key exists, and Check
// not what state it is in or whether it rotates.
//
// # A customer's key
//
// The customer creates the key in a project of their own and grants the role
// above on it to your service account; nothing else is shared, and you need
// nothing but the key's name. With Data Access audit logs on in their project
// (DATA_READ and DATA_WRITE of cloudkms.googleapis.com; they are off by default)
// they see each Encrypt and Decrypt: when, by which account, with which key. They
// don't see for which of your tenants it was, since all that goes to Cloud KMS is
// 32 bytes to be wrapped and the 82 bytes of a binding, which has hashes in it.
// Taking the role away stops you within seconds to minutes; disabling the key's
// version usually takes effect within a minute and, says Google, exceptionally
// after hours: https://cloud.google.com/kms/docs/consistency
//
// # Errors
//
//   - [kek.ErrDenied]: the key's version is disabled, destroyed or scheduled for
//     it; the key was deleted; no permission; the service account was disabled or
//     deleted; the API or billing is off; VPC Service Controls forbid it; an
//     external key manager denies the key or doesn't know it.
//   - [kek.ErrUnavailable]: ctx ended; no connection, DNS, TLS; throttled; expired
//     or missing credentials; an error of the server's; a proxy that answers in
//     its place; a request that Google refuses before Cloud KMS sees it (a wrong
//     API key or header); a version that is still being made or imported; an
//     external key manager that can't be reached; an answer that is too long, can't
//     be decoded, or whose checksums are missing or wrong.
//   - [kek.ErrCorrupt]: the wrapped bytes aren't of the format above (no call is
//     made), or Cloud KMS says that they aren't of this key with this binding; an
//     answer about another key, or with a key that isn't 32 bytes.
//
// Only what came with an answer counts as Cloud KMS's. A source of tokens is often
// an API of Google's too, with errors of the same types; whatever it says is
// unavailable. With gRPC the driver knows by the options that it gives to each call
// (grpc.Peer): an interceptor of yours must pass options on, else a denial counts
// as unavailable.
//
// Each wraps the SDK's own error. Texts repeat at most 512 bytes of what a server
// said, without words that could be keys or tokens.
//
// # Limits
//
// The driver repeats no call: the vault's keyring does, and so does the SDK's
// client, which repeats UNAVAILABLE and DEADLINE_EXCEEDED until ctx ends, or for
// a minute if it has no deadline. Whoever wants to hear of an outage sooner sets
// the client's CallOptions; docs/providers/google-cloud-kms.md shows how.
//
// With GOOGLE_SDK_GO_LOGGING_LEVEL=debug in its environment, or a logger of
// level debug in its options, the SDK logs every request and answer as a whole:
// keys in the clear. Don't, in production.
//
// Keys come and go through buffers of the SDK's that nobody zeroes.
//
// Of an answer gRPC takes 1 MiB at most, whatever the client's options say. The
// SDK's REST client reads answers to their end, however long: give it a transport
// that limits them, as docs/providers/google-cloud-kms.md shows.
//
// Calls return when ctx ends, even if a source of tokens doesn't heed it. What it
// is asked for then goes on in a goroutine of its own. While 64 calls of a KEK have
// been left so, further ones fail at once as unavailable.
package gcpkms
