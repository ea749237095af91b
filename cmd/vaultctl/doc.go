// Vaultctl is the operator's tool for EmbedVault: it looks at and looks after the keys,
// the objects and the store of a vault.
//
//	cd cmd/vaultctl && GOWORK=off go install .
//	vaultctl help
//
// README.md beside this file has an example of each command, and docs/OPERATIONS.md,
// "Walk-throughs", what they are good for together.
package main
