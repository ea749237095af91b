package keyring_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage/memstore"
)

// tenants is a keyring whose tenants each have a KEK of their own.
func tenants(t testing.TB, n int, change ...func(*keyring.Config)) (*world, []*memkek.KEK) {
	keks := make([]*memkek.KEK, n)
	policy := byTenant{}
	for i := range keks {
		keks[i] = memkek.New("customer-" + tenant(i).Pairs["organization_id"])
		policy[tenant(i).Pairs["organization_id"]] = one(keks[i])
	}
	w := newWorldOn(t, keks[0], memstore.New(), append([]func(*keyring.Config){withPolicy(policy)}, change...)...)
	return w, keks
}

func TestCallsToOneKEKAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.KEKConcurrency = 7 })
		w.kek.SetLatency(time.Second)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 35 {
			wg.Go(func() { wantErr(t, tryActive(w, tenant(i)), nil) })
		}
		wg.Wait()
		if got := w.kek.MaxConcurrent(); got != 7 {
			t.Errorf("%d calls at once, want 7", got)
		}
		if took := time.Since(start); took != 10*time.Second { // 70 calls, 7 at a time
			t.Errorf("it took %v, want 10s", took)
		}
	})
}

// A caller who waits for its turn leaves when its ctx ends.
func TestWaitingForATurnEndsWithCtx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.KEKConcurrency = 1 })
		w.kek.SetFault(memkek.Hang)
		go func() { _ = tryActive(w, tenant(1)) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		wantErr(t, tryActiveCtx(ctx, w, tenant(2)), context.DeadlineExceeded)
		if took := time.Since(start); took > time.Second {
			t.Errorf("it waited %v", took)
		}
	})
}

// One customer's KMS hangs. The others, cold and warm, don't notice; and those
// who need it wait no longer than their ctx, and soon not at all.
func TestDeadKMSOfOneOfAHundredTenants(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Hang, memkek.Unavailable, memkek.Denied, memkek.Garbage} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, keks := tenants(t, 100)
				keks[13].SetFault(fault)
				for _, k := range keks {
					k.SetLatency(20 * time.Millisecond)
				}
				var wg sync.WaitGroup
				for i := range keks {
					for range 50 { // cold, all at once
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
							defer cancel()
							start := time.Now()
							err := tryActiveCtx(ctx, w, tenant(i))
							took := time.Since(start)
							switch {
							case i == 13 && err == nil:
								t.Error("the dead KMS gave a key")
							case i == 13 && took > 3*time.Second:
								t.Errorf("the dead one's caller waited %v, beyond its ctx", took)
							case i != 13 && (err != nil || took > 50*time.Millisecond):
								t.Errorf("tenant %d waited %v: %v", i, took, err)
							}
						})
					}
				}
				wg.Wait()
				if n := w.stored(t); n != 99 {
					t.Errorf("%d keys are stored, want 99", n)
				}
			})
		})
	}
}

// After enough calls without an answer none is made for a while; then one is
// tried; and once it is answered all goes on as before.
func TestCircuitBreaker(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Unavailable, memkek.Hang} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.kek.SetFault(fault)
				fail := func(from, n int) {
					var wg sync.WaitGroup
					for i := range n {
						wg.Go(func() { wantErr(t, tryActive(w, tenant(from+i)), kek.ErrUnavailable, kek.ErrDenied) })
					}
					wg.Wait()
				}
				fail(0, 40)
				calls := w.kek.Calls()
				if calls > 16+32 { // those under way when it tripped
					t.Errorf("%d calls before it stopped asking", calls)
				}
				start := time.Now()
				fail(100, 1000)
				if w.kek.Calls() != calls || time.Since(start) != 0 {
					t.Errorf("%d more calls, %v: it goes on asking", w.kek.Calls()-calls, time.Since(start))
				}
				if s := w.Stats().KEKs[w.kek.URI()]; s.Rejected < 1000 || s.Unavailable != uint64(calls) {
					t.Errorf("stats %+v", s)
				}
				time.Sleep(6 * time.Second) // a try that its callers had left may have ended since
				fail(2000, 100)
				if got := w.kek.Calls() - calls; got != 1 {
					t.Errorf("%d calls were tried after the pause, want 1", got)
				}
				time.Sleep(5*time.Second + 1)
				w.kek.SetFault(memkek.None)
				for i := range 100 {
					wantErr(t, tryActive(w, tenant(3000+i)), nil)
				}
			})
		})
	}
}

