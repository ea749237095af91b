package kektest

import (
	"context"
	"sync"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
)

// breakage is a way to break a KEK.
type breakage struct {
	name     string
	build    func(good *memkek.KEK) kek.Wrapper
	failed   []string // names of checks that must fail; others may
	needsAll bool     // a sample of bits doesn't show it
}

// harness returns broken KEKs and, for the switches, the good ones in them.
func (b breakage) harness() Harness {
	var mu sync.Mutex
	good := map[kek.Wrapper]*memkek.KEK{}
	build := func(k *memkek.KEK) kek.Wrapper {
		mu.Lock()
		defer mu.Unlock()
		w := b.build(k)
		good[w] = k
		return w
	}
	of := func(w kek.Wrapper) *memkek.KEK {
		mu.Lock()
		defer mu.Unlock()
		return good[w]
	}
	fault := func(f memkek.Fault) func(testing.TB, kek.Wrapper) func() {
		return func(_ testing.TB, w kek.Wrapper) func() {
			of(w).SetFault(f)
			return func() { of(w).SetFault(memkek.None) }
		}
	}
	return Harness{
		New:         func(testing.TB) kek.Wrapper { return build(memkek.New("a")) },
		Another:     func(testing.TB) kek.Wrapper { return build(memkek.New("b")) },
		Peer:        func(_ testing.TB, w kek.Wrapper) kek.Wrapper { return build(of(w).Peer()) },
		Rotate:      func(_ testing.TB, w kek.Wrapper) { of(w).Rotate() },
		Deny:        fault(memkek.Denied),
		Unavailable: fault(memkek.Unavailable),
		Hang:        fault(memkek.Hang),
	}
}

// broken is a good KEK with some of its methods replaced.
type broken struct {
	*memkek.KEK
	uri    func() string
	wrap   func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error)
	unwrap func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error)
	rewrap func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error)
	check  func(ctx context.Context) (kek.Status, error)
	tell   func(wrapped []byte) string

	unwrapBatch, rewrapBatch func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult
}

func (w *broken) URI() string {
	if w.uri != nil {
		return w.uri()
	}
	return w.KEK.URI()
}

func (w *broken) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if w.wrap != nil {
		return w.wrap(ctx, key, b)
	}
	return w.KEK.Wrap(ctx, key, b)
}

func (w *broken) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if w.unwrap != nil {
		return w.unwrap(ctx, wrapped, b)
	}
	return w.KEK.Unwrap(ctx, wrapped, b)
}

func (w *broken) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if w.rewrap != nil {
		return w.rewrap(ctx, wrapped, b)
	}
	return w.KEK.Rewrap(ctx, wrapped, b)
}

func (w *broken) Check(ctx context.Context) (kek.Status, error) {
	if w.check != nil {
		return w.check(ctx)
	}
	return w.KEK.Check(ctx)
}

func (w *broken) WrappedVersion(wrapped []byte) string {
	if w.tell != nil {
		return w.tell(wrapped)
	}
	return w.KEK.WrappedVersion(wrapped)
}

func (w *broken) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	if w.unwrapBatch != nil {
		return w.unwrapBatch(ctx, items)
	}
	return w.KEK.UnwrapBatch(ctx, items)
}

func (w *broken) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	if w.rewrapBatch != nil {
		return w.rewrapBatch(ctx, items)
	}
	return w.KEK.RewrapBatch(ctx, items)
}

// batching changes what UnwrapBatch returns.
func batching(change func(results []kek.BatchResult) []kek.BatchResult) func(k *memkek.KEK) kek.Wrapper {
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrapBatch: func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
			return change(k.UnwrapBatch(ctx, items))
		}}
	}
}

// telling tells other versions.
func telling(tell func(k *memkek.KEK, wrapped []byte) string) func(k *memkek.KEK) kek.Wrapper {
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, tell: func(wrapped []byte) string { return tell(k, wrapped) }}
	}
}

// rebinding uses another binding than it was given.
func rebinding(forget func(b *kek.Binding)) func(k *memkek.KEK) kek.Wrapper {
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{
			KEK: k,
			wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
				forget(&b)
				return k.Wrap(ctx, key, b)
			},
			unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				forget(&b)
				return k.Unwrap(ctx, wrapped, b)
			},
			rewrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				forget(&b)
				return k.Rewrap(ctx, wrapped, b)
			},
		}
	}
}

// failing changes every error, of every method.
func failing(change func(err error, key []byte, b kek.Binding) error) func(k *memkek.KEK) kek.Wrapper {
	changed := func(err error, key []byte, b kek.Binding) error {
		if err == nil {
			return nil
		}
		return change(err, key, b)
	}
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{
			KEK: k,
			wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
				wrapped, err := k.Wrap(ctx, key, b)
				return wrapped, changed(err, key, b)
			},
			unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				key, err := k.Unwrap(ctx, wrapped, b)
				return key, changed(err, wrapped, b)
			},
			rewrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				rewrapped, err := k.Rewrap(ctx, wrapped, b)
				return rewrapped, changed(err, wrapped, b)
			},
			check: func(ctx context.Context) (kek.Status, error) {
				status, err := k.Check(ctx)
				return status, changed(err, nil, kek.Binding{})
			},
		}
	}
}

// wrapping and unwrapping change what one method returns.
func wrapping(change func(wrapped, key []byte) []byte) func(k *memkek.KEK) kek.Wrapper {
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			wrapped, err := k.Wrap(ctx, key, b)
			if err != nil {
				return nil, err
			}
			return change(wrapped, key), nil
		}}
	}
}

// reading changes what Unwrap is given.
func reading(change func(wrapped []byte) []byte) func(k *memkek.KEK) kek.Wrapper {
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			return k.Unwrap(ctx, change(wrapped), b)
		}}
	}
}

func withURI(uri func(k *memkek.KEK) string) func(k *memkek.KEK) kek.Wrapper {
	return func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, uri: func() string { return uri(k) }}
	}
}
