// Package azurekvtest is a Key Vault for tests: an HTTPS server on loopback that
// Microsoft's own client (azkeys) talks to, with real cryptography behind it.
//
//	srv := azurekvtest.New(t)
//	key, err := srv.CreateKey("https://contoso.vault.azure.net/keys/vault-root", azurekvtest.RSA2048)
//	client, err := srv.Client("contoso.vault.azure.net")
//
// It is this project's and not Microsoft's, and knows no more than this project
// does: keys with versions, wrapKey, unwrapKey, sign, get, list versions, the
// rotation policy, permissions, and the challenge by which Key Vault asks for a
// token. Status codes, error codes and forms come from Microsoft's
// documentation, SDK and recorded traffic; each has its source in a comment. Where
// none was to be had the comment says so. Its messages are nobody's promise.
//
// Names are as in the cloud: the client that [Server.Client] returns dials the
// server whatever the vault's host name is, and trusts its certificate and no
// other. So nothing is to be switched off in what is tested.
//
// A server can be told to misbehave: see [Fault].
package azurekvtest
