package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

// prepareAtOnce is how many keys Prepare makes or loads at the same time.
const prepareAtOnce = 16

// Prepare makes the keys of these contexts, where there are none, and loads them
// into the cache, so that the first calls need no KMS: at start-up, before a
// transaction begins, before a function is frozen. The error joins those of
// the contexts that failed; the others are prepared.
func (v *Vault) Prepare(ctx context.Context, kcs ...KeyContext) error {
	if v.closed.Load() {
		return ErrClosed
	}
	errs := make([]error, len(kcs))
	places := make(chan struct{}, prepareAtOnce)
	var wg sync.WaitGroup
	for i, kc := range kcs {
		c, err := v.context(kc)
		if err != nil {
			errs[i] = err
			continue
		}
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			errs[i] = v.prepare(ctx, c)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (v *Vault) prepare(ctx context.Context, c keyring.Context) (err error) {
	defer v.trace(&ctx, "prepare", &c).end(&err)
	if err := v.permit(ctx, AccessRequest{Operation: OpPrepare, Context: c.Pairs}); err != nil {
		return fmt.Errorf("vault: prepare: %w", err)
	}
	k, err := v.ring.Active(ctx, c, keyctx.PurposeData)
	if err != nil {
		return fmt.Errorf("vault: prepare: %w", err)
	}
	k.Release()
	return nil
}

// Rotate makes a new version of the context's data key, and of the key under which
// the keys of narrower contexts are wrapped, of those that it has. What was encrypted
// before still decrypts, under the version it was encrypted with, and so do the keys
// that were wrapped; [Vault.Rewrap] brings those under the new version. This process
// uses the new versions at once, others within Config.Cache.ActiveKeyTTL.
//
// Errors: ErrInvalidContext; ErrKeyNotFound if the context has neither key yet;
// ErrKeyDisabled; ErrNoStore; those of the KEK.
func (v *Vault) Rotate(ctx context.Context, kc KeyContext) error {
	c, err := v.context(kc)
	if err != nil {
		return err
	}
	return v.rotate(ctx, c)
}

func (v *Vault) rotate(ctx context.Context, c keyring.Context) (err error) {
	defer v.trace(&ctx, "rotate", &c).end(&err)
	o := v.begin(ctx, KeyRotated, c)
	if err := v.authorize(ctx, OpRotate, c); err != nil {
		return o.end(fmt.Errorf("vault: rotate: %w", err))
	}
	err = v.rotateKey(ctx, c, keyctx.PurposeData)
	if err == nil || errors.Is(err, ErrKeyNotFound) {
		wrapping := v.rotateKey(ctx, c, keyctx.PurposeWrapping)
		if err != nil || !errors.Is(wrapping, ErrKeyNotFound) {
			err = wrapping
		}
	}
	if err != nil {
		err = fmt.Errorf("vault: rotate: %w", err)
		if errors.Is(err, ErrEvent) {
			return err // the keyring told of it, in vain
		}
		return o.end(err)
	}
	return nil
}

func (v *Vault) rotateKey(ctx context.Context, c keyring.Context, p keyctx.Purpose) error {
	k, err := v.ring.Rotate(ctx, c, p)
	if err != nil {
		return err
	}
	k.Release()
	return nil
}

// VerifyKEK makes a round trip with every KEK that the policy names for the
// context, or for the last of its parents: before a customer's key is relied on. It
// makes and stores no key.
//
// Errors: ErrInvalidContext; ErrPolicy, or the policy's own; ErrKEKDenied,
// ErrKEKUnavailable, ErrKEKCorrupt of the KEK that doesn't work.
func (v *Vault) VerifyKEK(ctx context.Context, kc KeyContext) error {
	c, err := v.context(kc)
	if err != nil {
		return err
	}
	return v.verifyKEK(ctx, c)
}

func (v *Vault) verifyKEK(ctx context.Context, c keyring.Context) (err error) {
	defer v.trace(&ctx, "verify_kek", &c).end(&err)
	o := v.begin(ctx, KEKVerified, c)
	err = v.authorize(ctx, OpVerifyKEK, c)
	if err == nil {
		err = v.ring.Verify(ctx, c)
	}
	if err != nil {
		err = fmt.Errorf("vault: verify KEK: %w", err)
	}
	return o.end(err)
}
