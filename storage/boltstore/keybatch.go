package boltstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/storage"
)

var _ storage.KeyBatchUpdater = (*Store)(nil)

// UpdateKeys implements [storage.KeyBatchUpdater]: all in one transaction. If that
// meets a damaged page each is tried by itself, so that only what is on it fails.
func (s *Store) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) []error {
	results, try := storage.PlanKeyUpdates(ctx, recs)
	for i, err := range results {
		if err != nil {
			results[i] = fmt.Errorf("boltstore: update keys: %w", err)
		}
	}
	if len(try) == 0 {
		return results
	}
	size := 0
	for _, i := range try {
		size += sizeOfKey(&recs[i])
	}
	err := s.update(ctx, "update keys", size, func(t *tx) error { return t.updateKeys(recs, results, try) })
	switch {
	case err == nil:
	case len(try) > 1 && errors.Is(err, storage.ErrCorrupt) && s.usable() == nil:
		for _, i := range try {
			results[i] = s.UpdateKey(ctx, recs[i])
		}
	default:
		storage.FailKeyUpdates(results, try, err)
	}
	return results
}

// updateKeys replaces those of the records whose guards hold. Its error is that of
// a record that fails too late, and everybody's.
func (t *tx) updateKeys(recs []storage.KeyRecord, results []error, try []int) error {
	var plans []keyUpdate
	for _, i := range try {
		u, err := t.planKey(recs[i])
		if results[i] = nil; err != nil {
			results[i] = fmt.Errorf("boltstore: update keys: %w", err)
			continue
		}
		plans = append(plans, u)
	}
	for _, u := range plans {
		if err := t.replaceKey(u); err != nil {
			return err
		}
	}
	return nil
}

// sizeOfKey is how many bytes a record takes, about.
func sizeOfKey(r *storage.KeyRecord) int {
	n := 256
	for _, w := range r.Wrappings {
		n += len(w.URI) + len(w.Wrapped)
	}
	for _, p := range r.Previous {
		for _, w := range p.Wrappings {
			n += len(w.URI) + len(w.Wrapped)
		}
	}
	return n
}
