package storagetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// updateKeys calls UpdateKeys, and wants a result for each record; ok is false if
// the store doesn't have it: then there is nothing to check.
func (e *env) updateKeys(ctx context.Context, s storage.Store, recs ...storage.KeyRecord) (results []error, ok bool) {
	b, ok := s.(storage.KeyBatchUpdater)
	if !ok {
		return nil, false
	}
	results = b.UpdateKeys(ctx, recs)
	if len(results) != len(recs) {
		e.fatalf("UpdateKeys gave %d results for %d records", len(results), len(recs))
	}
	return results, true
}

// rewrapped is a record as a rewrap would change it.
func rewrapped(r storage.KeyRecord, i int) storage.KeyRecord {
	r = r.Clone()
	r.Quorum = keyctx.AnyOf
	r.Wrappings = []keyctx.Wrapping{{URI: fmt.Sprint("kms://new/", i), Wrapped: randomBytes(100 + i)}}
	r.RewrappedAt = base.Add(time.Duration(i) * time.Microsecond)
	return r
}

// checkKeyBatch has records of every outcome in one call.
func checkKeyBatch(e *env) {
	var was []storage.KeyRecord
	for i := range 8 {
		was = append(was, e.insert(key(tenant("", i), keyctx.PurposeData, 1)))
	}
	bystander := e.insert(key(tenant("", 1), keyctx.PurposeData, 2))
	next := make([]storage.KeyRecord, len(was))
	for i, r := range was {
		next[i] = rewrapped(r, i)
	}
	wide := wideKey(tenant("", 0))
	next[0].State, next[0].StateBefore, next[0].Previous = wide.State, wide.StateBefore, wide.Previous
	next[0].Quorum, next[0].Wrappings, next[0].ParentID, next[0].StateChangedAt = wide.Quorum, wide.Wrappings, wide.ParentID, base.Add(-time.Hour)
	next[1].Revision = 2 // ahead
	next[2].Revision = 0
	next[3] = rewrapped(key(tenant("", 99), keyctx.PurposeData, 1), 3)
	next[4].State, next[4].Quorum, next[4].Wrappings, next[4].RewrappedAt = storage.StateShredded, 0, nil, time.Time{}
	next[5].Wrappings[0].Wrapped = nil
	again := rewrapped(was[6], 60)
	results, ok := e.updateKeys(e.ctx, e.s, append(slices.Clone(next), again)...)
	if !ok {
		return
	}
	for i, want := range map[int]error{1: storage.ErrVersionConflict, 2: storage.ErrVersionConflict, 3: storage.ErrNotFound, 8: storage.ErrVersionConflict} {
		e.is(results[i], want)
	}
	e.refused(results[5])
	for _, i := range []int{0, 4, 6, 7} {
		e.ok(results[i])
		next[i].Revision = 2
		e.sameKey(e.getKey(was[i].KeyID), next[i])
	}
	for _, i := range []int{1, 2, 5} {
		e.sameKey(e.getKey(was[i].KeyID), was[i])
	}
	_, err := e.s.GetKey(e.ctx, next[3].KeyID)
	e.is(err, storage.ErrNotFound)
	e.sameKey(e.getKey(bystander.KeyID), bystander)
	e.wantKeys(storage.KeyQuery{ParentID: wide.ParentID, Contexts: everything}, next[0])

	// A parent that goes, and what never changes.
	next[0].ParentID = keyctx.KeyID{}
	next[0].CreatedAt = base.Add(time.Hour)
	results, _ = e.updateKeys(e.ctx, e.s, next[0], was[7])
	e.is(results[1], storage.ErrVersionConflict)
	if got := e.getKey(was[0].KeyID); !got.CreatedAt.Equal(was[0].CreatedAt) || results[0] == nil && (!got.ParentID.IsZero() || got.Revision != 3) {
		e.errorf("after the second update: created at %v, parent %v, revision %d", got.CreatedAt, got.ParentID, got.Revision)
	}
	if results[0] == nil {
		e.wantKeys(storage.KeyQuery{ParentID: wide.ParentID, Contexts: everything})
	}
}

func checkKeyBatchRefused(e *env) {
	was := e.insert(key(tenant("", 1), keyctx.PurposeData, 1))
	results, ok := e.updateKeys(e.ctx, e.s)
	if !ok {
		return
	}
	if len(results) > 0 {
		e.errorf("no records gave %d results", len(results))
	}
	many := make([]storage.KeyRecord, storage.MaxKeyUpdates+1)
	for i := range many {
		many[i] = rewrapped(key(tenant("", i+10), keyctx.PurposeData, 1), 1)
	}
	many[0] = rewrapped(was, 1)
	results, _ = e.updateKeys(e.ctx, e.s, many...)
	for _, err := range results {
		e.refused(err)
	}
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	results, _ = e.updateKeys(ended, e.s, rewrapped(was, 1))
	e.is(results[0], context.Canceled)
	e.sameKey(e.getKey(was.KeyID), was)
}

// checkKeyBatchFull wants as many as may be, some of them not small, in one call.
func checkKeyBatchFull(e *env) {
	if _, ok := e.s.(storage.KeyBatchUpdater); !ok {
		return
	}
	next := make([]storage.KeyRecord, storage.MaxKeyUpdates)
	for i := range next {
		next[i] = rewrapped(e.insert(key(tenant("", i%50), keyctx.PurposeData, uint32(1+i/50))), i)
		if i%25 == 0 {
			next[i].Wrappings[0].Wrapped = randomBytes(keyctx.MaxWrappedLen)
		}
		if i%3 == 0 {
			next[i].ParentID = randomKeyID()
		}
	}
	results, _ := e.updateKeys(e.ctx, e.s, next...)
	for i, err := range results {
		e.ok(err)
		next[i].Revision = 2
		e.sameKey(e.getKey(next[i].KeyID), next[i])
	}
}

// checkKeyBatchRace has many calls with the same records, each in another order:
// of each record one wins, no call waits for ever, and what is stored is the
// winner's.
func checkKeyBatchRace(e *env) {
	if _, ok := e.s.(storage.KeyBatchUpdater); !ok {
		return
	}
	const writers, records = 12, 40
	was := make([]storage.KeyRecord, records)
	for i := range was {
		was[i] = e.insert(key(tenant("", i), keyctx.PurposeData, 1))
	}
	won := make([][]error, writers)
	wrote := make([][]storage.KeyRecord, writers)
	for _, err := range e.race(writers, func(s storage.Store, who int) error {
		recs := make([]storage.KeyRecord, records)
		for i := range recs {
			recs[i] = rewrapped(was[i], who)
		}
		wrote[who] = slices.Clone(recs)
		turn := who * records / writers
		recs = slices.Concat(recs[turn:], recs[:turn])
		if who%2 == 1 {
			slices.Reverse(recs)
		}
		results, _ := e.updateKeys(e.ctx, s, recs...)
		won[who] = make([]error, records)
		for n, r := range recs {
			i := slices.IndexFunc(was, func(w storage.KeyRecord) bool { return w.KeyID == r.KeyID })
			won[who][i] = results[n]
		}
		return nil
	}) {
		e.ok(err)
	}
	for i := range was {
		errs := make([]error, writers)
		for who := range errs {
			errs[who] = won[who][i]
		}
		winner := wrote[e.oneWins(errs, storage.ErrVersionConflict)][i]
		winner.Revision = 2
		e.sameKey(e.getKey(was[i].KeyID), winner)
	}
}
