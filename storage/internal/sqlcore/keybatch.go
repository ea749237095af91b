package sqlcore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// What one transaction of UpdateKeys takes: rows are locked for as long as it
// lasts, and in MySQL each is a round trip.
const (
	maxSwap      = storage.MaxKeyUpdates
	maxSwapMySQL = 100
	maxSwapBytes = 4 << 20 // of wrappings, or one record that is larger
)

var _ storage.KeyBatchUpdater = (*Store)(nil)

// UpdateKeys implements [storage.KeyBatchUpdater]: in PostgreSQL with one
// statement; elsewhere with one transaction, or several of a hundred keys.
func (s *Store) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) []error {
	results, try := storage.PlanKeyUpdates(ctx, recs)
	for i, err := range results {
		if err != nil {
			results[i] = s.fail(ctx, "update keys", err)
		}
	}
	swaps := s.swapsOf(ctx, recs, try, results)
	for len(swaps) > 0 {
		var now []swapOne
		if now, swaps = s.nextSwaps(swaps); s.swapNow(ctx, now, results) != nil {
			break
		}
	}
	for _, left := range swaps {
		if results[left.at] == nil {
			results[left.at] = s.fail(ctx, "update keys", errors.New("not tried, after the failure of others"))
		}
	}
	return results
}

// swapOne is one record to be replaced.
type swapOne struct {
	at   int // its place
	rec  *storage.KeyRecord
	args []any // of updateKey
}

// swapsOf encodes the records; the results of those that can't be are set.
func (s *Store) swapsOf(ctx context.Context, recs []storage.KeyRecord, try []int, results []error) (swaps []swapOne) {
	for _, i := range try {
		args, err := s.keyArgs(&recs[i])
		if err != nil {
			results[i] = s.fail(ctx, "update keys", err)
			continue
		}
		swaps = append(swaps, swapOne{i, &recs[i], swapArgs(&recs[i], args)})
	}
	return swaps
}

// nextSwaps takes off what fits into one transaction.
func (s *Store) nextSwaps(swaps []swapOne) (now, later []swapOne) {
	most, size := maxSwap, 0
	if s.lang.Dialect == MySQL {
		most = maxSwapMySQL
	}
	n := 0
	for ; n < len(swaps) && n < most; n++ {
		if size += len(swaps[n].args[4].([]byte)); n > 0 && size > maxSwapBytes {
			break
		}
	}
	return swaps[:n], swaps[n:]
}

// swapNow does them in one transaction and sets their results. Its error is also
// the result of all of them.
func (s *Store) swapNow(ctx context.Context, swaps []swapOne, results []error) error {
	outcome := make([]error, len(swaps))
	err := s.keys(ctx, "update keys", true, func(q Session) error {
		clear(outcome) // of an attempt that came to nothing
		if s.lang.Dialect == PostgreSQL {
			return s.swapPostgres(ctx, q, swaps, outcome)
		}
		return s.inTx(ctx, q, func(q Querier) error { return s.swapEach(ctx, q, swaps, outcome) })
	})
	for i, sw := range swaps {
		switch {
		case err != nil:
			results[sw.at] = err
		case outcome[i] != nil:
			results[sw.at] = s.fail(ctx, "update key "+sw.rec.KeyID.Short(), outcome[i])
		}
	}
	return err
}

// swapEach does one after the other, in a transaction.
func (s *Store) swapEach(ctx context.Context, q Querier, swaps []swapOne, outcome []error) error {
	for i, sw := range swaps {
		err := s.swap(ctx, q, s.st.updateKey, s.st.keyRevision, sw.args, sw.rec.KeyID[:], sw.rec.Revision)
		switch {
		case errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrVersionConflict):
			outcome[i] = err
		case err != nil:
			return err
		}
	}
	return nil
}

