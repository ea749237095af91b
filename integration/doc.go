// Package integration holds tests against servers that are too large to be a
// dependency of anything that users import: HashiCorp Vault itself, in process.
// The module recorded below it has the recorded answers of AWS, Google and
// Microsoft; it is a module of its own since Vault 1.13 and Google's current SDK
// don't go into one.
package integration
