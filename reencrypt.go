package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/embedvault/vault/storage"
)

// ErrReencryptIncomplete is matched when a re-encryption went through all objects, or
// as far as MaxFailures let it, and could not move all of them: see
// [ReencryptReport.Failures], mend the cause, and call it again.
var ErrReencryptIncomplete = errors.New("some objects were not re-encrypted")

// ReencryptOptions says which objects [Vault.ReencryptObjects] looks at and how.
// Exactly one of Match and All must be set.
type ReencryptOptions struct {
	// Match selects the objects of every context that contains all these pairs.
	Match KeyContext

	// All selects every object of this vault's namespace.
	All bool

	// OldVersions also moves versions of objects that are not current, which
	// RetireKeys needs.
	OldVersions bool

	// DryRun counts what would be done. It decrypts and writes nothing.
	DryRun bool

	// Concurrency is how many versions are moved at the same time, each held in
	// memory whole. Default 8.
	Concurrency int

	// RateLimit is how many versions a second are looked at, at most. Default: no
	// limit.
	RateLimit float64

	// MaxFailures ends the pass after so many failures, with the report so far and
	// [ErrReencryptIncomplete]. Default: it goes on to the end.
	MaxFailures int

	// Job, if not empty, keeps how far the pass has come in the store under this
	// name, as [RewrapOptions].Job does. Without one nothing is lost either: what was
	// moved isn't looked at again.
	Job string

	// Progress is called after every few hundred versions, on the caller's goroutine,
	// with the counts so far. It must not close the vault, which waits for it.
	Progress func(ReencryptReport)
}

// ReencryptReport counts what became of versions of objects that were sealed under
// superseded keys. With a Job it counts from the job's beginning, over all calls.
type ReencryptReport struct {
	Keys   int64 `json:"keys"`   // superseded keys that were looked at
	Seen   int64 `json:"seen"`   // versions that were looked at
	Moved  int64 `json:"moved"`  // sealed under the active key; with DryRun: would be
	Old    int64 `json:"old"`    // not current, and left as they were since OldVersions isn't set
	Raced  int64 `json:"raced"`  // a writer, a deletion or another pass was faster, and won
	Failed int64 `json:"failed"` // left as they were

	// Dead counts versions under shredded keys, or keys that were wrapped under those,
	// which nothing can move. They are not among Seen.
	Dead int64 `json:"dead"`

	// Failures are the first 100 versions of this call that failed, or whose event was
	// required and not recorded.
	Failures []ReencryptFailure `json:"-"`
}

// ReencryptFailure says why one version was left as it was.
type ReencryptFailure struct {
	ContextHash ContextHash
	Object      ID
	Name        string
	VersionID   ID
	KeyID       KeyID // under which it is sealed
	Err         error
}

// ReencryptObjects moves stored objects from superseded versions of their contexts'
// keys to the active ones: after a rotation whose reason was that a key may have
// leaked, or before [Vault.RetireKeys]. Values, names, IDs, version numbers, times,
// expiry and labels stay as they are; readers and writers go on meanwhile, in this
// process and in others. It goes by keys, so that objects under active keys cost
// nothing.
//
// A new envelope is opened and compared before it replaces the old one, and it
// replaces nothing else: a writer who is faster wins, and is counted. An object that
// has expired is moved too, until the sweep deletes it.
//
// It may be stopped by ctx, killed, and called again at any time, in several
// processes. Each version is an event, data.reencrypted.
//
// Errors: ErrInvalidOption, also in a transaction of the application's;
// ErrInvalidContext; ErrNoStore; ErrClosed, also if the vault is closed meanwhile; [ErrReencryptIncomplete] at the end; ErrVersionConflict if
// another process runs the Job; ErrEvent; the store's; ctx's. The report is good in
// every case.
func (v *Vault) ReencryptObjects(ctx context.Context, opts ReencryptOptions) (ReencryptReport, error) {
	r, err := v.reencryptObjects(ctx, opts)
	if err != nil {
		return r, fmt.Errorf("vault: re-encrypt: %w", err)
	}
	return r, nil
}

