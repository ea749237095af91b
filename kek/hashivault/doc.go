// Package hashivault makes KEKs of keys of HashiCorp Vault's transit secrets
// engine.
//
//	client, err := api.NewClient(api.DefaultConfig())
//	…
//	k, err := hashivault.New(ctx, client, "embedvault", hashivault.Options{Host: "vault.example.com"})
//
// The key never leaves Vault. The key must exist; nothing here creates one.
//
// # Derived keys and plain keys
//
// How a wrapped key is bound to its key context depends on the transit key, and
// can't be changed later:
//
//	vault write -f transit/keys/embedvault derived=true    # recommended
//	vault write -f transit/keys/embedvault                 # plain
//
// With a derived key the binding is the call's context, from which Vault derives
// the key that encrypts. Every version of Vault since 0.2 has it, and Vault can
// rewrap. With a plain key the binding is associated data. That needs Vault 1.13
// and costs New two calls to prove; Vault can't rewrap what has associated data,
// so Rewrap unwraps and wraps in this process.
//
// Either way Wrap makes a second call, to see that what it got is bound, and
// Rewrap does too. With a derived key it reads the key again, since one that was
// deleted and made anew without derivation would ignore the context. With a plain
// key it decrypts what it got, with its associated data and with other, which must
// fail: after New a node of an older Vault may have come to answer. In the audit
// log that is an entry of decrypt with two items.
//
// # Policy
//
// What the token needs, and no more. "update" without "create" is enough, and
// even a token that may create makes no key through this package: encrypting
// always says that the key must exist.
//
//	path "transit/keys/embedvault"    { capabilities = ["read"] }
//	path "transit/encrypt/embedvault" { capabilities = ["update"] }
//	path "transit/decrypt/embedvault" { capabilities = ["update"] }
//	path "transit/rewrap/embedvault"  { capabilities = ["update"] }  # derived keys
//
// A process that only reads needs no "encrypt" and no "rewrap" with a derived
// key; with a plain one New needs encrypt and decrypt.
//
// # Formats
//
// The wrapped bytes are 65:
//
//	u8 0x01 ‖ u32 key version ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)    derived
//	u8 0x02 ‖ u32 key version ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)    plain
//
// which is Vault's "vault:v<key version>:<base64>" without its text. A KEK
// unwraps the format of its own key only: no other can be of that key. No option
// changes the format.
//
// The URI is
//
//	hashivault://<host>[/ns=<element>]…/<mount>/keys/<name>
//
// with the client's namespace, element by element, if it has one. The host is
// that of the client's address unless [Options.Host] says otherwise, which it must
// for an address with a path and for a Unix socket. It is a
// name and no address: calls go where the client goes. The names of keys, the
// elements of mounts and namespaces are of A-Z a-z 0-9 _ . - without "..", and
// start and end with a letter, a digit or "_"; others are refused. A namespace
// is the client's when New is called (SetNamespace), without slashes at its ends,
// not written into the mount. What becomes of the client's later is not heeded.
//
// # What is checked, and what isn't
//
// New refuses keys that are convergent, or of types that can't be bound. It does
// not refuse a key that is exportable or has allow_plaintext_backup, which
// somebody can set at any time and never take back: whoever has the right to
// export such a key can unwrap without Vault from then on. Grant nobody that
// right, or check for it in your own audit.
//
// Unwrap alone doesn't look whether the key is still the one of New. If a derived
// key was made anew as a plain one, that key's ciphertexts, with the format 0x01
// put before them, unwrap with any binding. Nothing that was wrapped before is
// affected, nothing is wrapped or rewrapped so, and a vault sees by the key ID that
// a key is of another context. Check says it.
//
// # Errors
//
// Denied: no permission (403), no such key or mount, a version below
// min_decryption_version, a key that was made anew as another kind. Corrupt: not
// wrapped by this key with this binding; answers that can't be right.
// Unavailable: everything else: an expired or revoked token, a sealed or standby
// server, rate limits, 5xx, network, TLS, answers that aren't Vault's.
//
// Vault answers 403 both to a token that has no permission and to one that has
// expired. So after a 403 the driver asks about the token that was refused
// (auth/token/lookup-self): if it is not valid, the error is unavailable, since
// that says nothing about the key. Without an answer to that the words of the 403
// decide. A customer who revokes access does it by policy or at the key, therefore;
// taking away the token, or disabling its identity entity, looks like an outage,
// which the vault bridges for as long as it is told to.
//
// A version that the server doesn't know yet is corrupt, too. A performance standby
// that lags behind a rotation says so of what was wrapped a moment ago; a damaged
// version looks the same.
//
// Errors say in words of their own what Vault said, if it is something that they
// know, and repeat nothing of an answer otherwise. The SDK's own error is wrapped:
// errors.As finds *api.ResponseError, with the first 4 KiB of the server's words.
//
// # Copies in memory
//
// A key is base64 text in JSON on its way, in strings and buffers of the SDK's
// that can't be zeroed.
package hashivault
