package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Rewrapped says what became of a key that was to be wrapped anew.
type Rewrapped uint8

// What can become of it.
const (
	RewrapCurrent Rewrapped = iota + 1 // it was wrapped as it should be
	RewrapMoved                        // it is wrapped anew, as it should be
	RewrapPartly                       // the same, save that one or more KEKs of an any-of took no part
	RewrapNothing                      // it has no wrappings: it was shredded or deleted
)

// RewrapOptions are the options of a [Rewrapping].
type RewrapOptions struct {
	DryRun bool // decide and change nothing
	Force  bool // also what is current as far as can be told
}

// Rewrapping wraps stored keys as the policy says now. It is safe for concurrent
// use.
type Rewrapping struct {
	r    *Keyring
	opts RewrapOptions

	mu        sync.Mutex // guards what follows
	primaries map[string]primary
	batches   map[string]*batcher
}

// primary is what a KEK said its newest version is.
type primary struct {
	version string
	at      time.Time
}

// primaryFor is how long that is believed.
const primaryFor = time.Minute

// NewRewrapping returns a Rewrapping, which is good for as long as the keyring
// is.
func (r *Keyring) NewRewrapping(o RewrapOptions) *Rewrapping {
	return &Rewrapping{r: r, opts: o, primaries: map[string]primary{}, batches: map[string]*batcher{}}
}

// Rewrap wraps the key of a record under the KEKs that the policy chooses for
// its context, under their newest versions, and keeps it in no other way. The
// key itself, and so every message under it, stays as it is.
//
// It writes nothing before what it is going to write has been unwrapped and is
// the key: at least one wrapping of an any-of, all of an all-of. It replaces
// nothing that another process has written meanwhile, but looks at that anew. A
// KEK of an any-of that can't be asked leaves its own wrapping as it was.
//
// Errors: [kek.ErrPolicy] if the policy doesn't name the KEKs that the key is
// wrapped under, now or as Previous; those of the KEKs; [storage.ErrVersionConflict]
// if the record changes all the time; [storage.ErrCorrupt] if it can't be right.
func (j *Rewrapping) Rewrap(ctx context.Context, rec storage.KeyRecord) (Rewrapped, error) {
	if j.r.closed.Load() {
		return 0, ErrClosed
	}
	for range 4 {
		did, err := j.rewrap(ctx, rec)
		if !changedMeanwhile(err) {
			return did, err
		}
		rec, err = j.r.cfg.Store.GetKey(ctx, rec.KeyID)
		if errors.Is(err, storage.ErrNotFound) {
			return RewrapNothing, nil
		}
		if err != nil {
			return 0, fmt.Errorf("reading key %s: %w", rec.KeyID.Short(), err)
		}
	}
	return 0, fmt.Errorf("%w: key %s, or the policy for it, changes all the time", storage.ErrVersionConflict, rec.KeyID.Short())
}

// errOvertaken says that the policy changed while a key was wrapped.
var errOvertaken = errors.New("overtaken by a change of the policy")

// changedMeanwhile reports whether err says that the record or the policy is no
// longer what it was.
func changedMeanwhile(err error) bool {
	return errors.Is(err, errOvertaken) || errors.Is(err, storage.ErrVersionConflict) || errors.Is(err, storage.ErrNotFound)
}

// rewrap does it once. A driver that panics must not take the process down.
func (j *Rewrapping) rewrap(ctx context.Context, rec storage.KeyRecord) (did Rewrapped, err error) {
	defer func() {
		if p := recover(); p != nil {
			did, err = 0, fmt.Errorf("rewrapping key %s: %w: %s", rec.KeyID.Short(), kek.ErrUnavailable, panicText(p))
		}
	}()
	if rec.State == storage.StateShredded || len(rec.Wrappings) == 0 {
		return RewrapNothing, nil
	}
	start := time.Now()
	p, err := j.plan(ctx, rec)
	if err != nil {
		return 0, err
	}
	if p.current {
		return RewrapCurrent, nil
	}
	if j.opts.DryRun {
		return RewrapMoved, nil
	}
	partly, err := j.carryOut(ctx, p)
	if changedMeanwhile(err) {
		return 0, err
	}
	event := Event{
		Kind: KeyRewrapped, ContextHash: p.c.Hash, Context: p.c.Pairs,
		KeyID: rec.KeyID, Err: err, Duration: time.Since(start),
	}
	switch eventErr := j.r.emit(ctx, event); {
	case err != nil && eventErr != nil:
		return 0, fmt.Errorf("%w; moreover: %w", err, eventErr)
	case err != nil || eventErr != nil:
		return 0, errors.Join(err, eventErr)
	case partly:
		return RewrapPartly, nil
	}
	return RewrapMoved, nil
}

