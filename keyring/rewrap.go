package keyring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	RewrapNothing                      // it has no wrappings, or what it is wrapped under has none: shredded or deleted
)

// RewrapOptions are the options of a [Rewrapping].
type RewrapOptions struct {
	DryRun bool // decide and change nothing
	Force  bool // also what is current as far as can be told

	// Concurrency is how many keys are worked on at a time, beside those that wait
	// to be written together. 0: as many as there are calls.
	Concurrency int
}

// Rewrapping wraps stored keys as the policy says now. It is safe for concurrent
// use.
type Rewrapping struct {
	r      *Keyring
	opts   RewrapOptions
	places chan struct{} // nil: any number
	swaps  *swapper      // nil: the store takes keys singly
	coming atomic.Int64  // keys that are not yet past their KEKs

	mu        sync.Mutex // guards what follows
	primaries map[string]primary
	parents   map[keyctx.Hash]newestParent
	batches   map[batchKey]*batch // that take more items
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
	j := &Rewrapping{r: r, opts: o, swaps: newSwapper(r), primaries: map[string]primary{}, parents: map[keyctx.Hash]newestParent{}, batches: map[batchKey]*batch{}}
	if o.Concurrency > 0 {
		j.places = make(chan struct{}, o.Concurrency)
	}
	return j
}

// Together is how many calls of Rewrap at a time are of use: where the store takes
// many keys in one go, more than Concurrency, as those that wait to be written take
// no place.
func (j *Rewrapping) Together() int {
	if j.swaps == nil {
		return j.opts.Concurrency
	}
	return max(j.opts.Concurrency, storage.MaxKeyUpdates)
}

// Coming says that so many calls of Rewrap come now: a batch for a KMS need not wait
// for more than those.
func (j *Rewrapping) Coming(n int) { j.coming.Store(int64(n)) }

