// Package vault encrypts and stores sensitive data inside your Go process, on
// your own database, with your customers' own keys.
//
// A key context such as {"organization_id": "org_01"} says whose data it is.
// Each context has its own key, made when it is first used, wrapped under a
// key-encryption key (KEK) that never leaves its KMS, and cached. Every message
// is encrypted under a fresh key derived from it.
//
//	root, err := tinkkek.LoadOrCreate("root-keyset.json")
//	store, err := boltstore.Open("vault.db")
//	v, err := vault.New(vault.Config{KEK: root, Store: store})
//
//	org := vault.KeyContext{"organization_id": "org_01"}
//	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)            // bytes that you keep
//	plain, err := v.Decrypt(ctx, org, sealed, nil)
//	meta, err := v.Put(ctx, org, "stripe/api-key", []byte("sk_live_…"))  // bytes that the vault keeps
//	obj, err := v.Get(ctx, org, "stripe/api-key")
//
// # What to know
//
// The context is given with every call, and bound to the data: what was
// encrypted for one context can't be decrypted for another, by mistake or on
// purpose. [Vault.Scope] binds one context for a while.
//
// Errors are told apart with [errors.Is] and the Err… values of this package. A
// warm call asks neither the KMS nor the database. A KMS that can't be reached
// is survived for a time; one that refuses is obeyed within
// [CacheConfig.TTL].
//
// Losing the KEK loses everything that was ever wrapped under it. Losing the
// database's key records does the same for what was encrypted by reference to
// them: back up keys and data together.
//
// [Config].Authorizer decides who may do what, before any key is used: package access
// has one of rules, and docs/ACCESS.md the rest.
//
// # Formats
//
// Envelopes begin with the byte 0xE1 and are specified, with test vectors, in
// docs/SPEC.md. What one version writes every later one reads.
//
// # Cryptography
//
// AES-256-GCM with random nonces under a key derived for each message by
// HKDF-SHA256 from the context's key and a random 24-byte salt; all of it from
// the standard library, and usable under its FIPS 140-3 mode, also with
// GODEBUG=fips140=only. docs/THREATMODEL.md says what is defended against, and
// what is not.
package vault
