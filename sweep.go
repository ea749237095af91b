package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// sweepBatch is how many objects one write of the sweep deletes.
const sweepBatch = 500

// Sweep deletes the objects of this vault's namespace that have expired, and
// returns how many. Each is an event. It is safe to run in several processes at
// once. It trusts the expiry that the rows say.
//
// Errors: ErrNoStore, ErrClosed; the store's. Those deleted before an error are
// counted.
func (v *Vault) Sweep(ctx context.Context) (int, error) { return v.sweep(ctx, true) }

// sweep is Sweep; the vault itself need not ask.
func (v *Vault) sweep(ctx context.Context, ask bool) (_ int, err error) {
	defer v.trace(&ctx, "sweep", nil).end(&err)
	err = v.ready(ctx)
	if err == nil && ask {
		err = v.permit(ctx, AccessRequest{Operation: OpSweep, All: true})
	}
	if err != nil {
		return 0, fmt.Errorf("vault: sweep: %w", err)
	}
	deleted := 0
	var damaged error // rows that were passed over
	for {
		if err := v.ready(ctx); err != nil {
			return deleted, fmt.Errorf("vault: sweep: %w", err)
		}
		recs, err := v.cfg.Store.DeleteExpired(ctx, v.cfg.Namespace, time.Now(), sweepBatch)
		deleted += len(recs)
		for _, rec := range recs {
			if eventErr := v.swept(ctx, rec); eventErr != nil && err == nil {
				err = eventErr
			}
		}
		if errors.Is(err, storage.ErrCorrupt) {
			damaged, err = err, nil
		}
		if err != nil {
			return deleted, fmt.Errorf("vault: sweep: %w", err)
		}
		if len(recs) < sweepBatch {
			break
		}
	}
	if damaged != nil {
		return deleted, fmt.Errorf("vault: sweep: %w", damaged)
	}
	return deleted, nil
}

// swept makes the event of one deleted object.
func (v *Vault) swept(ctx context.Context, rec storage.ObjectRecord) error {
	o := v.begin(ctx, DataDeleted, keyring.Context{Hash: rec.ContextHash, Pairs: rec.Context.WithoutNamespace()})
	o.change(func(e *Event) {
		if e.Reason == "" {
			e.Reason = "expired"
		}
	})
	o.object(rec.Name, rec.ID, rec.VersionID, rec.KeyID)
	return o.end(nil)
}

// sweeper sweeps now and then until the vault is closed. Processes that started
// together don't sweep together.
func (v *Vault) sweeper(ctx context.Context) {
	for {
		pause := time.NewTimer(v.cfg.SweepEvery/2 + rand.N(v.cfg.SweepEvery))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		v.sweepAlone(ctx)
	}
}

// sweepAlone is a sweep that nobody called and nobody gets the error of. A store
// that panics must not take the process down with it.
func (v *Vault) sweepAlone(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			v.sweepErrors.Add(1)
		}
	}()
	if _, err := v.sweep(ctx, false); err != nil && ctx.Err() == nil {
		v.sweepErrors.Add(1)
	}
}
