package keyring

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// wrapped is a context key as a record or an envelope brings it: not believed.
type wrapped struct {
	id        keyctx.KeyID
	purpose   keyctx.Purpose
	version   uint32
	quorum    keyctx.Quorum
	wrappings []keyctx.Wrapping
}

// unwrap returns the key, checked: the wrappings are what the policy says for
// the asserted context, what came out is 32 bytes and not all zero, and its ID,
// computed again for the asserted context, is w.id. No KEK is called before the
// policy has agreed.
func (r *Keyring) unwrap(ctx context.Context, c Context, w wrapped) (*envelope.Key, error) {
	choice, err := r.choose(ctx, c)
	if err != nil {
		return nil, err
	}
	keks, err := choice.Match(w.quorum, w.wrappings)
	if err != nil {
		return nil, fmt.Errorf("key %s of context %s: %w", w.id.Short(), c.Hash.Short(), err)
	}
	b := r.binding(c, w.id, w.purpose, w.version)
	var key *envelope.Key
	err = r.retry(ctx, func() error {
		if w.quorum == keyctx.AllOf {
			key, err = r.unwrapAll(ctx, keks, w, b)
		} else {
			key, err = r.unwrapAny(ctx, keks, w, b)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unwrapping key %s of context %s: %w", w.id.Short(), c.Hash.Short(), err)
	}
	return key, nil
}

// unwrapAny tries one KEK after the other until one gives the key, those that
// have not been answering last.
func (r *Keyring) unwrapAny(ctx context.Context, keks []kek.Wrapper, w wrapped, b kek.Binding) (*envelope.Key, error) {
	errs := make([]error, len(keks))
	for n, i := range r.answeringFirst(keks) {
		ctx, cancel := shareOf(ctx, len(keks)-n)
		secret, err := r.callUnwrap(ctx, keks[i], w.wrappings[i].Wrapped, b)
		cancel()
		if err == nil {
			var key *envelope.Key
			if key, err = checkID(secret, b); err == nil {
				if err := firstUnrecorded(errs); err != nil {
					key.Destroy()
					return nil, err
				}
				return key, nil
			}
		}
		errs[i] = err
	}
	return nil, joinAny(errs)
}

// answeringFirst returns the indexes of keks in the order in which to try them.
func (r *Keyring) answeringFirst(keks []kek.Wrapper) []int {
	order, last := make([]int, 0, len(keks)), []int(nil)
	for i, k := range keks {
		if len(keks) > 1 && !r.stateOf(k.URI()).answering() {
			last = append(last, i)
		} else {
			order = append(order, i)
		}
	}
	return append(order, last...)
}

// shareOf gives one of n who come one after the other its share of what time is
// left, so that those who hang leave some to the last.
func shareOf(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/time.Duration(n))
}

// unwrapAll asks all KEKs at once and puts their shares together.
func (r *Keyring) unwrapAll(ctx context.Context, keks []kek.Wrapper, w wrapped, b kek.Binding) (*envelope.Key, error) {
	shares := make([][]byte, len(keks))
	err := joinAll(r.each(keks, func(i int) (err error) {
		if shares[i], err = r.callUnwrap(ctx, keks[i], w.wrappings[i].Wrapped, b); err == nil {
			err = checkLen(shares[i])
		}
		return err
	}))
	defer func() {
		for _, s := range shares {
			clear(s)
		}
	}()
	if err != nil {
		return nil, err
	}
	secret := make([]byte, envelope.KeySize)
	for _, s := range shares {
		subtle.XORBytes(secret, secret, s)
	}
	return checkID(secret, b)
}

func checkLen(secret []byte) error {
	if len(secret) != envelope.KeySize {
		return fmt.Errorf("%w: the KEK gave %d bytes, want %d", kek.ErrCorrupt, len(secret), envelope.KeySize)
	}
	return nil
}

// checkID makes a key of what a KEK gave, if it is the key that b names. It
// zeroes secret.
func checkID(secret []byte, b kek.Binding) (*envelope.Key, error) {
	defer clear(secret)
	key, err := envelope.NewKey(secret, b.ContextHash, b.Purpose, b.Version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, err)
	}
	if !key.ID().Equal(b.KeyID) {
		key.Destroy()
		return nil, fmt.Errorf("%w: the unwrapped key doesn't have the key ID", kek.ErrCorrupt)
	}
	return key, nil
}
