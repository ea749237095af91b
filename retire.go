package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ErrKeyInUse is matched when keys were not retired because stored objects, or other
// keys, refer to them: see [RetireReport.Refused].
var ErrKeyInUse = errors.New("keys are in use")

// defaultRetireAge is how long ago a key must have been superseded by default.
const defaultRetireAge = 24 * time.Hour

// RetireOptions says which keys [Vault.RetireKeys] retires.
type RetireOptions struct {
	// Match selects the keys of every context that contains all these pairs. There is
	// no way to retire all.
	Match KeyContext

	// ElsewhereReencrypted is the caller's word that no ciphertext of these contexts
	// that is kept outside of the vault's store (messages, fields, data keys, streams,
	// self-contained envelopes, backups that are to be of use) is under a superseded
	// key any more: see [Vault.NeedsReencrypt]. The vault can't know that, and what is
	// left is lost. Without it nothing is retired.
	ElsewhereReencrypted bool

	// OlderThan is how long ago a key must have been superseded. It must be longer
	// than a key can serve in any process that uses the store: its Cache.TTL +
	// Cache.StaleIfUnavailable, since one that reaches neither store nor KMS seals
	// under the key it has until then; and longer than the longest transaction of the
	// application's that puts objects is open. What is written under the key after
	// that is lost. That it is longer than this vault's own limits is checked. Default
	// 24 hours, or twice those if that is longer.
	OlderThan time.Duration

	// DryRun counts what would be done, and changes nothing.
	DryRun bool

	// Progress is called after every few hundred keys, on the caller's goroutine, with
	// the counts so far. It must not close the vault, which waits for it.
	Progress func(RetireReport)
}

// RetireReport counts what became of keys for data and for wrapping other keys.
type RetireReport struct {
	Seen     int64 `json:"seen"`     // looked at
	Retired  int64 `json:"retired"`  // destroyed; with DryRun: would be
	Newest   int64 `json:"newest"`   // the newest version of their contexts' keys
	Young    int64 `json:"young"`    // superseded less than OlderThan ago
	Disabled int64 `json:"disabled"` // disabled: enable or shred them
	Gone     int64 `json:"gone"`     // were tombstones
	InUse    int64 `json:"in_use"`   // something refers to them: left as they were
	Failed   int64 `json:"failed"`   // left as they were

	Objects  int64 `json:"objects"`  // versions of objects that refer to those in use
	Children int64 `json:"children"` // keys wrapped under those in use

	// Refused are the first 100 keys that were in use or failed, or whose event was
	// required and not recorded.
	Refused []RetireRefusal `json:"-"`
}

// RetireRefusal says why one key was left as it was.
type RetireRefusal struct {
	KeyID       KeyID
	ContextHash ContextHash
	Version     uint32
	Objects     int64 // versions of objects that refer to it
	Children    int64 // keys that it wraps
	Err         error
}

// RetireKeys destroys superseded versions of keys of every context that contains
// Match, for data and for wrapping other keys, once nothing is encrypted under them any
// more: after [Vault.ReencryptObjects] with OldVersions. Each leaves a tombstone, so
// that nothing brings it back. It refuses a key while a stored version of an object,
// current or not, expired or not, or another key refers to it, and goes on with the
// others. There is no way back.
//
// It looks again once a key is destroyed, and brings it back if something refers to it
// after all, or if that can't be told. What it can't see is a Put whose transaction is
// still open, which OlderThan must outlast.
//
// It may be stopped by ctx, killed, and called again at any time, in several
// processes. Each key is an event, key.retired.
//
// Errors: ErrInvalidOption, also without ElsewhereReencrypted and in a transaction of
// the application's; ErrInvalidContext;
// [ErrKeyInUse] at the end, with the counts in the report; ErrNoStore; ErrClosed;
// ErrEvent; the store's; ctx's. The report is good in every case.
func (v *Vault) RetireKeys(ctx context.Context, opts RetireOptions) (RetireReport, error) {
	r, err := v.retireKeys(ctx, opts)
	if err != nil {
		return r, fmt.Errorf("vault: retire keys: %w", err)
	}
	return r, nil
}

