// Package awskms makes KEKs of symmetric encryption keys in AWS KMS, those of
// your account and those that customers keep in theirs.
//
//	cfg, err := config.LoadDefaultConfig(ctx) // github.com/aws/aws-sdk-go-v2/config
//	root, err := awskms.New(ctx, kms.NewFromConfig(cfg), "alias/vault", awskms.Options{})
//
// The key never leaves KMS. It wraps context keys of 32 bytes by Encrypt,
// unwraps them by Decrypt, and rewraps them by ReEncrypt, which shows the key to
// nobody. docs/providers/aws-kms.md is the way from nothing to a working key.
//
// # Formats
//
// Wrapped bytes are
//
//	u8 0x01 ‖ CiphertextBlob      the key context's own pairs are in the encryption context
//	u8 0x02 ‖ CiphertextBlob      only its hash is: Options.OmitPairs, or a context too large for KMS
//
// CiphertextBlob is KMS's, up to 4095 bytes. Unwrap and Rewrap read both, so
// changing the option leaves nothing unreadable; Rewrap moves to the format that
// the option says. The encryption context has
//
//	vault:key-id         the key ID, 64 hexadecimal digits
//	vault:context-hash   the context hash, 64 hexadecimal digits
//	vault:purpose        1 to 4, decimal
//	vault:version        decimal
//
// and, in format 1, every pair of the full key context, reserved ones
// (vault:namespace) and all. KMS refuses to decrypt with any other.
//
// The URI is "aws-kms://" and the key's ARN. A key of more than one Region has
// another ARN in each; with [Options.AnyRegion] the Region is left out of the
// URI, so that processes beside each replica share records. Each process gives
// [New] the key as its own Region knows it: that Region's ARN or alias, or the ID
// ("mrk-…"), which is the same in all.
//
// # Permissions
//
// The principal that the client's credentials belong to needs, on this key only:
//
//	{
//	  "Version": "2012-10-17",
//	  "Statement": [{
//	    "Effect": "Allow",
//	    "Action": [
//	      "kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo",
//	      "kms:DescribeKey", "kms:GetKeyRotationStatus"
//	    ],
//	    "Resource": "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
//	  }]
//	}
//
// GetKeyRotationStatus may be left out: [KEK.Check] then doesn't say that the key
// rotates. A process that only reads needs Decrypt and DescribeKey. Every replica
// of a multi-Region key is a resource with a key policy of its own; in a role's
// policy "arn:aws:kms:*:111122223333:key/mrk-…" stands for all.
//
// For a customer's key the same actions stand in their key policy, with your role
// as the principal, and in your role's own policy: KMS wants both for keys of other
// accounts. The customer can add a condition on
// kms:EncryptionContext:organization_id; then the driver must not omit pairs.
//
// # What the owner of the key sees
//
// CloudTrail has an event for each call, with the encryption context: which
// tenant's key, by which role, when, and why it was refused. It shows no key and
// no ciphertext. Encryption contexts are plain text there, so pairs of a key
// context must not be secrets; that is what OmitPairs is for.
//
// # Rotation and versions
//
// KMS rotates key material behind an ARN that stays, and keeps the old for ever:
// nothing ever needs a rewrap. It doesn't say under which material a ciphertext
// was made (Encrypt has no such answer, and ciphertexts are opaque), so there is
// no version to tell: [kek.Status].PrimaryVersion is "" and a KEK is no
// [kek.VersionTeller].
//
// # Errors
//
// Every error of a call matches one of package kek's classes and the SDK's own,
// for errors.As. By what KMS answered:
//
//   - [kek.ErrDenied]: the key is disabled, deleted, pending deletion or import, in
//     a key store that was disconnected, or taken away in an external key manager;
//     or permission is missing, or the access key is unknown, or STS refuses the
//     role.
//   - [kek.ErrCorrupt]: InvalidCiphertextException (also a wrong encryption
//     context) and IncorrectKeyException; an answer of another key, or of a wrong
//     length; wrapped bytes of no format of this driver, which make no call.
//   - [kek.ErrUnavailable]: all else. Throttling, expired credentials, a wrong
//     clock, 5xx, network, TLS, DNS, a CloudHSM cluster or external key store in
//     trouble, answers that aren't KMS's, credentials that can't be had, a ctx that
//     ended, a panic of a transport's or a provider's.
//
// KMSInvalidStateException alone is sorted by its text, since KMS uses it for
// custom key stores in every trouble; classify.go has the table, and what isn't
// in it is unavailable.
//
// AccessDeniedException may mean a permission that was taken away, or, in words
// about the ciphertext, that another key made it. In that case the driver asks by
// a dry run, which takes no other permission, whether the call is permitted with
// its own key. If KMS says so, the wrapped bytes are corrupt; if not, or if it
// can't be asked, it stays denied.
//
// Texts of errors never hold the key, wrapped bytes, grant tokens or values of
// four bytes or more of the key context, even if KMS repeats them as they are, or
// as Go or JSON write them. Of a long message the first 4 KiB are looked at and at
// most 1 KiB is quoted.
//
// # Limits
//
// Keys of 32 bytes. An encryption context of at most 8,192 bytes, as JSON; a
// larger one goes by its hash. Answers of at most 1 MiB. The driver makes no
// retries and sets no time limits of its own: the client's stand.
//
// Calls return when ctx ends, even if a provider of credentials doesn't heed it.
// What it is asked for then goes on in a goroutine of its own. While 64 calls of a
// KEK have been left so, further ones fail at once as unavailable.
package awskms
