package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// loadActiveAlone is loadActive where there is no store: a key of this
// process's own, which travels in every envelope sealed under it. While it is
// in use it is kept; once it is evicted another takes its place.
func (r *Keyring) loadActiveAlone(ctx context.Context, s *slot, c Context, p keyctx.Purpose, force bool) (*Key, error) {
	if p != keyctx.PurposeData {
		return nil, fmt.Errorf("a key for %v: %w", p, ErrNoStore)
	}
	epoch, at := s.epochNow(), r.clock.now()
	if a := s.active[p].Load(); a != nil && a.key.acquire() {
		if !force && at.since(a.key.fresh.Load().loaded) < r.cfg.TTL {
			return a.key, nil
		}
		k, err := r.refreshAlone(ctx, s, c, a.key, at)
		a.key.Release()
		if err != nil || k != nil {
			if k != nil {
				r.activate(s, k, at, epoch)
			}
			return k, err
		}
	}
	k, err := r.create(ctx, s, c, p, 1)
	if err != nil {
		return nil, err
	}
	r.activate(s, k, at, epoch)
	return k, nil
}

// refreshAlone unwraps k again from its own block. It returns nil and no error
// if the policy has since chosen other KEKs, for which there must be a new key.
func (r *Keyring) refreshAlone(ctx context.Context, s *slot, c Context, k *Key, at instant) (*Key, error) {
	block, err := envelope.ParseBlock(k.Block())
	if err != nil {
		return nil, err
	}
	choice, err := r.choose(ctx, c)
	if err != nil {
		return nil, err
	}
	choice.Previous = nil
	if _, err := choice.Match(block.Quorum, block.Wrappings); err != nil {
		return nil, nil //nolint:nilnil // documented: make another
	}
	key, err := r.unwrap(ctx, c, wrapped{
		id: k.ID(), purpose: block.Purpose, version: block.Version,
		quorum: block.Quorum, wrappings: block.Wrappings,
	})
	if err != nil {
		return nil, err
	}
	return r.keep(s, key, block.Purpose, block.Version, k.Block(), false, r.checked(at)), nil
}

// loadBlock returns the key that an envelope's block carries, with a reference
// for the caller. It never becomes the key that the context seals under.
func (r *Keyring) loadBlock(ctx context.Context, s *slot, c Context, f flightKey) (*Key, error) {
	block, err := envelope.ParseBlock([]byte(f.block))
	if err != nil {
		return nil, err
	}
	at := r.clock.now()
	if err := r.heedStore(ctx, c, f.id); err != nil {
		return nil, err
	}
	if !f.force {
		if k := s.find(f.purpose, f.id); k != nil && at.since(k.fresh.Load().loaded) < r.cfg.TTL && k.acquire() {
			r.touchState(k, at)
			return k, nil
		}
	}
	key, err := r.unwrap(ctx, c, wrapped{
		id: f.id, purpose: block.Purpose, version: block.Version,
		quorum: block.Quorum, wrappings: block.Wrappings,
	})
	if errors.Is(err, kek.ErrCorrupt) {
		// A block of another context fails here, in the KMS or at the ID, and
		// which of the two it is can't be told from a block that is damaged.
		err = fmt.Errorf("%w, or: %w", err, ErrWrongContext)
	}
	if err != nil {
		return nil, err
	}
	return r.keep(s, key, block.Purpose, block.Version, []byte(f.block), false, r.checked(at)), nil
}

// heedStore refuses a key that the store says is shredded or disabled. A key
// that the store doesn't know is fine; a store that can't be asked is not, or an
// outage would bring shredded data back.
func (r *Keyring) heedStore(ctx context.Context, c Context, id keyctx.KeyID) error {
	if r.cfg.Store == nil {
		return nil
	}
	rec, err := r.cfg.Store.GetKey(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the state of key %s: %w", id.Short(), err)
	}
	if rec.ContextHash != c.Hash || rec.Purpose != keyctx.PurposeData {
		return fmt.Errorf("%w, or: %w: key %s is not of context %s", ErrWrongContext, kek.ErrCorrupt, id.Short(), c.Hash.Short())
	}
	if err := usable(rec); err != nil {
		return err
	}
	return r.heedAncestors(ctx, rec)
}
