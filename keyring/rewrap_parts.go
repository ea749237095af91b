package keyring

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// wrappings returns the key of a plan as it is to be stored. Each was unwrapped
// and is the key, or a share of it, except where partly says that a KEK of an
// any-of couldn't be asked.
func (j *Rewrapping) wrappings(ctx context.Context, p plan) (ws []keyctx.Wrapping, partly bool, err error) {
	key := newShown(func() (*envelope.Key, error) { return j.unwrapOld(ctx, p) })
	defer key.destroy()
	switch {
	case p.choice.Parent != nil:
		var k *envelope.Key
		if k, err = key.get(ctx); err == nil {
			ws, err = j.underNewest(ctx, p, k)
		}
	case p.choice.Quorum == keyctx.AnyOf:
		ws, partly, err = j.anyOf(ctx, p, key)
	case p.sameMembers():
		ws, err = j.sharesAnew(ctx, p)
	default: // other members: split anew
		var k *envelope.Key
		if k, err = key.get(ctx); err == nil {
			ws, err = j.r.wrap(ctx, p.choice, k, p.b, true)
		}
	}
	if err != nil {
		return nil, false, err
	}
	sortWrappings(ws)
	return ws, partly, nil
}

// shown is the key of a record, which is unwrapped in this process only if a KEK
// has to be shown it, and then once for all that need it.
type shown struct {
	unwrap  func() (*envelope.Key, error)
	claimed atomic.Bool
	done    chan struct{} // closed when key and err are set
	key     *envelope.Key
	err     error
}

func newShown(unwrap func() (*envelope.Key, error)) *shown {
	return &shown{unwrap: unwrap, done: make(chan struct{})}
}

func (s *shown) get(ctx context.Context) (*envelope.Key, error) {
	if s.claimed.CompareAndSwap(false, true) {
		s.err = fmt.Errorf("%w: %w", kek.ErrUnavailable, errGoexit)
		defer close(s.done)
		s.key, s.err = s.unwrap()
		return s.key, s.err
	}
	select {
	case <-s.done:
		return s.key, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", kek.ErrUnavailable, ctx.Err())
	}
}

// destroy zeroes the key. Nobody uses it any more.
func (s *shown) destroy() {
	if s.key != nil {
		s.key.Destroy()
	}
}

// unwrapOld returns the key that the record holds.
func (j *Rewrapping) unwrapOld(ctx context.Context, p plan) (key *envelope.Key, err error) {
	if !p.under.IsZero() {
		return j.unwrapOldChild(ctx, p)
	}
	w := wrapped{
		id: p.rec.KeyID, purpose: p.rec.Purpose, version: p.rec.Version,
		quorum: p.rec.Quorum, wrappings: p.rec.Wrappings,
	}
	err = j.r.retry(ctx, func(ctx context.Context) error {
		if w.quorum == keyctx.AllOf {
			key, err = j.r.unwrapAll(ctx, p.olds, w, p.b)
		} else {
			key, err = j.r.unwrapAny(ctx, p.olds, w, p.b)
		}
		return err
	})
	return key, err
}

// anyOf has every KEK of the choice wrap the key, unless it has done so. One that
// can't be asked keeps what it wrapped before, if there is anything.
func (j *Rewrapping) anyOf(ctx context.Context, p plan, key *shown) (ws []keyctx.Wrapping, partly bool, err error) {
	parts := make([]part, len(p.choice.KEKs))
	errs := j.r.each(p.choice.KEKs, func(i int) error {
		return j.r.retry(ctx, func(ctx context.Context) (err error) {
			parts[i], err = j.part(ctx, p, i, key)
			return err
		})
	})
	if err := firstUnrecorded(errs); err != nil {
		return nil, false, err
	}
	checked, changed := false, p.someLeave()
	for i, part := range parts {
		if part.blob == nil {
			continue
		}
		ws = append(ws, keyctx.Wrapping{URI: p.choice.KEKs[i].URI(), Wrapped: part.blob})
		checked = checked || part.checked
		changed = changed || part.fresh
	}
	if err = joinAny(errs); err != nil && !(checked && changed) {
		return nil, false, err
	}
	return ws, err != nil, nil
}

// someLeave reports whether a wrapping is there that the choice has no use for.
func (p *plan) someLeave() bool {
	return p.rec.Quorum != p.choice.Quorum || slices.ContainsFunc(p.rec.Wrappings, func(wr keyctx.Wrapping) bool {
		return indexOf(p.choice.KEKs, wr.URI) < 0
	})
}

// sameMembers reports whether every KEK of the choice, and no other, has wrapped
// the key.
func (p *plan) sameMembers() bool {
	return len(p.rec.Wrappings) == len(p.choice.KEKs) &&
		!slices.ContainsFunc(p.choice.KEKs, func(w kek.Wrapper) bool { return p.old(w) == nil })
}

// part is what one KEK of an any-of contributes.
type part struct {
	blob    []byte // nil: nothing
	fresh   bool   // blob is new
	checked bool   // blob was unwrapped, and is the key
}

