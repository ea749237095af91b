package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/kek"
)

// kekState is what the keyring knows of one KEK, by its URI.
type kekState struct {
	gate
	uri  string
	used atomic.Int64 // monotonic time of the last call

	wraps, unwraps, rewraps                atomic.Uint64
	denied, unavailable, corrupt, rejected atomic.Uint64
	latency
}

// Of KEKs that haven't been called for a while the keyring forgets what it knows,
// where it knows of very many.
const (
	manyKEKs  = 10_000
	idleAfter = time.Minute
)

// stateOf returns the state of the KEK with this URI.
func (r *Keyring) stateOf(uri string) *kekState {
	v, ok := r.keks.Load(uri)
	if !ok {
		if v, ok = r.keks.LoadOrStore(uri, &kekState{gate: newGate(r), uri: uri}); !ok && r.kekCount.Add(1) > manyKEKs {
			r.forgetIdleKEKs()
		}
	}
	state := v.(*kekState)
	state.used.Store(r.clock.now().mono)
	return state
}

// forgetIdleKEKs makes room, now and then.
func (r *Keyring) forgetIdleKEKs() {
	now, last := r.clock.now().mono, r.keksSwept.Load()
	if now-last < int64(idleAfter)/10 || !r.keksSwept.CompareAndSwap(last, now) {
		return
	}
	r.keks.Range(func(uri, v any) bool {
		if s := v.(*kekState); now-s.used.Load() > int64(idleAfter) && len(s.places) == 0 && s.answering() {
			r.keks.Delete(uri)
			r.kekCount.Add(-1)
		}
		return true
	})
}

// The words for what is asked of a KEK.
const (
	askWrap   = "wrap"
	askUnwrap = "unwrap"
	askRewrap = "rewrap"
	askCheck  = "check"
)

func (s *kekState) count(ask string) {
	switch ask {
	case askWrap:
		s.wraps.Add(1)
	case askUnwrap:
		s.unwraps.Add(1)
	case askRewrap:
		s.rewraps.Add(1)
	}
}

func (r *Keyring) callWrap(ctx context.Context, w kek.Wrapper, key []byte, b kek.Binding) ([]byte, error) {
	return r.call(ctx, w, askWrap, b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
		return w.Wrap(ctx, key, b)
	})
}

func (r *Keyring) callUnwrap(ctx context.Context, w kek.Wrapper, blob []byte, b kek.Binding) ([]byte, error) {
	return r.call(ctx, w, askUnwrap, b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
		return w.Unwrap(ctx, blob, b)
	})
}

func (r *Keyring) callRewrap(ctx context.Context, w kek.Rewrapper, blob []byte, b kek.Binding) ([]byte, error) {
	return r.call(ctx, w, askRewrap, b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
		return w.Rewrap(ctx, blob, b)
	})
}

// callCheck returns the version of the KEK that wraps now, "" if it doesn't tell.
// b is the binding of the key for whose sake it is asked.
func (r *Keyring) callCheck(ctx context.Context, w kek.Checker, b kek.Binding) (string, error) {
	out, err := r.call(ctx, w, askCheck, b, func(ctx context.Context, _ kek.Binding) ([]byte, error) {
		status, err := w.Check(ctx)
		return []byte(status.PrimaryVersion), err
	})
	return string(out), err
}

// call makes one call to a KEK: through its gate, counted, its error of exactly
// one class.
func (r *Keyring) call(ctx context.Context, w kek.Wrapper, ask string, b kek.Binding, f func(context.Context, kek.Binding) ([]byte, error)) ([]byte, error) {
	uri := w.URI()
	state := r.stateOf(uri)
	defer atKEK(ctx)()
	start := time.Now()
	out, err := pass(ctx, &state.gate, func(ctx context.Context) (out []byte, err error) {
		state.count(ask)
		defer r.traceKEK(&ctx, KEKCall{URI: uri, Ask: ask, Items: 1}, &err)()
		begun := time.Now()
		defer func() { state.observe(time.Since(begun)) }()
		private := b
		private.Context = b.Context.Clone() // drivers are others' code, and several may run at once
		out, err = f(ctx, private)
		return out, err
	}, forgetSecret)
	if err != nil {
		clear(out)
		return nil, r.failed(ctx, state, uri, ask, b, err, time.Since(start))
	}
	return out, nil
}

func forgetSecret(b []byte) { clear(b) }

