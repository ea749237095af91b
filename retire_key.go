package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/storage"
)

// What RetireKeys does with one key.

func (p *retirePass) retire(ctx context.Context, rec keyRecord) error {
	refusal := RetireRefusal{KeyID: rec.KeyID, ContextHash: rec.ContextHash, Version: rec.Version}
	changed, err := false, belongs(rec.KeyRecord, p.filter)
	if err == nil {
		changed, err = p.destroy(ctx, rec, &refusal)
	}
	r := &p.report
	switch {
	case errors.Is(err, errNotBroughtBack):
		r.Failed++
		p.lost = errors.Join(p.lost, err)
	case err != nil && !changed && ctx.Err() != nil:
		return context.Cause(ctx)
	case changed && err != nil:
		r.Retired++
		p.unrecorded++
	case changed:
		r.Retired++
	case errors.Is(err, ErrKeyInUse):
		r.InUse++
		r.Objects += refusal.Objects
		r.Children += refusal.Children
	case err != nil:
		r.Failed++
		p.failed = cmp.Or(p.failed, err)
	default:
		r.Gone++ // another process was faster, in whatever it did
	}
	if err != nil && len(r.Refused) < maxFailuresKept {
		refusal.Err = err
		r.Refused = append(r.Refused, refusal)
	}
	return nil
}

// destroy makes a tombstone of the key if nothing refers to it, neither before nor
// after: should there be something after all, the key comes back as it was.
func (p *retirePass) destroy(ctx context.Context, rec keyRecord, refusal *RetireRefusal) (changed bool, err error) {
	if err := p.unused(ctx, rec, refusal); err != nil || p.opts.DryRun {
		return err == nil, err
	}
	var was storage.KeyRecord
	changed, err = p.v.changeKey(ctx, rec.KeyRecord, change{KeyRetired, func(now *storage.KeyRecord) bool {
		if now.State != rec.State { // disabled, say, or shredded: not ours any more
			return false
		}
		was = now.Clone()
		return tombstone(now)
	}})
	if was.KeyID.IsZero() || !changed && err == nil {
		return false, err
	}
	// It is, or may be, a tombstone: what follows must be done although ctx ends.
	ctx = context.WithoutCancel(ctx)
	check, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	if inUse := p.unused(check, rec, refusal); inUse != nil {
		return false, p.bringBack(ctx, was, changed, inUse)
	}
	return changed, err
}

// retireTimeout bounds the look at what refers to a key that was just retired, and
// bringing it back.
const retireTimeout = 30 * time.Second

// errNotBroughtBack says that a key stays destroyed that may still be needed.
var errNotBroughtBack = errors.New("it was retired and could not be brought back; restore its record from a backup, and what refers to it is readable again")

// bringBack makes a key what it was before it was retired, for this reason: something
// refers to it, or it isn't known whether that is so. retired is false if it isn't
// known either whether it was. It returns the reason, and more if it failed.
func (p *retirePass) bringBack(ctx context.Context, was storage.KeyRecord, retired bool, reason error) error {
	ctx, cancel := context.WithTimeout(ctx, retireTimeout)
	defer cancel()
	was.Revision++
	back := p.v.cfg.Store.UpdateKey(ctx, was)
	for try := 1; back != nil && !guardFailed(back) && try < maxRetries; try++ {
		back = p.v.cfg.Store.UpdateKey(ctx, was)
	}
	p.v.ring.Forget(was.ContextHash)
	if back == nil || guardFailed(back) && !retired {
		return reason
	}
	if now, err := p.v.cfg.Store.GetKey(ctx, was.KeyID); err == nil && now.State != storage.StateShredded {
		return reason // by a write that seemed to fail
	}
	return fmt.Errorf("key %s: %w: %w: %w", was.KeyID.Short(), errNotBroughtBack, reason, back)
}

// unused returns ErrKeyInUse if something refers to the key.
func (p *retirePass) unused(ctx context.Context, rec keyRecord, refusal *RetireRefusal) (err error) {
	if refusal.Objects, err = p.v.cfg.Store.CountByKey(ctx, rec.KeyID); err != nil {
		return fmt.Errorf("counting the objects under key %s: %w", rec.KeyID.Short(), err)
	}
	if refusal.Children, err = p.children(ctx, rec.KeyID); err != nil {
		return err
	}
	if refusal.Objects > 0 || refusal.Children > 0 {
		return fmt.Errorf("%w: key %s: %d versions of objects and %d keys refer to it", ErrKeyInUse, rec.KeyID.Short(), refusal.Objects, refusal.Children)
	}
	return nil
}

// children counts the keys that are wrapped under a key.
func (p *retirePass) children(ctx context.Context, id KeyID) (n int64, err error) {
	q := storage.KeyQuery{Contexts: p.v.contexts(nil, true), ParentID: id}
	for first := true; first || q.Cursor != ""; first = false {
		page, err := p.v.keyPage(ctx, q)
		if err != nil {
			return 0, err
		}
		for _, rec := range page.Keys {
			if rec.State != storage.StateShredded {
				n++
			}
		}
		q.Cursor = page.Next
	}
	return n, nil
}
