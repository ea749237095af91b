package keyring

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

func ctxOf(n int) Context {
	kc := keyctx.KeyContext{"o": fmt.Sprint(n)}
	h, _ := kc.Hash()
	return Context{Hash: h, Pairs: kc}
}

func audit(t *testing.T, r *Keyring) {
	t.Helper()
	c := r.cache
	c.mu.Lock()
	n := 0
	listedKeys := map[*Key]bool{}
	var prev *Key
	for k := c.newest; k != nil; k = k.next {
		n++
		listedKeys[k] = true
		if k.prev != prev {
			t.Error("broken list")
		}
		prev = k
		if k.refs.Load() != 1 {
			t.Errorf("a listed key has %d refs", k.refs.Load())
		}
		if k.slot.dead.Load() {
			t.Error("a listed key is in a dead slot")
		}
	}
	if c.oldest != prev {
		t.Error("oldest")
	}
	if n != c.count || n > c.size {
		t.Errorf("count %d, list %d, size %d", c.count, n, c.size)
	}
	c.mu.Unlock()
	inSlots, slots := 0, 0
	c.slots.Range(func(_, v any) bool {
		slots++
		s := v.(*slot)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.flights) > 0 {
			t.Errorf("%d flights left", len(s.flights))
		}
		keys := s.keys.Load()
		if keys == nil {
			t.Error("an empty slot is left")
			return true
		}
		for _, k := range *keys {
			inSlots++
			if !listedKeys[k] {
				t.Errorf("a key in a slot isn't listed (%d), refs %d", k.listed, k.refs.Load())
			}
		}
		for p := range s.active {
			if a := s.active[p].Load(); a != nil && !listedKeys[a.key] {
				t.Error("an active key isn't listed")
			}
		}
		return true
	})
	if inSlots != n {
		t.Errorf("%d in slots, %d listed", inSlots, n)
	}
	t.Logf("%d keys, %d slots", n, slots)
}

func TestRegressionAccounting(t *testing.T) {
	for _, size := range []int{1, 2, 7, 1000} {
		for _, stored := range []bool{true, false} {
			t.Run(fmt.Sprint(size, stored), func(t *testing.T) {
				kk := memkek.New("x")
				var st storage.KeyStore
				if stored {
					st = memstore.New()
				}
				before := runtime.NumGoroutine()
				r, err := New(context.Background(), Config{Policy: kek.Fixed(kk), Store: st, Size: size,
					TTL: 3 * time.Millisecond, ActiveKeyTTL: time.Millisecond, StaleIfUnavailable: 2 * time.Millisecond,
					CallTimeout: 20 * time.Millisecond, LoadTimeout: 50 * time.Millisecond, KEKConcurrency: 32, KeepBlocks: true})
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				stop := time.Now().Add(1500 * time.Millisecond)
				ids := sync.Map{}
				for g := range 12 {
					wg.Go(func() {
						rng := rand.New(rand.NewPCG(1, uint64(g)))
						for time.Now().Before(stop) {
							c := ctxOf(rng.IntN(10))
							ctx, cancel := context.Background(), context.CancelFunc(func() {})
							if rng.IntN(3) == 0 {
								ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(2000))*time.Microsecond)
							}
							var k *Key
							var err error
							switch rng.IntN(5) {
							case 0, 1:
								k, err = r.Active(ctx, c, keyctx.PurposeData)
							case 2:
								if v, ok := ids.Load(c.Hash); ok {
									k, err = r.ByID(ctx, c, keyctx.PurposeData, v.(blk).id)
								}
							case 3:
								if v, ok := ids.Load(c.Hash); ok {
									k, err = r.FromBlock(ctx, c, v.(blk).id, v.(blk).block)
								}
							case 4:
								if rng.IntN(10) == 0 {
									k, err = r.Rotate(ctx, c, keyctx.PurposeData)
								}
								kk.SetFault([]memkek.Fault{0, 0, 0, 0, memkek.Denied, memkek.Unavailable, memkek.Hang, memkek.Garbage, memkek.Panic}[rng.IntN(9)])
							}
							if err == nil && k != nil {
								if k.refs.Load() < 1 {
									t.Error("refs")
								}
								if _, err := k.AppendSecret(nil); err != nil {
									t.Error(err)
								}
								if b := k.Block(); b != nil {
									ids.Store(c.Hash, blk{k.ID(), b})
								}
								k.Release()
							}
							cancel()
						}
					})
				}
				wg.Wait()
				kk.SetFault(0)
				time.Sleep(200 * time.Millisecond)
				audit(t, r)
				r.Close()
				n, s := 0, 0
				for k := r.cache.newest; k != nil; k = k.next {
					n++
				}
				r.cache.slots.Range(func(any, any) bool { s++; return true })
				if n != 0 || s != 0 || r.cache.count != 0 {
					t.Errorf("after Close %d keys, count %d, %d slots", n, r.cache.count, s)
				}
				time.Sleep(20 * time.Millisecond)
				if g := runtime.NumGoroutine(); g > before+1 {
					t.Errorf("goroutines %d before %d", g, before)
				}
			})
		}
	}
}

