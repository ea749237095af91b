// Package azurekv makes KEKs of keys in Azure Key Vault and Azure Managed HSM.
//
//	client, err := azkeys.NewClient("https://contoso.vault.azure.net", credential, nil)
//	root, err := azurekv.New(ctx, client, "https://contoso.vault.azure.net/keys/vault-root", azurekv.Options{
//		SigningKey:    "https://contoso.vault.azure.net/keys/vault-sign/0123456789abcdef0123456789abcdef",
//		VerifyingKeys: pinned,
//	})
//
// The client is the caller's: its credential, retries, proxies and cloud stay as
// they are. docs/providers/azure-key-vault.md takes you from nothing to a
// working key.
//
// # What is done with a key
//
// An RSA key of 2048, 3072 or 4096 bits wraps with RSA-OAEP-256, an oct-HSM key
// of 256 bits (Managed HSM alone has those) with A256KW. The key's newest
// version wraps; its ID is written into the wrapped bytes, and exactly that
// version unwraps them.
//
// Key Vault takes no associated data with these algorithms, and whoever has the
// public key of an RSA key can wrap under it. So what an RSA key wrapped is
// signed, with a second key, and the signature over the wrapped bytes and their
// binding is verified in this process, against the keys of
// [Options.VerifyingKeys], before Key Vault is asked to unwrap anything.
// [Options.InsecureUnsigned] goes without. A256KW needs no signature: nobody
// outside the HSM has that key.
//
// # Formats
//
// The first byte says which. Lengths are exact and nothing may follow.
//
//	signed RSA      0x01 ‖ version (16) ‖ SHA-256 of the wrapping key (32)
//	                ‖ SHA-256 of the signing key (32) ‖ u16 n ‖ RSA-OAEP-256 ciphertext (n)
//	                ‖ PS256 signature
//	unsigned RSA    0x02 ‖ version (16) ‖ RSA-OAEP-256 ciphertext
//	symmetric       0x03 ‖ version (16) ‖ A256KW ciphertext (88)
//
// A version is the 32 hexadecimal digits of Key Vault's, as 16 bytes. The hash of
// a key is that of its SubjectPublicKeyInfo in DER. What is encrypted:
//
//	0x01    key (32)
//	0x02    key (32) ‖ SHA-256(binding) (32)
//	0x03    random (16) ‖ key (32) ‖ SHA-256(binding) (32)
//
// What is signed, through SHA-256, with PS256 (salt of 32 bytes, MGF1 with
// SHA-256):
//
//	"vault/v1/azure-sig" ‖ binding ‖ SHA-256 of the wrapping key
//	‖ SHA-256 of the signing key ‖ all of the wrapped bytes before the signature
//
// A reader takes each format that it can verify, whatever its options are for
// writing: 0x01 if the key that signed is pinned, 0x03 always. 0x02 is the
// exception: without InsecureUnsigned it is refused, or a forger would choose it.
// So a process that only reads needs the verifying keys and no signing key; and
// should a key's newest version be of a type that can't wrap as the options say,
// all that was wrapped before is still read, and wrapping is denied.
//
// # Least privilege
//
// As a custom role in Azure RBAC (dataActions), on the wrapping key:
//
//	Microsoft.KeyVault/vaults/keys/read
//	Microsoft.KeyVault/vaults/keys/wrap/action
//	Microsoft.KeyVault/vaults/keys/unwrap/action
//
// which the built-in role "Key Vault Crypto Service Encryption User" has; and on
// the signing key:
//
//	Microsoft.KeyVault/vaults/keys/read
//	Microsoft.KeyVault/vaults/keys/sign/action
//
// A reader needs read and unwrap on the wrapping key and nothing on the other. In
// the older access policies: get, wrapKey, unwrapKey; get, sign. In a
// Managed HSM: the role "Managed HSM Crypto Service Encryption User" at /keys/name.
// Permission to read the rotation policy is optional: [KEK.Check] then tells
// whether the key rotates by itself.
//
// # A customer's key
//
// The customer makes the wrapping key in a vault of theirs and grants the role
// to the service principal that your multi-tenant application has in their
// tenant. The signing key stays in your own vault ([Options.SigningClient]): it
// says that you wrapped it, which is not the customer's to say. The customer revokes by
// disabling the key, removing the role or deleting the service principal.
//
// Their log (AuditEvent) shows KeyWrap, KeyUnwrap and KeyGet with the time, the key and
// its version, and the identity and address of the caller. It does not show
// for which tenant or record: Key Vault has no field for that.
//
// # Limits
//
// Key Vault sees the keys that it wraps and unwraps, and the SDK leaves copies
// of them in memory that nobody can zero. Key Vault has no call that rewraps, so
// Rewrap unwraps and wraps in this process.
//
// Key Vault is reported to let a disabled key wrap, though not unwrap or sign
// (https://github.com/Azure/azure-sdk-for-python/issues/45342). Rewrap therefore
// unwraps what it made with another version than before.
//
// The SDK reads an answer whole, however long it is. Only what has the vault's
// certificate can send one, so it takes the vault itself or a proxy that you
// trust; where that is too much, give the client a Transport that limits bodies.
//
// A call ends with its context even if the client's credential does not heed it.
// What such a credential holds up, one goroutine for each call, stays until it
// returns.
//
// Key Vault is documented to let an expired or not yet valid key unwrap (not wrap or sign): to
// revoke, disable the key or take the permission away; an expiry date does not.
//
// # Errors
//
// Errors of [New] match [ErrOptions], or are sorted like all others: exactly one
// of kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt. An answer counts as Key
// Vault's if it is to a request about the key and has a code in the form of Key
// Vault's; any other says nothing about the key. The SDK's own error is wrapped
// (errors.As finds *azcore.ResponseError); its text is not repeated, since it has
// the whole response in it. Of a credential's error the text has the type and Entra
// ID's codes.
package azurekv
