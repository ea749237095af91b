package keyring

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Rotation by age. A key that is older than [Config.RotateAfter] is rotated when it is
// next read from the store to be sealed under, beside the call that read it and not in
// its way. That 10,000 keys were made in one minute must not mean that they are rotated
// in one, so each key's age is drawn from the last tenth of RotateAfter, by its ID and
// so alike in every process; and only a few are rotated at a time: the others wait for
// the next reading, and go on serving.

const (
	// ageRotations is how many keys are rotated by age at a time.
	ageRotations = 4

	// ageRetry is how long a rotation by age that failed isn't tried again.
	ageRetry = 10 * time.Minute
)

// ageOf returns the age at which a key is rotated: between nine tenths of RotateAfter
// and all of it.
func (r *Keyring) ageOf(id keyctx.KeyID) time.Duration {
	tenth := r.cfg.RotateAfter / 10
	part := float64(binary.BigEndian.Uint32(id[:4])) / (1 << 32)
	return r.cfg.RotateAfter - time.Duration(part*float64(tenth))
}

// tooOld reports whether a key is due for a rotation by age.
func (r *Keyring) tooOld(rec storage.KeyRecord) bool {
	if r.cfg.RotateAfter <= 0 || rec.Purpose != keyctx.PurposeData && rec.Purpose != keyctx.PurposeWrapping {
		return false // an index key that rotated would silently lose its index
	}
	return rec.State == storage.StateActive && time.Since(rec.CreatedAt) >= r.ageOf(rec.KeyID)
}

// rotateByAge begins the rotation of a key that is due, if there is room for one more.
// Without background work it does it, and returns the new key, with a reference for the
// caller, or nil.
func (r *Keyring) rotateByAge(ctx context.Context, s *slot, c Context, rec storage.KeyRecord) *Key {
	if !r.tooOld(rec) || r.clock.now().mono < s.rotateAt.Load() {
		return nil
	}
	select {
	case r.aging <- struct{}{}:
	default:
		return nil
	}
	if r.cfg.NoBackground {
		defer func() { <-r.aging }()
		k, err := r.rotateAged(ctx, s, c, rec.Purpose)
		if err != nil {
			return nil
		}
		return k
	}
	if !r.goRun(func() {
		defer func() { <-r.aging }()
		if k, err := r.load(r.done, c, flightKey{purpose: rec.Purpose, op: opRotateAged}); err == nil {
			k.Release()
		}
	}) {
		<-r.aging
	}
	return nil
}

// rotateAged rotates the context's key if that is still due. What fails is told of as
// an event, and not tried again for a while: the old key serves.
func (r *Keyring) rotateAged(ctx context.Context, s *slot, c Context, p keyctx.Purpose) (*Key, error) {
	start := time.Now()
	rec, err := r.cfg.Store.LatestKey(ctx, c.Hash, p)
	if err == nil && !r.tooOld(rec) {
		return r.loadActive(ctx, s, c, p, false) // another process was faster
	}
	var k *Key
	if err == nil {
		k, err = r.rotate(ctx, s, c, p)
	}
	if err == nil {
		return k, nil
	}
	s.rotateAt.Store(r.clock.now().mono + int64(ageRetry))
	err = fmt.Errorf("rotating the key of context %s, which is too old: %w", c.Hash.Short(), err)
	if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
		_ = r.emit(ctx, Event{Kind: KeyRotated, ContextHash: c.Hash, Context: c.Pairs, KeyID: rec.KeyID, Err: err, Duration: time.Since(start)})
	}
	return nil, err
}
