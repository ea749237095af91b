package keyring

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/kek"
)

// callStats counts calls by KEK: URI → *kekCounter.
type callStats struct{ byURI sync.Map }

type kekCounter struct {
	wraps, unwraps               atomic.Uint64
	denied, unavailable, corrupt atomic.Uint64
	nanos                        atomic.Int64
}

func (s *callStats) of(uri string) *kekCounter {
	if c, ok := s.byURI.Load(uri); ok {
		return c.(*kekCounter)
	}
	c, _ := s.byURI.LoadOrStore(uri, new(kekCounter))
	return c.(*kekCounter)
}

func (r *Keyring) callWrap(ctx context.Context, w kek.Wrapper, key []byte, b kek.Binding) ([]byte, error) {
	return r.call(ctx, w, "wrap", b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
		return w.Wrap(ctx, key, b)
	})
}

func (r *Keyring) callUnwrap(ctx context.Context, w kek.Wrapper, blob []byte, b kek.Binding) ([]byte, error) {
	return r.call(ctx, w, "unwrap", b, func(ctx context.Context, b kek.Binding) ([]byte, error) {
		return w.Unwrap(ctx, blob, b)
	})
}

// call makes one call to a KEK: with a deadline, counted, its error of exactly
// one class, its panic an error.
func (r *Keyring) call(ctx context.Context, w kek.Wrapper, what string, b kek.Binding, f func(context.Context, kek.Binding) ([]byte, error)) (out []byte, err error) {
	uri := w.URI()
	count := r.calls.of(uri)
	if what == "wrap" {
		count.wraps.Add(1)
	} else {
		count.unwraps.Add(1)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CallTimeout)
	defer cancel()
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, errors.New(panicText(p))
		}
		count.nanos.Add(int64(time.Since(start)))
		if err == nil {
			return
		}
		class := kek.Class(err)
		switch class {
		case kek.ErrDenied:
			count.denied.Add(1)
		case kek.ErrCorrupt:
			count.corrupt.Add(1)
		default:
			count.unavailable.Add(1)
		}
		switch n := classes(err); {
		case n == 1:
			err = fmt.Errorf("%s with %s: %w", what, uri, err)
		case n == 0:
			err = fmt.Errorf("%s with %s: %w: %w", what, uri, class, err)
		default: // against its contract: the others are there as text
			err = fmt.Errorf("%s with %s: %w: %v", what, uri, class, err)
		}
		if class == kek.ErrDenied {
			err = r.emitDenied(ctx, b, uri, err, time.Since(start))
		}
	}()
	defer atKEK(ctx)()
	private := b
	private.Context = b.Context.Clone() // drivers are others' code, and several may run at once
	return f(ctx, private)
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
// until it has been tried often enough or ctx ends.
func (r *Keyring) retry(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if err == nil || kek.Class(err) != kek.ErrUnavailable || n+1 == tries {
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
	KEKs      map[string]KEKStats
}

// KEKStats counts the calls to one KEK.
type KEKStats struct {
	Wraps, Unwraps               uint64
	Denied, Unavailable, Corrupt uint64 // errors by class
	Time                         time.Duration
}

// Stats returns the keyring's counters. It walks the cache.
func (r *Keyring) Stats() Stats {
	s := Stats{Misses: r.misses.Load(), KEKs: make(map[string]KEKStats)}
	s.Cached, s.Evictions, s.Hits = r.cache.tally()
	r.calls.byURI.Range(func(uri, v any) bool {
		c := v.(*kekCounter)
		s.KEKs[uri.(string)] = KEKStats{
			Wraps: c.wraps.Load(), Unwraps: c.unwraps.Load(),
			Denied: c.denied.Load(), Unavailable: c.unavailable.Load(), Corrupt: c.corrupt.Load(),
			Time: time.Duration(c.nanos.Load()),
		}
		return true
	})
	return s
}
