package keyring

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

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
		choice.Parent = choice.Parent.Clone() // it may be the policy's own map
		choice.Quorum = keyctx.AnyOf
	}
	return choice, nil
}

func (r *Keyring) binding(c Context, id keyctx.KeyID, p keyctx.Purpose, version uint32) kek.Binding {
	return kek.Binding{KeyID: id, ContextHash: c.Hash, Purpose: p, Version: version, Context: r.full(c)}
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

// wrapNew wraps a new key under the KEKs, or the parent, that the policy chooses for
// its context, and asks the policy again before it is done: a rule that is changed
// while the KMS is asked must not leave a new key under KEKs that are no longer
// named. fresh is lowered to what it is of a key under a parent.
func (r *Keyring) wrapNew(ctx context.Context, c Context, key *envelope.Key, b kek.Binding, fresh *freshness) (keyctx.Quorum, []keyctx.Wrapping, error) {
	for range 3 {
		choice, err := r.choose(ctx, c)
		if err != nil {
			return 0, nil, err
		}
		if choice.Parent != nil && r.cfg.KeepBlocks && b.Purpose == keyctx.PurposeData && r.cfg.Store != nil {
			return 0, nil, fmt.Errorf("%w: context %s", ErrNoSelfContained, c.Hash.Short())
		}
		wrappings, err := r.wrapChosen(ctx, choice, key, b, fresh)
		if err != nil {
			return 0, nil, fmt.Errorf("wrapping a new key of context %s: %w", c.Hash.Short(), err)
		}
		now, err := r.choose(ctx, c)
		if err != nil {
			return 0, nil, err
		}
		if sameKEKs(choice, now) {
			return choice.Quorum, wrappings, nil
		}
	}
	return 0, nil, fmt.Errorf("%w: what it says for context %s changes all the time", kek.ErrPolicy, c.Hash.Short())
}

// wrapChosen wraps a new key under what was chosen.
func (r *Keyring) wrapChosen(ctx context.Context, choice kek.Choice, key *envelope.Key, b kek.Binding, fresh *freshness) ([]keyctx.Wrapping, error) {
	if choice.Parent != nil {
		return r.wrapUnder(ctx, choice.Parent, key, b, fresh)
	}
	return r.wrap(ctx, choice, key, b, !r.cfg.SkipWrapCheck)
}

// sameKEKs reports whether two choices wrap keys alike.
func sameKEKs(a, b kek.Choice) bool {
	return a.Quorum == b.Quorum && maps.Equal(a.Parent, b.Parent) && len(a.KEKs) == len(b.KEKs) && !slices.ContainsFunc(a.KEKs, func(w kek.Wrapper) bool {
		return indexOf(b.KEKs, w.URI()) < 0
	})
}

// indexOf returns where the KEK with this URI is, or -1.
func indexOf(keks []kek.Wrapper, uri string) int {
	return slices.IndexFunc(keks, func(w kek.Wrapper) bool { return w.URI() == uri })
}

// wrap wraps a key under the KEKs of a choice. If check says so every wrapping is
// unwrapped again and compared before it counts.
func (r *Keyring) wrap(ctx context.Context, choice kek.Choice, key *envelope.Key, b kek.Binding, check bool) ([]keyctx.Wrapping, error) {
	secret, err := key.AppendSecret(make([]byte, 0, envelope.KeySize))
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	parts, err := split(secret, choice)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, p := range parts {
			clear(p)
		}
	}()
	var ws []keyctx.Wrapping
	err = r.retry(ctx, func(ctx context.Context) error {
		ws = make([]keyctx.Wrapping, len(choice.KEKs))
		errs := r.each(choice.KEKs, func(i int) (err error) {
			ws[i], err = r.wrapOne(ctx, choice.KEKs[i], parts[i], b, check)
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
		return nil, err
	}
	sortWrappings(ws)
	return ws, nil
}

func sortWrappings(ws []keyctx.Wrapping) {
	slices.SortFunc(ws, func(a, b keyctx.Wrapping) int { return strings.Compare(a.URI, b.URI) })
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

// wrapOne wraps a key or a share of one, and unwraps and compares it if check
// says so.
func (r *Keyring) wrapOne(ctx context.Context, w kek.Wrapper, part []byte, b kek.Binding, check bool) (keyctx.Wrapping, error) {
	given := slices.Clone(part) // a driver that scribbles on its input must not fool the check
	defer clear(given)
	blob, err := r.callWrap(ctx, w, given, b)
	if err != nil {
		return keyctx.Wrapping{}, err
	}
	if err := checkBlob(w, blob); err != nil {
		return keyctx.Wrapping{}, err
	}
	if check {
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

func checkBlob(w kek.Wrapper, blob []byte) error {
	if len(blob) == 0 || len(blob) > keyctx.MaxWrappedLen {
		return fmt.Errorf("%w: %s wrapped a key into %d bytes, want 1 to %d", kek.ErrCorrupt, w.URI(), len(blob), keyctx.MaxWrappedLen)
	}
	return nil
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
		i := slices.IndexFunc(errs, func(err error) bool { return kek.Class(err) == class && !errors.Is(err, errClosedGate) })
		if i < 0 { // of those that weren't asked only if there is no other: see retry
			i = slices.IndexFunc(errs, func(err error) bool { return kek.Class(err) == class })
		}
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
