package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/storage"
)

// ShredOptions are the options of [Vault.Shred].
type ShredOptions struct {
	// After is a waiting period, at most ten years, in which the keys are disabled
	// and the shredding can be cancelled. 0: at once.
	After time.Duration

	// Reason says why: a ticket, a contract's end. It stands in the receipt and in
	// events, and is what an authorizer is told, treated like an actor's name. Default:
	// what WithReason says.
	Reason string

	// Progress is called after every few hundred keys that this call has destroyed,
	// on the caller's goroutine, with how many they are. It must not close the vault,
	// which waits for it.
	Progress func(keys int64)
}

// maxShredAfter is the longest waiting period.
const maxShredAfter = 10 * 365 * 24 * time.Hour

// Shred destroys the keys of every context that contains match, for ever: all
// versions and purposes, and every wrapped copy that the store has of them. What was
// encrypted under them can no longer be decrypted, by anyone. Tombstones stay, so that
// self-contained envelopes of these keys are refused too where the store is at hand.
// This process forgets the keys at once, others within Config.Cache.ActiveKeyTTL.
//
// With a waiting period the keys are disabled now, and shredded by [Vault.RunShreds],
// which every vault calls in the background unless Config.NoBackground, once it is
// over. Contexts that get their first key meanwhile are shredded with the others.
// Where a shredding of the same match is pending, Shred without a waiting period is
// done with that at once, and with one fails with ErrExists, unless it is the very
// same request again and the first was stopped before all keys were disabled.
//
// A key that another process makes while the shredding runs is destroyed too, or is a
// new key, for what is encrypted from then on. Another process that has
// a key in memory, or one that wraps a narrower context's, may go on encrypting under
// it for Config.Cache.ActiveKeyTTL, and that is lost: stop a customer's requests
// before. A context that is used afterwards gets a
// key of the next version, and its old data stays dead. Stored objects are not
// deleted: they are there and can't be read. Shred reaches neither backups of the
// store, nor self-contained envelopes where there is no store, nor what was read
// before; destroying the KEK does reach the first two.
//
// It may be stopped by ctx, or killed, and is then finished by the next Shred of the
// same match or RunShreds, by several processes at once if need be. Where a process
// is killed while it begins a waiting period and another cancels that in the same
// moment, one key may stay disabled: [Vault.Enable] gives it back. Each key is an event, key.shredded (and key.disabled at the beginning of a waiting period), with the shredding's ID as its ObjectID.
//
// The receipt says what was done; see [Vault.VerifyShred]. After a waiting period has
// begun it is pending, and says what will be.
//
// Errors: ErrInvalidContext, also if match is empty; ErrInvalidOption, also in a
// transaction of the application's; ErrNoStore; ErrClosed; ErrExists; ErrVersionConflict if it is being cancelled; ErrEvent, with a
// receipt that is good; the store's; ctx's.
func (v *Vault) Shred(ctx context.Context, match KeyContext, opts ShredOptions) (ShredReceipt, error) {
	r, err := v.shred(ctx, match, opts)
	if err != nil {
		return r, fmt.Errorf("vault: shred: %w", err)
	}
	return r, nil
}

func (v *Vault) shred(ctx context.Context, match KeyContext, opts ShredOptions) (_ ShredReceipt, err error) {
	defer v.trace(&ctx, "shred", nil).end(&err)
	if err := match.Validate(); err != nil {
		return ShredReceipt{}, err
	}
	if opts.After < 0 || opts.After > maxShredAfter {
		return ShredReceipt{}, fmt.Errorf("%w: ShredOptions.After is %v, want 0 to ten years", ErrInvalidOption, opts.After)
	}
	ctx, end, err := v.long(ctx)
	if err != nil {
		return ShredReceipt{}, err
	}
	defer end()
	if opts.Reason != "" {
		ctx = WithReason(ctx, opts.Reason) // what is decided about is what is written down
	}
	if err := v.permit(ctx, AccessRequest{Operation: OpShred, Match: match}); err != nil {
		return ShredReceipt{}, err
	}
	n, err := v.beginShred(ctx, match.Clone(), opts)
	if err != nil {
		return ShredReceipt{}, closedBy(ctx, err)
	}
	var r ShredReceipt
	if n.Phase == shredShredding {
		r, err = v.carryOutShred(n.within(ctx), n, opts.Progress)
	} else {
		r, err = n.pendingReceipt(v.cfg.Namespace), v.holdForShred(n.within(ctx), n)
	}
	return r, closedBy(ctx, err)
}

