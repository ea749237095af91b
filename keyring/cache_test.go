package keyring_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage/memstore"
)

// 1,000,000 contexts against a cache of 10,000: the bound holds, in keys and in
// memory.
func TestCacheBoundUnderAMillionContexts(t *testing.T) {
	const size = 10_000
	contexts := 1_000_000
	if testing.Short() || raceEnabled {
		contexts = 100_000
	}
	w := alone(t, memkek.New("k"), func(c *keyring.Config) { c.Size, c.SkipWrapCheck = size, true })
	before := heap()
	for i := range contexts {
		c := contextOf(keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%07d", i)})
		k, err := w.Active(context.Background(), c, data)
		if err != nil {
			t.Fatal(err)
		}
		k.Release()
		if i%50_000 == 0 {
			if n := w.Stats().Cached; n > size {
				t.Fatalf("%d keys are cached, the bound is %d", n, size)
			}
		}
	}
	s := w.Stats()
	if s.Cached != size || s.Evictions != uint64(contexts-size) {
		t.Fatalf("%d cached, %d evicted", s.Cached, s.Evictions)
	}
	if grown := int64(heap() - before); grown > size*2048 {
		t.Fatalf("%d MiB for %d keys", grown>>20, size)
	}
}

// The memory that a cached key takes, all in all, after its HMAC states were
// collected.
func TestMemoryPerKey(t *testing.T) {
	if raceEnabled {
		t.Log("sizes mean nothing under the race detector; the figures come from the run without it")
	}
	const n = 20_000
	w := newWorld(t, func(c *keyring.Config) { c.Size = n })
	cold := w.peer(t, func(c *keyring.Config) { c.Size = n })
	contexts := make([]keyring.Context, n)
	for i := range contexts {
		contexts[i] = contextOf(keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%07d", i)})
		active(t, w, contexts[i])
	}
	before := heap()
	for _, c := range contexts {
		active(t, cold, c)
	}
	per := int64(heap()-before) / n
	t.Logf("%d bytes per cached key", per)
	if per > 1024 && !raceEnabled {
		t.Errorf("%d bytes per cached key, want at most 1024", per)
	}
	runtime.KeepAlive(cold)
	runtime.KeepAlive(w)
	runtime.KeepAlive(contexts)
}

func heap() uint64 {
	for range 4 { // pools let go in the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Keys are evicted while they are in use: nothing is ever sealed under zeros or
// fails.
func TestEvictionWhileInUse(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) { c.Size = 2 })
	zeros := make([]byte, envelope.KeySize)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for range 400 {
				c := tenant(rnd.IntN(8))
				k, err := w.Active(context.Background(), c, data)
				if err != nil {
					t.Error(err)
					return
				}
				for range 3 {
					runtime.Gosched()
					secret, err := k.AppendSecret(nil)
					if err != nil || bytes.Equal(secret, zeros) {
						t.Errorf("a key in use was destroyed: %v", err)
					}
					if err := useKey(k); err != nil {
						t.Error(err)
					}
				}
				k.Release()
			}
		})
	}
	wg.Wait()
	if s := w.Stats(); s.Cached > 2 || s.Evictions == 0 {
		t.Fatalf("%+v", s)
	}
}

// After the last release an evicted key is destroyed, and not before.
func TestLastReleaseDestroys(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) { c.Size = 1 })
	k, err := w.Active(t.Context(), tenant(1), data)
	if err != nil {
		t.Fatal(err)
	}
	active(t, w, tenant(2)) // evicts it
	if err := useKey(k); err != nil {
		t.Fatal(err)
	}
	k.Release()
	if err := useKey(k); err == nil {
		t.Fatal("a key was usable after its last release")
	}
}

func TestCloseForgetsKeys(t *testing.T) {
	w := newWorld(t)
	k, err := w.Active(t.Context(), tenant(1), data)
	if err != nil {
		t.Fatal(err)
	}
	idle, err := w.Active(t.Context(), tenant(2), data)
	if err != nil {
		t.Fatal(err)
	}
	idle.Release()
	w.Close()
	w.Close()
	if err := useKey(idle); err == nil {
		t.Fatal("an idle key survived Close")
	}
	if err := useKey(k); err != nil {
		t.Fatalf("a key in use didn't survive Close: %v", err)
	}
	k.Release()
	wantErr(t, tryActive(w, tenant(1)), keyring.ErrClosed)
	wantErr(t, tryByID(w, tenant(1), k.ID()), keyring.ErrClosed)
	_, err = w.Rotate(t.Context(), tenant(1), data)
	wantErr(t, err, keyring.ErrClosed)
	wantErr(t, w.Verify(t.Context(), tenant(1)), keyring.ErrClosed)
}

func TestCloseEndsLoadsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetFault(memkek.Hang)
		got := make(chan error, 1)
		go func() { got <- tryActive(w, tenant(1)) }()
		synctest.Wait()
		w.Close()
		wantErr(t, <-got, keyring.ErrClosed)
		if w.kek.InFlight() != 0 {
			t.Fatal("a call goes on after Close")
		}
	})
}

