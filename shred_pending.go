package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/storage"
)

// PendingShred is a shredding that has not ended.
type PendingShred struct {
	ID          ID
	Match       KeyContext
	Actor       string
	Reason      string
	RequestedAt time.Time
	DueAt       time.Time

	// Begun says that keys are being destroyed: it can't be cancelled any more.
	Begun bool
}

// PendingShreds returns the shreddings of this namespace that are waiting, or have
// been interrupted.
//
// Errors: ErrNoStore; ErrClosed; the store's; ctx's; ErrStoreCorrupt, with those that
// can be read, if others can't.
func (v *Vault) PendingShreds(ctx context.Context) (_ []PendingShred, err error) {
	defer v.trace(&ctx, "pending_shreds", nil).end(&err)
	err = v.ready(ctx)
	if err == nil {
		err = v.permit(ctx, AccessRequest{Operation: OpPendingShreds, All: true})
	}
	var all *shredNotes
	if err == nil {
		all, err = v.pendingShreds(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("vault: pending shreds: %w", err)
	}
	pending := make([]PendingShred, len(all.notes))
	for i, n := range all.notes {
		pending[i] = PendingShred{
			ID: n.ID, Match: n.Match, Actor: n.Actor, Reason: n.Reason,
			RequestedAt: n.RequestedAt, DueAt: n.DueAt, Begun: n.Phase == shredShredding,
		}
	}
	if err := all.err(); err != nil {
		return pending, fmt.Errorf("vault: pending shreds: %w", err)
	}
	return pending, nil
}

// CancelShred cancels a shredding within its waiting period, by the ID of its receipt,
// and enables the keys that it has disabled, and no others: what was disabled before
// stays so, or was meanwhile by [Vault.Disable], and so does what another pending
// shredding is to destroy. It may be interrupted and called again. Each key is an
// event, key.enabled; or key.disabled, where another shredding takes it over.
//
// Errors: ErrNotFound if none with this ID is pending; ErrStoreCorrupt if a pending
// shredding can't be read that may be this one, or may be to destroy some of these
// keys, which stay disabled; ErrVersionConflict if it has
// begun to destroy keys; ErrInvalidOption in a transaction of the application's;
// ErrNoStore; ErrClosed; ErrEvent; the store's; ctx's.
func (v *Vault) CancelShred(ctx context.Context, id ID) (err error) {
	defer v.trace(&ctx, "cancel_shred", nil).end(&err)
	ctx, end, err := v.long(ctx)
	if err != nil {
		return fmt.Errorf("vault: cancel shred: %w", err)
	}
	defer end()
	if err := closedBy(ctx, v.cancelShred(ctx, id)); err != nil {
		return fmt.Errorf("vault: cancel shred %s: %w", id, err)
	}
	return nil
}

func (v *Vault) cancelShred(ctx context.Context, id ID) error {
	for try := range maxRetries {
		n, err := v.findShred(ctx, id)
		if try == 0 {
			err = v.permitCancel(ctx, id, n, err)
		}
		if err != nil {
			return err
		}
		switch n.Phase {
		case shredShredding:
			return fmt.Errorf("%w: it has begun to destroy keys", ErrVersionConflict)
		case shredCancelling:
			return v.finishCancel(ctx, n)
		}
		n.Phase = shredCancelling
		if err = v.writeShred(ctx, n); err == nil {
			return v.finishCancel(ctx, n)
		}
		if !guardFailed(err) {
			return err
		}
	}
	return fmt.Errorf("%w: it changes all the time", ErrVersionConflict)
}

// permitCancel decides about cancelling a shredding that was looked for, and found or
// not: only who is allowed learns which.
func (v *Vault) permitCancel(ctx context.Context, id ID, n *shredNote, looked error) error {
	r := AccessRequest{Operation: OpCancelShred, ObjectID: id}
	if looked == nil {
		r.Match = n.Match
	}
	if err := v.permit(ctx, r); err != nil {
		return err
	}
	return looked
}

func (v *Vault) findShred(ctx context.Context, id ID) (*shredNote, error) {
	all, err := v.pendingShreds(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all.notes {
		if n.ID == id {
			return n, nil
		}
	}
	if err := all.err(); err != nil { // it may be one of those
		return nil, err
	}
	return nil, fmt.Errorf("%w: no shredding with this ID is pending", ErrNotFound)
}

// finishCancel enables the keys and forgets the note.
func (v *Vault) finishCancel(ctx context.Context, n *shredNote) error {
	if _, err := v.releaseFromShred(n.within(ctx), n); err != nil {
		return err
	}
	return v.forgetShred(ctx, n)
}

// releaseFromShred enables the keys that a shredding has disabled; those that another
// one wants are handed to it.
func (v *Vault) releaseFromShred(ctx context.Context, n *shredNote) (int, error) {
	all, err := v.pendingShreds(ctx)
	if err != nil {
		return 0, err
	}
	held := *n
	held.Phase = shredHeld
	var unsure atomic.Bool
	done, err := v.changeAll(ctx, n.Match, change{KeyEnabled, func(rec *storage.KeyRecord) bool {
		if !held.holds(rec) {
			return false
		}
		if all.unreadConcerns(rec) {
			unsure.Store(true)
			return false
		}
		for _, other := range all.notes {
			if other.ID != n.ID && other.Phase != shredCancelling && rec.Context.Contains(other.Match) {
				rec.StateChangedAt = other.RequestedAt
				return true
			}
		}
		return enableRecord(rec)
	}})
	if err == nil && unsure.Load() {
		err = fmt.Errorf("keys stay disabled that another shredding may be to destroy: %w", all.err())
	}
	return done, err
}

// RunShreds carries out what is due: shreddings whose waiting period is over, and
// those, and cancellations, that were interrupted. It returns the receipts of what it
// has done. A vault calls it every few minutes, unless Config.NoBackground; it may run
// in several processes at once. Events have the actor and the reason of ctx, none if the
// vault calls it, and as ObjectID the ID of the shredding: who asked for that stands in
// its receipt, on the store's word, and in the events of the keys that were disabled
// then.
//
// Errors: ErrInvalidOption in a transaction of the application's; ErrNoStore;
// ErrClosed; ErrEvent; the store's; ctx's. One that fails, or that can't be read,
// doesn't keep it from the others.
func (v *Vault) RunShreds(ctx context.Context) (_ []ShredReceipt, err error) {
	defer v.trace(&ctx, "run_shreds", nil).end(&err)
	ctx, end, err := v.long(ctx)
	if err != nil {
		return nil, fmt.Errorf("vault: run shreds: %w", err)
	}
	defer end()
	if err := v.permit(ctx, AccessRequest{Operation: OpRunShreds, All: true}); err != nil {
		return nil, fmt.Errorf("vault: run shreds: %w", err)
	}
	done, err := v.runShreds(ctx)
	if err := closedBy(ctx, err); err != nil {
		return done, fmt.Errorf("vault: run shreds: %w", err)
	}
	return done, nil
}

func (v *Vault) runShreds(ctx context.Context) (done []ShredReceipt, err error) {
	all, err := v.pendingShreds(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, n := range all.notes {
		if ctx.Err() != nil {
			return done, errors.Join(append(errs, context.Cause(ctx))...)
		}
		r, err := v.runShred(n.within(ctx), n)
		if !r.Pending() {
			done = append(done, r)
		}
		if err != nil && !errors.Is(err, errShredRefused) { // that is: cancelled by another process
			errs = append(errs, fmt.Errorf("shredding %s: %w", n.ID, err))
		}
	}
	return done, errors.Join(append(errs, all.err())...)
}

// runShred does what is to be done about one shredding now; the receipt is pending if
// that was not to shred.
func (v *Vault) runShred(ctx context.Context, n *shredNote) (ShredReceipt, error) {
	due := !time.Now().Before(n.DueAt)
	switch {
	case n.Phase == shredCancelling:
		return ShredReceipt{}, v.finishCancel(ctx, n)
	case n.Phase == shredWaiting && !due:
		return ShredReceipt{}, v.holdForShred(ctx, n)
	case n.Phase == shredHeld && !due:
		return ShredReceipt{}, nil
	case n.Phase != shredShredding:
		n.Phase = shredShredding
		if err := v.writeShred(ctx, n); guardFailed(err) {
			return ShredReceipt{}, nil // another process was faster, in whatever it did
		} else if err != nil {
			return ShredReceipt{}, err
		}
	}
	return v.carryOutShred(ctx, n, nil)
}

// shredEvery is about how often a vault looks for shreddings that are due.
const shredEvery = 5 * time.Minute

// shredder runs RunShreds now and then until the vault is closed. Processes that
// started together don't do it together.
func (v *Vault) shredder(ctx context.Context) {
	for {
		pause := time.NewTimer(shredEvery/2 + rand.N(shredEvery))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		v.shredAlone(ctx)
	}
}

// shredAlone is a RunShreds that nobody called and nobody gets the error of.
func (v *Vault) shredAlone(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			v.shredErrors.Add(1)
		}
	}()
	if _, err := v.runShreds(ctx); err != nil && ctx.Err() == nil {
		v.shredErrors.Add(1)
	}
}
