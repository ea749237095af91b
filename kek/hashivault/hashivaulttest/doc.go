// Package hashivaulttest is a small server that speaks as much of HashiCorp
// Vault's API as the driver hashivault and its tests need: the transit secrets
// engine with real cryptography, tokens, policies, namespaces, sealing, and
// failures on demand.
//
//	srv := hashivaulttest.New(t)
//	srv.CreateKey("root", hashivaulttest.KeyOptions{Derived: true})
//	srv.SetPolicy("app", hashivaulttest.KeyPolicy("transit", "root"))
//	client := srv.Client(srv.CreateToken(time.Hour, "app"))
//
// It is ours, not HashiCorp's, and no substitute for a Vault: nothing is stored,
// nothing is protected, and everything that a driver doesn't need is missing.
// What it does answer has the status codes and the texts of Vault 1.13.1; the
// module integration/ of this repository makes the same calls to both servers
// and compares the answers. Namespaces are those of Vault Enterprise, which
// there was nothing to compare with. Keys of type chacha20-poly1305 are missing
// too, since Go's standard library has no such cipher.
package hashivaulttest
