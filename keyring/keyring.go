// Package keyring makes, wraps, caches and refreshes context keys. It stands
// between package vault, which seals and opens data, and the KEKs and the store
// below.
//
// Its rules, in short: a key is made when its context is first used, and only
// after the store said for certain that there is none. It is wrapped, the
// wrapping is checked, and it is stored before anything is sealed under it. An
// unwrapped key is believed only after its ID was computed again for the context
// that the caller asserts. Unwrapped keys are cached for a time, bounded in
// number, and zeroed when their last user has let go.
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

var (
	// ErrKeyNotFound is matched when the key that an envelope names isn't in the
	// store: a restored or a wrong database. No key is made then.
	ErrKeyNotFound = errors.New("key not found")

	// ErrWrongContext is matched when the key is another context's than the one
	// asserted.
	ErrWrongContext = errors.New("the key belongs to another key context")

	// ErrKeyDisabled is matched when the key is disabled.
	ErrKeyDisabled = errors.New("key disabled")

	// ErrKeyShredded is matched when the key was shredded.
	ErrKeyShredded = errors.New("key shredded")

	// ErrClosed is matched by calls after Close.
	ErrClosed = errors.New("closed")

	// ErrNoStore is matched when a call needs a store and there is none.
	ErrNoStore = errors.New("no store is configured")
)

// Config configures a [Keyring]. Every field but Store, Namespace, RotateAfter,
// OnEvent and TraceKEK must be set; package vault fills in the defaults.
type Config struct {
	Policy    kek.Policy
	Store     storage.KeyStore // nil: every envelope carries its own key
	Namespace string

	Size               int           // keys in the cache, at least 1
	TTL                time.Duration // how long a key serves before the KMS is asked again
	ActiveKeyTTL       time.Duration // how long a key serves before its state is read again
	StaleIfUnavailable time.Duration // how long beyond TTL a key serves while the KMS is unavailable; 0: not

	// RotateAfter is the age at which keys for data and for wrapping keys are rotated,
	// at the latest, if they are in use; 0: never.
	RotateAfter time.Duration

	// CallTimeout bounds one call to a KEK, LoadTimeout one load with all its
	// retries.
	CallTimeout time.Duration
	LoadTimeout time.Duration

	// KEKConcurrency is how many calls to one KEK may be under way at once; the
	// others wait for their turn.
	KEKConcurrency int

	KeepBlocks    bool // keep wrapped-key blocks of stored keys, for self-contained envelopes
	SkipWrapCheck bool // don't unwrap a new wrapping to check it
	NoBackground  bool // no goroutine outlives the calls that need it

	// OnEvent is told what happens to keys. Its error fails the operation.
	OnEvent func(context.Context, Event) error

	// TraceKEK, unless it is nil, is told of each call to a KEK as it is made. The
	// ctx that it returns is the call's; the func is called with its error, of one
	// class. Neither is nil, and neither func panics.
	TraceKEK func(context.Context, KEKCall) (context.Context, func(error))
}

// EventKind says what an [Event] is about.
type EventKind uint8

// The kinds of events.
const (
	KeyCreated EventKind = iota + 1
	KeyRotated
	KEKDenied
	KeyRewrapped
)

// Event is something that happened to a key.
type Event struct {
	Kind        EventKind
	ContextHash keyctx.Hash
	Context     keyctx.KeyContext // without the namespace; not to be kept or changed
	KeyID       keyctx.KeyID
	URI         string // KEKDenied: the KEK's
	Err         error  // KEKDenied: its answer; KeyRewrapped: why it wasn't
	Duration    time.Duration
}

// Context is a key context as the callers of this package name it.
type Context struct {
	Hash keyctx.Hash // of the full context, namespace and all

	// Pairs is the context without its namespace. It is copied before anything
	// outlives the call.
	Pairs keyctx.KeyContext

	// Hint remembers where the context's keys are, for callers who use one
	// context again and again. It may be nil.
	Hint *Hint
}