// beginShred notes what is to be shredded, before any key is touched, or takes up
// what was noted before.
func (v *Vault) beginShred(ctx context.Context, match KeyContext, opts ShredOptions) (*shredNote, error) {
	now := storage.TruncateTime(time.Now())
	fresh := shredNote{
		Format: shredFormat, ID: storage.NewID(now), Match: match, Phase: shredWaiting,
		Actor: actorOf(ctx), Reason: reasonOf(ctx), RequestedAt: now, DueAt: now.Add(opts.After),
		name: v.shredName("pending", v.hashOf(match).String()),
	}
	if opts.After == 0 {
		fresh.Phase = shredShredding
	}
	for range maxRetries {
		n, err := v.readShred(ctx, fresh.name)
		if errors.Is(err, storage.ErrNotFound) {
			again := fresh
			n, err = &again, v.writeShred(ctx, &again)
		} else if err == nil {
			err = v.takeUpShred(ctx, n, fresh)
		}
		if !guardFailed(err) || errors.Is(err, errShredRefused) {
			return n, err
		}
	}
	return nil, fmt.Errorf("%w: others begin and cancel it all the time", ErrVersionConflict)
}

// errShredRefused marks an error that trying again doesn't help.
var errShredRefused = errors.New("refused")

// takeUpShred decides what a call means for a shredding that is under way.
func (v *Vault) takeUpShred(ctx context.Context, n *shredNote, asked shredNote) error {
	switch {
	case n.Phase == shredCancelling:
		return fmt.Errorf("%w: %w: it is being cancelled; finish that with CancelShred", errShredRefused, ErrVersionConflict)
	case asked.Phase == shredShredding && n.Phase == shredShredding, asked.Phase == shredWaiting && n.sameRequest(asked):
		return nil // interrupted: go on
	case asked.Phase == shredWaiting:
		return fmt.Errorf("%w: %w: it is pending already, as %s", errShredRefused, ErrExists, n.ID)
	}
	n.Phase, n.DueAt, n.Actor, n.Reason = shredShredding, asked.DueAt, asked.Actor, asked.Reason
	return v.writeShred(ctx, n)
}

// sameRequest reports whether a call asks for what was noted, and is not yet done: the
// first again, that was interrupted.
func (n *shredNote) sameRequest(asked shredNote) bool {
	return n.Phase == shredWaiting && n.DueAt.Sub(n.RequestedAt) == asked.DueAt.Sub(asked.RequestedAt) &&
		n.Actor == asked.Actor && n.Reason == asked.Reason
}

// holdForShred disables the keys for the waiting period.
func (v *Vault) holdForShred(ctx context.Context, n *shredNote) error {
	_, err := v.changeAll(ctx, n.Match, change{KeyDisabled, disableAt(n.RequestedAt)})
	if err != nil {
		return err
	}
	n.Phase = shredHeld
	err = v.writeShred(ctx, n)
	if !guardFailed(err) {
		return err
	}
	now, err := v.readShred(ctx, n.name)
	switch {
	case err == nil && now.ID == n.ID && now.Phase != shredCancelling:
		return nil // another process has come as far, or farther
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return err
	}
	// It was cancelled meanwhile: what was disabled since must not stay so.
	if _, err := v.releaseFromShred(ctx, n); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w: it was cancelled meanwhile", errShredRefused, ErrVersionConflict)
}
