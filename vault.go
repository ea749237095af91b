package vault

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// The types of the packages below that users meet.
type (
	// KeyContext says whose data it is; see [keyctx.KeyContext] for the rules.
	KeyContext = keyctx.KeyContext

	// KeyID identifies a context key, and is a commitment to it.
	KeyID = keyctx.KeyID

	// ContextHash is how a key context is named where its pairs must not be.
	ContextHash = keyctx.Hash

	// ID identifies an object or a version: a UUID, version 7.
	ID = storage.ID

	// Info is what [Inspect] tells of an envelope.
	Info = envelope.Info
)

// ParseID reads the 36-character form of an [ID].
func ParseID(s string) (ID, error) { return storage.ParseID(s) }

// Vault encrypts, decrypts and stores. It is safe for concurrent use. One
// vault is meant to serve a whole process: its cache is what makes it fast.
type Vault struct {
	cfg  Config
	ring *keyring.Keyring

	closed    atomic.Bool
	closeOnce sync.Once
	root      context.Context // ends with Close
	stop      context.CancelFunc

	// life guards the start of long work against Close, which waits for it. It is
	// held for no longer than that.
	life    sync.Mutex
	running sync.WaitGroup

	legacy       atomic.Uint64
	eventErrors  atomic.Uint64
	sweepErrors  atomic.Uint64
	shredErrors  atomic.Uint64
	tracerPanics atomic.Uint64

	// Of Config.Authorizer.
	asksAtOnce bool // it is an ImmediateAuthorizer
	hanging    atomic.Int64
	asking     atomic.Int64
	denied     atomic.Uint64
	undecided  atomic.Uint64
}

// New returns a vault. It does no I/O: a KMS or a database that can't be
// reached is found by the first call that needs it, or by [Vault.Check]. The
// configuration is copied. The caller closes the vault, and after it the Store.
func New(cfg Config) (*Vault, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	v := &Vault{cfg: cfg}
	_, v.asksAtOnce = cfg.Authorizer.(ImmediateAuthorizer)
	v.cfg.Store = v.traceStore(cfg.Store)
	// The vault's own goroutines belong to no call. They end with Close.
	root, stop := context.WithCancel(context.Background())
	v.root, v.stop = root, stop
	v.ring, err = keyring.New(root, v.ringConfig())
	if err != nil {
		stop()
		return nil, fmt.Errorf("vault: %w", err)
	}
	if cfg.Store != nil && !cfg.NoBackground && cfg.SweepEvery > 0 {
		v.running.Go(func() { v.sweeper(root) })
	}
	if cfg.Store != nil && !cfg.NoBackground {
		v.running.Go(func() { v.shredder(root) })
	}
	return v, nil
}

func (v *Vault) ringConfig() keyring.Config {
	c := keyring.Config{
		Policy:             v.cfg.Policy,
		Namespace:          v.cfg.Namespace,
		Size:               v.cfg.Cache.Size,
		TTL:                v.cfg.Cache.TTL,
		ActiveKeyTTL:       v.cfg.Cache.ActiveKeyTTL,
		StaleIfUnavailable: v.cfg.Cache.StaleIfUnavailable,
		RotateAfter:        v.cfg.RotateAfter,
		CallTimeout:        v.cfg.KEKCalls.Timeout,
		LoadTimeout:        3 * v.cfg.KEKCalls.Timeout,
		KEKConcurrency:     v.cfg.KEKCalls.Concurrency,
		KeepBlocks:         v.cfg.SelfContained,
		SkipWrapCheck:      v.cfg.SkipWrapCheck,
		NoBackground:       v.cfg.NoBackground,
		OnEvent:            v.keyEvent,
		TraceKEK:           v.traceKEKs(),
	}
	if v.cfg.Store != nil { // an interface that holds nothing must stay nil
		c.Store = v.cfg.Store
	}
	return c
}

// Close ends the vault's goroutines, waits for them, and forgets the unwrapped
// keys. Calls under way finish or fail; later ones fail with ErrClosed. It
// closes neither the Store nor a KEK. It may be called more than once, and
// never fails; the error is there for io.Closer.
func (v *Vault) Close() error {
	v.closeOnce.Do(func() {
		v.life.Lock()
		v.closed.Store(true)
		v.life.Unlock()
		v.stop()
		v.running.Wait()
		v.ring.Close()
	})
	return nil
}

// work begins a call that takes long. Its ctx ends with Close too, with ErrClosed
// as the cause, and Close waits for end.
func (v *Vault) work(ctx context.Context) (_ context.Context, end func(), err error) {
	v.life.Lock()
	defer v.life.Unlock()
	if v.closed.Load() {
		return nil, nil, ErrClosed
	}
	v.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(v.root, func() { cancel(ErrClosed) })
	return ctx, func() {
		unlink()
		cancel(nil)
		v.running.Done()
	}, nil
}