// Hint makes repeated look-ups of one context cheaper. The zero value is ready.
type Hint struct{ slot atomic.Pointer[slot] }

// Keyring is safe for concurrent use.
type Keyring struct {
	cfg Config
	tx  storage.TxTeller // nil: no transaction ever matters

	batches storage.KeyBatchUpdater // nil: the store takes keys singly

	clock clock
	cache *cache

	keks      sync.Map     // URI → *kekState
	kekCount  atomic.Int64 // of keks
	keksSwept atomic.Int64 // monotonic time

	forgets atomic.Uint64 // calls of Forget and ForgetUnder

	closed atomic.Bool
	done   context.Context // ends with Close
	stop   context.CancelFunc

	// life guards the start of goroutines against Close, which waits for them.
	// It is held for no longer than that.
	life    sync.Mutex
	running sync.WaitGroup

	// aging has a place for each rotation by age under way.
	aging chan struct{}

	misses atomic.Uint64
	stale  atomic.Uint64
}

// New returns a keyring. It does no I/O. root is the parent of every context
// that outlives a call; its values are seen by no one.
func New(root context.Context, cfg Config) (*Keyring, error) {
	switch {
	case cfg.Policy == nil:
		return nil, errors.New("keyring: Policy is nil")
	case cfg.Size < 1:
		return nil, fmt.Errorf("keyring: Size is %d", cfg.Size)
	case cfg.TTL <= 0 || cfg.ActiveKeyTTL <= 0 || cfg.StaleIfUnavailable < 0:
		return nil, errors.New("keyring: TTL and ActiveKeyTTL must be positive, StaleIfUnavailable not negative")
	case cfg.RotateAfter < 0:
		return nil, fmt.Errorf("keyring: RotateAfter is %v", cfg.RotateAfter)
	case cfg.CallTimeout <= 0 || cfg.LoadTimeout <= 0 || cfg.KEKConcurrency < 1:
		return nil, errors.New("keyring: CallTimeout, LoadTimeout and KEKConcurrency must be positive")
	}
	r := &Keyring{cfg: cfg, clock: newClock(), cache: newCache(cfg.Size), aging: make(chan struct{}, ageRotations)}
	if cfg.Store != nil {
		r.cfg.Store = watchedStore{cfg.Store}
		r.tx, _ = cfg.Store.(storage.TxTeller)
		r.batches, _ = cfg.Store.(storage.KeyBatchUpdater)
	}
	r.done, r.stop = context.WithCancel(root)
	return r, nil
}

// Close ends every goroutine of the keyring, waits for them, and zeroes every
// cached key whose users have let go; the others when they do. Calls after it
// fail with [ErrClosed]. It may be called more than once.
func (r *Keyring) Close() {
	r.life.Lock()
	r.closed.Store(true)
	r.life.Unlock()
	r.stop()
	r.running.Wait()
	r.cache.purge()
}

// goRun runs f in a goroutine that Close waits for; false if it is closed.
func (r *Keyring) goRun(f func()) bool {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed.Load() {
		return false
	}
	r.running.Go(f)
	return true
}

// Active returns the key under which this context's data is sealed now; it is
// made if there is none. The caller must [Key.Release] it.
func (r *Keyring) Active(ctx context.Context, c Context, p keyctx.Purpose) (*Key, error) {
	return r.active(ctx, c, flightKey{purpose: p, op: opActive})
}

// Existing is [Keyring.Active] but that no key is ever made: where Active would make
// one, its error matches [ErrKeyNotFound]; or [ErrKeyShredded], if the newest was
// shredded. It needs a store: [ErrNoStore].
func (r *Keyring) Existing(ctx context.Context, c Context, p keyctx.Purpose) (*Key, error) {
	if r.cfg.Store == nil && !r.closed.Load() {
		return nil, ErrNoStore
	}
	return r.active(ctx, c, flightKey{purpose: p, op: opExisting})
}

