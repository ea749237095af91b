package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// throttledBatches refuses the next batches.
type throttledBatches struct {
	*memkek.KEK
	refuse *atomic.Int64
}

func (k throttledBatches) RewrapBatch(ctx context.Context, items []kek.BatchItem) []kek.BatchResult {
	if k.refuse.Add(-1) >= 0 {
		rs := make([]kek.BatchResult, len(items))
		for i := range rs {
			rs[i].Err = fmt.Errorf("429: %w", kek.ErrUnavailable)
		}
		return rs
	}
	return k.KEK.RewrapBatch(ctx, items)
}

// picky fails for one tenant in a way that has nothing to do with availability.
type picky struct {
	*memkek.KEK
	panics bool
}

func (k picky) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if b.Context["organization_id"] == "org_13" {
		if k.panics {
			panic("nil map")
		}
		return nil, errors.New("ValidationException: encryption context too large")
	}
	return k.KEK.Wrap(ctx, key, b)
}

// denying refuses one tenant, as a key policy on the encryption context does.
type denying struct{ *memkek.KEK }

func (k denying) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if b.Context["organization_id"] == "org_13" {
		return nil, kek.ErrDenied
	}
	return k.KEK.Wrap(ctx, key, b)
}

var _ = errors.New
var _ storage.KeyRecord

const stressRewraps = 1

// One throttled batch, one HTTP request, is as many failures as it has items:
// the circuit opens for everybody else.
func TestRegressionOneThrottledBatchIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Int64
		a := throttledBatches{memkek.New("a"), &refuse}
		m := new(movable)
		m.set(one(a))
		w := newWorldOn(t, nil, memstore.New(), withPolicy(m))
		var recs []storage.KeyRecord
		for i := range 20 {
			recs = append(recs, w.record(t, active(t, w, tenant(i))))
		}
		a.Rotate()
		refuse.Store(1)
		job := w.NewRewrapping(keyring.RewrapOptions{})
		var wg sync.WaitGroup
		for _, rec := range recs {
			wg.Go(func() { _, _ = job.Rewrap(t.Context(), rec) })
		}
		wg.Wait()
		t.Logf("%+v", w.Stats().KEKs[a.URI()])
		wantErr(t, tryActive(w, tenant(500)), nil) // live traffic; the KMS is fine
	})
}

// A burst of cold keys on a healthy KEK: those whose turn comes just before
// the load's deadline are cut off by our own deadline, which counts as the KEK's
// failure.
func TestRegressionQueueDeadlineIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetLatency(1100 * time.Millisecond)
		var wg sync.WaitGroup
		for i := range 600 {
			wg.Go(func() { _ = tryActive(w, tenant(i)) })
		}
		wg.Wait()
		t.Logf("%+v", w.Stats().KEKs[w.kek.URI()])
		wantErr(t, tryActive(w, tenant(5000)), nil) // nothing else is under way; the KEK was never down
	})
}

// A readiness probe with a short deadline and no other traffic.
func TestRegressionShortProbesAreNoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetLatency(120 * time.Millisecond)
		for range 16 {
			time.Sleep(10 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_ = w.Verify(ctx, tenant(0))
			cancel()
		}
		t.Logf("%+v", w.Stats().KEKs[w.kek.URI()])
		wantErr(t, tryActive(w, tenant(1)), nil)
	})
}

// Tenants with any-of [slow, fast] make slow look dead for a tenant who has
// slow alone, where it answers well within its Timeout.
func TestRegressionHedgeLosersAreNoFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := memkek.New("slow"), memkek.New("west")
		p := kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
			if kc["organization_id"] == "org_99" {
				return one(slow), nil
			}
			return choice(kek.AnyOf, slow, fast), nil
		})
		store := memstore.New()
		first := newWorldOn(t, nil, store, withPolicy(p))
		ids := map[int]keyctx.KeyID{}
		for i := range 20 {
			ids[i] = active(t, first, tenant(i))
		}
		id := active(t, first, tenant(99))
		slow.SetLatency(2 * time.Second) // less than half of CallTimeout
		w := newWorldOn(t, nil, store, withPolicy(p))
		for i, id := range ids {
			wantErr(t, tryByID(w, tenant(i), id), nil)
		}
		synctest.Wait()
		t.Logf("%+v", w.Stats().KEKs[slow.URI()])
		wantErr(t, tryByID(w, tenant(99), id), nil)
	})
}

// One KEK of an any-of is known to be down; the other is throttled once. The
// load gives up without a retry because the error it looks at is the dead one's.
func TestRegressionRetryBesideAnOpenCircuit(t *testing.T) {
	for _, names := range [][2]string{{"a-down", "b-up"}, {"b-down", "a-up"}} {
		t.Run(names[0], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down, up := memkek.New(names[0]), memkek.New(names[1])
				p := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
					return choice(kek.AnyOf, down, up), nil
				})
				store := memstore.New()
				first := newWorldOn(t, nil, store, withPolicy(p))
				id := active(t, first, tenant(1))
				w := newWorldOn(t, nil, store, withPolicy(p))
				down.SetFault(memkek.Unavailable)
				for i := range 20 {
					_ = active(t, w, tenant(100+i))
				}
				up.FailNext(1, memkek.Unavailable) // one 429
				wantErr(t, tryByID(w, tenant(1), id), nil)
			})
		})
	}
}