// A KEK that says no is answering, whatever the number of its refusals.
func TestRefusalsDontTrip(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Denied, memkek.Corrupt} {
		w := newWorld(t)
		w.kek.SetFault(fault)
		for i := range 100 {
			wantErr(t, tryActive(w, tenant(i)), map[memkek.Fault]error{memkek.Denied: kek.ErrDenied, memkek.Corrupt: kek.ErrCorrupt}[fault])
		}
		if got := w.kek.Wraps(); got != 100 {
			t.Errorf("%v: %d calls, want 100", fault, got)
		}
	}
}

// Callers in a hurry don't make a KEK look dead; a KEK that is dead does, also
// where all callers are in a hurry.
func TestHastyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetLatency(500 * time.Millisecond)
		hurry := func(n int, d time.Duration) {
			for i := range n {
				ctx, cancel := context.WithTimeout(t.Context(), d)
				wantErr(t, tryActiveCtx(ctx, w, tenant(i)), context.DeadlineExceeded)
				cancel()
				synctest.Wait()
			}
		}
		hurry(100, 10*time.Millisecond)
		wantErr(t, tryActive(w, tenant(500)), nil)
		w.kek.SetFault(memkek.Hang)
		hurry(100, time.Second)
		if s := w.Stats().KEKs[w.kek.URI()]; s.Rejected > 0 {
			t.Error("callers in a hurry have made it look dead")
		}
		hurry(16, 3*time.Second)
		start := time.Now()
		wantErr(t, tryActive(w, tenant(501)), kek.ErrUnavailable)
		if took := time.Since(start); took != 0 {
			t.Errorf("a KEK that has been hanging is still waited for: %v", took)
		}
	})
}

// throttled answers a share of all calls with an error of class unavailable. Which
// ones is the same in every run.
type throttled struct {
	*memkek.KEK
	percent int
	rand    *rand.Rand // calls come one after the other
	refused *int
}

func (k throttled) turn() error {
	if k.rand.IntN(100) < k.percent {
		*k.refused++
		return kek.ErrUnavailable
	}
	return nil
}

func (k throttled) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if err := k.turn(); err != nil {
		return nil, err
	}
	return k.KEK.Wrap(ctx, key, b)
}

func (k throttled) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if err := k.turn(); err != nil {
		return nil, err
	}
	return k.KEK.Unwrap(ctx, wrapped, b)
}

// At 1 % nobody notices. At 50 % a load succeeds within its retries more often
// than not, nothing is lost, and the circuit stays closed.
func TestThrottling(t *testing.T) {
	for percent, atMost := range map[int]int{1: 5, 50: 600} { // of 1,000: see retry
		synctest.Test(t, func(t *testing.T) {
			var refused int
			k := throttled{memkek.New("test"), percent, rand.New(rand.NewPCG(1, uint64(percent))), &refused}
			w := newWorldOn(t, k.KEK, memstore.New(), withPolicy(kek.Fixed(k)))
			failed := 0
			var ids []keyctx.KeyID
			for i := range 1000 {
				key, err := w.Active(t.Context(), tenant(i), data)
				if err != nil {
					wantErr(t, err, kek.ErrUnavailable, kek.ErrDenied, kek.ErrCorrupt)
					failed++
					continue
				}
				ids = append(ids, key.ID())
				key.Release()
			}
			if failed > atMost || refused == 0 {
				t.Errorf("%d %%: %d of 1,000 failed, want at most %d", percent, failed, atMost)
			}
			if s := w.Stats().KEKs[k.URI()]; s.Rejected > 0 {
				t.Errorf("%d %%: the circuit opened", percent)
			}
			if w.stored(t) != len(ids) {
				t.Errorf("%d keys stored, %d given out", w.stored(t), len(ids))
			}
		})
	}
}

