package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// ErrRewrapIncomplete is matched when a rewrap went through all keys, or as far as
// MaxFailures let it, and could not wrap all of them as the policy says: see
// [RewrapReport.Failures], mend the cause, and call it again.
var ErrRewrapIncomplete = errors.New("some keys were not rewrapped")

// RewrapOptions says which keys [Vault.Rewrap] looks at and how. Exactly one of
// Match and All must be set.
type RewrapOptions struct {
	// Match selects the keys of every context that contains all these pairs.
	Match KeyContext

	// All selects every key of this vault's namespace.
	All bool

	// DryRun counts what would be done. It makes no wrapping and writes nothing;
	// a KMS is asked for its newest version and nothing else.
	DryRun bool

	// Force also wraps anew what is current as far as can be told. A KEK whose
	// driver can't tell versions, or whose options have changed, needs it.
	Force bool

	// Concurrency is how many keys are rewrapped at the same time, beside up to 500
	// that wait to be written where the store takes many in one go (see
	// [github.com/embedvault/vault/storage.KeyBatchUpdater]). Default 8. Calls to one
	// KEK are bounded by Config.KEKCalls too.
	Concurrency int

	// RateLimit is how many keys a second are looked at, at most. Default: no
	// limit.
	RateLimit float64

	// MaxFailures ends the pass after so many failures, with the report so far and
	// [ErrRewrapIncomplete]. A Job goes on from there. Default: it goes on to the
	// end.
	MaxFailures int

	// Job, if not empty, keeps how far the pass has come in the store under this
	// name, 1 to 100 of A-Z a-z 0-9 . _ : -, so that the next call with the same
	// name, Match, All and Force goes on from there after a crash. It is forgotten at the
	// end of the pass. One process runs a job at a time: of two, one fails with
	// ErrVersionConflict.
	Job string

	// Progress is called after every few hundred keys, up to a thousand where they
	// go fast, on the caller's goroutine, with the counts so far. It must not close the vault, which waits for it.
	Progress func(RewrapReport)
}

// RewrapReport counts what became of keys. With a Job it counts from the job's
// beginning, over all calls.
type RewrapReport struct {
	Seen    int64 `json:"seen"`    // looked at
	Moved   int64 `json:"moved"`   // wrapped anew, as the policy says; with DryRun: would be
	Current int64 `json:"current"` // were as the policy says
	Nothing int64 `json:"nothing"` // have no wrappings: shredded
	Partly  int64 `json:"partly"`  // of Moved: without a KEK of an any-of that could not be asked
	Failed  int64 `json:"failed"`  // left as they were

	// Failures are the first 100 keys of this call that failed, or whose event was
	// required and not recorded.
	Failures []RewrapFailure `json:"-"`
}

// RewrapFailure says why one key was left as it was.
type RewrapFailure struct {
	KeyID       KeyID
	ContextHash ContextHash
	Err         error
}

// Rewrap wraps stored keys under the KEKs that the policy chooses now, and under
// those KEKs' newest versions: after a customer has brought a key, changed it or
// left, after a KMS has rotated a key, after any-of has become all-of. It is also
// the repair: an any-of key that was made while one KMS was down gets its missing
// wrapping. Keys under a parent (see [github.com/embedvault/vault/kek.Under]) are brought under its newest key, and
// from KEKs to parents and back as the policy says; a parent that is rewrapped takes
// its children with it untouched. No data is touched and no key changes; keys go on serving meanwhile,
// in this process and in others.
//
// A new wrapping is unwrapped and checked before it replaces an old one, which
// is then gone. The policy must still name the KEKs that a key is wrapped under,
// as Previous. Self-contained envelopes hold their own wrapped key, which Rewrap
// doesn't reach: they need Previous for as long as there are any.
//
// It may be stopped by ctx, killed, and called again at any time, in several
// processes. Each key is an event, key.rewrapped.
//
// Errors: ErrInvalidOption, also in a transaction of the application's;
// ErrInvalidContext; ErrNoStore; ErrClosed, also if the vault is closed meanwhile; [ErrRewrapIncomplete] at the end; ErrEvent; the store's;
// ctx's. The report is good in every case, and a Job goes on from there.
func (v *Vault) Rewrap(ctx context.Context, opts RewrapOptions) (_ RewrapReport, err error) {
	defer v.trace(&ctx, "rewrap", nil).end(&err)
	opts, err = opts.withDefaults()
	if err != nil {
		return RewrapReport{}, fmt.Errorf("vault: rewrap: %w", err)
	}
	ctx, end, err := v.long(ctx)
	if err != nil {
		return RewrapReport{}, fmt.Errorf("vault: rewrap: %w", err)
	}
	defer end()
	if err := v.permit(ctx, AccessRequest{Operation: OpRewrap, Match: opts.Match, All: opts.All}); err != nil {
		return RewrapReport{}, fmt.Errorf("vault: rewrap: %w", err)
	}
	p := &rewrapPass{
		v:    v,
		opts: opts,
		ring: v.ring.NewRewrapping(keyring.RewrapOptions{DryRun: opts.DryRun, Force: opts.Force, Concurrency: opts.Concurrency}),
		pace: pacer{limit: opts.RateLimit},
	}
	if err := closedBy(ctx, p.run(ctx)); err != nil {
		return p.report, fmt.Errorf("vault: rewrap: %w", err)
	}
	return p.report, nil
}