// With Concurrency 1 the one call that is tried holds the only place: the
// others don't fail at once but wait for it.
func TestRegressionHalfOpenHoldsNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.KEKConcurrency = 1 })
		w.kek.SetFault(memkek.Unavailable)
		for i := range 20 {
			_ = tryActive(w, tenant(i))
		}
		w.kek.SetFault(memkek.Hang)
		time.Sleep(5*time.Second + 1)
		go func() { _ = tryActive(w, tenant(100)) }()
		synctest.Wait()
		start := time.Now()
		wantErr(t, tryActive(w, tenant(101)), kek.ErrUnavailable)
		if took := time.Since(start); took > 0 {
			t.Errorf("waited %v", took)
		}
	})
}

// all-of: one KEK refuses at once, the other hangs. The key is served on.
func TestRegressionDeniedBesideAHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := memkek.New("ours"), memkek.New("theirs")
		w, _, _ := moving(t, choice(kek.AllOf, ours, theirs))
		time.Sleep(15*time.Minute + 1)
		theirs.SetFault(memkek.Denied)
		ours.SetFault(memkek.Hang)
		wantErr(t, tryActive(w, tenant(1)), kek.ErrDenied)
	})
}

// One tenant's context that a driver can't cope with takes the shared KEK
// away from all others.
func TestRegressionOneTenantsErrorsAreItsOwn(t *testing.T) {
	for _, panics := range []bool{false, true} {
		t.Run(fmt.Sprint("panics ", panics), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := picky{memkek.New("shared"), panics}
				w := newWorldOn(t, nil, memstore.New(), withPolicy(kek.Fixed(k)))
				for range 6 {
					_ = tryActive(w, tenant(13))
				}
				wantErr(t, tryActive(w, tenant(1)), nil)
			})
		})
	}
}

// The rewrap's own deadline: as many calls as are under way are cut off at
// once and count as the KEK's failures.
func TestRegressionRewrapDeadlineIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var recs []storage.KeyRecord
		for i := range 20 {
			recs = append(recs, w.record(t, active(t, w, tenant(i))))
		}
		w.kek.Rotate()
		w.kek.SetLatency(50 * time.Millisecond)
		job := w.NewRewrapping(keyring.RewrapOptions{Force: true})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // the end of a maintenance window
		defer cancel()
		var wg sync.WaitGroup
		for _, rec := range recs {
			wg.Go(func() { _, _ = job.Rewrap(ctx, rec) })
		}
		wg.Wait()
		wantErr(t, tryActive(w, tenant(500)), nil)
	})
}

// The KEK is back and takes 600 ms. Callers in a hurry of 500 ms hold the one
// call that is tried, again and again; a patient caller is turned away for ever.
func TestRegressionHastyCallersDontHoldTheHalfOpenCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.kek.SetFault(memkek.Unavailable)
		for i := range 20 {
			_ = tryActive(w, tenant(i))
		}
		w.kek.SetFault(memkek.None)
		w.kek.SetLatency(600 * time.Millisecond)
		time.Sleep(5*time.Second + 1)
		// Each round a hasty caller comes first and is there when the patient one asks.
		for n := 0; ; n++ {
			var hasty sync.WaitGroup
			hasty.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				_ = tryActiveCtx(ctx, w, tenant(1000+n))
			})
			synctest.Wait()
			err := tryActive(w, tenant(50))
			hasty.Wait()
			if err == nil {
				return
			}
			if n == 5 {
				t.Fatalf("%d refusals by a KEK that is well: %v", n+1, err)
			}
			time.Sleep(200 * time.Millisecond)
		}
	})
}

// OnEvent is called while the call still holds its place at the KEK: a slow
// sink of one tenant's refusals blocks the KEK for all.
func TestRegressionEventsHoldNoPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := denying{memkek.New("shared")}
		w := newWorldOn(t, nil, memstore.New(), withPolicy(kek.Fixed(k)), func(c *keyring.Config) {
			c.KEKConcurrency = 2
			c.OnEvent = func(_ context.Context, e keyring.Event) error {
				if e.Kind == keyring.KEKDenied {
					time.Sleep(10 * time.Second)
				}
				return nil
			}
		})
		for _, p := range []keyctx.Purpose{keyctx.PurposeData, keyctx.PurposeIndex} {
			go func() { _, _ = w.Active(t.Context(), tenant(13), p) }()
		}
		synctest.Wait()
		start := time.Now()
		wantErr(t, tryActive(w, tenant(1)), nil)
		if took := time.Since(start); took > time.Second {
			t.Errorf("another tenant waited %v for a KEK that answers at once", took)
		}
	})
}
