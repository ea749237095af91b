package vault

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/storage"
)

// A shredding writes down which keys it is about to destroy, a page at a time, and
// destroys them then: what the receipt lists is complete wherever it was interrupted.
// Pages have numbers and are written once; who finds the next one written by another
// process carries that out instead, so that any number of processes may work on the
// same shredding. The page without keys is the last: whoever gets to write it has
// found no key that is not shredded, and after it nobody takes one more.

// shredPage is what stands in one page.
type shredPage struct {
	Format int           `json:"format"`
	Keys   []ShreddedKey `json:"keys"`
}

// shredPageKeys is how many keys a page has at most: it must fit a system record.
const shredPageKeys = 256

// shredRun is one process's work on a shredding.
type shredRun struct {
	v      *Vault
	n      *shredNote
	sweep  shredSweep
	failed map[KeyID]bool // can't be destroyed now, and stand in no page more than once
	lost   error          // the first event that wasn't recorded
	errs   *tally

	done     atomic.Int64 // keys destroyed
	progress func(int64)  // nil: nobody wants to know
}

// carryOutShred destroys the keys of a shredding, writes the receipt and forgets the
// note.
func (v *Vault) carryOutShred(ctx context.Context, n *shredNote, progress func(int64)) (ShredReceipt, error) {
	run := &shredRun{v: v, n: n, failed: map[KeyID]bool{}, errs: new(tally), progress: progress}
	for page := 0; ; page++ {
		last, err := run.page(ctx, page)
		if err != nil {
			return ShredReceipt{}, errors.Join(err, run.errs.err())
		}
		if last {
			break
		}
	}
	r, err := v.writeReceipt(ctx, n)
	if err != nil {
		return ShredReceipt{}, err
	}
	if err := v.forgetShred(ctx, n); err != nil {
		return r, err
	}
	return r, run.lost
}

// page carries out one page, written now or found; last if it is the empty one.
func (s *shredRun) page(ctx context.Context, number int) (last bool, err error) {
	name := s.v.shredPageName(s.n.ID, number)
	keys, err := s.v.readShredPage(ctx, name)
	if errors.Is(err, storage.ErrNotFound) {
		keys, err = s.plan(ctx, name)
	}
	if err != nil {
		return false, err
	}
	if len(keys) == 0 {
		return true, nil
	}
	return false, s.destroy(ctx, keys)
}