// failed counts and tells of an error of a KEK, and gives it exactly one class.
func (r *Keyring) failed(ctx context.Context, state *kekState, uri, ask string, b kek.Binding, err error, took time.Duration) error {
	if errors.Is(err, errClosedGate) {
		state.rejected.Add(1)
		return fmt.Errorf("%s with %s: %w", ask, uri, err)
	}
	class := state.countError(err)
	err = fmt.Errorf("%s with %s: %w", ask, uri, oneClass(err))
	if class == kek.ErrDenied {
		err = r.emitDenied(ctx, b, uri, err, took)
	}
	return err
}

// countError counts an error of a KEK and returns its class.
func (s *kekState) countError(err error) error {
	class := kek.Class(err)
	switch class {
	case kek.ErrDenied:
		s.denied.Add(1)
	case kek.ErrCorrupt:
		s.corrupt.Add(1)
	default:
		s.unavailable.Add(1)
	}
	return class
}

// classes counts the classes that err matches.
func classes(err error) (n int) {
	for _, class := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if errors.Is(err, class) {
			n++
		}
	}
	return n
}

// Pauses between the tries of one load.
const (
	tries        = 3
	minCallPause = 100 * time.Millisecond
	maxCallPause = 2 * time.Second
)

// retry runs f again while a KEK is unavailable, with backoff and full jitter,
// until it has been tried often enough or ctx ends. Where the circuit is open
// there is no point in trying again at once.
func (r *Keyring) retry(ctx context.Context, f func(context.Context) error) error {
	for n := 0; ; n++ {
		err := f(r.withAttempt(ctx, n+1))
		if err == nil || kek.Class(err) != kek.ErrUnavailable || errors.Is(err, errClosedGate) || n+1 == tries {
			return err
		}
		pause := time.NewTimer(rand.N(min(minCallPause<<n, maxCallPause)) + 1)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// emitDenied tells of a KEK's refusal, and returns err, with the event's own
// error if it failed.
func (r *Keyring) emitDenied(ctx context.Context, b kek.Binding, uri string, err error, took time.Duration) error {
	e := Event{
		Kind: KEKDenied, ContextHash: b.ContextHash, Context: b.Context.WithoutNamespace(),
		KeyID: b.KeyID, URI: uri, Err: err, Duration: took,
	}
	if eventErr := r.emit(ctx, e); eventErr != nil {
		return fmt.Errorf("%w; moreover: %w", err, unrecorded{eventErr})
	}
	return err
}

// unrecorded is the error of an event that had to be recorded and wasn't. It
// fails the load, also where another KEK would have served.
type unrecorded struct{ error }

func (u unrecorded) Unwrap() error { return u.error }

// firstUnrecorded returns the first event's error among errs, or nil.
func firstUnrecorded(errs []error) error {
	for _, err := range errs {
		if u := (unrecorded{}); errors.As(err, &u) {
			return u
		}
	}
	return nil
}

func (r *Keyring) emit(ctx context.Context, e Event) error {
	if r.cfg.OnEvent == nil {
		return nil
	}
	return r.cfg.OnEvent(ctx, e)
}

// Stats is a snapshot of a keyring's counters.
type Stats struct {
	Cached    int    // keys in the cache now
	Hits      uint64 // keys found in the cache and fit to serve
	Misses    uint64 // keys that had to be loaded, or checked before use
	Evictions uint64 // keys that had to go because the cache was full
	Stale     uint64 // keys that served beyond their time, because they couldn't be renewed
	KEKs      map[string]KEKStats
}

// KEKStats counts the calls to one KEK.
type KEKStats struct {
	Wraps, Unwraps, Rewraps      uint64
	Denied, Unavailable, Corrupt uint64        // errors by class
	Rejected                     uint64        // calls that were not made, because the KEK has not been answering
	Time                         time.Duration // spent in calls, in all
	Slowest                      time.Duration // the longest call
	Took                         [5]uint64     // calls by how long they took, see [LatencyBounds]; a batch is one
}

// Stats returns the keyring's counters. It walks the cache.
func (r *Keyring) Stats() Stats {
	s := Stats{Misses: r.misses.Load(), Stale: r.stale.Load(), KEKs: make(map[string]KEKStats)}
	s.Cached, s.Evictions, s.Hits = r.cache.tally()
	r.keks.Range(func(uri, v any) bool {
		c := v.(*kekState)
		s.KEKs[uri.(string)] = KEKStats{
			Wraps: c.wraps.Load(), Unwraps: c.unwraps.Load(), Rewraps: c.rewraps.Load(),
			Denied: c.denied.Load(), Unavailable: c.unavailable.Load(), Corrupt: c.corrupt.Load(),
			Rejected: c.rejected.Load(), Time: time.Duration(c.nanos.Load()),
			Slowest: time.Duration(c.slowest.Load()), Took: c.tookUpTo(),
		}
		return true
	})
	return s
}