func (r *Keyring) active(ctx context.Context, c Context, f flightKey) (*Key, error) {
	if r.closed.Load() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	forced := f
	forced.force = true
	if s := r.cache.lookup(c); s != nil {
		if a := s.active[f.purpose].Load(); a != nil && a.key.acquire() {
			k := a.key
			switch r.judge(k, a.seen, a.rereadAfter) {
			case serve:
				k.hit()
				return k, nil
			case serveAndReread:
				k.hit()
				r.background(c, f, k)
				return k, nil
			case serveAndReload:
				k.hit()
				r.background(c, forced, k)
				return k, nil
			case reread:
				return r.renew(ctx, c, f, k)
			case reload:
				return r.renew(ctx, c, forced, k)
			}
		}
	}
	r.misses.Add(1)
	return r.load(ctx, c, f)
}

// ByID returns the key with this ID of this context, for opening what was
// sealed under it. The key must be in the store. The caller must [Key.Release]
// it.
func (r *Keyring) ByID(ctx context.Context, c Context, p keyctx.Purpose, id keyctx.KeyID) (*Key, error) {
	return r.find(ctx, c, flightKey{purpose: p, id: id, op: opByID}, nil)
}

// FromBlock returns the key that a self-contained envelope carries, for opening
// it. Where there is a store its word on the key's state is heeded. block is
// the wrapped-key block's wire form; it is not kept. A key that is cached is
// believed, and the block not looked at. The caller must [Key.Release] it.
func (r *Keyring) FromBlock(ctx context.Context, c Context, id keyctx.KeyID, block []byte) (*Key, error) {
	return r.find(ctx, c, flightKey{purpose: keyctx.PurposeData, id: id, op: opBlock}, block)
}

func (r *Keyring) find(ctx context.Context, c Context, f flightKey, block []byte) (*Key, error) {
	if r.closed.Load() {
		return nil, ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s := r.cache.lookup(c); s != nil {
		// A key by reference must be in the store; one that only an envelope
		// brought doesn't count, or the answer would depend on what is cached.
		if k := s.find(f.purpose, f.id); k != nil && (f.op == opBlock || k.inStore.Load()) && k.acquire() {
			fresh := k.fresh.Load()
			again := k.source(f.purpose)
			switch r.judge(k, fresh.state, fresh.rereadAfter) {
			case serve:
				k.hit()
				return k, nil
			case serveAndReread:
				k.hit()
				r.background(c, again, k)
				return k, nil
			case serveAndReload:
				k.hit()
				again.force = true
				r.background(c, again, k)
				return k, nil
			case reload:
				again.force = true
				fallthrough
			case reread:
				key, err := r.renew(ctx, c, again, k)
				if f.op != opBlock || !errors.Is(err, ErrKeyNotFound) {
					return key, err
				}
				// It was in the store and is no longer: the envelope will do.
			}
		}
	}
	r.misses.Add(1)
	if f.op == opBlock {
		f = f.withBlock(block)
	}
	return r.load(ctx, c, f)
}

// Rotate makes a new version of the context's key and returns it; the versions
// before it go on decrypting. Where several processes rotate at once they make
// one new version, not several. Without a key there is nothing to rotate:
// [ErrKeyNotFound]. The caller must [Key.Release] it.
func (r *Keyring) Rotate(ctx context.Context, c Context, p keyctx.Purpose) (*Key, error) {
	if r.closed.Load() {
		return nil, ErrClosed
	}
	if r.cfg.Store == nil {
		return nil, ErrNoStore
	}
	if err := ctx.Err(); err != nil {
		return nil, err // a load outlives its caller, who would have rotated after all
	}
	return r.load(ctx, c, flightKey{purpose: p, op: opRotate})
}

// full returns a copy of the context with its namespace.
func (r *Keyring) full(c Context) keyctx.KeyContext { return c.Pairs.WithNamespace(r.cfg.Namespace) }