// plan writes a page with keys that are to be destroyed, and returns it; or the page
// that another process wrote in its place.
func (s *shredRun) plan(ctx context.Context, name string) ([]ShreddedKey, error) {
	keys, err := s.sweep.next(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 && s.errs.failed > 0 {
		return nil, fmt.Errorf("%w: mend the cause and call it again", errShredIncomplete)
	}
	value, err := encodeNote(shredPage{Format: shredFormat, Keys: keys})
	if err != nil {
		return nil, err
	}
	_, err = s.v.cfg.Store.PutSystem(ctx, storage.SystemRecord{Name: name, Value: value})
	if errors.Is(err, storage.ErrExists) {
		s.sweep = shredSweep{sweeps: s.sweep.sweeps} // from the beginning, once that is carried out
		return s.v.readShredPage(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("writing down which keys are shredded: %w", err)
	}
	return keys, nil
}

// errShredIncomplete says that some keys are left.
var errShredIncomplete = errors.New("not all keys were shredded")

// destroy makes tombstones of the keys of a page.
func (s *shredRun) destroy(ctx context.Context, keys []ShreddedKey) error {
	unrecorded := new(tally)
	filter := s.v.contexts(s.n.Match, false)
	err := each(ctx, keys, defaultConcurrency, new(pacer), func(ctx context.Context, key ShreddedKey) error {
		changed, err := s.destroyOne(ctx, key, filter)
		if changed {
			s.done.Add(1)
		}
		switch {
		case changed && err != nil:
			unrecorded.add(false, err)
		case err != nil && ctx.Err() == nil:
			s.errs.add(false, err)
			s.errs.mu.Lock()
			s.failed[key.KeyID] = true
			s.errs.mu.Unlock()
		}
		return nil
	})
	s.v.forgetUnder(wrappingKeys(keys, func(key *ShreddedKey) (KeyID, Purpose) { return key.KeyID, key.Purpose }))
	if s.lost == nil {
		s.lost = unrecorded.err()
	}
	if s.progress != nil {
		s.progress(s.done.Load())
	}
	return err
}

func (s *shredRun) destroyOne(ctx context.Context, key ShreddedKey, filter storage.ContextFilter) (changed bool, err error) {
	rec, err := s.v.cfg.Store.GetKey(ctx, key.KeyID)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil // nothing is left to destroy
	}
	if err != nil {
		return false, fmt.Errorf("key %s: %w", key.KeyID.Short(), err)
	}
	if err := belongs(rec, filter); err != nil {
		return false, err
	}
	return s.v.changeKey(ctx, rec, change{KeyShredded, tombstone})
}

// tombstone takes everything from a record with which its key could be unwrapped.
func tombstone(rec *storage.KeyRecord) bool {
	if rec.State == storage.StateShredded && len(rec.Wrappings) == 0 && len(rec.Previous) == 0 {
		return false
	}
	rec.State, rec.StateBefore, rec.StateChangedAt = storage.StateShredded, 0, time.Now().UTC()
	rec.Quorum, rec.Wrappings, rec.Previous = 0, nil, nil
	rec.ParentID = KeyID{}
	return true
}

// shredSweep finds keys that are not shredded. It goes over all of them again and
// again, until it finds none.
type shredSweep struct {
	wide   bool // past the context that is exactly match
	cursor string
	found  bool // some, since it began
	sweeps int  // that found some
}

// next returns some keys; none if there is none in all.
func (w *shredSweep) next(ctx context.Context, s *shredRun) ([]ShreddedKey, error) {
	for {
		filter := s.v.contexts(s.n.Match, false)
		if !w.wide { // first: narrower contexts' keys may be wrapped under its
			filter = storage.ContextFilter{Hash: s.v.hashOf(s.n.Match)}
		}
		page, err := s.v.keyPage(ctx, storage.KeyQuery{Contexts: filter, Cursor: w.cursor, Limit: shredPageKeys})
		if err != nil {
			return nil, err
		}
		keys := s.live(page.Keys, filter)
		w.found = w.found || len(keys) > 0
		w.cursor = page.Next
		if w.cursor == "" && w.wide {
			if !w.found {
				return nil, nil
			}
			if *w = (shredSweep{sweeps: w.sweeps + 1}); w.sweeps == maxRounds {
				return nil, fmt.Errorf("%w: there are new keys all the time; call it again", ErrVersionConflict)
			}
		} else if w.cursor == "" {
			w.wide = true
		}
		if len(keys) > 0 {
			return keys, nil
		}
	}
}

// live returns those keys of a page that are to be destroyed.
func (s *shredRun) live(recs []storage.KeyRecord, filter storage.ContextFilter) (keys []ShreddedKey) {
	for i := range recs {
		rec := recs[i].Clone()
		if s.failed[rec.KeyID] || !tombstone(&rec) {
			continue
		}
		if err := belongs(recs[i], filter); err != nil {
			s.failed[rec.KeyID] = true
			s.errs.add(false, err)
			continue
		}
		keys = append(keys, ShreddedKey{rec.KeyID, rec.ContextHash, rec.Purpose, rec.Version})
	}
	return keys
}

// forgetShred removes the note of a shredding that is done, wherever it stands.
func (v *Vault) forgetShred(ctx context.Context, n *shredNote) error {
	for range maxRetries {
		now, err := v.readShred(ctx, n.name)
		if errors.Is(err, storage.ErrNotFound) || err == nil && now.ID != n.ID {
			return nil
		}
		if err != nil {
			return err
		}
		if err = v.cfg.Store.DeleteSystem(ctx, n.name, now.revision); !guardFailed(err) {
			return err
		}
	}
	return fmt.Errorf("%w: the note of shredding %s changes all the time", ErrVersionConflict, n.ID)
}
