package keyring

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// op is what a flight does.
type op uint8

const (
	opActive     op = iota + 1 // the newest version; made if there is none
	opByID                     // a stored key by its ID
	opBlock                    // a key from an envelope
	opRotate                   // a new version
	opRotateAged               // a new version, if the newest is too old
	opExisting                 // the newest version; not made if there is none
)

// flightKey names a load. Callers with equal keys share one.
type flightKey struct {
	purpose keyctx.Purpose
	id      keyctx.KeyID // opByID, opBlock
	op      op

	// force asks the KMS again even for a key that is cached.
	force bool

	// digest is the block's: an envelope with an honest ID and a hostile block
	// must not fail those who hold the honest one.
	digest [sha256.Size]byte

	// inTx separates callers who are in a transaction of the application's from
	// those who aren't: a transaction's locks, or its pool without a connection
	// left, must fail no one else's load, and a load that waits for such a lock
	// must not be waited for by who holds it.
	inTx bool

	// Not part of the key, cleared in maps by mapKey.
	block   string
	renewal bool // of a key that is at hand: may join who is in no transaction
}

func (f flightKey) withBlock(block []byte) flightKey {
	f.digest = sha256.Sum256(block)
	f.block = string(block)
	return f
}

func (f flightKey) mapKey() flightKey {
	f.block, f.renewal = "", false
	return f
}

// flight is one load shared by all who wait for it. It outlives the
// cancellation of any of them and ends when the last has left.
type flight struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when key and err are set

	waiters int // guarded by slot.mu

	// How many calls are under way: what takes too long is whose fault? Between two
	// tries, and before its error is known, it is a KEK's if one was asked. Or else
	// of which other flight, that of a parent's key, it waits for the end.
	atKEK, atStore atomic.Int32
	askedKEK       atomic.Bool
	below          atomic.Pointer[flight]

	key *Key // with one reference of the flight's, let go by the last waiter
	err error
}

// staleWait is how long a caller who could be served a stale key waits for the
// KMS first. A KMS that takes longer counts as unavailable to that caller.
const staleWait = 2 * time.Second

// txStaleWait is staleWait for a caller in a transaction of the application's, who
// holds locks, and perhaps the connection that the renewal waits for.
const txStaleWait = 250 * time.Millisecond

// Renewals that failed are tried again after a pause that doubles from the
// first to the second of these.
const (
	minRetryPause = time.Second
	maxRetryPause = 30 * time.Second
)

// errLoadTimeout says that a load took too long.
var errLoadTimeout error = loadTimeout{}

type loadTimeout struct{}

