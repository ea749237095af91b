package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// newestParent is what the store said a parent's newest wrapping key is.
type newestParent struct {
	id       keyctx.KeyID // zero: one would be made
	disabled bool         // nothing is wrapped under it until it is enabled
	at       time.Time
}

// planUnder plans for a key that is wrapped under a parent, or is to be; false if
// neither holds. It asks the store at most, also where the KMS will be asked.
func (j *Rewrapping) planUnder(ctx context.Context, p *plan) (done bool, err error) {
	if p.under, err = parentID(p.rec); err != nil {
		return false, err
	}
	if p.choice.Parent == nil && p.under.IsZero() {
		return false, nil
	}
	p.b = j.r.binding(p.c, p.rec.KeyID, p.rec.Purpose, p.rec.Version)
	p.parts = make([]planned, len(p.choice.KEKs))
	if p.choice.Parent != nil {
		if p.parent, err = j.r.parentContext(p.choice.Parent); err != nil {
			return true, err
		}
		newest, err := j.newestOf(ctx, p.parent)
		if err != nil {
			return true, err
		}
		if newest.id == p.under && !p.under.IsZero() && !j.opts.Force {
			p.current = true
			return true, nil
		}
		if !newest.disabled {
			p.newest = newest.id
		}
	}
	if !p.under.IsZero() {
		return true, j.r.oldParentOf(ctx, p)
	}
	if p.olds, err = p.choice.Match(p.rec.Quorum, p.rec.Wrappings); err != nil {
		err = fmt.Errorf("key %s of context %s: %w", p.rec.KeyID.Short(), p.c.Hash.Short(), err)
	}
	return true, err
}

// newestOf returns the wrapping key under which the keys of p's children are wrapped
// now. What the store said is believed for as long as a key's state is.
func (j *Rewrapping) newestOf(ctx context.Context, p Context) (newestParent, error) {
	j.mu.Lock()
	known, ok := j.parents[p.Hash]
	j.mu.Unlock()
	if ok && time.Since(known.at) < min(primaryFor, j.r.cfg.ActiveKeyTTL) {
		return known, nil
	}
	rec, err := j.r.cfg.Store.LatestKey(ctx, p.Hash, keyctx.PurposeWrapping)
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && rec.State != storage.StateActive && rec.State != storage.StateDisabled:
		rec.KeyID = keyctx.KeyID{}
	case err != nil:
		return newestParent{}, fmt.Errorf("reading the newest wrapping key of context %s: %w", p.Hash.Short(), err)
	}
	newest := newestParent{id: rec.KeyID, disabled: rec.State == storage.StateDisabled}
	j.note(p, newest)
	return newest, nil
}

// manyParents is of how many parents a pass remembers which key is the newest.
const manyParents = 10_000

// note remembers which wrapping key is the newest of the context p.
func (j *Rewrapping) note(p Context, newest newestParent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.parents) >= manyParents {
		clear(j.parents)
	}
	newest.at = time.Now()
	j.parents[p.Hash] = newest
}

// oldParentOf finds out which of the contexts that the policy gives as Parent the key
// belongs to that wraps the plan's, and whether that key is usable.
func (r *Keyring) oldParentOf(ctx context.Context, p *plan) error {
	ps, err := r.parents(p.choice)
	if err != nil {
		return err
	}
	if len(ps) == 0 {
		return fmt.Errorf("%w: key %s of context %s is wrapped under a parent", kek.ErrPolicy, p.rec.KeyID.Short(), p.c.Hash.Short())
	}
	rec, err := r.cfg.Store.GetKey(ctx, p.under)
	if errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("%w: %s, the parent of key %s", ErrKeyNotFound, p.under.Short(), p.rec.KeyID.Short())
	}
	if err != nil {
		return fmt.Errorf("reading key %s: %w", p.under.Short(), err)
	}
	for _, parent := range ps {
		if rec.ContextHash == parent.Hash && rec.Purpose == keyctx.PurposeWrapping {
			p.oldParent = parent
			return usable(rec)
		}
	}
	return fmt.Errorf("%w: key %s is wrapped under key %s, which is no wrapping key of a parent", kek.ErrPolicy, p.rec.KeyID.Short(), p.under.Short())
}