// updateKeysPostgres replaces the records of several lists whose guards hold. It
// locks the rows first, in the order of the key IDs: an UPDATE takes them in any
// order, and two that have rows in common would wait for each other. What was
// committed since the statement began is not in what it reads, but in what it
// compares the revision with: that of the row as it is once it is locked.
const updateKeysPostgres = `WITH locked AS MATERIALIZED (
	SELECT key_id FROM {keys} WHERE key_id = ANY({0 blobs}) ORDER BY key_id FOR UPDATE
)
UPDATE {keys} k SET state = u.state, state_before = u.state_before, wrappings = u.wrappings, parent_id = u.parent_id,
	state_changed_at = u.state_changed_at, rewrapped_at = u.rewrapped_at, revision = k.revision + 1
FROM unnest({0 blobs}, {1 ints}, {2 ints}, {3 ints}, {4 blobs}, {5 blobs}, {6 times}, {7 times})
	AS u (key_id, revision, state, state_before, wrappings, parent_id, state_changed_at, rewrapped_at)
WHERE k.key_id = u.key_id AND k.revision = u.revision AND k.key_id IN (SELECT key_id FROM locked)
RETURNING k.key_id`

// swapPostgres does all with one statement. A look says why some were not done.
func (s *Store) swapPostgres(ctx context.Context, q Session, swaps []swapOne, outcome []error) error {
	lists := make([]any, len(swaps[0].args))
	for i := range lists {
		lists[i] = anyList(swaps, i)
	}
	done := make(map[keyctx.KeyID]bool, len(swaps))
	err := s.st.updateKeys.query(ctx, q, func(scan func(...any) error) error {
		var id []byte
		err := scan(&id)
		if err == nil && len(id) == len(keyctx.KeyID{}) {
			done[keyctx.KeyID(id)] = true
		}
		return err
	}, lists...)
	if err != nil || len(done) == len(swaps) {
		return err
	}
	return s.whyNot(ctx, q, swaps, done, outcome)
}

// whyNot sets the outcome of those that were not done. Those that were are
// committed: if they can't be told apart, the others' outcome is the error.
func (s *Store) whyNot(ctx context.Context, q Session, swaps []swapOne, done map[keyctx.KeyID]bool, outcome []error) error {
	var ids [][]byte
	for _, sw := range swaps {
		if !done[sw.rec.KeyID] {
			ids = append(ids, sw.rec.KeyID[:])
		}
	}
	at := map[keyctx.KeyID]int64{}
	err := s.st.keyRevisions.query(ctx, q, func(scan func(...any) error) error {
		var id []byte
		var revision int64
		err := scan(&id, &revision)
		if err == nil && len(id) == len(keyctx.KeyID{}) {
			at[keyctx.KeyID(id)] = revision
		}
		return err
	}, blobList(ids))
	for i, sw := range swaps {
		if done[sw.rec.KeyID] {
			continue
		}
		revision, there := at[sw.rec.KeyID]
		switch {
		case err != nil:
			outcome[i] = fmt.Errorf("it wasn't replaced, and why can't be told: %w", err)
		case !there:
			outcome[i] = storage.ErrNotFound
		default:
			outcome[i] = fmt.Errorf("%w: it is at revision %d, not %d", storage.ErrVersionConflict, revision, sw.rec.Revision)
		}
	}
	return nil
}

// anyList is an array literal of PostgreSQL's of all the records' parameters with
// this index.
func anyList(swaps []swapOne, index int) string {
	b := []byte{'{'}
	for i, sw := range swaps {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := sw.args[index].(type) {
		case nil:
			b = append(b, "NULL"...)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case []byte:
			b = append(b, `"\\x`...)
			b = hex.AppendEncode(b, v)
			b = append(b, '"')
		case time.Time:
			b = append(b, '"')
			b = v.UTC().AppendFormat(b, "2006-01-02T15:04:05.999999Z")
			b = append(b, '"')
		}
	}
	return string(append(b, '}'))
}