func (loadTimeout) Error() string        { return "the load took too long" }
func (loadTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// flightInCtx is under what key a load's ctx has its flight.
type flightInCtx struct{}

// load joins the flight f, or starts it, and waits for its key.
func (r *Keyring) load(ctx context.Context, c Context, f flightKey) (*Key, error) {
	s, fl, err := r.join(ctx, c, f)
	if err != nil {
		return nil, err
	}
	if above, ok := ctx.Value(flightInCtx{}).(*flight); ok {
		above.below.Store(fl)
		defer func() {
			above.askedKEK.CompareAndSwap(false, fl.askedKEK.Load())
			above.below.Store(nil)
		}()
	}
	return r.wait(ctx, s, fl)
}

// deepest returns the flight that fl waits for in the end, itself if for none. A
// policy that calls the keyring could make flights wait in a circle: there is a limit.
func (fl *flight) deepest() *flight {
	for range 2 * maxAncestors { // a parent's newest key takes two
		below := fl.below.Load()
		if below == nil {
			break
		}
		fl = below
	}
	return fl
}

// inTx reports whether ctx carries a transaction of the application's.
func (r *Keyring) inTx(ctx context.Context) bool { return r.tx != nil && r.tx.InTx(ctx) }

// join makes the caller a waiter of the flight f.
func (r *Keyring) join(ctx context.Context, c Context, f flightKey) (*slot, *flight, error) {
	s := r.cache.lockSlot(c.Hash)
	defer s.mu.Unlock()
	f.inTx = r.inTx(ctx)
	fl := s.flights[f.mapKey()]
	if fl == nil && f.inTx && f.renewal {
		outside := f.mapKey()
		outside.inTx = false
		fl = s.flights[outside]
	}
	if fl != nil {
		fl.waiters++
		return s, fl, nil
	}
	// The values of the first caller's ctx (a trace, say) go along; its
	// cancellation does not.
	fl = &flight{done: make(chan struct{}), waiters: 1}
	fl.ctx, fl.cancel = context.WithTimeoutCause(
		context.WithValue(context.WithoutCancel(ctx), flightInCtx{}, fl), r.cfg.LoadTimeout, errLoadTimeout)
	unlink := context.AfterFunc(r.done, fl.cancel)
	c.Pairs = c.Pairs.Clone() // the caller may change its map once it has left
	c.Hint = nil
	if !r.goRun(func() { defer unlink(); r.fly(s, c, f, fl) }) {
		unlink()
		fl.cancel()
		r.cache.tidy(s)
		return nil, nil, ErrClosed
	}
	if s.flights == nil {
		s.flights = make(map[flightKey]*flight, 1)
	}
	s.flights[f.mapKey()] = fl
	return s, fl, nil
}

// fly runs the load of a flight and publishes its result.
func (r *Keyring) fly(s *slot, c Context, f flightKey, fl *flight) {
	defer fl.cancel()
	key, err := r.run(fl.ctx, s, c, f)
	if err != nil && errors.Is(context.Cause(fl.ctx), errLoadTimeout) && !final(err) {
		err = fmt.Errorf("no key within %v: %w", r.cfg.LoadTimeout, err)
	}
	if err != nil && r.done.Err() != nil {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if key != nil {
		r.cache.enlist(key)
	}
	s.mu.Lock()
	fl.key, fl.err = key, err
	s.forget(fl)
	if fl.waiters == 0 && key != nil {
		key.Release()
	}
	r.cache.tidy(s)
	close(fl.done)
	s.mu.Unlock()
}

// run does the work of a flight. A driver or a policy that panics must not
// take the process down with it.
func (r *Keyring) run(ctx context.Context, s *slot, c Context, f flightKey) (key *Key, err error) {
	defer func() {
		if p := recover(); p != nil {
			key, err = nil, fmt.Errorf("keyring: load: %w: %s", kek.ErrUnavailable, panicText(p))
		}
	}()
	switch f.op {
	case opActive:
		key, err = r.loadActive(ctx, s, c, f.purpose, f.force)
	case opExisting:
		key, err = r.loadNewest(ctx, s, c, f.purpose, f.force, false)
	case opByID:
		key, err = r.loadByID(ctx, s, c, f)
	case opBlock:
		key, err = r.loadBlock(ctx, s, c, f)
	case opRotateAged:
		key, err = r.rotateAged(ctx, s, c, f.purpose)
	default:
		key, err = r.rotate(ctx, s, c, f.purpose)
	}
	if final(err) && !f.id.IsZero() && f.op == opByID {
		// Whatever else is cached of this key must not outlive the verdict.
		// That it isn't in the store says nothing of a key that came in an envelope:
		// else one hostile reference would push out what is in use.
		if k := s.find(f.purpose, f.id); k != nil && (k.inStore.Load() || !errors.Is(err, ErrKeyNotFound)) {
			r.cache.drop(k)
		}
	}
	return key, err
}

// wait returns a flight's key with a reference for the caller, who is one of its
// waiters and no longer is after it.
func (r *Keyring) wait(ctx context.Context, s *slot, fl *flight) (*Key, error) {
	select {
	case <-fl.done:
		return r.leave(s, fl)
	case <-ctx.Done():
	case <-fl.ctx.Done():
		// Done, out of time, or closed. A load that honours its ctx is about to
		// finish; one whose driver doesn't must not keep its callers.
		grace := time.NewTimer(100 * time.Millisecond)
		defer grace.Stop()
		select {
		case <-fl.done:
			return r.leave(s, fl)
		case <-ctx.Done():
		case <-grace.C:
		}
	}
	return r.abandon(ctx, s, fl)
}

// leave takes the result of a finished flight.
func (r *Keyring) leave(s *slot, fl *flight) (*Key, error) {
	if fl.key != nil {
		fl.key.acquire() // can't fail: the flight holds a reference
	}
	s.mu.Lock()
	fl.waiters--
	last := fl.waiters == 0
	s.mu.Unlock()
	if last && fl.key != nil {
		fl.key.Release()
	}
	return fl.key, fl.err
}

// abandon leaves a flight that isn't finished; the last to leave ends it.
func (r *Keyring) abandon(ctx context.Context, s *slot, fl *flight) (*Key, error) {
	s.mu.Lock()
	select {
	case <-fl.done: // in the meantime
		s.mu.Unlock()
		return r.leave(s, fl)
	default:
	}
	fl.waiters--
	if fl.waiters == 0 {
		fl.cancel()
		s.forget(fl) // newcomers start afresh
	}
	s.mu.Unlock()
	if r.closed.Load() {
		return nil, ErrClosed
	}
	err, cause := ctx.Err(), context.Cause(ctx)
	if err != nil && !errors.Is(cause, errStale) && !errors.Is(cause, errLoadTimeout) {
		return nil, fmt.Errorf("waiting for a key: %w", err)
	}
	fl = fl.deepest()
	switch {
	case fl.atKEK.Load() > 0:
		return nil, fmt.Errorf("waiting for a key: %w: %w", kek.ErrUnavailable, errLoadTimeout)
	case fl.atStore.Load() > 0:
		return nil, fmt.Errorf("waiting for a key: %w: %w", storage.ErrUnavailable, errLoadTimeout)
	case fl.askedKEK.Load():
		return nil, fmt.Errorf("waiting for a key: %w: %w", kek.ErrUnavailable, errLoadTimeout)
	}
	return nil, fmt.Errorf("waiting for a key: %w", errLoadTimeout)
}

// forget takes a flight out of its slot. s.mu is held.
func (s *slot) forget(fl *flight) {
	for f, other := range s.flights {
		if other == fl {
			delete(s.flights, f)
		}
	}
	if len(s.flights) == 0 {
		s.flights = nil // an empty map would be most of what a cached key takes
	}
}

// renew checks a cached key, of which the caller holds a reference, before it
// is used. It returns that key, or another, or an error; the reference is
// spent.
func (r *Keyring) renew(ctx context.Context, c Context, f flightKey, k *Key) (*Key, error) {
	now := r.clock.now()
	if now.mono < k.retryAt.Load() && r.mayServe(k, now, k.kekDown.Load()) {
		k.hit()
		return k, nil // it failed a moment ago: don't queue up behind what is down
	}
	r.misses.Add(1)
	fresh, err := r.renewWait(ctx, c, f, k)
	if err == nil {
		k.Release()
		if again := f; !f.force && r.dueForReload(fresh) {
			again.force = true // one who comes seldom must not be the one who waits
			r.background(c, again, fresh)
		}
		return fresh, nil
	}
	if ctx.Err() == nil {
		r.renewFailed(k, err)
		if r.mayServe(k, r.clock.now(), unavailable(err)) {
			return k, nil
		}
	}
	k.Release()
	return nil, err
}

// errStale says that the caller stopped waiting because it can be served a
// stale key; the renewal goes on.
var errStale = errors.New("keyring: the KMS takes long")

// renewWait waits for the renewal of k. If k may be served stale it doesn't wait
// for ever, and the renewal goes on without it.
func (r *Keyring) renewWait(ctx context.Context, c Context, f flightKey, k *Key) (*Key, error) {
	if r.cfg.NoBackground || !r.mayServe(k, r.clock.now(), true) {
		return r.load(ctx, c, f) // without background our leaving would end it, unanswered
	}
	r.background(c, f, k) // holds the flight, so that our leaving doesn't end it
	wait := staleWait
	if r.inTx(ctx) {
		wait = txStaleWait
	}
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/2) // leave time to use what is at hand
	}
	wctx, cancel := context.WithTimeoutCause(ctx, wait, errStale)
	defer cancel()
	f.renewal = true
	return r.load(wctx, c, f)
}

