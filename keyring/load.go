package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// verdict is what a look at the clock says of a cached key.
type verdict uint8

const (
	serve          verdict = iota
	serveAndReread         // and read its state in the background
	serveAndReload         // and ask the KMS in the background
	reread                 // read its state first
	reload                 // ask the KMS first
)

// judge says what a cached key needs before it is used. seen is when its state
// was last read.
func (r *Keyring) judge(k *Key, seen instant, rereadAfter time.Duration) verdict {
	now := r.clock.now()
	fresh := k.fresh.Load()
	age := now.since(fresh.loaded)
	if age >= r.cfg.TTL {
		return reload
	}
	var stateAge time.Duration
	if r.cfg.Store != nil {
		if stateAge = now.since(seen); stateAge >= r.cfg.ActiveKeyTTL {
			return reread
		}
	}
	switch {
	case r.cfg.NoBackground:
		return serve
	case age >= fresh.reloadAfter:
		return serveAndReload
	case stateAge > 0 && stateAge >= rereadAfter:
		return serveAndReread
	}
	return serve
}

// dueForReload reports whether a key that may still serve should be reloaded in
// the background.
func (r *Keyring) dueForReload(k *Key) bool {
	fresh := k.fresh.Load()
	return !r.cfg.NoBackground && r.clock.now().since(fresh.loaded) >= fresh.reloadAfter
}

// A background renewal comes in the last part of a key's time, at a moment that
// differs from key to key so that they don't all come at once.
func spread(d time.Duration, from, to float64) time.Duration {
	return time.Duration(float64(d) * (from + rand.Float64()*(to-from)))
}

// checked returns the freshness of a key that was loaded at one instant.
func (r *Keyring) checked(at instant) *freshness {
	return &freshness{
		loaded:      at,
		reloadAfter: spread(r.cfg.TTL, 0.75, 0.9),
		state:       at,
		rereadAfter: spread(r.cfg.ActiveKeyTTL, 0.5, 0.9),
	}
}

// touchState notes that a key's state was read at this instant.
func (r *Keyring) touchState(k *Key, at instant) {
	f := *k.fresh.Load()
	f.state = at
	k.fresh.Store(&f)
	k.settle()
}

// loadActive returns the key that the context seals under, made if there is
// none, with a reference for the caller.
func (r *Keyring) loadActive(ctx context.Context, s *slot, c Context, p keyctx.Purpose, force bool) (*Key, error) {
	return r.loadNewest(ctx, s, c, p, force, true)
}

// loadNewest is loadActive if it may make a key.
func (r *Keyring) loadNewest(ctx context.Context, s *slot, c Context, p keyctx.Purpose, force, mayMake bool) (*Key, error) {
	if r.cfg.Store == nil {
		return r.loadActiveAlone(ctx, s, c, p, force)
	}
	for range 4 { // more than one round only where another process is faster
		epoch := s.epochNow()
		at := r.clock.now()
		rec, err := r.cfg.Store.LatestKey(ctx, c.Hash, p)
		if err == nil || errors.Is(err, storage.ErrNotFound) {
			r.heed(ctx, s, p, rec, err == nil)
		}
		var key *Key
		var next uint32
		switch {
		case errors.Is(err, storage.ErrNotFound):
			r.deactivate(s, p) // never seal under a key that is no longer stored
			next = 1
		case err != nil:
			return nil, fmt.Errorf("reading the newest key of context %s: %w", c.Hash.Short(), err)
		default:
			if next, err = r.successor(rec, c, p); err != nil {
				r.deactivate(s, p)
				return nil, err
			}
		}
		if next == 0 {
			key = r.rotateByAge(ctx, s, c, rec)
		}
		if next == 0 && key == nil {
			key, err = r.newest(ctx, s, c, rec, at, force)
			if next = r.successorUnder(s, rec, err); next != 0 {
				r.deactivate(s, p)
			}
		}
		if next != 0 && !mayMake {
			return nil, absent(rec, c, p, next)
		}
		if next != 0 {
			key, err = r.create(ctx, s, c, p, next)
			if errors.Is(err, errOtherWasFaster) {
				continue // another process was faster: its key is the key
			}
		}
		if err != nil {
			return nil, err
		}
		r.activate(s, key, at, epoch)
		return key, nil
	}
	return nil, fmt.Errorf("%w: the newest key of context %s changes all the time", storage.ErrVersionConflict, c.Hash.Short())
}

// absent says why a context has no key to be used, where version next would be made.
func absent(rec storage.KeyRecord, c Context, p keyctx.Purpose, next uint32) error {
	if next > 1 && (rec.State == storage.StateShredded || !rec.ParentID.IsZero()) {
		return fmt.Errorf("%w: %s", ErrKeyShredded, rec.KeyID.Short())
	}
	return fmt.Errorf("%w: context %s has no key for %v: is this the right database?", ErrKeyNotFound, c.Hash.Short(), p)
}