// part returns the key wrapped under the KEK i of the choice. With an error it
// returns what the KEK had wrapped before, if anything: that may well be good.
func (j *Rewrapping) part(ctx context.Context, p plan, i int, key *shown) (part, error) {
	w, had := p.choice.KEKs[i], part{blob: p.old(p.choice.KEKs[i])}
	if had.blob != nil {
		if err := p.parts[i].unknown; err != nil {
			return had, err
		}
		blob, err := had.blob, error(nil)
		if p.parts[i].redo {
			blob, err = j.under(ctx, w, had.blob, p.b)
		}
		if err == nil {
			err = j.isKey(ctx, w, blob, p.b)
		}
		switch {
		case err == nil:
			return part{blob: blob, fresh: p.parts[i].redo, checked: true}, nil
		case kek.Class(err) != kek.ErrCorrupt:
			return had, err
		}
		// It is not the key: perhaps another KEK has it.
	}
	k, err := key.get(ctx)
	if err != nil {
		return had, err
	}
	secret, err := k.AppendSecret(make([]byte, 0, envelope.KeySize))
	if err != nil {
		return had, err
	}
	defer clear(secret)
	wr, err := j.r.wrapOne(ctx, w, secret, p.b, true)
	if err != nil {
		return had, err
	}
	return part{blob: wr.Wrapped, fresh: true, checked: true}, nil
}

// under returns what w wrapped, a key or a share, wrapped by w's newest version:
// by the KMS itself where it can do that.
func (j *Rewrapping) under(ctx context.Context, w kek.Wrapper, old []byte, b kek.Binding) ([]byte, error) {
	if batcher, key, ok := batching(w, askRewrap); ok {
		return j.inBatch(ctx, batcher, key, old, b)
	}
	if rw, ok := w.(kek.Rewrapper); ok {
		return j.r.callRewrap(ctx, rw, old, b)
	}
	secret, err := j.r.callUnwrap(ctx, w, old, b)
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	return j.r.callWrap(ctx, w, secret, b)
}

// unwrapOne is callUnwrap, in batches where the KMS takes them.
func (j *Rewrapping) unwrapOne(ctx context.Context, w kek.Wrapper, blob []byte, b kek.Binding) ([]byte, error) {
	if batcher, key, ok := batching(w, askUnwrap); ok {
		return j.inBatch(ctx, batcher, key, blob, b)
	}
	return j.r.callUnwrap(ctx, w, blob, b)
}

// isKey unwraps what w wrapped and reports whether it is the key that b names.
func (j *Rewrapping) isKey(ctx context.Context, w kek.Wrapper, blob []byte, b kek.Binding) error {
	if err := checkBlob(w, blob); err != nil {
		return err
	}
	secret, err := j.unwrapOne(ctx, w, blob, b)
	if err != nil {
		return err
	}
	key, err := checkID(secret, b)
	if err != nil {
		return err
	}
	key.Destroy()
	return nil
}

// sharesAnew has those members of an all-of whose share is of an older version
// wrap the same share anew, and checks that all shares together are the key.
func (j *Rewrapping) sharesAnew(ctx context.Context, p plan) ([]keyctx.Wrapping, error) {
	ws := make([]keyctx.Wrapping, len(p.choice.KEKs))
	shares := make([][]byte, len(ws))
	defer func() {
		for _, s := range shares {
			clear(s)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := j.r.each(p.choice.KEKs, func(i int) error {
		return j.r.retry(ctx, func(ctx context.Context) (err error) {
			if ws[i], shares[i], err = j.share(ctx, p, i); kek.Class(err) == kek.ErrDenied {
				cancel()
			}
			return err
		})
	})
	if err := firstUnrecorded(errs); err != nil {
		return nil, err
	}
	if err := joinAll(errs); err != nil {
		return nil, err
	}
	secret := make([]byte, envelope.KeySize)
	for _, s := range shares {
		subtle.XORBytes(secret, secret, s)
	}
	key, err := checkID(secret, p.b)
	if err != nil {
		return nil, err
	}
	key.Destroy()
	return ws, nil
}

// share returns the share of one member of an all-of, wrapped under its newest
// version, and the share itself.
func (j *Rewrapping) share(ctx context.Context, p plan, i int) (wr keyctx.Wrapping, secret []byte, err error) {
	w := p.choice.KEKs[i]
	wr = keyctx.Wrapping{URI: w.URI(), Wrapped: p.old(w)}
	if p.parts[i].redo {
		if wr.Wrapped, err = j.under(ctx, w, wr.Wrapped, p.b); err != nil {
			return wr, nil, err
		}
	}
	if err := checkBlob(w, wr.Wrapped); err != nil {
		return wr, nil, err
	}
	if secret, err = j.unwrapOne(ctx, w, wr.Wrapped, p.b); err != nil {
		return wr, nil, err
	}
	if err := checkLen(secret); err != nil {
		clear(secret)
		return wr, nil, err
	}
	return wr, secret, nil
}