func (v *Vault) retireKeys(ctx context.Context, opts RetireOptions) (_ RetireReport, err error) {
	defer v.trace(&ctx, "retire_keys", nil).end(&err)
	if opts.OlderThan == 0 {
		opts.OlderThan = max(defaultRetireAge, 2*v.cfg.Cache.longest())
	}
	switch {
	case !opts.ElsewhereReencrypted:
		return RetireReport{}, fmt.Errorf("%w: set ElsewhereReencrypted once no ciphertext outside of the store is under a superseded key", ErrInvalidOption)
	case opts.OlderThan <= v.cfg.Cache.longest():
		return RetireReport{}, fmt.Errorf("%w: OlderThan is %v, want more than %v, which is how long a key may serve in a process: Cache.TTL and StaleIfUnavailable together, or ActiveKeyTTL if that is longer", ErrInvalidOption, opts.OlderThan, v.cfg.Cache.longest())
	}
	if err := opts.Match.Validate(); err != nil {
		return RetireReport{}, err
	}
	opts.Match = opts.Match.Clone()
	ctx, end, err := v.long(ctx)
	if err != nil {
		return RetireReport{}, err
	}
	defer end()
	if err := v.permit(ctx, AccessRequest{Operation: OpRetireKeys, Match: opts.Match}); err != nil {
		return RetireReport{}, err
	}
	p := &retirePass{v: v, opts: opts, now: time.Now(), filter: v.contexts(opts.Match, false)}
	err = closedBy(ctx, p.run(ctx))
	return p.report, errors.Join(p.lost, err)
}

type retirePass struct {
	v      *Vault
	opts   RetireOptions
	now    time.Time
	filter storage.ContextFilter

	report     RetireReport
	unrecorded int
	failed     error // of the first key that failed otherwise
	lost       error // of keys that could not be brought back
}

func (p *retirePass) run(ctx context.Context) error {
	for rec, err := range p.v.keyRecords(ctx, storage.KeyQuery{Contexts: p.filter}) {
		if err != nil {
			return err
		}
		if rec.Purpose != keyctx.PurposeData && rec.Purpose != keyctx.PurposeWrapping {
			continue // indexes and audit checkpoints can't be moved to another key
		}
		if err := p.one(ctx, rec); err != nil {
			return err
		}
		if p.report.Seen++; p.opts.Progress != nil && p.report.Seen%passPage == 0 {
			p.opts.Progress(p.report)
		}
	}
	if p.opts.Progress != nil {
		p.opts.Progress(p.report)
	}
	switch r := p.report; {
	case p.unrecorded > 0:
		return fmt.Errorf("%w: of %d keys that were retired", ErrEvent, p.unrecorded)
	case r.InUse > 0:
		return fmt.Errorf("%w: %d keys; %d versions of objects and %d keys refer to them", ErrKeyInUse, r.InUse, r.Objects, r.Children)
	case p.failed != nil:
		return fmt.Errorf("%d keys failed: %w", r.Failed, p.failed)
	}
	return nil
}

// one retires one key, if it may be. Its error ends the pass.
func (p *retirePass) one(ctx context.Context, rec keyRecord) error {
	r := &p.report
	again := rec.Clone()
	switch {
	case !tombstone(&again):
		r.Gone++
	case rec.newest():
		r.Newest++
	case rec.State == storage.StateDisabled:
		r.Disabled++
	case p.now.Sub(p.since(rec)) <= p.opts.OlderThan:
		r.Young++
	default:
		return p.retire(ctx, rec)
	}
	return nil
}

// since returns when nothing new was sealed under the key any more, but for what other
// processes had cached: when the next version was made, or it became active again
// after it had been disabled.
func (p *retirePass) since(rec keyRecord) time.Time {
	if rec.StateChangedAt.After(rec.supersededAt) {
		return rec.StateChangedAt
	}
	return rec.supersededAt
}
