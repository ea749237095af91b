package kektest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
)

var errBroken = errors.New("broken")

// breakages are what drivers get wrong, and the checks that must see it.
var breakages = []breakage{
	{name: "URI changes", failed: []string{"uri"}, build: func() func(k *memkek.KEK) kek.Wrapper {
		var n atomic.Int64
		return withURI(func(*memkek.KEK) string { return fmt.Sprint("mem:", n.Add(1)) })
	}()},
	{name: "URI has a space", failed: []string{"uri"}, build: withURI(func(*memkek.KEK) string { return "mem:my key" })},
	{name: "URI is empty", failed: []string{"uri"}, build: withURI(func(*memkek.KEK) string { return "" })},
	{name: "URI is the vault's own", failed: []string{"uri"}, build: withURI(func(*memkek.KEK) string { return "vault-key:00" })},
	{name: "URI is of the object", failed: []string{"uri of a peer"}, build: withURI(func(k *memkek.KEK) string { return strings.ReplaceAll(fmt.Sprintf("mem:%p", &k), " ", "") })},
	{name: "URI is of the driver", failed: []string{"uri of another key"}, build: withURI(func(*memkek.KEK) string { return "mem:" })},

	{name: "ignores the binding", build: rebinding(func(b *kek.Binding) { *b = kek.Binding{} }), failed: []string{
		"binds the key ID", "binds the context hash", "binds the purpose", "binds the version", "binds the context", "large context", "rewrap", "rewrap of what is not ours",
	}},
	{name: "ignores the key ID", failed: []string{"binds the key ID"}, build: rebinding(func(b *kek.Binding) { b.KeyID = keyctx.KeyID{} })},
	{name: "cuts the key ID", failed: []string{"binds the key ID"}, build: rebinding(func(b *kek.Binding) { clear(b.KeyID[16:]) })},
	{name: "ignores the context hash", failed: []string{"binds the context hash", "binds the context"}, build: rebinding(func(b *kek.Binding) { b.ContextHash = keyctx.Hash{} })},
	{name: "cuts the context hash", failed: []string{"binds the context hash"}, build: rebinding(func(b *kek.Binding) { clear(b.ContextHash[16:]) })},
	{name: "ignores the purpose", failed: []string{"binds the purpose"}, build: rebinding(func(b *kek.Binding) { b.Purpose = 0 })},
	{name: "ignores the version", failed: []string{"binds the version"}, build: rebinding(func(b *kek.Binding) { b.Version = 0 })},
	{name: "cuts the version to 8 bits", failed: []string{"binds the version"}, build: rebinding(func(b *kek.Binding) { b.Version &= 0xff })},
	{name: "ignores the binding when it rewraps", failed: []string{"rewrap of what is not ours"}, build: func(k *memkek.KEK) kek.Wrapper {
		own := rebinding(func(b *kek.Binding) { *b = kek.Binding{} })(k).(*broken)
		own.rewrap = func(ctx context.Context, wrapped []byte, _ kek.Binding) ([]byte, error) {
			return slices.Clone(wrapped), ctx.Err()
		}
		return &broken{KEK: k, rewrap: own.rewrap}
	}},

	{name: "wraps in the clear", failed: []string{"conceals the key", "fresh each time"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{
			KEK: k,
			wrap: func(_ context.Context, key []byte, _ kek.Binding) ([]byte, error) {
				return append([]byte{1}, key...), nil
			},
			unwrap: func(_ context.Context, wrapped []byte, _ kek.Binding) ([]byte, error) {
				return slices.Clone(wrapped[1:]), nil
			},
		}
	}},
	{name: "has no format byte", failed: []string{"format byte"}, build: func(k *memkek.KEK) kek.Wrapper {
		w := wrapping(func(wrapped, _ []byte) []byte { return wrapped[5:] })(k).(*broken)
		w.unwrap = func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			return k.Unwrap(ctx, slices.Concat([]byte{1, 0, 0, 0, 1}, wrapped), b)
		}
		return w
	}},
	{name: "wraps too long", failed: []string{"round trip"}, build: func(k *memkek.KEK) kek.Wrapper {
		w := wrapping(func(wrapped, _ []byte) []byte { return append(wrapped, make([]byte, keyctx.MaxWrappedLen)...) })(k).(*broken)
		w.unwrap = func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			return k.Unwrap(ctx, wrapped[:max(0, len(wrapped)-keyctx.MaxWrappedLen)], b)
		}
		return w
	}},
	{name: "unwraps once", failed: []string{"round trip"}, build: func(k *memkek.KEK) kek.Wrapper {
		var seen sync.Map
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			if _, twice := seen.LoadOrStore(string(wrapped), true); twice {
				return nil, fmt.Errorf("broken: %w", kek.ErrCorrupt)
			}
			return k.Unwrap(ctx, wrapped, b)
		}}
	}},
	{name: "pads keys", failed: []string{"odd keys"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			var padded [32]byte
			copy(padded[:], key)
			return k.Wrap(ctx, padded[:], b)
		}}
	}},
	{name: "returns nil and no error", failed: []string{"garbage", "flipped bits", "cut short", "extended", "another key"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			key, err := k.Unwrap(ctx, wrapped, b)
			if errors.Is(err, kek.ErrCorrupt) {
				return nil, nil
			}
			return key, err
		}}
	}},
	{name: "returns nil for an empty key", failed: []string{"odd keys"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			key, err := k.Unwrap(ctx, wrapped, b)
			return append([]byte(nil), key...), err
		}}
	}},
	{name: "has a key per process", failed: []string{"peer"}, build: func(k *memkek.KEK) kek.Wrapper {
		own := memkek.New("a")
		return &broken{KEK: k, wrap: own.Wrap, unwrap: own.Unwrap, rewrap: own.Rewrap}
	}},
	{name: "loses old versions", failed: []string{"rotation", "rewrap after rotation"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			k.DestroyOld()
			return k.Unwrap(ctx, wrapped, b)
		}}
	}},
	{name: "cannot rewrap old versions", failed: []string{"rewrap after rotation"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, rewrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			k.DestroyOld()
			return k.Rewrap(ctx, wrapped, b)
		}}
	}},
	{name: "counts on small contexts", failed: []string{"large context"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			n := 0
			for k, v := range b.Context {
				n += len(k) + len(v)
			}
			if n > 8<<10 {
				return nil, fmt.Errorf("broken: context too large: %w", kek.ErrUnavailable)
			}
			return k.Wrap(ctx, key, b)
		}}
	}},
	{name: "refuses reserved pairs", failed: []string{"reserved pairs"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			if b.Context.IsOwn() {
				return nil, fmt.Errorf("broken: %w", kek.ErrCorrupt)
			}
			return k.Wrap(ctx, key, b)
		}}
	}},
	{name: "mixes up calls", failed: []string{"concurrency"}, build: func(k *memkek.KEK) kek.Wrapper {
		var mu sync.Mutex
		var last []byte
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			mu.Lock()
			last = slices.Clone(key)
			mu.Unlock()
			time.Sleep(100 * time.Microsecond)
			mu.Lock()
			defer mu.Unlock()
			return k.Wrap(ctx, last, b)
		}}
	}},

	{name: "ignores the last bit", failed: []string{"flipped bits"}, needsAll: true, build: func(k *memkek.KEK) kek.Wrapper {
		w := wrapping(func(wrapped, _ []byte) []byte { return slices.Insert(wrapped, 1, 0x80) })(k).(*broken)
		w.unwrap = func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			if len(wrapped) < 2 || wrapped[1]|1 != 0x81 {
				return nil, fmt.Errorf("broken: %w", kek.ErrCorrupt)
			}
			return k.Unwrap(ctx, slices.Concat(wrapped[:1], wrapped[2:]), b)
		}
		return w
	}},
	{name: "reads what is there", failed: []string{"cut short"}, build: func(k *memkek.KEK) kek.Wrapper {
		w := wrapping(func(wrapped, _ []byte) []byte { return append(wrapped, 0) })(k).(*broken)
		w.unwrap = func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			return k.Unwrap(ctx, wrapped[:min(65, len(wrapped))], b)
		}
		return w
	}},
	{name: "ignores trailing bytes", failed: []string{"extended"}, build: reading(func(wrapped []byte) []byte { return wrapped[:min(65, len(wrapped))] })},
	{name: "trims a line's end", failed: []string{"extended"}, build: reading(func(wrapped []byte) []byte {
		if len(wrapped) == 66 { // else every 256th wrapping would lose its own last byte
			return bytes.TrimSuffix(wrapped, []byte("\n"))
		}
		return wrapped
	})},
	{name: "panics on garbage", failed: []string{"garbage", "cut short"}, build: reading(func(wrapped []byte) []byte {
		_ = wrapped[32]
		return wrapped
	})},
	{name: "opens another's", failed: []string{"another key"}, build: func() func(k *memkek.KEK) kek.Wrapper {
		var mu sync.Mutex
		var all []*memkek.KEK
		return func(k *memkek.KEK) kek.Wrapper {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, k)
			return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				for _, other := range all {
					if key, err := other.Unwrap(ctx, wrapped, b); err == nil {
						return key, nil
					}
				}
				return k.Unwrap(ctx, wrapped, b)
			}}
		}
	}()},

	{name: "zeroes the key it wraps", failed: []string{"inputs are not changed"}, build: wrapping(func(wrapped, key []byte) []byte {
		clear(key)
		return wrapped
	})},
	{name: "writes behind the key", failed: []string{"inputs are not changed"}, build: wrapping(func(wrapped, key []byte) []byte {
		_ = append(key, 0)
		return wrapped
	})},
	{name: "decrypts in place", failed: []string{"inputs are not changed"}, build: reading(func(wrapped []byte) []byte {
		was := slices.Clone(wrapped)
		clear(wrapped)
		return was
	})},
	{name: "rewraps in place", failed: []string{"inputs are not changed"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, rewrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			rewrapped, err := k.Rewrap(ctx, wrapped, b)
			copy(wrapped, rewrapped)
			return rewrapped, err
		}}
	}},
	{name: "adds a pair to the context", failed: []string{"inputs are not changed"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			b.Context["vault:key-id"] = b.KeyID.String()
			return k.Wrap(ctx, key, b)
		}}
	}},
	{name: "keeps the key", failed: []string{"inputs are not kept"}, build: func(k *memkek.KEK) kek.Wrapper {
		var kept sync.Map // wrapped → key, a cache without a copy
		return &broken{
			KEK: k,
			wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
				wrapped, err := k.Wrap(ctx, key, b)
				kept.Store(string(wrapped), key)
				return wrapped, err
			},
			unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				if key, ok := kept.Load(string(wrapped)); ok {
					return slices.Clone(key.([]byte)), ctx.Err()
				}
				return k.Unwrap(ctx, wrapped, b)
			},
		}
	}},
	{name: "keeps the context", failed: []string{"inputs are not kept"}, build: func(k *memkek.KEK) kek.Wrapper {
		var once sync.Once
		var first keyctx.KeyContext
		var count int
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			once.Do(func() { first, count = b.Context, len(b.Context) })
			if len(first) != count {
				return nil, fmt.Errorf("broken: %w", kek.ErrUnavailable)
			}
			return k.Wrap(ctx, key, b)
		}}
	}},
	{name: "returns part of what it was given", failed: []string{"inputs are not kept", "results are the caller's"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			key, err := k.Unwrap(ctx, wrapped, b)
			if err != nil {
				return nil, err
			}
			return append(wrapped[:0], key...), nil
		}}
	}},
	{name: "returns what it keeps", failed: []string{"results are the caller's"}, build: func(k *memkek.KEK) kek.Wrapper {
		var kept sync.Map // wrapped and binding → key
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			key, err := k.Unwrap(ctx, wrapped, b)
			if err != nil {
				return nil, err
			}
			first, _ := kept.LoadOrStore(string(b.AppendBytes(slices.Clone(wrapped))), key)
			return first.([]byte), nil
		}}
	}},
	{name: "has one buffer", failed: []string{"results are the caller's"}, build: func(k *memkek.KEK) kek.Wrapper {
		buf := make([]byte, 0, 128)
		return wrapping(func(wrapped, _ []byte) []byte { return append(buf, wrapped...) })(k)
	}},

	{name: "ignores ctx", failed: []string{"ended ctx", "ctx ends during a call"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{
			KEK: k,
			wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
				return k.Wrap(context.WithoutCancel(ctx), key, b)
			},
			unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				return k.Unwrap(context.WithoutCancel(ctx), wrapped, b)
			},
		}
	}},
	{name: "ignores ctx once it has begun", failed: []string{"ctx ends during a call"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			if ctx.Err() != nil {
				return k.Unwrap(ctx, wrapped, b)
			}
			return k.Unwrap(context.WithoutCancel(ctx), wrapped, b)
		}}
	}},
	{name: "ignores ctx when it checks", failed: []string{"ended ctx"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, check: func(ctx context.Context) (kek.Status, error) { return k.Check(context.WithoutCancel(ctx)) }}
	}},
	{name: "hides the context's error", failed: []string{"ended ctx", "ctx ends during a call"}, build: failing(func(err error, _ []byte, _ kek.Binding) error {
		return kek.Class(err)
	})},
	{name: "breaks when an earlier ctx ends", failed: []string{"ended ctx"}, build: func(k *memkek.KEK) kek.Wrapper {
		var first atomic.Pointer[context.Context]
		return &broken{
			KEK: k,
			wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
				if ctx.Err() == nil {
					first.Store(&ctx)
				}
				return k.Wrap(ctx, key, b)
			},
			unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
				if ctx.Err() != nil {
					return k.Unwrap(ctx, wrapped, b)
				}
				return k.Unwrap(*first.Load(), wrapped, b)
			},
		}
	}},
	{name: "calls everything unavailable", failed: []string{"denied", "garbage"}, build: failing(func(err error, _ []byte, _ kek.Binding) error {
		return fmt.Errorf("%w: %v", kek.ErrUnavailable, err)
	})},
	{name: "calls everything denied", failed: []string{"unavailable", "garbage", "status when unavailable"}, build: failing(func(err error, _ []byte, _ kek.Binding) error {
		return fmt.Errorf("%w: %v", kek.ErrDenied, err)
	})},
	{name: "calls everything corrupt", failed: []string{"denied", "unavailable"}, build: failing(func(err error, _ []byte, _ kek.Binding) error {
		return fmt.Errorf("%w: %v", kek.ErrCorrupt, err)
	})},
	{name: "has errors of no class", failed: []string{"denied", "unavailable", "garbage"}, build: failing(func(error, []byte, kek.Binding) error {
		return errBroken
	})},
	{name: "has errors of two classes", failed: []string{"denied", "unavailable", "garbage", "ended ctx"}, build: failing(func(err error, _ []byte, _ kek.Binding) error {
		if errors.Is(err, kek.ErrUnavailable) {
			return fmt.Errorf("%w: %w", kek.ErrDenied, err)
		}
		return fmt.Errorf("%w: %w", kek.ErrUnavailable, err)
	})},
	{name: "tells the key", failed: []string{"denied", "unavailable"}, build: failing(func(err error, key []byte, _ kek.Binding) error {
		return fmt.Errorf("wrap of %s: %w", hex.EncodeToString(key), err)
	})},
	{name: "tells the context", failed: []string{"denied", "garbage"}, build: failing(func(err error, _ []byte, b kek.Binding) error {
		return fmt.Errorf("with %v: %w", b.Context, err)
	})},
	{name: "tells everything it was given", failed: []string{"garbage"}, build: failing(func(err error, wrapped []byte, _ kek.Binding) error {
		return fmt.Errorf("of %x: %w", wrapped, err)
	})},
	{name: "stays denied", failed: []string{"denied"}, build: func(k *memkek.KEK) kek.Wrapper {
		var denied atomic.Pointer[error]
		return &broken{KEK: k, unwrap: func(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
			if err := denied.Load(); err != nil {
				return nil, *err
			}
			key, err := k.Unwrap(ctx, wrapped, b)
			if errors.Is(err, kek.ErrDenied) {
				denied.Store(&err)
			}
			return key, err
		}}
	}},
	{name: "waits for an outage to end", failed: []string{"unavailable"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, wrap: func(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
			wrapped, err := k.Wrap(ctx, key, b)
			if errors.Is(err, kek.ErrUnavailable) && ctx.Err() == nil {
				<-ctx.Done()
			}
			return wrapped, err
		}}
	}},
	{name: "serves from a cache when denied", failed: []string{"denied", "unavailable"}, build: func(k *memkek.KEK) kek.Wrapper {
		free := k.Peer()
		return &broken{KEK: k, unwrap: free.Unwrap}
	}},

	{name: "mixes up a batch", failed: []string{"batch"}, build: batching(func(results []kek.BatchResult) []kek.BatchResult {
		slices.Reverse(results)
		return results
	})},
	{name: "drops what failed", failed: []string{"batch"}, build: batching(func(results []kek.BatchResult) []kek.BatchResult {
		return slices.DeleteFunc(results, func(r kek.BatchResult) bool { return r.Err != nil })
	})},
	{name: "fails the whole batch", failed: []string{"batch"}, build: batching(func(results []kek.BatchResult) []kek.BatchResult {
		for _, r := range results {
			if r.Err != nil {
				for i := range results {
					results[i] = kek.BatchResult{Err: r.Err}
				}
				break
			}
		}
		return results
	})},
	{name: "gives nothing for what failed", failed: []string{"batch"}, build: batching(func(results []kek.BatchResult) []kek.BatchResult {
		for i := range results {
			results[i].Err = nil
		}
		return results
	})},
	{name: "takes 64 items at most", failed: []string{"batch of many"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrapBatch: func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
			results := k.UnwrapBatch(ctx, items)
			if len(items) > 64 {
				for i := range results {
					results[i] = kek.BatchResult{Err: fmt.Errorf("too many: %w", kek.ErrCorrupt)}
				}
			}
			return results
		}}
	}},
	{name: "calls an outage of a batch corrupt", failed: []string{"batch when denied", "batch when unavailable"}, build: batching(func(results []kek.BatchResult) []kek.BatchResult {
		for i := range results {
			if results[i].Err != nil {
				results[i].Err = fmt.Errorf("batch: %w: %v", kek.ErrCorrupt, results[i].Err)
			}
		}
		return results
	})},
	{name: "has one buffer for batches", failed: []string{"batches side by side"}, build: func() func(k *memkek.KEK) kek.Wrapper {
		var mu sync.Mutex
		buf := make([]byte, 0, 1<<16)
		return batching(func(results []kek.BatchResult) []kek.BatchResult {
			mu.Lock()
			defer mu.Unlock()
			used := buf[:0]
			for i, r := range results {
				if r.Bytes != nil {
					used = append(used, r.Bytes...)
					results[i].Bytes = used[len(used)-len(r.Bytes):]
				}
			}
			return results
		})
	}()},
	{name: "ignores ctx in a batch", failed: []string{"batch"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, unwrapBatch: func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
			return k.UnwrapBatch(context.WithoutCancel(ctx), items)
		}}
	}},
	{name: "ignores the binding in a batch", failed: []string{"batch"}, build: func(k *memkek.KEK) kek.Wrapper {
		forget := func(items []kek.BatchItem) []kek.BatchItem {
			items = slices.Clone(items)
			for i := range items {
				items[i].Binding = kek.Binding{}
			}
			return items
		}
		w := rebinding(func(b *kek.Binding) { *b = kek.Binding{} })(k).(*broken)
		w.unwrapBatch = func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
			return k.UnwrapBatch(ctx, forget(items))
		}
		w.rewrapBatch = func(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
			return k.RewrapBatch(ctx, forget(items))
		}
		return w
	}},
	{name: "tells another version", failed: []string{"versions"}, build: telling(func(*memkek.KEK, []byte) string { return "7" })},
	{name: "tells the primary version always", failed: []string{"versions after rotation"}, build: telling(func(k *memkek.KEK, _ []byte) string {
		status, _ := k.Check(context.Background())
		return status.PrimaryVersion
	})},
	{name: "tells a version of garbage by panicking", failed: []string{"versions"}, build: telling(func(k *memkek.KEK, wrapped []byte) string {
		_ = wrapped[1]
		return k.WrappedVersion(wrapped)
	})},

	{name: "never usable", failed: []string{"status"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, check: func(context.Context) (kek.Status, error) { return kek.Status{}, nil }}
	}},
	{name: "always usable", failed: []string{"status when denied", "status when unavailable"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, check: func(ctx context.Context) (kek.Status, error) { return kek.Status{Usable: true}, nil }}
	}},
	{name: "gives no reason", failed: []string{"status when denied"}, build: func(k *memkek.KEK) kek.Wrapper {
		return &broken{KEK: k, check: func(ctx context.Context) (kek.Status, error) {
			status, err := k.Check(ctx)
			status.Reason = ""
			return status, err
		}}
	}},
}
