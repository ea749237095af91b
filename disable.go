package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/storage"
)

// ErrShredPending is matched when keys can't be enabled because a shredding is
// pending for them: cancel it instead.
var ErrShredPending = errors.New("a shredding is pending")

// Disable disables the keys of every context that contains match, all versions and
// purposes, until [Vault.Enable]: what needs them fails with ErrKeyDisabled, in this
// process at once and in others within Config.Cache.ActiveKeyTTL. No new version is
// made of them either. A context that has no key yet is not touched, and gets one
// when it is first used. It returns how many keys it changed; those that were disabled
// already, or shredded, are left as they are, save that keys which the waiting period
// of a shredding has disabled stay so if that is cancelled.
//
// It may be stopped by ctx, killed, and called again at any time. Each key is an
// event, key.disabled.
//
// Errors: ErrInvalidContext, also if match is empty; ErrInvalidOption in a transaction
// of the application's; ErrNoStore; ErrClosed; ErrEvent; the store's; ctx's. Keys that couldn't be changed don't keep it from the others.
func (v *Vault) Disable(ctx context.Context, match KeyContext) (int, error) {
	n, err := v.disable(ctx, match)
	if err != nil {
		return n, fmt.Errorf("vault: disable: %w", err)
	}
	return n, nil
}

func (v *Vault) disable(ctx context.Context, match KeyContext) (_ int, err error) {
	defer v.trace(&ctx, "disable", nil).end(&err)
	if err := v.permitMatch(ctx, OpDisable, match); err != nil {
		return 0, err
	}
	all, err := v.pendingShreds(ctx)
	if err != nil {
		return 0, err
	}
	at, total := storage.TruncateTime(time.Now()), 0
	for range maxRounds {
		n, err := v.disableOver(ctx, match, at, all)
		if total += n; err != nil {
			return total, err
		}
		seen := all
		if all, err = v.pendingShreds(ctx); err != nil {
			return total, fmt.Errorf("looking again for pending shreddings; call it again: %w", err)
		}
		if !all.anyBut(seen) {
			return total, nil
		}
	}
	return total, fmt.Errorf("%w: there are new shreddings all the time; call it again", ErrVersionConflict)
}

// disableOver disables keys, also those that a pending shredding has disabled: they are
// then no longer its own, and its cancellation doesn't enable them.
func (v *Vault) disableOver(ctx context.Context, match KeyContext, at time.Time, all *shredNotes) (int, error) {
	disable := disableAt(at)
	return v.changeState(ctx, match, change{KeyDisabled, func(rec *storage.KeyRecord) bool {
		if rec.State == storage.StateDisabled && !rec.StateChangedAt.Equal(at) && all.mayHaveDisabled(rec) {
			rec.StateChangedAt = at
			return true
		}
		return disable(rec)
	}})
}

// Enable undoes [Vault.Disable] for the keys of every context that contains match:
// each becomes what it was. It returns how many it changed. Keys that a pending
// shredding is to destroy stay disabled, also those that were before it began: cancel
// it, and enable them then. A key under a parent that is disabled is of no use until
// that is enabled too; see [KeyInfo].State.
//
// It may be stopped by ctx, killed, and called again at any time. Should a shredding
// begin meanwhile, what it is to destroy is disabled again at the end; call it again
// if it was interrupted. Each key is an event, key.enabled.
//
// Errors: as Disable's; [ErrShredPending] if it left out such keys, also those for
// which a pending shredding can't be read: ErrStoreCorrupt.
func (v *Vault) Enable(ctx context.Context, match KeyContext) (int, error) {
	n, err := v.enable(ctx, match)
	if err != nil {
		return n, fmt.Errorf("vault: enable: %w", err)
	}
	return n, nil
}