func (v *Vault) reencryptObjects(ctx context.Context, opts ReencryptOptions) (_ ReencryptReport, err error) {
	defer v.trace(&ctx, "reencrypt_objects", nil).end(&err)
	err = passOptions{
		match: &opts.Match, all: opts.All, concurrency: &opts.Concurrency, maxFailures: opts.MaxFailures,
		rateLimit: opts.RateLimit, job: opts.Job, dryRun: opts.DryRun,
	}.check()
	if err != nil {
		return ReencryptReport{}, err
	}
	ctx, end, err := v.long(ctx)
	if err != nil {
		return ReencryptReport{}, err
	}
	defer end()
	if err := v.permit(ctx, AccessRequest{Operation: OpReencryptObjects, Match: opts.Match, All: opts.All}); err != nil {
		return ReencryptReport{}, err
	}
	p := &reencryptPass{v: v, opts: opts, pace: pacer{limit: opts.RateLimit}, family: v.newAncestry()}
	err = closedBy(ctx, p.run(ctx))
	return p.report, err
}

// reencryptPass is one pass over the objects under superseded keys.
type reencryptPass struct {
	v    *Vault
	opts ReencryptOptions
	pace pacer
	job  *reencryptJob

	family *ancestry

	mu         sync.Mutex // guards what follows while a batch is under way
	report     ReencryptReport
	failures   int // of this call
	unrecorded int // of this call: done, but their events were not recorded
}

// errTooManyObjects ends a pass early.
var errTooManyObjects = fmt.Errorf("%w: stopped after MaxFailures failures", ErrReencryptIncomplete)

func (p *reencryptPass) run(ctx context.Context) (err error) {
	if p.job, err = p.openJob(ctx); err != nil {
		return err
	}
	for batch, err := range p.batches(ctx) {
		if err != nil {
			return err
		}
		if err := each(ctx, batch.items, p.opts.Concurrency, &p.pace, p.one); err != nil {
			return err // what was not moved will be looked at again
		}
		if p.opts.Progress != nil {
			p.opts.Progress(p.report)
		}
		if err := p.saveJob(ctx, batch.position); err != nil {
			return err
		}
	}
	if err := p.job.note.remove(ctx); err != nil {
		return err
	}
	if p.unrecorded > 0 {
		return fmt.Errorf("%w: of %d versions that were re-encrypted", ErrEvent, p.unrecorded)
	}
	if p.report.Failed > 0 {
		return fmt.Errorf("%w: %d failed", ErrReencryptIncomplete, p.report.Failed)
	}
	return nil
}

// one moves one version and counts what became of it.
func (p *reencryptPass) one(ctx context.Context, item sealedVersion) error {
	did, err := p.move(ctx, item)
	switch {
	case errors.Is(err, ErrClosed):
		return ErrClosed // like what was stopped by ctx: neither done nor failed
	case err != nil && did == 0 && ctx.Err() != nil:
		return nil
	}
	if p.count(item, did, err) {
		return errTooManyObjects
	}
	return nil
}

// count notes what became of a version and reports whether to stop.
func (p *reencryptPass) count(item sealedVersion, did moved, err error) (stop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.report
	r.Seen++
	if err != nil {
		if len(r.Failures) < maxFailuresKept {
			r.Failures = append(r.Failures, ReencryptFailure{
				item.rec.ContextHash, item.rec.ID, item.rec.Name, item.rec.VersionID, item.rec.KeyID, err,
			})
		}
		if did == 0 {
			r.Failed++
			p.failures++
			return p.opts.MaxFailures > 0 && p.failures >= p.opts.MaxFailures
		}
		p.unrecorded++
	}
	switch did {
	case movedNow:
		r.Moved++
	case movedOld:
		r.Old++
	case movedRaced:
		r.Raced++
	}
	return false
}

// countKey notes a superseded key, and how many versions are dead under it.
func (p *reencryptPass) countKey(dead int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Keys++
	p.report.Dead += dead
}

// sealedVersion is a version of an object under a superseded key.
type sealedVersion struct {
	context  storage.KeyRecord    // of the key: whose context it is
	rec      storage.ObjectRecord // without the envelope
	followed bool                 // a later version of the same object is there: it isn't current
}