// Warm reads of one tenant while another's key is fetched from a slow KMS.
func TestColdLoadDoesNotBlockWarmReads(t *testing.T) {
	slow, fast := memkek.New("slow"), memkek.New("fast")
	w := newWorldOn(t, fast, memstore.New(), withPolicy(byTenant{"org_01": one(fast), "org_02": one(slow)}))
	id := active(t, w, tenant(1))
	slow.SetFault(memkek.Hang)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tryActiveCtx(ctx, w, tenant(2)) }()
	for slow.InFlight() == 0 {
		runtime.Gosched()
	}
	for range 10_000 { // would never end if a lock were held across the call
		if err := tryByID(w, tenant(1), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := tryActive(w, tenant(1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	wantErr(t, <-done, context.Canceled)
}

// A scope's hint doesn't keep it on a slot that was evicted.
func TestHintOfAnEvictedContext(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) { c.Size = 1 })
	c := tenant(1)
	c.Hint = new(keyring.Hint)
	id := active(t, w, c)
	active(t, w, tenant(2))
	for range 3 {
		if active(t, w, c) != id {
			t.Fatal("another key")
		}
	}
	calls := w.kek.Calls()
	active(t, w, tenant(1))
	active(t, w, c)
	if w.kek.Calls() != calls {
		t.Fatal("the hint and the map hold two entries of one key")
	}
}

// What is used stays, what was used once goes.
func TestEvictionSparesWhatIsUsed(t *testing.T) {
	w := newWorld(t, func(c *keyring.Config) { c.Size = 100 })
	hot := make([]keyctx.KeyID, 50)
	for i := range hot {
		hot[i] = active(t, w, tenant(i))
	}
	for n := range 1000 {
		active(t, w, contextOf(keyctx.KeyContext{"scan": fmt.Sprint(n)}))
		active(t, w, tenant(n%len(hot)))
	}
	calls := w.kek.Unwraps()
	for i := range hot {
		active(t, w, tenant(i))
	}
	if n := w.kek.Unwraps() - calls; n > 5 {
		t.Fatalf("a scan evicted %d of %d keys that are in use", n, len(hot))
	}
}

func TestStatsCountByURIAndClass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		active(t, w, tenant(1))
		active(t, w, tenant(1))
		w.kek.SetFault(memkek.Denied)
		wantErr(t, tryActive(w, tenant(2)), kek.ErrDenied)
		w.kek.SetFault(memkek.Unavailable)
		wantErr(t, tryActive(w, tenant(2)), kek.ErrUnavailable)
		w.kek.SetFault(memkek.Corrupt)
		wantErr(t, tryActive(w, tenant(2)), kek.ErrCorrupt)
		s := w.Stats()
		k := s.KEKs["mem:test"]
		if s.Hits != 1 || s.Misses != 4 || k.Wraps != 6 || k.Unwraps != 1 || k.Denied != 1 || k.Unavailable != 3 || k.Corrupt != 1 {
			t.Fatalf("%+v", s)
		}
	})
}

func TestVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memkek.New("a"), memkek.New("b")
		w := newWorldOn(t, a, memstore.New(), withPolicy(byTenant{"org_01": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AnyOf}}))
		if err := w.Verify(t.Context(), tenant(1)); err != nil {
			t.Fatal(err)
		}
		for fault, want := range map[memkek.Fault]error{
			memkek.Denied: kek.ErrDenied, memkek.Unavailable: kek.ErrUnavailable, memkek.Garbage: kek.ErrCorrupt,
		} {
			b.SetFault(fault) // every KEK must work, whatever the quorum
			wantErr(t, w.Verify(t.Context(), tenant(1)), want)
		}
		wantErr(t, w.Verify(t.Context(), tenant(9)), kek.ErrPolicy)
		if w.store.Calls("InsertKey") != 0 {
			t.Fatal("a key was stored")
		}
	})
}

func TestNewRefusesNonsense(t *testing.T) {
	good := keyring.Config{
		Policy: kek.Fixed(memkek.New("k")), Size: 1, TTL: 1, ActiveKeyTTL: 1, CallTimeout: 1, LoadTimeout: 1, KEKConcurrency: 1,
	}
	for i, change := range []func(*keyring.Config){
		func(c *keyring.Config) { c.Policy = nil },
		func(c *keyring.Config) { c.Size = 0 },
		func(c *keyring.Config) { c.TTL = 0 },
		func(c *keyring.Config) { c.ActiveKeyTTL = -1 },
		func(c *keyring.Config) { c.StaleIfUnavailable = -1 },
		func(c *keyring.Config) { c.CallTimeout = 0 },
		func(c *keyring.Config) { c.LoadTimeout = 0 },
		func(c *keyring.Config) { c.KEKConcurrency = 0 },
	} {
		cfg := good
		change(&cfg)
		if _, err := keyring.New(t.Context(), cfg); err == nil {
			t.Errorf("case %d was accepted", i)
		}
	}
}

// The wait of a warm reader beside a slow cold load, as a distribution.
func BenchmarkWarmReadBesideColdLoad(b *testing.B) {
	for _, cold := range []bool{false, true} {
		b.Run(fmt.Sprintf("cold=%v", cold), func(b *testing.B) {
			slow, fast := memkek.New("slow"), memkek.New("fast")
			w := newWorldOn(b, fast, memstore.New(), withPolicy(kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
				if kc["organization_id"] == "org_01" {
					return one(fast), nil
				}
				return one(slow), nil
			})))
			id := active(b, w, tenant(1))
			if cold {
				slow.SetLatency(20 * time.Millisecond)
				ctx, cancel := context.WithCancel(context.Background())
				var wg sync.WaitGroup
				wg.Go(func() {
					for n := 2; ctx.Err() == nil; n++ {
						_ = tryActiveCtx(ctx, w, contextOf(keyctx.KeyContext{"organization_id": fmt.Sprint(n)}))
					}
				})
				defer wg.Wait()
				defer cancel()
			}
			waits := make([]time.Duration, 0, b.N)
			c := tenant(1)
			for b.Loop() {
				start := time.Now()
				k, err := w.ByID(context.Background(), c, data, id)
				waits = append(waits, time.Since(start))
				if err != nil {
					b.Fatal(err)
				}
				k.Release()
			}
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)*99/100]), "p99-ns")
		})
	}
}
