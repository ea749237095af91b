package keyring

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"sync"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// wrappings returns the key of a plan as it is to be stored. Each was unwrapped
// and is the key, or a share of it, except where partly says that a KEK of an
// any-of couldn't be asked.
func (j *Rewrapping) wrappings(ctx context.Context, p plan) (ws []keyctx.Wrapping, partly bool, err error) {
	// The key is unwrapped here only if a KEK has to be shown it.
	var shown *envelope.Key
	key := sync.OnceValues(func() (k *envelope.Key, err error) {
		k, err = j.unwrapOld(ctx, p)
		shown = k
		return k, err
	})
	defer func() {
		if shown != nil {
			shown.Destroy()
		}
	}()
	switch {
	case p.choice.Quorum == keyctx.AnyOf:
		ws, partly, err = j.anyOf(ctx, p, key)
	case p.sameMembers():
		ws, err = j.sharesAnew(ctx, p)
	default: // other members: split anew
		var k *envelope.Key
		if k, err = key(); err == nil {
			ws, err = j.r.wrap(ctx, p.choice, k, p.b, true)
		}
	}
	if err != nil {
		return nil, false, err
	}
	sortWrappings(ws)
	return ws, partly, nil
}

// unwrapOld returns the key that the record holds.
func (j *Rewrapping) unwrapOld(ctx context.Context, p plan) (key *envelope.Key, err error) {
	w := wrapped{
		id: p.rec.KeyID, purpose: p.rec.Purpose, version: p.rec.Version,
		quorum: p.rec.Quorum, wrappings: p.rec.Wrappings,
	}
	err = j.r.retry(ctx, func() error {
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
func (j *Rewrapping) anyOf(ctx context.Context, p plan, key func() (*envelope.Key, error)) (ws []keyctx.Wrapping, partly bool, err error) {
	parts := make([]part, len(p.choice.KEKs))
	errs := j.r.each(p.choice.KEKs, func(i int) (err error) {
		w := p.choice.KEKs[i]
		parts[i], err = j.part(ctx, w, p.old(w), p.redo[i], key, p.b)
		return err
	})
	if err := firstUnrecorded(errs); err != nil {
		return nil, false, err
	}
	checked, changed := false, false
	for i, part := range parts {
		if part.blob == nil {
			continue
		}
		ws = append(ws, keyctx.Wrapping{URI: p.choice.KEKs[i].URI(), Wrapped: part.blob})
		checked = checked || part.checked
		changed = changed || part.fresh
	}
	changed = changed || len(ws) != len(p.rec.Wrappings)
	if err = joinAny(errs); err != nil && !(checked && changed) {
		return nil, false, err
	}
	return ws, err != nil, nil
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

// part returns the key wrapped under w. old is what w wrapped before, or nil;
// redo says that it is to be done anew all the same.
func (j *Rewrapping) part(ctx context.Context, w kek.Wrapper, old []byte, redo bool, key func() (*envelope.Key, error), b kek.Binding) (part, error) {
	if old != nil {
		blob, err := old, error(nil)
		if redo {
			blob, err = j.under(ctx, w, old, b)
		}
		if err == nil {
			err = j.isKey(ctx, w, blob, b)
		}
		switch {
		case err == nil:
			return part{blob: blob, fresh: redo, checked: true}, nil
		case kek.Class(err) != kek.ErrCorrupt:
			return part{blob: old}, err // it may well be good
		}
		// It is not the key: perhaps another KEK has it.
	}
	k, err := key()
	if err != nil {
		return part{}, err
	}
	secret, err := k.AppendSecret(make([]byte, 0, envelope.KeySize))
	if err != nil {
		return part{}, err
	}
	defer clear(secret)
	wr, err := j.r.wrapOne(ctx, w, secret, b, true)
	return part{blob: wr.Wrapped, fresh: err == nil, checked: err == nil}, err
}

// under returns what w wrapped, a key or a share, wrapped by w's newest version:
// by the KMS itself where it can do that.
func (j *Rewrapping) under(ctx context.Context, w kek.Wrapper, old []byte, b kek.Binding) ([]byte, error) {
	if batch := j.batcher(w); batch != nil {
		return j.r.call(ctx, w, askRewrap, b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
			return batch.do(ctx, askRewrap, kek.BatchItem{Wrapped: old, Binding: b})
		})
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
	if batch := j.batcher(w); batch != nil {
		return j.r.call(ctx, w, askUnwrap, b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
			return batch.do(ctx, askUnwrap, kek.BatchItem{Wrapped: blob, Binding: b})
		})
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
	err := joinAll(j.r.each(p.choice.KEKs, func(i int) (err error) {
		w := p.choice.KEKs[i]
		blob := p.old(w)
		if p.redo[i] {
			if blob, err = j.under(ctx, w, blob, p.b); err != nil {
				return err
			}
		}
		if err = checkBlob(w, blob); err != nil {
			return err
		}
		ws[i] = keyctx.Wrapping{URI: w.URI(), Wrapped: blob}
		if shares[i], err = j.unwrapOne(ctx, w, blob, p.b); err == nil {
			err = checkLen(shares[i])
		}
		return err
	}))
	if err != nil {
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

var errNoResult = errors.New("the driver gave no result for an item of a batch")