// unwrapOldChild returns the key that the record holds, under its parent's.
func (j *Rewrapping) unwrapOldChild(ctx context.Context, p plan) (*envelope.Key, error) {
	parent, err := j.r.parentKey(ctx, p.oldParent, p.under, false)
	if err != nil {
		return nil, fmt.Errorf("its parent: %w", err)
	}
	defer parent.Release()
	return j.r.unwrapChild(p.c, p.rec, parent)
}

// underNewest returns the key of a plan wrapped under its parent's newest key, and
// checked.
func (j *Rewrapping) underNewest(ctx context.Context, p plan, key *envelope.Key) ([]keyctx.Wrapping, error) {
	parent, err := j.newestKey(ctx, p)
	if err == nil {
		defer parent.Release()
		err = j.stillNewest(ctx, p.parent, parent)
	}
	if isTombstone(err) || errors.Is(err, ErrKeyNotFound) || errors.Is(err, errOvertaken) { // since it was looked up: look again
		j.mu.Lock()
		delete(j.parents, p.parent.Hash)
		j.mu.Unlock()
		return nil, errOvertaken
	}
	if err != nil {
		return nil, fmt.Errorf("the parent: %w", err)
	}
	return wrapChild(parent, key, p.b)
}

// stillNewest asks the store whether a parent is its context's newest key still, and
// alive. A new key may come under one that was shredded a moment ago and dies with it;
// one that there is, and that lives, must not; nor under one that was superseded, which
// may be retired.
func (j *Rewrapping) stillNewest(ctx context.Context, p Context, parent *Key) error {
	rec, err := j.r.cfg.Store.LatestKey(ctx, p.Hash, keyctx.PurposeWrapping)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = fmt.Errorf("%w: %s", ErrKeyNotFound, parent.ID().Short())
	case err != nil:
		return fmt.Errorf("reading the newest wrapping key of context %s: %w", p.Hash.Short(), err)
	case rec.KeyID != parent.ID():
		err = errOvertaken
	default:
		err = usable(rec)
	}
	if err != nil {
		j.r.cache.drop(parent)
	}
	return err
}

// heedParentOf looks at the parent of a record that was written a moment ago. If that
// was retired meanwhile, by who didn't see this child yet, the record becomes what it
// was before, and is looked at anew: [errOvertaken].
func (j *Rewrapping) heedParentOf(ctx context.Context, written, before storage.KeyRecord) error {
	if written.ParentID.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.r.cfg.LoadTimeout)
	defer cancel() // it is written, and this must be done although the caller is gone
	gone := j.r.parentGone(ctx, written.ParentID)
	if gone == nil {
		return nil
	}
	before.Revision++
	err := j.r.cfg.Store.UpdateKey(ctx, before)
	if err == nil || errors.Is(err, storage.ErrVersionConflict) || errors.Is(err, storage.ErrNotFound) {
		if !isTombstone(gone) && !errors.Is(gone, ErrKeyNotFound) {
			return gone
		}
		return errOvertaken
	}
	return fmt.Errorf("key %s was wrapped under a key that may have been retired meanwhile; restore its record from a backup if it can't be read: %w: %w", written.KeyID.Short(), gone, err)
}

// parentGone reads the record of a key under which one was just wrapped, and returns an
// error if that isn't there any more, or can't be read.
func (r *Keyring) parentGone(ctx context.Context, id keyctx.KeyID) error {
	rec, err := r.cfg.Store.GetKey(ctx, id)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("%w: %s", ErrKeyNotFound, id.Short())
	case err != nil:
		return fmt.Errorf("reading key %s: %w", id.Short(), err)
	case rec.State == storage.StateShredded:
		r.Forget(rec.ContextHash)
		return tombstone{id}
	}
	return nil // one that is disabled will be enabled
}

// newestKey returns the key under which the plan's is to be wrapped, with a
// reference for the caller. What is active in this process may be older than what
// the store said is the newest.
func (j *Rewrapping) newestKey(ctx context.Context, p plan) (*Key, error) {
	if !p.newest.IsZero() {
		return j.r.parentKey(ctx, p.parent, p.newest, false)
	}
	k, err := j.r.Active(ctx, p.parent, keyctx.PurposeWrapping)
	if err != nil {
		return nil, err
	}
	j.note(p.parent, newestParent{id: k.ID()})
	return k, nil
}