type blk struct {
	id    keyctx.KeyID
	block []byte
}

// deaf ignores its ctx
type deaf struct {
	*memkek.KEK
	gate chan struct{}
}

func (d *deaf) Unwrap(_ context.Context, w []byte, b kek.Binding) ([]byte, error) {
	if d.gate != nil {
		<-d.gate
	}
	return d.KEK.Unwrap(context.Background(), w, b)
}

// a late flight puts its key into a slot that is dead
func TestRegressionLateFlightInADeadSlot(t *testing.T) {
	kk := &deaf{KEK: memkek.New("x")}
	st := memstore.New()
	cfg := Config{Policy: kek.Fixed(kk), Store: st, Size: 100, TTL: time.Minute, ActiveKeyTTL: time.Minute,
		CallTimeout: time.Second, LoadTimeout: 5 * time.Second, KEKConcurrency: 32}
	r, _ := New(t.Context(), cfg)
	k1, err := r.Active(t.Context(), ctxOf(1), keyctx.PurposeData)
	if err != nil {
		t.Fatal(err)
	}
	id := k1.ID()
	k1.Release()
	r.Close()
	r, _ = New(t.Context(), cfg)
	k2, err := r.Rotate(t.Context(), ctxOf(1), keyctx.PurposeData) // v2 is cached, v1 not
	if err != nil {
		t.Fatal(err)
	}
	kk.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _, _ = r.ByID(ctx, ctxOf(1), keyctx.PurposeData, id); close(done) }()
	time.Sleep(50 * time.Millisecond)
	cancel()
	<-done
	r.cache.drop(k2) // evicted, say
	k2.Release()
	close(kk.gate)
	time.Sleep(50 * time.Millisecond)
	audit(t, r)
	r.Close()
}

// Close between join and the watcher of a background renewal.
func TestRegressionCloseDuringBackground(t *testing.T) {
	for i := 0; i < 300; i++ {
		kk := memkek.New("x")
		r, _ := New(context.Background(), Config{Policy: kek.Fixed(kk), Store: memstore.New(), Size: 100, TTL: time.Hour, ActiveKeyTTL: time.Hour,
			CallTimeout: time.Second, LoadTimeout: 5 * time.Second, KEKConcurrency: 32})
		c := ctxOf(1)
		k, err := r.Active(context.Background(), c, keyctx.PurposeData)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for j := 0; j < 50; j++ {
				r.background(c, flightKey{purpose: keyctx.PurposeData, id: k.ID(), op: opByID}, k)
			}
		})
		time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
		r.Close()
		wg.Wait()
		k.Release()
		if n := k.refs.Load(); n != 0 {
			t.Fatalf("round %d: %d references are left after Close: the key is never zeroed", i, n)
		}
	}
}
