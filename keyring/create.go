package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// create makes version version of the context's key: random bytes, wrapped,
// the wrapping checked, the record stored. Only then is it put into the cache
// and returned, with a reference for the caller. If the store already has that
// version, made by a faster process, or its parent was shredded meanwhile, the error
// matches errOtherWasFaster: look again.
func (r *Keyring) create(ctx context.Context, s *slot, c Context, p keyctx.Purpose, version uint32) (*Key, error) {
	start, at := time.Now(), r.clock.now()
	key, err := randomKey(c.Hash, p, version)
	if err != nil {
		return nil, err
	}
	done := false
	defer func() {
		if !done {
			key.Destroy()
		}
	}()
	fresh := r.checked(at)
	quorum, wrappings, err := r.wrapNew(ctx, c, key, r.binding(c, key.ID(), p, version), fresh)
	if err != nil {
		return nil, err
	}
	parent, _ := keyctx.ParentOf(quorum, wrappings)
	if r.cfg.Store != nil {
		now := time.Now().UTC()
		err := r.cfg.Store.InsertKey(ctx, storage.KeyRecord{
			KeyID: key.ID(), Context: r.full(c), ContextHash: c.Hash,
			Purpose: p, Version: version, State: storage.StateActive,
			Quorum: quorum, Wrappings: wrappings, ParentID: parent,
			CreatedAt: now, StateChangedAt: now,
		})
		if errors.Is(err, storage.ErrExists) {
			err = fmt.Errorf("%w: %w", errOtherWasFaster, err)
		}
		if err != nil {
			return nil, fmt.Errorf("storing a new key of context %s: %w", c.Hash.Short(), err)
		}
	}
	block, err := r.blockOf(p, version, quorum, wrappings)
	if err != nil {
		return nil, err
	}
	e := Event{Kind: KeyCreated, ContextHash: c.Hash, Context: c.Pairs, KeyID: key.ID(), Duration: time.Since(start)}
	if version > 1 {
		e.Kind = KeyRotated
	}
	if err := r.emit(ctx, e); err != nil {
		return nil, err
	}
	if !parent.IsZero() {
		// Shredded or retired by who didn't see this child yet? Then nothing is to be
		// sealed under it: it is superseded like any other under a dead parent.
		if err := r.parentGone(ctx, parent); isTombstone(err) {
			return nil, fmt.Errorf("%w: %v", errOtherWasFaster, err)
		} else if err != nil {
			return nil, fmt.Errorf("the parent of a new key: %w", err)
		}
	}
	done = true
	return r.keep(s, key, p, version, block, r.cfg.Store != nil, fresh), nil
}

// errOtherWasFaster is the store's ErrExists for a new key, and nobody else's: an
// event's error, say, may match anything.
var errOtherWasFaster = errors.New("another process was faster")

// randomKey returns a new context key.
func randomKey(context keyctx.Hash, p keyctx.Purpose, version uint32) (*envelope.Key, error) {
	secret := make([]byte, envelope.KeySize)
	defer clear(secret)
	if _, err := rand.Read(secret); err != nil { // never fails: crypto/rand crashes the program instead
		return nil, err
	}
	return envelope.NewKey(secret, context, p, version)
}

// rotate makes a version after the newest, and returns it with a reference for
// the caller.
func (r *Keyring) rotate(ctx context.Context, s *slot, c Context, p keyctx.Purpose) (*Key, error) {
	rec, err := r.cfg.Store.LatestKey(ctx, c.Hash, p)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fmt.Errorf("%w: context %s has no key to rotate", ErrKeyNotFound, c.Hash.Short())
	}
	if err != nil {
		return nil, fmt.Errorf("reading the newest key of context %s: %w", c.Hash.Short(), err)
	}
	if _, err := r.successor(rec, c, p); err != nil {
		return nil, err
	}
	if rec.Version == ^uint32(0) {
		return nil, fmt.Errorf("rotating the key of context %s: no version is left after %d", c.Hash.Short(), rec.Version)
	}
	k, err := r.create(ctx, s, c, p, rec.Version+1)
	if errors.Is(err, errOtherWasFaster) {
		// Another process rotated in the same moment: its key is the new one.
		s.overtake()
		return r.loadActive(ctx, s, c, p, false)
	}
	if err != nil {
		return nil, err
	}
	if !r.supersede(ctx, rec) {
		if err := r.heedPredecessor(ctx, rec, k); err != nil {
			k.Release()
			return nil, err
		}
	}
	r.activate(s, k, r.clock.now(), s.overtake())
	return k, nil
}

// overtake raises the epoch: a load that read the old version must not make it
// active again.
func (s *slot) overtake() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	return s.epoch
}

// supersede writes into the record of the version before that it only decrypts
// now. What is active is decided by the version numbers; this is for those who
// read the record, so that its failing, or losing a race, harms nothing; but then
// the record may have been disabled meanwhile. It reports whether the record is
// still what it was but for that.
func (r *Keyring) supersede(ctx context.Context, rec storage.KeyRecord) bool {
	if rec.State != storage.StateActive {
		return true
	}
	rec.State = storage.StateDecryptOnly
	rec.StateChangedAt = time.Now().UTC()
	return r.cfg.Store.UpdateKey(ctx, rec) == nil
}

// Verify makes a round trip with every KEK that the policy names for the context,
// or for the last of its parents, and reports the first that doesn't work. It makes
// and stores no key.
func (r *Keyring) Verify(ctx context.Context, c Context) error {
	if r.closed.Load() {
		return ErrClosed
	}
	choice, err := r.choose(ctx, c)
	for err == nil && choice.Parent != nil { // each is a strict subset of the one before
		if r.cfg.Store == nil {
			return fmt.Errorf("a context under a parent: %w", ErrNoStore)
		}
		if c, err = r.parentContext(choice.Parent); err == nil {
			choice, err = r.choose(ctx, c)
		}
	}
	if err != nil {
		return err
	}
	return joinAll(r.each(choice.KEKs, func(i int) error { return r.verifyOne(ctx, c, choice.KEKs[i]) }))
}

func (r *Keyring) verifyOne(ctx context.Context, c Context, w kek.Wrapper) error {
	key, err := randomKey(c.Hash, keyctx.PurposeData, 1)
	if err != nil {
		return err
	}
	defer key.Destroy()
	secret, err := key.AppendSecret(nil)
	if err != nil {
		return err
	}
	defer clear(secret)
	b := r.binding(c, key.ID(), keyctx.PurposeData, 1)
	blob, err := r.callWrap(ctx, w, secret, b)
	if err != nil {
		return err
	}
	again, err := r.callUnwrap(ctx, w, blob, b)
	if err != nil {
		return err
	}
	defer clear(again)
	if !bytes.Equal(again, secret) { // a throw-away key: no need for constant time
		return fmt.Errorf("%w: %s doesn't unwrap what it wrapped", kek.ErrCorrupt, w.URI())
	}
	return nil
}
