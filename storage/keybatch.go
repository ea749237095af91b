package storage

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
)

// MaxKeyUpdates is how many records [KeyBatchUpdater.UpdateKeys] takes at most.
const MaxKeyUpdates = 500

// KeyBatchUpdater is a [KeyStore] that changes many keys in one go, for about the
// price of changing one. Optional: a rewrap of many keys uses it where it is
// there. A store that wraps another one, and has its own UpdateKey, must have its
// own UpdateKeys too, or not show the other one's.
type KeyBatchUpdater interface {
	KeyStore

	// UpdateKeys is UpdateKey of each record, all in one transaction or in as few
	// as the database allows. There is one result for each record, in their
	// order, and each must be what UpdateKey would have returned: nil for a record
	// that was replaced, durably; ErrVersionConflict or ErrNotFound for one that
	// was not. A record that is refused, or whose guard doesn't hold, must be no
	// other's failure, and must not keep the others from being written. Each
	// record is replaced wholly or not at all; of several, any may be written
	// where the process or the database dies in the middle. A result that matches
	// neither of the two leaves open whether that record was written.
	//
	// Of records with the same key ID only the first is tried: the others get
	// ErrVersionConflict. With more than [MaxKeyUpdates] records all are refused.
	// Two calls with the same records in any order must not lock each other out
	// for good. The contract of [Store] holds for it in all else: it takes part in
	// no transaction of the caller's, and a ctx that ended before the call writes
	// nothing.
	UpdateKeys(ctx context.Context, recs []KeyRecord) []error
}

// PlanKeyUpdates is for drivers: it returns the results of
// [KeyBatchUpdater.UpdateKeys] as far as they are clear without a look at the
// database, and the indices of the records that are to be tried, by key ID, which
// is the order in which to lock their rows.
func PlanKeyUpdates(ctx context.Context, recs []KeyRecord) (results []error, try []int) {
	results = make([]error, len(recs))
	if err := ctx.Err(); err != nil {
		return FailKeyUpdates(results, nil, err), nil
	}
	if len(recs) > MaxKeyUpdates {
		err := fmt.Errorf("%d keys at once, at most %d are taken", len(recs), MaxKeyUpdates)
		return FailKeyUpdates(results, nil, err), nil
	}
	seen := make(map[keyctx.KeyID]bool, len(recs))
	for i := range recs {
		id := recs[i].KeyID
		switch err := recs[i].Validate(); {
		case err != nil:
			results[i] = err
		case seen[id]:
			results[i] = fmt.Errorf("key %s: %w: it is there twice", id.Short(), ErrVersionConflict)
		default:
			seen[id] = true
			try = append(try, i)
		}
	}
	slices.SortFunc(try, func(a, b int) int { return bytes.Compare(recs[a].KeyID[:], recs[b].KeyID[:]) })
	return results, try
}

// FailKeyUpdates is for drivers: it gives the results with these indices, or all
// that are open if there are none, the same error.
func FailKeyUpdates(results []error, at []int, err error) []error {
	if at == nil {
		for i := range results {
			if results[i] == nil {
				results[i] = err
			}
		}
	}
	for _, i := range at {
		results[i] = err
	}
	return results
}