// carryOut wraps the key as the plan says and stores it, if the policy still
// says the same.
func (j *Rewrapping) carryOut(ctx context.Context, p plan) (partly bool, err error) {
	wrappings, partly, err := j.wrappings(ctx, p)
	if err != nil {
		return false, fmt.Errorf("rewrapping key %s of context %s: %w", p.rec.KeyID.Short(), p.c.Hash.Short(), err)
	}
	now, err := j.r.choose(ctx, p.c)
	if err != nil {
		return false, err
	}
	if !sameKEKs(p.choice, now) {
		return false, errOvertaken
	}
	rec := p.rec
	rec.Quorum, rec.Wrappings, rec.RewrappedAt = p.choice.Quorum, wrappings, time.Now().UTC()
	if err := j.r.cfg.Store.UpdateKey(ctx, rec); err != nil {
		return false, fmt.Errorf("storing key %s wrapped anew: %w", rec.KeyID.Short(), err)
	}
	return partly, nil
}

// plan is what is to be done to a key.
type plan struct {
	c      Context
	rec    storage.KeyRecord
	choice kek.Choice
	olds   []kek.Wrapper // of rec.Wrappings
	b      kek.Binding

	redo    []bool // by KEK of the choice: its wrapping is there and not of its newest version
	current bool   // there is nothing to do
}

// plan compares a record with what the policy says.
func (j *Rewrapping) plan(ctx context.Context, rec storage.KeyRecord) (p plan, err error) {
	p.rec = rec
	if p.c, err = j.r.contextOf(rec); err != nil {
		return p, err
	}
	if p.choice, err = j.r.choose(ctx, p.c); err != nil {
		return p, err
	}
	if p.olds, err = p.choice.Match(rec.Quorum, rec.Wrappings); err != nil {
		return p, fmt.Errorf("key %s of context %s: %w", rec.KeyID.Short(), p.c.Hash.Short(), err)
	}
	p.b = j.r.binding(p.c, rec.KeyID, rec.Purpose, rec.Version)
	p.redo = make([]bool, len(p.choice.KEKs))
	p.current = p.sameMembers()
	for i, w := range p.choice.KEKs {
		blob := p.old(w)
		if blob == nil {
			continue
		}
		if p.redo[i], err = j.stale(ctx, w, blob); err != nil && p.choice.Quorum == keyctx.AllOf {
			return p, err
		}
		// An any-of KEK that can't be asked is found out, if it matters, when its
		// wrapping is looked at.
		p.current = p.current && !p.redo[i] && err == nil
	}
	return p, nil
}

// old returns what w wrapped, or nil, also where the record has another quorum:
// a share is not a key.
func (p *plan) old(w kek.Wrapper) []byte {
	if p.rec.Quorum != p.choice.Quorum {
		return nil
	}
	uri := w.URI()
	for _, wr := range p.rec.Wrappings {
		if wr.URI == uri {
			return wr.Wrapped
		}
	}
	return nil
}

// contextOf returns the context of a record of this keyring's namespace.
func (r *Keyring) contextOf(rec storage.KeyRecord) (Context, error) {
	hash, err := rec.Context.Hash()
	if err != nil || hash != rec.ContextHash || rec.Context.Namespace() != r.cfg.Namespace {
		return Context{}, fmt.Errorf("%w: the context of key %s", storage.ErrCorrupt, rec.KeyID.Short())
	}
	return Context{Hash: hash, Pairs: rec.Context.WithoutNamespace()}, nil
}

// stale reports whether a wrapping is known to be of an older version of its KEK
// than the newest.
func (j *Rewrapping) stale(ctx context.Context, w kek.Wrapper, blob []byte) (bool, error) {
	if j.opts.Force {
		return true, nil
	}
	teller, tells := w.(kek.VersionTeller)
	checker, checks := w.(kek.Checker)
	if !tells || !checks {
		return false, nil
	}
	version := teller.WrappedVersion(blob)
	if version == "" {
		return false, nil
	}
	newest, err := j.primary(ctx, checker)
	return err == nil && newest != "" && newest != version, err
}

// primary returns the newest version of a KEK.
func (j *Rewrapping) primary(ctx context.Context, w kek.Checker) (string, error) {
	uri := w.URI()
	j.mu.Lock()
	known, ok := j.primaries[uri]
	j.mu.Unlock()
	if ok && time.Since(known.at) < primaryFor {
		return known.version, nil
	}
	version, err := j.r.callCheck(ctx, w)
	if err != nil {
		return "", err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.primaries[uri] = primary{version, time.Now()}
	return version, nil
}
