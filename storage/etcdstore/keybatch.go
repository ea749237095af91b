package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// maxKeysAtOnce is how many keys one transaction replaces: each takes up to
// three operations, if its parent changes.
const maxKeysAtOnce = maxOps / 3

var _ storage.KeyBatchUpdater = (*Store)(nil)

// UpdateKeys implements [storage.KeyBatchUpdater]: for every 42 keys, or fewer if
// they are large, three round trips, of which one is a transaction.
func (s *Store) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) []error {
	results, try := storage.PlanKeyUpdates(ctx, recs)
	for i, err := range results {
		if err != nil {
			results[i] = fmt.Errorf("etcdstore: update keys: %w", err)
		}
	}
	for len(try) > 0 {
		n, size := 0, 0
		for ; n < len(try) && n < maxKeysAtOnce; n++ {
			value, _ := storage.AppendKeyRecord(nil, recs[try[n]]) // an error comes again
			if size += len(value) + 1024; n > 0 && size > s.maxRequest/2 {
				break
			}
		}
		s.updateKeys(ctx, recs, try[:n], results)
		try = try[n:]
	}
	return results
}

// updateKeys does those with these indices in one transaction. If that is too
// large, or one of them can't be, each is tried by itself.
func (s *Store) updateKeys(ctx context.Context, recs []storage.KeyRecord, try []int, results []error) {
	_, err := s.update(ctx, "update keys", func(r *snap, _ bool) (*writes, error) {
		for _, i := range try {
			results[i] = nil // of a plan that came to nothing
		}
		return r.planKeys(recs, try, results)
	})
	switch {
	case err == nil:
	case len(try) > 1 && (errors.Is(err, storage.ErrTooLarge) || errors.Is(err, storage.ErrCorrupt)):
		for _, i := range try {
			results[i] = s.UpdateKey(ctx, recs[i])
		}
	default:
		storage.FailKeyUpdates(results, try, err)
	}
}

// planKeys plans to replace those whose guards hold, and sets the results of the
// others. A plan of nil is nothing to do.
func (r *snap) planKeys(recs []storage.KeyRecord, try []int, results []error) (*writes, error) {
	ids := make([]keyctx.KeyID, len(try))
	for n, i := range try {
		ids[n] = recs[i].KeyID
	}
	rows, err := r.keysByID(ids)
	if err != nil {
		return nil, err
	}
	w := newWrites()
	for n, i := range try {
		rec, k := recs[i], rows[n]
		switch {
		case k == nil:
			results[i] = fmt.Errorf("etcdstore: update key %s: %w", rec.KeyID.Short(), storage.ErrNotFound)
		case k.rec.Revision != rec.Revision:
			results[i] = fmt.Errorf("etcdstore: update key %s: %w: it is at revision %d, not %d", rec.KeyID.Short(), storage.ErrVersionConflict, k.rec.Revision, rec.Revision)
		default:
			if err := r.s.replaceKey(w, k, rec); err != nil {
				results[i] = fmt.Errorf("etcdstore: update key %s: %w", rec.KeyID.Short(), err)
			}
		}
	}
	if len(w.puts) == 0 {
		return nil, nil
	}
	return w, nil
}

// keysByID is keyByID for several; nil for those that aren't there.
func (r *snap) keysByID(ids []keyctx.KeyID) ([]*keyRow, error) {
	at := make([]string, len(ids))
	for i, id := range ids {
		at[i] = r.s.keyIDKey(id)
	}
	places, err := r.get(at...)
	if err != nil {
		return nil, err
	}
	var keys []string
	var of []int
	for i, e := range places {
		if e != nil {
			keys, of = append(keys, r.s.key(tagKey, string(e.Value))), append(of, i)
		}
	}
	rows := make([]*keyRow, len(ids))
	if len(keys) == 0 {
		return rows, nil
	}
	es, err := r.get(keys...)
	if err != nil {
		return nil, err
	}
	for n, i := range of {
		if es[n] == nil {
			return nil, fmt.Errorf("%w: the index has key %s where it isn't", storage.ErrCorrupt, ids[i].Short())
		}
		if rows[i], err = r.s.keyRow(es[n]); err != nil {
			return nil, err
		}
		if rows[i].rec.KeyID != ids[i] {
			return nil, fmt.Errorf("%w: the index has key %s where it isn't", storage.ErrCorrupt, ids[i].Short())
		}
	}
	return rows, nil
}
