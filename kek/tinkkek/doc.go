// Package tinkkek makes KEKs of Tink: a keyset in a file, a keyset handle, any
// [tink.AEAD], and any key of a [registry.KMSClient], so that every KMS that
// Tink has an integration for can be a KEK.
//
//	root, err := tinkkek.LoadOrCreate("root-keyset.json")
//
// # What a keyset file protects against
//
// Without [Options.Encryption] the file holds the key in the clear, readable by
// its owner alone. It protects the data of a stolen database, database backup
// or replica, as long as the file is not with it.
//
// It does not protect against whoever reads the file: root on that machine,
// anyone who runs code as the same user, a backup, snapshot or image of the disk
// that the file is on, a container image that it was built into, a repository
// that it was committed to. It can't be revoked: whoever has copied it once
// reads what was and will be wrapped with it.
//
// To do better: keep the file on another volume than the database, and out of
// the database's backups, with a backup of its own (whoever loses the file loses
// the data); encrypt it with a key that is kept elsewhere (Options.Encryption);
// or let a KMS be the KEK, by [FromKMSClient] or one of the drivers beside this
// package. Then keys never leave the KMS, every use can be logged, and access
// can be revoked.
//
// # In production
//
// LoadOrCreate makes a new keyset where there is none. That is convenient on
// the first start and wrong on every later one: if the file was lost, or a
// volume isn't mounted, a new key reads nothing of what is there. Use [Load]
// where a keyset must exist.
//
// # Formats
//
// The wrapped bytes are
//
//	u8 0x01 ‖ Tink ciphertext
//
// whose associated data is the binding's bytes ([kek.Binding.AppendBytes]). URIs
// are "tink-keyset:" + [Options.Name] for keysets, and "tink+" + the key's own
// URI for AEADs and KMS clients.
//
// A keyset file is Tink's own JSON, in the clear or encrypted, so that Tink's
// tools read it. New keys are of type AES256_CTR_HMAC_SHA256, which also works
// under GODEBUG=fips140=only; Tink's AES-GCM doesn't.
package tinkkek
