package memstore

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/storage"
)

var _ storage.KeyBatchUpdater = (*Store)(nil)

// UpdateKeys implements [storage.KeyBatchUpdater]: every record is an UpdateKey of
// its own to the hooks and the counters.
func (s *Store) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) []error {
	results, try := storage.PlanKeyUpdates(ctx, recs)
	for i, err := range results {
		if err != nil {
			results[i] = fmt.Errorf("memstore: update keys: %w", err)
		}
	}
	for _, i := range try {
		results[i] = s.UpdateKey(ctx, recs[i])
	}
	return results
}
