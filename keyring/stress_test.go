package keyring_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage/memstore"
)

// recording remembers every slice it returned from Unwrap.
type recording struct {
	*memkek.KEK
	mu  *sync.Mutex
	out *[][]byte
}

func (k recording) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.KEK.Unwrap(ctx, wrapped, b)
	if err == nil {
		k.mu.Lock()
		*k.out = append(*k.out, key)
		k.mu.Unlock()
	}
	return key, err
}
func (k recording) UnwrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	rs := make([]kek.BatchResult, len(items))
	for i, it := range items {
		rs[i].Bytes, rs[i].Err = k.Unwrap(ctx, it.Wrapped, it.Binding)
	}
	return rs
}

func TestStressHedgesAndRewraps(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			var out [][]byte
			var ks []recording
			for i := range 3 {
				ks = append(ks, recording{memkek.New(fmt.Sprint("k", i)), &mu, &out})
			}
			m := new(movable)
			m.set(choice(kek.AnyOf, ks[0], ks[1], ks[2]))
			conc := 1 + rnd.IntN(4)
			store := memstore.New()
			first := newWorldOn(t, nil, store, withPolicy(m))
			ids := map[int]keyctx.KeyID{}
			for i := range 20 {
				ids[i] = active(t, first, tenant(i))
			}
			w := newWorldOn(t, nil, store, withPolicy(m), func(c *keyring.Config) { c.KEKConcurrency = conc; c.Size = 5 })
			var wg sync.WaitGroup
			for i := range 60 {
				d := time.Duration(rnd.IntN(4000)) * time.Millisecond
				tmo := time.Duration(rnd.IntN(6000)) * time.Millisecond
				do := rnd.IntN(2 + stressRewraps)
				wg.Go(func() {
					time.Sleep(d)
					ctx, cancel := context.WithTimeout(t.Context(), tmo)
					defer cancel()
					n := i % 20
					switch do {
					case 0:
						k, err := w.ByID(ctx, tenant(n), data, ids[n])
						if err == nil {
							if err := useKey(k); err != nil {
								t.Error(err)
							}
							k.Release()
						}
					case 1:
						_ = tryActiveCtx(ctx, w, tenant(n))
					case 2:
						rec, err := store.GetKey(context.Background(), ids[n])
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = w.NewRewrapping(keyring.RewrapOptions{Force: true}).Rewrap(ctx, rec)
					}
				})
			}
			for range 30 {
				k := ks[rnd.IntN(3)]
				f := memkek.Fault(rnd.IntN(6))
				if f == memkek.Corrupt || f == memkek.Garbage {
					f = memkek.None
				}
				k.SetFault(f)
				k.SetLatency(time.Duration(rnd.IntN(2500)) * time.Millisecond)
				time.Sleep(150 * time.Millisecond)
			}
			for _, k := range ks {
				k.SetFault(memkek.None)
				k.SetLatency(0)
			}
			if seed%2 == 0 {
				w.Close()
			}
			wg.Wait()
			time.Sleep(20 * time.Second)
			for i, id := range ids {
				wantErr(t, tryByID(newWorldOn(t, nil, store, withPolicy(m)), tenant(i), id), nil)
			}
			first.Close()
			w.Close()
			synctest.Wait()
			left := 0
			mu.Lock()
			for _, b := range out {
				if slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) {
					left++
				}
			}
			mu.Unlock()
			if left > 0 {
				t.Errorf("seed %d: %d of %d unwrapped secrets not zeroed", seed, left, len(out))
			}
		})
	}
}

// all-of/any-of moves by two processes with random faults: the key always opens.
// In real time: an any-of rewrap waits in a sync.Once, on which synctest can't wait.
func TestStressTwoMovers(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		ks := []kek.Wrapper{memkek.New("a"), memkek.New("b"), memkek.New("c")}
		m := new(movable)
		m.set(choice(kek.AllOf, ks[0], ks[1]))
		store := memstore.New()
		short := func(c *keyring.Config) { c.CallTimeout, c.LoadTimeout = 20*time.Millisecond, 60*time.Millisecond }
		id := active(t, newWorldOn(t, nil, store, withPolicy(m)), tenant(1))
		for round := range 15 {
			w1 := newWorldOn(t, nil, store, withPolicy(m), short)
			w2 := newWorldOn(t, nil, store, withPolicy(m), short)
			p := rnd.Perm(3)
			n := 1 + rnd.IntN(3)
			q := kek.AnyOf
			if n > 1 && rnd.IntN(2) == 0 {
				q = kek.AllOf
			}
			var c []kek.Wrapper
			for _, i := range p[:n] {
				c = append(c, ks[i])
			}
			m.set(choice(q, c...))
			for _, k := range ks {
				k.(*memkek.KEK).SetLatency(time.Duration(rnd.IntN(800)) * time.Microsecond)
				if rnd.IntN(4) == 0 {
					k.(*memkek.KEK).Rotate()
				}
				if rnd.IntN(3) == 0 {
					k.(*memkek.KEK).FailNext(1, []memkek.Fault{memkek.Unavailable, memkek.Denied, memkek.Hang, memkek.Garbage, memkek.Corrupt, memkek.Panic}[rnd.IntN(6)])
				}
			}
			var wg sync.WaitGroup
			for _, w := range []*world{w1, w2} {
				rec, err := store.GetKey(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(8000))*time.Microsecond)
				defer cancel()
				force := rnd.IntN(2) == 0
				wg.Go(func() { _, _ = w.NewRewrapping(keyring.RewrapOptions{Force: force}).Rewrap(ctx, rec) })
			}
			wg.Wait()
			w1.Close()
			w2.Close()
			for _, k := range ks {
				k.(*memkek.KEK).FailNext(0, memkek.None)
				k.(*memkek.KEK).SetLatency(0)
			}
			w := newWorldOn(t, nil, store, withPolicy(m))
			if err := tryByID(w, tenant(1), id); err != nil {
				t.Fatalf("seed %d round %d: %v", seed, round, err)
			}
			w.Close()
		}
	}
}

// The clock of testing/synctest can't drive an any-of rewrap.
func TestRegressionRewrapInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, c := memkek.New("a"), memkek.New("b"), memkek.New("c")
		w, m, id := moving(t, one(a))
		m.set(choice(kek.AnyOf, b, c))
		a.SetLatency(time.Millisecond)
		w.rewrap(t, id, keyring.RewrapMoved)
	})
}