// enter waits for a place; false if ctx ended.
func (j *Rewrapping) enter(ctx context.Context) bool {
	if j.places == nil {
		return true
	}
	select {
	case j.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (j *Rewrapping) leave() {
	if j.places != nil {
		<-j.places
	}
}

// Rewrap wraps the key of a record under the KEKs that the policy chooses for
// its context, under their newest versions, or under the newest key of its parent,
// and keeps it in no other way. The key itself, and so every message under it, stays
// as it is.
//
// It writes nothing before what it is going to write has been unwrapped and is
// the key: at least one wrapping of an any-of, all of an all-of. It replaces
// nothing that another process has written meanwhile, but looks at that anew. A
// KEK of an any-of that can't be asked leaves its own wrapping as it was. A result
// together with an error says that it was done, and that its event was not
// recorded.
//
// Errors: [kek.ErrPolicy] if the policy doesn't name the KEKs that the key is
// wrapped under, now or as Previous; those of the KEKs; [storage.ErrVersionConflict]
// if the record changes all the time; [storage.ErrCorrupt] if it can't be right;
// [ErrClosed].
func (j *Rewrapping) Rewrap(ctx context.Context, rec storage.KeyRecord) (did Rewrapped, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(j.r.done, cancel)()
	if !j.r.begin() {
		return 0, ErrClosed
	}
	defer j.r.running.Done()
	past := sync.OnceFunc(func() { j.coming.Add(-1) })
	defer past()
	if !j.enter(ctx) {
		if j.r.done.Err() != nil {
			return 0, fmt.Errorf("%w: %w", ErrClosed, ctx.Err())
		}
		return 0, ctx.Err()
	}
	defer j.leave()
	for range 4 {
		if did, err = j.rewrap(ctx, rec, past); err == nil || did != 0 {
			return did, err
		}
		if j.r.done.Err() != nil {
			return 0, fmt.Errorf("%w: %w", ErrClosed, err)
		}
		if !errors.Is(err, errOvertaken) && !final(err) {
			return 0, err
		}
		// The record may be as old as the page that it was listed on. If it has
		// changed since, an error about what it was is no verdict.
		now, readErr := j.r.cfg.Store.GetKey(ctx, rec.KeyID)
		switch {
		case errors.Is(readErr, storage.ErrNotFound):
			return RewrapNothing, nil
		case readErr != nil:
			return 0, fmt.Errorf("reading key %s: %w", rec.KeyID.Short(), readErr)
		case now.Revision == rec.Revision && isTombstone(err):
			return RewrapNothing, nil // what it is wrapped under is gone for good
		case now.Revision == rec.Revision && !errors.Is(err, errOvertaken):
			return 0, err
		}
		rec = now
	}
	if errors.Is(err, errOvertaken) {
		err = fmt.Errorf("%w: key %s, or the policy for it, changes all the time", storage.ErrVersionConflict, rec.KeyID.Short())
	}
	return 0, err
}

// begin counts one more that Close waits for; false if the keyring is closed.
func (r *Keyring) begin() bool {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed.Load() {
		return false
	}
	r.running.Add(1)
	return true
}

// errOvertaken says that the policy, or the record, changed while a key was
// wrapped.
var errOvertaken = errors.New("overtaken by another change")

// rewrap does it once, and calls past when it is past the KEKs. A driver that panics
// must not take the process down.
func (j *Rewrapping) rewrap(ctx context.Context, rec storage.KeyRecord, past func()) (did Rewrapped, err error) {
	defer func() {
		if p := recover(); p != nil {
			did, err = 0, fmt.Errorf("rewrapping key %s: %w: %s", rec.KeyID.Short(), kek.ErrUnavailable, panicText(p))
		}
	}()
	if rec.State == storage.StateShredded {
		return RewrapNothing, nil
	}
	start := time.Now()
	p, err := j.plan(ctx, rec)
	switch {
	case err == nil && p.current:
		return RewrapCurrent, nil
	case err == nil && j.opts.DryRun:
		return RewrapMoved, nil
	case err == nil:
		did = RewrapMoved
		var partly bool
		if partly, err = j.carryOut(ctx, p, past); partly {
			did = RewrapPartly
		}
	}
	if errors.Is(err, errOvertaken) {
		return 0, err
	}
	if isTombstone(err) {
		return 0, err // of what it is, or was, wrapped under
	}
	event := Event{
		Kind: KeyRewrapped, ContextHash: rec.ContextHash, Context: rec.Context.WithoutNamespace(),
		KeyID: rec.KeyID, Err: err, Duration: time.Since(start),
	}
	eventErr := error(nil)
	if !j.opts.DryRun {
		eventErr = j.r.emit(ctx, event)
	}
	switch {
	case err != nil && eventErr != nil:
		return 0, fmt.Errorf("%w; moreover: %w", err, eventErr)
	case err != nil:
		return 0, err
	}
	return did, eventErr
}

// carryOut wraps the key as the plan says and stores it, if the policy still
// says the same.
func (j *Rewrapping) carryOut(ctx context.Context, p plan, past func()) (partly bool, err error) {
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
	rec.ParentID, _ = keyctx.ParentOf(p.choice.Quorum, wrappings)
	rec.Quorum, rec.Wrappings, rec.RewrappedAt = p.choice.Quorum, wrappings, time.Now().UTC()
	past()
	err = j.store(ctx, rec)
	if errors.Is(err, storage.ErrVersionConflict) || errors.Is(err, storage.ErrNotFound) {
		return false, errOvertaken
	}
	if err != nil {
		return false, fmt.Errorf("storing key %s wrapped anew: %w", rec.KeyID.Short(), err)
	}
	return partly, j.heedParentOf(ctx, rec, p.rec)
}

// store replaces a record, along with others where the store takes many. What waits
// for that gives its place to the next key.
func (j *Rewrapping) store(ctx context.Context, rec storage.KeyRecord) error {
	if j.swaps == nil {
		return j.r.cfg.Store.UpdateKey(ctx, rec)
	}
	j.leave()
	defer j.enter(context.Background()) // the others leave theirs without it
	return j.swaps.update(ctx, rec)
}

// plan is what is to be done to a key.
type plan struct {
	c      Context
	rec    storage.KeyRecord
	choice kek.Choice
	olds   []kek.Wrapper // of rec.Wrappings
	b      kek.Binding

	parts   []planned // by KEK of the choice
	current bool      // there is nothing to do

	// Of a key that is wrapped under a parent: under which key, of which context.
	under     keyctx.KeyID
	oldParent Context

	// Of one that is to be: under the key of which context, and which one that is.
	parent Context
	newest keyctx.KeyID // zero: it will be made
}

// planned is what is to be done with one KEK's wrapping that is there.
type planned struct {
	redo    bool  // it is of an older version than the newest, as far as is known
	unknown error // why that couldn't be told
}

// plan compares a record with what the policy says.
func (j *Rewrapping) plan(ctx context.Context, rec storage.KeyRecord) (p plan, err error) {
	p.rec = rec
	if p.c, err = j.r.contextOf(rec); err != nil {
		return p, err
	}
	if len(rec.Wrappings) == 0 {
		return p, fmt.Errorf("%w: key %s is %v and has no wrappings", storage.ErrCorrupt, rec.KeyID.Short(), rec.State)
	}
	if p.choice, err = j.r.choose(ctx, p.c); err != nil {
		return p, err
	}
	if planned, err := j.planUnder(ctx, &p); planned || err != nil {
		return p, err
	}
	if p.olds, err = p.choice.Match(rec.Quorum, rec.Wrappings); err != nil {
		return p, fmt.Errorf("key %s of context %s: %w", rec.KeyID.Short(), p.c.Hash.Short(), err)
	}
	p.b = j.r.binding(p.c, rec.KeyID, rec.Purpose, rec.Version)
	p.parts = make([]planned, len(p.choice.KEKs))
	same := p.sameMembers()
	if p.choice.Quorum == keyctx.AllOf && !same {
		return p, nil // it is split anew, whatever the versions
	}
	p.current = same
	var unknown []error
	for i, w := range p.choice.KEKs {
		if blob := p.old(w); blob != nil {
			p.parts[i] = j.judge(ctx, w, blob, p.b)
			p.current = p.current && !p.parts[i].redo
			unknown = append(unknown, p.parts[i].unknown)
		}
	}
	// One whose version can't be told isn't current, and isn't stale. With nothing
	// else to do there is nothing to be said but that.
	if err := firstUnrecorded(unknown); err != nil {
		return p, err
	}
	if err := joinAny(unknown); err != nil && (p.current || p.choice.Quorum == keyctx.AllOf) {
		return p, fmt.Errorf("which version wrapped key %s: %w", rec.KeyID.Short(), err)
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

// judge says what is to be done with what w wrapped.
func (j *Rewrapping) judge(ctx context.Context, w kek.Wrapper, blob []byte, b kek.Binding) planned {
	if j.opts.Force {
		return planned{redo: true}
	}
	teller, tells := w.(kek.VersionTeller)
	checker, checks := w.(kek.Checker)
	if !tells || !checks {
		return planned{}
	}
	version := teller.WrappedVersion(blob)
	if version == "" {
		return planned{}
	}
	newest, err := j.primary(ctx, checker, b)
	return planned{redo: err == nil && newest != "" && newest != version, unknown: err}
}

// primary returns the newest version of a KEK.
func (j *Rewrapping) primary(ctx context.Context, w kek.Checker, b kek.Binding) (version string, err error) {
	uri := w.URI()
	j.mu.Lock()
	known, ok := j.primaries[uri]
	j.mu.Unlock()
	if ok && time.Since(known.at) < primaryFor {
		return known.version, nil
	}
	err = j.r.retry(ctx, func(ctx context.Context) error {
		version, err = j.r.callCheck(ctx, w, b)
		return err
	})
	if err != nil {
		return "", err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.primaries[uri] = primary{version, time.Now()}
	return version, nil
}