// heed drops the key that the context seals under if the store says that it may
// no longer be used: whoever holds it for a renewal must not fall back on it
// should no other be had. newest is what the store has as the newest, if found.
func (r *Keyring) heed(ctx context.Context, s *slot, p keyctx.Purpose, newest storage.KeyRecord, found bool) {
	a := s.active[p].Load()
	if a == nil {
		return
	}
	rec := newest
	if found && rec.KeyID != a.key.ID() { // superseded: its own row has the word
		var err error
		rec, err = r.cfg.Store.GetKey(ctx, a.key.ID())
		if found = !errors.Is(err, storage.ErrNotFound); found && err != nil {
			return // not known
		}
	}
	if !found || usable(rec) != nil {
		r.cache.drop(a.key)
	}
}

// successor says which version to make because rec, the newest, can't seal any
// more; 0 if it can.
func (r *Keyring) successor(rec storage.KeyRecord, c Context, p keyctx.Purpose) (uint32, error) {
	if rec.ContextHash != c.Hash || rec.Purpose != p {
		return 0, fmt.Errorf("%w: the store gave another context's record", ErrWrongContext)
	}
	switch rec.State {
	case storage.StateActive:
		return 0, nil
	case storage.StateDisabled:
		return 0, fmt.Errorf("%w: %s", ErrKeyDisabled, rec.KeyID.Short())
	default: // shredded, or superseded by a version that is gone: a fresh start
		if rec.Version == ^uint32(0) {
			return 0, fmt.Errorf("%w: no version is left after %d", ErrKeyShredded, rec.Version)
		}
		return rec.Version + 1, nil
	}
}

// newest returns the key of a context's newest record, which is active, with a
// reference for the caller. A wrapping key is loaded in the flight of those who need
// it to read what is under it: so that there is one call to the KMS, whoever comes
// first.
func (r *Keyring) newest(ctx context.Context, s *slot, c Context, rec storage.KeyRecord, at instant, force bool) (*Key, error) {
	if rec.Purpose == keyctx.PurposeWrapping {
		return r.load(ctx, c, flightKey{purpose: rec.Purpose, id: rec.KeyID, op: opByID, force: force})
	}
	return r.unwrapRecord(ctx, s, c, rec, at, force)
}

// successorUnder says which version to make because rec, the newest, is under a key
// that was shredded, as err says, and so is as dead as if it were shredded itself;
// 0 if it isn't. What is cached of it is dropped.
func (r *Keyring) successorUnder(s *slot, rec storage.KeyRecord, err error) uint32 {
	if err == nil || rec.ParentID.IsZero() || !isTombstone(err) || rec.Version == ^uint32(0) {
		return 0
	}
	if k := s.find(rec.Purpose, rec.KeyID); k != nil {
		r.cache.drop(k)
	}
	return rec.Version + 1
}

// loadByID returns a stored key, with a reference for the caller.
func (r *Keyring) loadByID(ctx context.Context, s *slot, c Context, f flightKey) (*Key, error) {
	if r.cfg.Store == nil {
		return nil, fmt.Errorf("%w: %s: the envelope names its key by reference: %w", ErrKeyNotFound, f.id.Short(), ErrNoStore)
	}
	at := r.clock.now()
	rec, err := r.cfg.Store.GetKey(ctx, f.id)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s: is this the database that the data was encrypted with?", ErrKeyNotFound, f.id.Short())
	}
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", f.id.Short(), err)
	}
	if rec.ContextHash != c.Hash || rec.Purpose != f.purpose {
		return nil, fmt.Errorf("%w: key %s is not of context %s", ErrWrongContext, f.id.Short(), c.Hash.Short())
	}
	if rec.KeyID != f.id {
		return nil, fmt.Errorf("%w: the store gave another key's record", storage.ErrCorrupt)
	}
	if err := usable(rec); err != nil {
		return nil, err
	}
	return r.unwrapRecord(ctx, s, c, rec, at, f.force)
}

// usable reports whether a key in this state opens what was sealed under it.
func usable(rec storage.KeyRecord) error {
	switch rec.State {
	case storage.StateActive, storage.StateDecryptOnly:
		return nil
	case storage.StateDisabled:
		return fmt.Errorf("%w: %s", ErrKeyDisabled, rec.KeyID.Short())
	case storage.StateShredded:
		return tombstone{rec.KeyID}
	}
	return fmt.Errorf("%w: key %s has %v", storage.ErrCorrupt, rec.KeyID.Short(), rec.State)
}

