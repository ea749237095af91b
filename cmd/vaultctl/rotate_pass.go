package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// rotation is one run of rotate.
type rotation struct {
	a     *app
	s     *session
	o     rotateFlags
	match vault.KeyContext
	ring  *keyring.Keyring // opens what is wrapped as the policy says now
	meter *meter
	seen  int64
	out   rotateOut
}

// nowOnly is a policy without what it said before.
type nowOnly struct{ kek.Policy }

func (p nowOnly) Choose(ctx context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
	c, err := p.Policy.Choose(ctx, kc)
	c.Previous = nil
	return c, err
}

// run rotates the keys of contexts in the order of the hierarchy, wider ones first: so
// that new keys of narrower contexts are wrapped under new ones. A context is rotated
// once, however its keys are dated: no other clock need agree with this one.
func (r *rotation) run(ctx context.Context) error {
	levels, err := r.levels(ctx)
	if err != nil {
		return err
	}
	for _, pairs := range levels {
		if err := r.pass(ctx, vault.PurposeWrapping, pairs); err != nil {
			return err
		}
	}
	return r.pass(ctx, vault.PurposeData, 0)
}

// levels returns how many pairs the contexts with wrapping keys have, sorted.
func (r *rotation) levels(ctx context.Context) (levels []int, err error) {
	q := filter(r.match)
	q.Purpose = vault.PurposeWrapping
	for k, err := range r.s.Keys(ctx, q) {
		if err != nil {
			return nil, err
		}
		if n := len(k.Context); !slices.Contains(levels, n) {
			levels = append(levels, n)
		}
	}
	slices.Sort(levels)
	return levels, nil
}

// pass goes through the contexts with a key of this purpose and, if not 0, so many
// pairs. They come one after the other, so that one that was just rotated is known.
func (r *rotation) pass(ctx context.Context, p vault.Purpose, pairs int) error {
	q, last := filter(r.match), vault.ContextHash{}
	q.Purpose = p
	for k, err := range r.s.Keys(ctx, q) {
		if err != nil {
			return err
		}
		if pairs != 0 && len(k.Context) != pairs {
			continue
		}
		r.seen++
		r.meter.set(r.seen)
		if !k.Active || k.ContextHash == last || !r.o.within && !r.o.all && len(k.Context) != len(r.match) {
			continue
		}
		last = k.ContextHash
		if err := r.context(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// context rotates the keys of the context that k is of, if they are to be rotated. An
// error ends the run.
func (r *rotation) context(ctx context.Context, k vault.KeyInfo) error {
	recs, err := r.s.newest(ctx, k.ContextHash)
	if err != nil {
		return err
	}
	wraps := slices.ContainsFunc(recs, func(rec storage.KeyRecord) bool {
		return rec.Purpose == vault.PurposeWrapping && rec.State == storage.StateActive
	})
	if k.Purpose == vault.PurposeData && wraps || !slices.ContainsFunc(recs, r.o.selects) {
		return nil // it came with its wrapping key, or is not one of those
	}
	r.out.Seen += int64(len(recs))
	if r.o.dryRun {
		return nil
	}
	bad, err := r.s.rotate(ctx, r.ring, keyring.Context{Hash: k.ContextHash, Pairs: k.Context}, recs)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.out.count(recs, bad, r.a, err)
	return nil
}

// newest returns the newest versions of a context's keys that rotate: that for data,
// and that under which narrower contexts' keys are wrapped.
func (s *session) newest(ctx context.Context, hash vault.ContextHash) (recs []storage.KeyRecord, err error) {
	for _, p := range []vault.Purpose{vault.PurposeData, vault.PurposeWrapping} {
		rec, err := s.store.LatestKey(ctx, hash, p)
		switch {
		case err == nil:
			recs = append(recs, rec)
		case !errors.Is(err, storage.ErrNotFound):
			return nil, fmt.Errorf("reading the newest key of context %s: %w", hash.Short(), err)
		}
	}
	return recs, nil
}

// rotate makes new versions of a context's keys if those that it has open under the
// policy of the ring: a new version under KEKs that aren't the application's is one that
// it can't open, and then it can neither read nor write. It returns also the key that
// was in the way.
func (s *session) rotate(ctx context.Context, ring *keyring.Keyring, c keyring.Context, recs []storage.KeyRecord) (bad storage.KeyRecord, err error) {
	for _, rec := range recs {
		if rec.State == storage.StateShredded {
			return rec, fmt.Errorf("%w: the application makes a new one when it needs it", vault.ErrKeyShredded)
		}
		k, err := ring.ByID(ctx, c, rec.Purpose, rec.KeyID)
		if errors.Is(err, vault.ErrKeyDisabled) {
			return rec, err
		}
		if err != nil {
			err = s.explain(ctx, rec.KeyID, err)
			return rec, fmt.Errorf("the current key doesn't open under the KEKs that are named, and was not rotated: name the application's, and rewrap first if they have changed: %w", err)
		}
		k.Release()
	}
	return recs[0], s.Rotate(ctx, c.Pairs)
}

// exactly rotates the keys of one context.
func (r *rotation) exactly(ctx context.Context) error {
	hash, err := keyctx.HashIn(r.match, r.s.namespace)
	if err != nil {
		return err
	}
	recs, err := r.s.newest(ctx, hash)
	if err != nil {
		return err
	}
	if len(recs) == 0 {
		return fmt.Errorf("%w: nothing matches: context %s has no key to rotate; --within takes every context that contains the pairs", vault.ErrKeyNotFound, hash.Short())
	}
	if !slices.ContainsFunc(recs, r.o.selects) {
		return nil
	}
	r.out.Seen = int64(len(recs))
	if r.o.dryRun {
		return nil
	}
	if _, err := r.s.rotate(ctx, r.ring, keyring.Context{Hash: hash, Pairs: r.match}, recs); err != nil {
		return err
	}
	r.out.Rotated = r.out.Seen
	return nil
}