func (o RewrapOptions) withDefaults() (RewrapOptions, error) {
	err := passOptions{
		match: &o.Match, all: o.All, concurrency: &o.Concurrency, maxFailures: o.MaxFailures,
		rateLimit: o.RateLimit, job: o.Job, dryRun: o.DryRun,
	}.check()
	return o, err
}

// rewrapPass is one pass over the keys.
type rewrapPass struct {
	v    *Vault
	opts RewrapOptions
	ring *keyring.Rewrapping
	pace pacer

	mu         sync.Mutex // guards what follows while a page is under way
	report     RewrapReport
	failures   int // of this call
	unrecorded int // of this call: done, but their events were not recorded
}

// maxFailuresKept is how many failures a report holds.
const maxFailuresKept = 100

// errTooManyFailures ends a pass early.
var errTooManyFailures = fmt.Errorf("%w: stopped after MaxFailures failures", ErrRewrapIncomplete)

func (p *rewrapPass) run(ctx context.Context) error {
	job, err := p.openJob(ctx)
	if err != nil {
		return err
	}
	size := pageSize{n: passPage}
	for cursor := job.Cursor; ; {
		size.begin()
		page, err := p.v.cfg.Store.ListKeys(ctx, storage.KeyQuery{
			Contexts: p.v.contexts(p.opts.Match, p.opts.All),
			Cursor:   cursor,
			Limit:    size.n,
		})
		if err != nil {
			return fmt.Errorf("listing keys: %w", err)
		}
		if err := p.rewrapAll(ctx, page.Keys); err != nil {
			return err // the page will be looked at again
		}
		if p.opts.Progress != nil {
			p.opts.Progress(p.report)
		}
		size.end()
		if cursor = page.Next; cursor == "" {
			break
		}
		if err := p.saveJob(ctx, job, cursor); err != nil {
			return err
		}
	}
	if err := job.note.remove(ctx); err != nil {
		return err
	}
	if p.unrecorded > 0 {
		return fmt.Errorf("%w: of %d keys that were rewrapped", ErrEvent, p.unrecorded)
	}
	if p.report.Failed > 0 || p.report.Partly > 0 {
		return fmt.Errorf("%w: %d failed, %d lack a KEK that could not be asked", ErrRewrapIncomplete, p.report.Failed, p.report.Partly)
	}
	return nil
}

// rewrapAll rewraps the keys of one page, several at a time. Its error is what
// ends the pass.
func (p *rewrapPass) rewrapAll(ctx context.Context, recs []storage.KeyRecord) error {
	p.ring.Coming(len(recs))
	return each(ctx, recs, p.ring.Together(), &p.pace, func(ctx context.Context, rec storage.KeyRecord) error {
		did, err := p.ring.Rewrap(ctx, rec)
		switch {
		case errors.Is(err, ErrClosed):
			return ErrClosed // like what was stopped by ctx: neither done nor failed
		case err != nil && did == 0 && ctx.Err() != nil:
			return nil
		}
		if p.count(rec, did, err) {
			return errTooManyFailures
		}
		return nil
	})
}

// count notes what became of a key and reports whether to stop.
func (p *rewrapPass) count(rec storage.KeyRecord, did keyring.Rewrapped, err error) (stop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.report
	r.Seen++
	if err != nil && did != 0 {
		p.unrecorded++
		p.keep(rec, err)
	} else if err != nil {
		r.Failed++
		p.failures++
		p.keep(rec, err)
		return p.opts.MaxFailures > 0 && p.failures >= p.opts.MaxFailures
	}
	switch did {
	case keyring.RewrapCurrent:
		r.Current++
	case keyring.RewrapMoved:
		r.Moved++
	case keyring.RewrapPartly:
		r.Moved++
		r.Partly++
	case keyring.RewrapNothing:
		r.Nothing++
	}
	return false
}

// keep remembers why a key is in the report.
func (p *rewrapPass) keep(rec storage.KeyRecord, err error) {
	if len(p.report.Failures) < maxFailuresKept {
		p.report.Failures = append(p.report.Failures, RewrapFailure{rec.KeyID, rec.ContextHash, err})
	}
}