func (v *Vault) enable(ctx context.Context, match KeyContext) (_ int, err error) {
	defer v.trace(&ctx, "enable", nil).end(&err)
	if err := v.permitMatch(ctx, OpEnable, match); err != nil {
		return 0, err
	}
	all, err := v.pendingShreds(ctx)
	if err != nil {
		return 0, err
	}
	var held, unsure atomic.Bool
	n, err := v.changeState(ctx, match, change{KeyEnabled, func(rec *storage.KeyRecord) bool {
		if rec.State == storage.StateDisabled && all.wants(rec) {
			held.Store(true)
			unsure.Store(unsure.Load() || all.unreadConcerns(rec))
			return false
		}
		return enableRecord(rec)
	}})
	if err == nil || n > 0 {
		err = errors.Join(err, v.heedNewShreds(ctx, match, &held))
	}
	if err == nil && held.Load() {
		err = fmt.Errorf("%w for some of these keys; cancel it to enable them", ErrShredPending)
		if unsure.Load() {
			err = fmt.Errorf("%w: %w", err, all.err())
		}
	}
	return n, err
}

// heedNewShreds disables again what was enabled although a shredding is pending for it,
// which began meanwhile or before a call that was interrupted.
func (v *Vault) heedNewShreds(ctx context.Context, match KeyContext, held *atomic.Bool) error {
	all, err := v.pendingShreds(ctx)
	if err != nil {
		return fmt.Errorf("looking again for pending shreddings; call it again: %w", err)
	}
	var notes []*shredNote
	for _, p := range all.notes {
		if p.Phase == shredWaiting || p.Phase == shredHeld {
			notes = append(notes, p)
		}
	}
	if len(notes) == 0 {
		return nil
	}
	var mu sync.Mutex // guards holders
	holders := map[*shredNote]bool{}
	_, err = v.changeState(ctx, match, change{KeyDisabled, func(rec *storage.KeyRecord) bool {
		for _, p := range notes { // what was made since serves until the shredding is due
			if rec.Context.Contains(p.Match) && !rec.CreatedAt.After(p.RequestedAt) && disableAt(p.RequestedAt)(rec) {
				mu.Lock()
				defer mu.Unlock()
				holders[p] = true
				return true
			}
		}
		return false
	}})
	for p := range holders {
		held.Store(true)
		err = errors.Join(err, v.stillHeld(ctx, p))
	}
	return err
}

// stillHeld enables what was disabled for a shredding that was cancelled meanwhile.
func (v *Vault) stillHeld(ctx context.Context, n *shredNote) error {
	now, err := v.readShred(ctx, n.name)
	switch {
	case err == nil && now.ID == n.ID && now.Phase != shredCancelling:
		return nil
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return err
	}
	_, err = v.releaseFromShred(ctx, n)
	return err
}

// permitMatch decides about a change of the keys that match selects, once that is valid
// and there is a store.
func (v *Vault) permitMatch(ctx context.Context, op Operation, match KeyContext) error {
	if err := v.ready(ctx); err != nil {
		return err
	}
	if v.cfg.Authorizer == nil {
		return nil // match is looked at where it always was
	}
	if err := match.Validate(); err != nil {
		return err
	}
	return v.permit(ctx, AccessRequest{Operation: op, Match: match})
}

// changeState makes a change to all keys that match selects.
func (v *Vault) changeState(ctx context.Context, match KeyContext, ch change) (int, error) {
	if err := match.Validate(); err != nil {
		return 0, err
	}
	match = match.Clone()
	ctx, end, err := v.long(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	n, err := v.changeAll(ctx, match, ch)
	return n, closedBy(ctx, err)
}

// disableAt disables a key that is in use, as of this time.
func disableAt(at time.Time) func(*storage.KeyRecord) bool {
	at = storage.TruncateTime(at)
	return func(rec *storage.KeyRecord) bool {
		if rec.State != storage.StateActive && rec.State != storage.StateDecryptOnly {
			return false
		}
		rec.StateBefore, rec.State, rec.StateChangedAt = rec.State, storage.StateDisabled, at
		return true
	}
}

// enableRecord makes a disabled key what it was.
func enableRecord(rec *storage.KeyRecord) bool {
	if rec.State != storage.StateDisabled {
		return false
	}
	rec.State, rec.StateBefore, rec.StateChangedAt = rec.StateBefore, 0, time.Now().UTC()
	if rec.State != storage.StateDecryptOnly {
		rec.State = storage.StateActive // which the newest version is, and no other
	}
	return true
}
