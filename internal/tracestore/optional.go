package tracestore

import (
	"context"
	"errors"

	"github.com/embedvault/vault/storage"
)

// The optional interfaces of package storage, beside [storage.Store]. Go has no way
// to add a method to a value only if another has it, so that each combination is a
// type: with a new interface, add it here, and to optional, and double the cases.
// TestNoOptionalInterfaceIsForgotten fails until then.
type (
	withTx struct {
		*store
		storage.TxTeller // asks nobody: there is nothing to tell of
	}
	withBatch struct {
		*store
		batch
	}
	withTxAndBatch struct {
		*store
		storage.TxTeller
		batch
	}
)

// optional names the interfaces that withOptional hands on.
var optional = []string{"TxTeller", "KeyBatchUpdater"}

// withOptional returns s with the optional interfaces that to has.
func withOptional(s *store, to storage.Store) storage.Store {
	tx, tells := to.(storage.TxTeller)
	many, updates := to.(storage.KeyBatchUpdater)
	switch {
	case tells && updates:
		return withTxAndBatch{s, tx, batch{s, many}}
	case tells:
		return withTx{s, tx}
	case updates:
		return withBatch{s, batch{s, many}}
	}
	return s
}

// batch is the one method that [storage.KeyBatchUpdater] adds.
type batch struct {
	tells *store
	many  storage.KeyBatchUpdater
}

// UpdateKeys is told of as one call: as failed with what went wrong, if anything did.
// A record whose guard doesn't hold is an answer.
func (b batch) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) (results []error) {
	var err error
	defer b.tells.call(&ctx, "UpdateKeys")(&err)
	results = b.many.UpdateKeys(ctx, recs)
	var failed []error
	for _, r := range results {
		if r != nil && !errors.Is(r, storage.ErrVersionConflict) && !errors.Is(r, storage.ErrNotFound) {
			failed = append(failed, r)
		}
	}
	err = errors.Join(failed...)
	return results
}