// Reads and writes go on with one of two KEKs down, and don't wait for it once it
// is known to be down.
func TestFailover(t *testing.T) {
	for _, fault := range []memkek.Fault{memkek.Unavailable, memkek.Hang} {
		t.Run(fault.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				east, west := memkek.New("east"), memkek.New("west")
				policy := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
					return kek.Choice{KEKs: []kek.Wrapper{east, west}, Quorum: kek.AnyOf}, nil
				})
				first := newWorldOn(t, east, memstore.New(), withPolicy(policy))
				ids := map[int]keyctx.KeyID{}
				for i := range 50 {
					ids[i] = active(t, first, tenant(i))
				}
				east.SetFault(fault)
				w := newWorldOn(t, east, first.store, withPolicy(policy)) // restarted during the outage
				start := time.Now()
				for i, id := range ids {
					wantErr(t, tryByID(w, tenant(i), id), nil)
				}
				if took := time.Since(start); took > 25*time.Second { // a second each, until it is known to be down
					t.Errorf("50 reads took %v", took)
				}
				start = time.Now()
				for i := range 50 {
					wantErr(t, tryActive(w, tenant(100+i)), nil)
				}
				if took := time.Since(start); took > 30*time.Second {
					t.Errorf("50 new keys took %v", took)
				}
			})
		})
	}
}

// A rule that changes while a key is being wrapped: the key is stored under what
// the rule says then, and not under what nobody names any more.
func TestRuleChangesBetweenWrapAndStore(t *testing.T) {
	before, after := memkek.New("before"), memkek.New("after")
	var asked atomic.Int64
	policy := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
		if asked.Add(1) == 1 {
			return one(before), nil
		}
		return one(after), nil
	})
	w := newWorldOn(t, before, memstore.New(), withPolicy(policy))
	id := active(t, w, tenant(1))
	rec, err := w.store.GetKey(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Wrappings) != 1 || rec.Wrappings[0].URI != after.URI() {
		t.Errorf("the key is wrapped under %v", rec.Wrappings[0].URI)
	}
	wantErr(t, tryByID(newWorldOn(t, after, w.store, withPolicy(policy)), tenant(1), id), nil)

	asked.Store(0)
	restless := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
		if asked.Add(1)%2 == 1 {
			return one(before), nil
		}
		return one(after), nil
	})
	w = newWorldOn(t, before, memstore.New(), withPolicy(restless))
	wantErr(t, tryActive(w, tenant(1)), kek.ErrPolicy)
	if w.stored(t) != 0 {
		t.Error("a key was stored")
	}
}

// tiny is a KEK that takes no memory. It protects nothing.
type tiny string

func (k tiny) URI() string { return string(k) }

func (k tiny) Wrap(_ context.Context, key []byte, _ kek.Binding) ([]byte, error) {
	return append([]byte{1}, key...), nil
}

func (k tiny) Unwrap(_ context.Context, w []byte, _ kek.Binding) ([]byte, error) {
	return append([]byte{}, w[1:]...), nil
}

// What is known of KEKs doesn't grow with every customer there ever was.
func TestIdleKEKsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
			return one(tiny("tiny:" + kc["organization_id"])), nil
		})
		w := newWorldOn(t, nil, memstore.New(), withPolicy(policy), func(c *keyring.Config) { c.Size = 10 })
		most := 0
		for i := range 40_000 {
			active(t, w, tenant(i))
			if i%1000 == 0 {
				time.Sleep(30 * time.Second)
				most = max(most, len(w.Stats().KEKs))
			}
		}
		if most > 14_000 || most < 10_000 {
			t.Errorf("%d KEKs were remembered", most)
		}
	})
}
