package keyring

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// wrapped is a context key as a record or an envelope brings it: not believed.
type wrapped struct {
	id        keyctx.KeyID
	purpose   keyctx.Purpose
	version   uint32
	quorum    keyctx.Quorum
	wrappings []keyctx.Wrapping
}

// choose asks the policy for the context's KEKs. A panic of it is its error.
func (r *Keyring) choose(ctx context.Context, c Context) (choice kek.Choice, err error) {
	defer func() {
		if p := recover(); p != nil {
			choice, err = kek.Choice{}, fmt.Errorf("choosing KEKs for context %s: %w: %s", c.Hash.Short(), kek.ErrUnavailable, panicText(p))
		}
	}()
	choice, err = r.cfg.Policy.Choose(ctx, c.Pairs.Clone())
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrExists) {
		// Of the policy's own table. It must not read as "no such object".
		return kek.Choice{}, fmt.Errorf("choosing KEKs for context %s: %w: %v", c.Hash.Short(), kek.ErrPolicy, err)
	}
	if err != nil {
		return kek.Choice{}, fmt.Errorf("choosing KEKs for context %s: %w", c.Hash.Short(), err)
	}
	choice, err = choice.Normalize(c.Pairs)
	if err != nil {
		return kek.Choice{}, fmt.Errorf("choosing KEKs for context %s: %w", c.Hash.Short(), err)
	}
	if choice.Parent != nil {
		return kek.Choice{}, fmt.Errorf("%w: this version knows no keys under a Parent", kek.ErrPolicy)
	}
	return choice, nil
}

func (r *Keyring) binding(c Context, id keyctx.KeyID, p keyctx.Purpose, version uint32) kek.Binding {
	return kek.Binding{KeyID: id, ContextHash: c.Hash, Purpose: p, Version: version, Context: r.full(c)}
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

// unwrapAny tries one KEK after the other until one gives the key.
func (r *Keyring) unwrapAny(ctx context.Context, keks []kek.Wrapper, w wrapped, b kek.Binding) (*envelope.Key, error) {
	errs := make([]error, len(keks))
	for i, k := range keks {
		ctx, cancel := shareOf(ctx, len(keks)-i)
		secret, err := r.callUnwrap(ctx, k, w.wrappings[i].Wrapped, b)
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

// each runs f for every KEK at once. A panic in one is its error.
func (r *Keyring) each(keks []kek.Wrapper, f func(i int) error) []error {
	errs := make([]error, len(keks))
	var wg sync.WaitGroup
	for i := range keks {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("%w: %s", kek.ErrUnavailable, panicText(p))
				}
			}()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	return errs
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

// wrap wraps a new key under the KEKs that the policy chooses for its context.
// Every wrapping is unwrapped again and compared before it counts.
func (r *Keyring) wrap(ctx context.Context, c Context, key *envelope.Key, b kek.Binding) (keyctx.Quorum, []keyctx.Wrapping, error) {
	choice, err := r.choose(ctx, c)
	if err != nil {
		return 0, nil, err
	}
	secret, err := key.AppendSecret(make([]byte, 0, envelope.KeySize))
	if err != nil {
		return 0, nil, err
	}
	defer clear(secret)
	parts, err := split(secret, choice)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		for _, p := range parts {
			clear(p)
		}
	}()
	var ws []keyctx.Wrapping
	err = r.retry(ctx, func() error {
		ws = make([]keyctx.Wrapping, len(choice.KEKs))
		errs := r.each(choice.KEKs, func(i int) (err error) {
			ws[i], err = r.wrapOne(ctx, choice.KEKs[i], parts[i], b)
			return err
		})
		if choice.Quorum == keyctx.AllOf {
			return joinAll(errs)
		}
		// One wrapping that is known to unwrap is enough: the others can be
		// added when their KMS is back.
		ws = slices.DeleteFunc(ws, func(w keyctx.Wrapping) bool { return w.Wrapped == nil })
		if len(ws) == 0 {
			return joinAny(errs)
		}
		return firstUnrecorded(errs)
	})
	if err != nil {
		return 0, nil, fmt.Errorf("wrapping a new key of context %s: %w", c.Hash.Short(), err)
	}
	slices.SortFunc(ws, func(a, b keyctx.Wrapping) int { return strings.Compare(a.URI, b.URI) })
	return choice.Quorum, ws, nil
}

// split returns what each KEK of the choice wraps: the whole key, or a share.
func split(secret []byte, choice kek.Choice) ([][]byte, error) {
	parts := make([][]byte, len(choice.KEKs))
	rest := slices.Clone(secret)
	for i := range parts {
		switch {
		case choice.Quorum != keyctx.AllOf:
			parts[i] = slices.Clone(secret)
		case i == len(parts)-1:
			parts[i] = slices.Clone(rest)
		default:
			parts[i] = make([]byte, len(secret))
			if _, err := rand.Read(parts[i]); err != nil { // never fails: crypto/rand crashes the program instead
				return nil, err
			}
			subtle.XORBytes(rest, rest, parts[i])
		}
	}
	clear(rest)
	return parts, nil
}

func (r *Keyring) wrapOne(ctx context.Context, w kek.Wrapper, part []byte, b kek.Binding) (keyctx.Wrapping, error) {
	given := slices.Clone(part) // a driver that scribbles on its input must not fool the check
	defer clear(given)
	blob, err := r.callWrap(ctx, w, given, b)
	if err != nil {
		return keyctx.Wrapping{}, err
	}
	if len(blob) == 0 || len(blob) > keyctx.MaxWrappedLen {
		return keyctx.Wrapping{}, fmt.Errorf("%w: %s wrapped a key into %d bytes, want 1 to %d", kek.ErrCorrupt, w.URI(), len(blob), keyctx.MaxWrappedLen)
	}
	if !r.cfg.SkipWrapCheck {
		again, err := r.callUnwrap(ctx, w, blob, b)
		if err != nil {
			return keyctx.Wrapping{}, fmt.Errorf("checking a new wrapping: %w", err)
		}
		same := subtle.ConstantTimeCompare(again, part) == 1
		clear(again)
		if !same {
			return keyctx.Wrapping{}, fmt.Errorf("%w: %s doesn't unwrap what it wrapped", kek.ErrCorrupt, w.URI())
		}
	}
	return keyctx.Wrapping{URI: w.URI(), Wrapped: blob}, nil
}

// joinAny is the error of an any-of quorum of which no member would: denied
// only if all are. An error matches one class only, so the others' errors are
// there as text.
func joinAny(errs []error) error {
	return join(errs, kek.ErrUnavailable, kek.ErrCorrupt, kek.ErrDenied)
}

// joinAll is the error of an all-of quorum, nil if there is none: denied if one
// is.
func joinAll(errs []error) error {
	return join(errs, kek.ErrDenied, kek.ErrCorrupt, kek.ErrUnavailable)
}

// join returns the first error of the first class that any error has, with the
// others' texts.
func join(errs []error, order ...error) error {
	for _, class := range order {
		i := slices.IndexFunc(errs, func(err error) bool { return err != nil && kek.Class(err) == class })
		if i < 0 {
			continue
		}
		err := errs[i]
		if !errors.Is(err, class) { // of no class: a driver that doesn't keep its contract
			err = fmt.Errorf("%w: %w", class, err)
		}
		for j, other := range errs {
			if j != i && other != nil {
				err = fmt.Errorf("%w (and: %v)", err, other)
			}
		}
		return err
	}
	return nil
}
