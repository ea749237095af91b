package storage

import (
	"context"
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// CountChildren returns how many keys of this namespace are wrapped under the key
// parent, as their records say, and stops counting at limit if that isn't 0. A key
// that was shredded counts no more.
//
// A parent's key must not be deleted or shredded for being old while there are any.
// The answer holds for new keys only if parent has been superseded for longer than
// every process's ActiveKeyTTL and one load of a key, since a process that hasn't
// noticed still wraps under it.
//
// It reads the children's records in pages: what it costs grows with their number.
// Errors are the store's.
func CountChildren(ctx context.Context, s KeyStore, namespace string, parent keyctx.KeyID, limit int64) (int64, error) {
	if parent.IsZero() { // would select every key
		return 0, fmt.Errorf("storage: count children: %w: there is no key with the ID zero", ErrNotFound)
	}
	q := KeyQuery{Contexts: ContextFilter{All: true, Namespace: namespace}, ParentID: parent, Limit: maxLimit}
	var n int64
	for {
		page, err := s.ListKeys(ctx, q)
		if err != nil {
			return n, fmt.Errorf("storage: count the children of key %s: %w", parent.Short(), err)
		}
		for _, rec := range page.Keys {
			if rec.State != StateShredded {
				n++
			}
			if limit > 0 && n >= limit {
				return n, nil
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return n, nil
		}
	}
}
