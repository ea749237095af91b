package vault

import (
	"context"
	"errors"
	"fmt"
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
// already, or shredded, are left as they are.
//
// It may be stopped by ctx, killed, and called again at any time. Each key is an
// event, key.disabled.
//
// Errors: ErrInvalidContext, also if match is empty; ErrInvalidOption in a transaction
// of the application's; ErrNoStore; ErrClosed; ErrEvent; the store's; ctx's. Keys that couldn't be changed don't keep it from the others.
func (v *Vault) Disable(ctx context.Context, match KeyContext) (int, error) {
	n, err := v.changeState(ctx, match, change{KeyDisabled, disableAt(time.Now())})
	if err != nil {
		return n, fmt.Errorf("vault: disable: %w", err)
	}
	return n, nil
}

// Enable undoes [Vault.Disable] for the keys of every context that contains match:
// each becomes what it was. It returns how many it changed. Keys that are disabled
// because a shredding is pending stay so. Each key is an event, key.enabled.
//
// Errors: as Disable's; [ErrShredPending] if it left out such keys.
func (v *Vault) Enable(ctx context.Context, match KeyContext) (int, error) {
	n, err := v.enable(ctx, match)
	if err != nil {
		return n, fmt.Errorf("vault: enable: %w", err)
	}
	return n, nil
}

func (v *Vault) enable(ctx context.Context, match KeyContext) (int, error) {
	if err := v.ready(ctx); err != nil {
		return 0, err
	}
	pending, err := v.pendingShreds(ctx)
	if err != nil {
		return 0, err
	}
	var held atomic.Int64
	n, err := v.changeState(ctx, match, change{KeyEnabled, func(rec *storage.KeyRecord) bool {
		for _, p := range pending {
			if p.holds(rec) {
				held.Add(1)
				return false
			}
		}
		return enableRecord(rec)
	}})
	if err == nil && held.Load() > 0 {
		err = fmt.Errorf("%w for some of these keys; cancel it to enable them", ErrShredPending)
	}
	return n, err
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
