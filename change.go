package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// Changes of the state of many keys: each key by compare and swap, on its own, and
// the pass again until it finds nothing more to do.

const (
	maxRounds  = 16 // passes over the same keys, while other processes make more
	maxRetries = 16 // tries to change one key that others change too
)

// change is what is to be done to the records of keys.
type change struct {
	name EventName // of each key's event

	// apply changes the record and reports whether there was anything to change. It
	// may be called several times, and by several goroutines.
	apply func(*storage.KeyRecord) bool
}

// tally counts what a pass did, and remembers what it couldn't do.
type tally struct {
	mu     sync.Mutex
	done   int
	failed int
	errs   []error // the first few
}

// maxErrors is how many errors of single keys the error of a pass holds.
const maxErrors = 10

func (t *tally) add(changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if changed {
		t.done++
	}
	if err != nil {
		t.failed++
		if len(t.errs) < maxErrors {
			t.errs = append(t.errs, err)
		}
	}
}

func (t *tally) err() error {
	if t.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d keys: %w", t.failed, errors.Join(t.errs...))
}

// changeAll makes a change to the keys of all contexts that contain match. The
// context that is exactly match comes first: the keys of narrower ones may be
// wrapped under its. It goes on with the others after a key that can't be changed.
func (v *Vault) changeAll(ctx context.Context, match KeyContext, ch change) (int, error) {
	total := 0
	for range maxRounds {
		t := new(tally)
		for _, filter := range []storage.ContextFilter{{Hash: v.hashOf(match)}, v.contexts(match, false)} {
			if err := v.changeKeys(ctx, filter, ch, t); err != nil {
				return total + t.done, errors.Join(err, t.err())
			}
		}
		if total += t.done; t.done == 0 || t.failed > 0 {
			return total, t.err()
		}
	}
	return total, fmt.Errorf("%w: there are new keys all the time; call it again", ErrVersionConflict)
}

// hashOf returns the hash of a context that was validated.
func (v *Vault) hashOf(kc KeyContext) ContextHash {
	hash, _ := keyctx.HashIn(kc, v.cfg.Namespace)
	return hash
}

// changeKeys makes a change to the keys that the filter selects. Its error ended
// it; those of single keys are in t.
func (v *Vault) changeKeys(ctx context.Context, filter storage.ContextFilter, ch change, t *tally) error {
	for cursor, first := "", true; first || cursor != ""; first = false {
		page, err := v.keyPage(ctx, storage.KeyQuery{Contexts: filter, Cursor: cursor})
		if err != nil {
			return err
		}
		err = each(ctx, page.Keys, defaultConcurrency, new(pacer), func(ctx context.Context, rec storage.KeyRecord) error {
			err := belongs(rec, filter)
			changed := false
			if err == nil {
				changed, err = v.changeKey(ctx, rec, ch)
			}
			if err != nil && !changed && ctx.Err() != nil {
				return nil
			}
			t.add(changed, err)
			return nil
		})
		v.forgetUnder(wrappingKeys(page.Keys, func(rec *storage.KeyRecord) (KeyID, Purpose) { return rec.KeyID, rec.Purpose }))
		if err != nil {
			return err
		}
		cursor = page.Next
	}
	return nil
}

// forgetUnder forgets what is wrapped under keys whose state may have changed, in this
// process.
func (v *Vault) forgetUnder(ids map[KeyID]bool) {
	if len(ids) > 0 {
		v.ring.ForgetUnder(ids)
	}
}

// wrappingKeys returns those of some keys that may have others under them.
func wrappingKeys[K any](keys []K, of func(*K) (KeyID, Purpose)) map[KeyID]bool {
	ids := map[KeyID]bool{}
	for i := range keys {
		if id, purpose := of(&keys[i]); purpose == keyctx.PurposeWrapping {
			ids[id] = true
		}
	}
	return ids
}

// belongs refuses a record that the filter doesn't select: what a store gives is
// not believed where keys are to be destroyed.
func belongs(rec storage.KeyRecord, filter storage.ContextFilter) error {
	hash, err := rec.Context.Hash()
	if err != nil || hash != rec.ContextHash || !filter.Matches(rec.Context, hash) {
		return fmt.Errorf("%w: key %s is not of the contexts that were asked for", ErrStoreCorrupt, rec.KeyID.Short())
	}
	return nil
}

// changeKey makes a change to one key, if it is still to be made. What another
// process changes meanwhile is looked at anew, and never overwritten. With an error
// that matches ErrEvent it was made all the same.
func (v *Vault) changeKey(ctx context.Context, rec storage.KeyRecord, ch change) (changed bool, err error) {
	o := v.begin(ctx, ch.name, keyring.Context{Hash: rec.ContextHash, Pairs: rec.Context.WithoutNamespace()})
	o.key(rec.KeyID)
	o.change(func(e *Event) { e.ObjectID = shreddingOf(ctx) })
	state := rec.State
	changed, err = v.swapKey(ctx, rec, func(rec *storage.KeyRecord) bool {
		change := ch.apply(rec)
		state = rec.State
		return change
	})
	if changed && ch.name == KeyEnabled && state == storage.StateDisabled {
		o.change(func(e *Event) { e.Name = KeyDisabled }) // now by another shredding
	}
	if changed || err != nil {
		v.ring.Forget(rec.ContextHash) // also if it is not known whether it was written
	}
	switch {
	case err == nil && !changed, err != nil && ctx.Err() != nil:
		return false, err
	case err != nil:
		err = fmt.Errorf("key %s: %w", rec.KeyID.Short(), err)
	}
	return changed, o.end(err)
}

func (v *Vault) swapKey(ctx context.Context, rec storage.KeyRecord, apply func(*storage.KeyRecord) bool) (bool, error) {
	for range maxRetries {
		next := rec.Clone()
		if !apply(&next) {
			return false, nil
		}
		err := v.cfg.Store.UpdateKey(ctx, next)
		if !errors.Is(err, storage.ErrVersionConflict) {
			if errors.Is(err, storage.ErrNotFound) {
				return false, nil
			}
			return err == nil, err
		}
		now, err := v.cfg.Store.GetKey(ctx, rec.KeyID)
		if errors.Is(err, storage.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if now.ContextHash != rec.ContextHash || now.KeyID != rec.KeyID {
			return false, fmt.Errorf("%w: the store gave another key's record", ErrStoreCorrupt)
		}
		rec = now
	}
	return false, fmt.Errorf("%w: it changes all the time", ErrVersionConflict)
}
