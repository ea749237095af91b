// Package access is a small rule-based authorizer for package vault: which actors, by
// name or by attribute, may do which operations on which key contexts and objects.
//
//	rules, err := access.ParseRules(file)
//	v, err := vault.New(vault.Config{…, Authorizer: rules})
//
// What no rule allows is denied, and a rule that denies beats all that allow. Each rule
// says what it is about in so many words: a condition that is missing never makes a
// rule wider by itself. docs/ACCESS.md has a walk-through.
//
// It decides from memory; nothing in it does I/O.
package access
