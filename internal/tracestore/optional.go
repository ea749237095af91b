package tracestore

import "github.com/embedvault/vault/storage"

// The optional interfaces of package storage, beside [storage.Store]. Go has no way
// to add a method to a value only if another has it, so that each combination is a
// type: with a new interface, add it here, and to optional, and double the cases.
// TestNoOptionalInterfaceIsForgotten fails until then.
type (
	withTx struct {
		*store
		storage.TxTeller // asks nobody: there is nothing to tell of
	}
)

// optional names the interfaces that withOptional hands on.
var optional = []string{"TxTeller"}

// withOptional returns s with the optional interfaces that to has.
func withOptional(s *store, to storage.Store) storage.Store {
	tx, tells := to.(storage.TxTeller)
	switch {
	case tells:
		return withTx{s, tx}
	}
	return s
}
