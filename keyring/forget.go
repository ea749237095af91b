package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Forget drops every cached key of a context, all purposes and versions: whoever
// comes after it gets what the store says then. Calls that have a key already end
// with it, and it is zeroed with the last of them; loads under way serve those who
// wait for them and are not cached. Call it after the store was changed, not
// before.
func (r *Keyring) Forget(context keyctx.Hash) {
	r.forgets.Add(1)
	r.cache.forget(context)
}

// Forgets counts the calls of Forget and ForgetUnder: who keeps a key for more than one
// use compares before each, and gets the key anew if it has changed.
func (r *Keyring) Forgets() uint64 { return r.forgets.Load() }

// forget takes a context's slot out of the map, so that nothing that is under way
// for it can be found by newcomers, and drops its keys.
func (c *cache) forget(context keyctx.Hash) {
	v, ok := c.slots.Load(context)
	if !ok {
		return
	}
	s := v.(*slot)
	s.mu.Lock()
	s.epoch++
	s.dead.Store(true)
	c.slots.CompareAndDelete(context, s)
	keys := s.keys.Load()
	s.mu.Unlock()
	if keys == nil {
		return
	}
	for _, k := range *keys {
		c.drop(k)
	}
}

// ForgetUnder drops every cached key that is wrapped under one of these, or under what
// is wrapped under them; what is being loaded, whatever it is, is not cached either.
// Call it after the store was changed, not before. It looks at the whole cache.
func (r *Keyring) ForgetUnder(ids map[keyctx.KeyID]bool) {
	r.forgets.Add(1)
	r.cache.slots.Range(func(hash, v any) bool {
		if v.(*slot).mayBeUnder(ids) {
			r.cache.forget(hash.(keyctx.Hash))
		}
		return true
	})
}

// mayBeUnder reports whether the slot has, or may be about to have, a key under one of
// these.
func (s *slot) mayBeUnder(ids map[keyctx.KeyID]bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flights) > 0 {
		return true
	}
	keys := s.keys.Load()
	return keys != nil && slices.ContainsFunc(*keys, func(k *Key) bool { return k.fresh.Load().ancestors.hasAny(ids) })
}

// heedPredecessor withdraws a new version whose predecessor was disabled while it
// was made: whoever disabled it listed the context's keys before there was this
// one, and it must not be the way around that.
func (r *Keyring) heedPredecessor(ctx context.Context, rec storage.KeyRecord, made *Key) error {
	now, err := r.cfg.Store.GetKey(ctx, rec.KeyID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && now.State != storage.StateDisabled {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state of key %s: %w", rec.KeyID.Short(), err)
	}
	for {
		next, err := r.cfg.Store.GetKey(ctx, made.ID())
		if err != nil {
			return fmt.Errorf("reading the state of key %s: %w", made.ID().Short(), err)
		}
		if next.State == storage.StateActive || next.State == storage.StateDecryptOnly {
			next.State, next.StateBefore, next.StateChangedAt = storage.StateDisabled, next.State, now.StateChangedAt
			if err = r.cfg.Store.UpdateKey(ctx, next); errors.Is(err, storage.ErrVersionConflict) {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("disabling key %s: %w", made.ID().Short(), err)
		}
		r.Forget(rec.ContextHash)
		return fmt.Errorf("%w: %s, while its next version was made", ErrKeyDisabled, rec.KeyID.Short())
	}
}

// Reread asks the store for the key under which this context's data is sealed now,
// whatever is cached: another process may have rotated a moment ago. The caller must
// [Key.Release] it.
func (r *Keyring) Reread(ctx context.Context, c Context, p keyctx.Purpose) (*Key, error) {
	if r.closed.Load() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.load(ctx, c, flightKey{purpose: p, op: opActive})
}