// renewFailed notes that k couldn't be renewed. After a verdict it is dropped;
// otherwise it waits for its next try.
func (r *Keyring) renewFailed(k *Key, err error) {
	if final(err) {
		r.cache.drop(k)
		return
	}
	now := r.clock.now().mono
	if k.kekDown.Store(unavailable(err)); now < k.retryAt.Load() {
		return // another waiter of the same renewal has noted it
	}
	n := k.fails.Add(1)
	pause := min(minRetryPause<<min(n-1, 10), maxRetryPause, r.cfg.ActiveKeyTTL)
	pause = pause/2 + rand.N(pause/2+1)
	k.retryAt.Store(now + int64(pause))
}

// background starts the renewal f of k without waiting for it, unless one is
// under way, failed a moment ago, or background work is off.
func (r *Keyring) background(c Context, f flightKey, k *Key) {
	if r.cfg.NoBackground || r.clock.now().mono < k.retryAt.Load() || !k.busy.CompareAndSwap(false, true) {
		return
	}
	s, fl, err := r.join(r.done, c, f)
	if err != nil {
		k.busy.Store(false)
		return
	}
	if !r.goRun(func() {
		defer k.busy.Store(false)
		key, err := r.wait(r.done, s, fl)
		if err != nil {
			// Unless this was a verdict the key goes on serving until its time
			// is over; then whoever needs it gets the error.
			r.renewFailed(k, err)
			return
		}
		key.Release()
		if again := f; !f.force && r.dueForReload(k) {
			again.force = true
			k.busy.Store(false)
			r.background(c, again, k)
		}
	}) {
		k.busy.Store(false)
		if key, _ := r.abandon(r.done, s, fl); key != nil {
			key.Release()
		}
	}
}

// mayServe reports whether k may be used although it couldn't be renewed:
// within its TTL whatever the reason; beyond it, for StaleIfUnavailable, if the
// reason is that a KEK was unavailable.
func (r *Keyring) mayServe(k *Key, now instant, kekDown bool) bool {
	limit := r.cfg.TTL
	if kekDown {
		limit += r.cfg.StaleIfUnavailable
	}
	return !k.dropped.Load() && now.since(k.fresh.Load().loaded) < limit
}

// final reports whether err is a verdict on the key, after which nothing cached
// of it may be used.
func final(err error) bool {
	for _, verdict := range []error{
		kek.ErrDenied, kek.ErrCorrupt, kek.ErrPolicy, storage.ErrCorrupt,
		ErrKeyNotFound, ErrWrongContext, ErrKeyDisabled, ErrKeyShredded,
	} {
		if errors.Is(err, verdict) {
			return true
		}
	}
	return false
}

// unavailable reports whether err says that a KEK, and nothing else, couldn't
// be asked.
func unavailable(err error) bool {
	return !final(err) && errors.Is(err, kek.ErrUnavailable)
}

// panicText names what a foreign driver panicked with, without its value, which
// could be anything.
func panicText(p any) string { return fmt.Sprintf("panic of type %T", p) }
