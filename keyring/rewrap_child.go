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
	id keyctx.KeyID // zero: one would be made
	at time.Time
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
		if p.newest, err = j.newestOf(ctx, p.parent); err != nil {
			return true, err
		}
		if p.newest == p.under && !p.under.IsZero() && !j.opts.Force {
			p.current = true
			return true, nil
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

// newestOf returns the ID of the wrapping key under which the keys of p's children
// are wrapped now, or zero if that is to be made.
func (j *Rewrapping) newestOf(ctx context.Context, p Context) (keyctx.KeyID, error) {
	j.mu.Lock()
	known, ok := j.parents[p.Hash]
	j.mu.Unlock()
	if ok && time.Since(known.at) < primaryFor {
		return known.id, nil
	}
	rec, err := j.r.cfg.Store.LatestKey(ctx, p.Hash, keyctx.PurposeWrapping)
	switch {
	case errors.Is(err, storage.ErrNotFound) || err == nil && rec.State != storage.StateActive:
		rec.KeyID = keyctx.KeyID{}
	case err != nil:
		return keyctx.KeyID{}, fmt.Errorf("reading the newest wrapping key of context %s: %w", p.Hash.Short(), err)
	}
	j.note(p, rec.KeyID)
	return rec.KeyID, nil
}

// manyParents is of how many parents a pass remembers which key is the newest.
const manyParents = 10_000

// note remembers which wrapping key is the newest of the context p.
func (j *Rewrapping) note(p Context, id keyctx.KeyID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.parents) >= manyParents {
		clear(j.parents)
	}
	j.parents[p.Hash] = newestParent{id, time.Now()}
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
		err = j.stillThere(ctx, parent)
	}
	if isTombstone(err) || errors.Is(err, ErrKeyNotFound) { // since it was looked up: look again
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

// stillThere reads a parent's state. A new key may come under one that was shredded a
// moment ago and dies with it; one that there is, and that lives, must not.
func (j *Rewrapping) stillThere(ctx context.Context, parent *Key) error {
	rec, err := j.r.cfg.Store.GetKey(ctx, parent.ID())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		err = fmt.Errorf("%w: %s", ErrKeyNotFound, parent.ID().Short())
	case err != nil:
		return fmt.Errorf("reading key %s: %w", parent.ID().Short(), err)
	default:
		err = usable(rec)
	}
	if err != nil {
		j.r.cache.drop(parent)
	}
	return err
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
	j.note(p.parent, k.ID())
	return k, nil
}