// Check is a readiness probe: a round trip to the store, and one to the KEK
// that the policy gives to the vault's own context {"vault:system": "check"}.
// It makes and stores no key.
func (v *Vault) Check(ctx context.Context) (err error) {
	defer v.trace(&ctx, "check", nil).end(&err)
	if v.closed.Load() {
		return ErrClosed
	}
	if err := v.permit(ctx, AccessRequest{Operation: OpCheck}); err != nil {
		return fmt.Errorf("vault: check: %w", err)
	}
	if v.cfg.Store != nil {
		if err := v.cfg.Store.Ping(ctx); err != nil {
			return fmt.Errorf("vault: check: store: %w", err)
		}
	}
	own := KeyContext{keyctx.ReservedSystem: "check"}
	hash, err := own.WithNamespace(v.cfg.Namespace).Hash()
	if err != nil {
		return fmt.Errorf("vault: check: %w", err)
	}
	if err := v.ring.Verify(ctx, keyring.Context{Hash: hash, Pairs: own}); err != nil {
		return fmt.Errorf("vault: check: %w", err)
	}
	return nil
}

// context returns the caller's context as the keyring takes it.
func (v *Vault) context(kc KeyContext) (keyring.Context, error) {
	hash, err := keyctx.HashIn(kc, v.cfg.Namespace)
	if err != nil {
		return keyring.Context{}, fmt.Errorf("vault: %w", err)
	}
	return keyring.Context{Hash: hash, Pairs: kc}, nil
}

// Stats is a snapshot of a vault's counters since it was made.
type Stats struct {
	CachedKeys     int    // unwrapped keys in the cache now
	CacheHits      uint64 // keys found in the cache
	CacheMisses    uint64 // keys that had to be loaded, or checked before use
	CacheEvictions uint64 // keys that had to go because the cache was full
	CacheStale     uint64 // keys that served beyond their time, because the KMS or the store wasn't answering

	// KEKs counts calls and errors by the KEK's URI.
	KEKs map[string]KEKStats

	LegacyDecrypts uint64 // calls of Config.Legacy
	EventErrors    uint64 // failures of Config.OnEvent
	SweepErrors    uint64 // failures of the background sweep
	TracerPanics   uint64 // panics of Config.Tracer
	ShredErrors    uint64 // failures of shreddings in the background

	Denied    uint64 // operations that Config.Authorizer denied, the undecided ones included
	Undecided uint64 // those at which it panicked, hung, or was not asked since it hangs
}

// KEKStats counts the calls to one KEK.
type KEKStats struct {
	Wraps, Unwraps, Rewraps      uint64
	Denied, Unavailable, Corrupt uint64        // errors by class
	Rejected                     uint64        // calls that were not made, because the KEK has not been answering
	Time                         time.Duration // spent in calls, in all
	Slowest                      time.Duration // the longest call

	// Took counts calls by how long they took: up to each of [KEKLatencyBounds], and
	// longer. Each call is counted once, and a batch of keys is one; so are the calls
	// that ask for a KEK's newest version.
	Took [5]uint64
}

// KEKLatencyBounds returns the upper bounds of [KEKStats].Took but the last, which has
// none.
func KEKLatencyBounds() [4]time.Duration { return keyring.LatencyBounds() }

// Calls returns the number of calls that were made.
func (s KEKStats) Calls() uint64 { return s.Wraps + s.Unwraps + s.Rewraps }

// Stats returns the vault's counters. It walks the cache: call it every few
// seconds, not for every message.
func (v *Vault) Stats() Stats {
	ring := v.ring.Stats()
	s := Stats{
		CachedKeys:     ring.Cached,
		CacheHits:      ring.Hits,
		CacheMisses:    ring.Misses,
		CacheEvictions: ring.Evictions,
		CacheStale:     ring.Stale,
		KEKs:           make(map[string]KEKStats, len(ring.KEKs)),
		LegacyDecrypts: v.legacy.Load(),
		EventErrors:    v.eventErrors.Load(),
		SweepErrors:    v.sweepErrors.Load(),
		ShredErrors:    v.shredErrors.Load(),
		Denied:         v.denied.Load(),
		Undecided:      v.undecided.Load(),
		TracerPanics:   v.tracerPanics.Load(),
	}
	for uri, k := range ring.KEKs {
		s.KEKs[uri] = KEKStats(k)
	}
	return s
}