// unwrapRecord returns the key of a record whose context and state were
// checked, from the cache if it is there and has time left, unless force. It
// has a reference for the caller.
func (r *Keyring) unwrapRecord(ctx context.Context, s *slot, c Context, rec storage.KeyRecord, at instant, force bool) (*Key, error) {
	k, err := r.unwrapOnce(ctx, s, c, rec, at, force)
	for range 3 {
		if err == nil || !final(err) {
			break
		}
		// Was the key rewrapped since its record was read, and the KEK dropped, or
		// the parent's version retired, that it was under? Then that was no verdict.
		now, readErr := r.cfg.Store.GetKey(ctx, rec.KeyID)
		if readErr != nil || now.Revision == rec.Revision || usable(now) != nil || now.KeyID != rec.KeyID ||
			now.ContextHash != rec.ContextHash || now.Purpose != rec.Purpose || now.Version != rec.Version {
			break
		}
		rec = now
		k, err = r.unwrapOnce(ctx, s, c, rec, at, force)
	}
	return k, err
}

func (r *Keyring) unwrapOnce(ctx context.Context, s *slot, c Context, rec storage.KeyRecord, at instant, force bool) (*Key, error) {
	parent, err := parentID(rec)
	if err != nil {
		return nil, err
	}
	if !parent.IsZero() {
		return r.unwrapUnder(ctx, s, c, rec, parent, at)
	}
	block, err := r.blockFor(ctx, c, rec)
	if err != nil {
		return nil, err
	}
	if !force {
		if k := s.find(rec.Purpose, rec.KeyID); k != nil && k.inStore.Load() && at.since(k.fresh.Load().loaded) < r.cfg.TTL && k.carries(block) && k.acquire() {
			r.touchState(k, at)
			if block == nil {
				r.withoutBlock(k)
			}
			return k, nil
		}
	}
	k, err := r.unwrap(ctx, c, wrapped{
		id: rec.KeyID, purpose: rec.Purpose, version: rec.Version,
		quorum: rec.Quorum, wrappings: rec.Wrappings,
	})
	if err != nil {
		return nil, err
	}
	kept := r.keep(s, k, rec.Purpose, rec.Version, block, true, r.checked(at))
	if block == nil {
		r.withoutBlock(kept)
	}
	return kept, nil
}

// blockFor returns the block that self-contained envelopes of a stored key carry,
// or nil if they are not to be made: also where the policy has since given its
// context a parent.
func (r *Keyring) blockFor(ctx context.Context, c Context, rec storage.KeyRecord) ([]byte, error) {
	block, err := r.blockOf(rec.Purpose, rec.Version, rec.Quorum, rec.Wrappings)
	if block == nil || err != nil {
		return nil, err
	}
	choice, err := r.choose(ctx, c)
	if err != nil || choice.Parent != nil {
		return nil, err
	}
	return block, nil
}

// blockOf returns the block that self-contained envelopes of a stored key
// carry, or nil if they are not to be made.
func (r *Keyring) blockOf(p keyctx.Purpose, version uint32, q keyctx.Quorum, ws []keyctx.Wrapping) ([]byte, error) {
	if _, under := keyctx.ParentOf(q, ws); under || p != keyctx.PurposeData || !r.cfg.KeepBlocks && r.cfg.Store != nil {
		return nil, nil
	}
	return envelope.Block{Purpose: p, Version: version, Quorum: q, Wrappings: ws}.Append(nil)
}

// keep puts a checked key into the cache and returns it with a reference for
// the caller.
func (r *Keyring) keep(s *slot, key *envelope.Key, p keyctx.Purpose, version uint32, block []byte, inStore bool, fresh *freshness) *Key {
	k := &Key{Key: key, slot: s, purpose: p, version: version}
	if block != nil {
		k.block.Store(&block)
	}
	k.inStore.Store(inStore)
	k.fresh.Store(fresh)
	k.refs.Store(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead.Load() {
		// A load that everybody has left, and that ended late all the same: no one
		// can find this slot any more. The key is its last reader's alone.
		k.listed = delisted
		return k
	}
	return r.cache.add(s, k)
}

// activate makes k the key that its context seals under, unless something has
// overtaken what was read when the epoch was taken.
func (r *Keyring) activate(s *slot, k *Key, at instant, epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch || s.find(k.purpose, k.ID()) != k {
		return // or it was evicted already
	}
	seen := older(at, k.fresh.Load().state) // of a key under a parent also its parent's
	s.active[k.purpose].Store(&activeKey{key: k, seen: seen, rereadAfter: spread(r.cfg.ActiveKeyTTL, 0.5, 0.9)})
}

// deactivate makes the context seal under nothing until it is loaded again.
func (r *Keyring) deactivate(s *slot, p keyctx.Purpose) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[p].Store(nil)
}

func (s *slot) epochNow() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}
