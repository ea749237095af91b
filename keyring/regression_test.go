package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

func shred(rec *storage.KeyRecord) {
	rec.State, rec.Wrappings, rec.Quorum = storage.StateShredded, nil, 0
}

// T1
func TestRegressionShreddedKeySealsWhileKMSIsDown(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.kek.SetFault(memkek.Unavailable)
		w.change(t, tenant(1), shred)
		time.Sleep(2 * time.Minute) // twice ActiveKeyTTL; the store is up all the time
		last := time.Duration(0)
		for d := 2 * time.Minute; d < 80*time.Minute; d += time.Minute {
			if k, err := w.Active(t.Context(), tenant(1), data); err == nil {
				if k.ID() == id {
					last = d
				}
				k.Release()
			}
			time.Sleep(time.Minute)
		}
		if last != 0 {
			t.Fatalf("data was sealed under the shredded key until %v after it was shredded", last)
		}
	})
}

// T2
func TestRegressionSupersededAndDisabledKeySeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k1, k2 := memkek.New("one"), memkek.New("two")
		store := memstore.New()
		cur, prev := k1, []kek.Choice(nil)
		policy := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
			return kek.Choice{KEKs: []kek.Wrapper{cur}, Previous: prev}, nil
		})
		mine := newWorldOn(t, k1, store, func(c *keyring.Config) { c.Policy = policy })
		other := newWorldOn(t, k1, store, func(c *keyring.Config) { c.Policy = policy })
		id := active(t, mine, tenant(1))
		active(t, other, tenant(1))
		cur, prev = k2, []kek.Choice{{KEKs: []kek.Wrapper{k1}}}
		k, err := other.Rotate(t.Context(), tenant(1), data)
		if err != nil {
			t.Fatal(err)
		}
		k.Release()
		rec, err := store.GetKey(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		rec.State = storage.StateDisabled
		if err := store.UpdateKey(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		k2.SetFault(memkek.Unavailable)
		time.Sleep(5 * time.Minute)
		k, err = mine.Active(t.Context(), tenant(1), data)
		if err == nil {
			defer k.Release()
			if k.ID() == id {
				t.Fatal("data is sealed under a key that is disabled, 5 minutes after it was (ActiveKeyTTL is 1 minute, the store is up)")
			}
		}
	})
}

// T3
func TestRegressionKeyThatLeftTheStoreSeals(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		rec, err := w.store.GetKey(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.DeleteKey(t.Context(), id, rec.Revision); err != nil {
			t.Fatal(err)
		}
		w.kek.SetFault(memkek.Unavailable)
		time.Sleep(2 * time.Minute)
		if k, err := w.Active(t.Context(), tenant(1), data); err == nil {
			defer k.Release()
			t.Fatal("Active read that the key is not stored, and gave it to seal under all the same")
		}
	})
}

// hangingStore hangs until ctx ends, as a partitioned database does.
type hangingStore struct {
	storage.KeyStore
	hang bool
}

func (s *hangingStore) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	if s.hang {
		<-ctx.Done()
		return storage.KeyRecord{}, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	return s.KeyStore.GetKey(ctx, id)
}

func (s *hangingStore) LatestKey(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
	if s.hang {
		<-ctx.Done()
		return storage.KeyRecord{}, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	return s.KeyStore.LatestKey(ctx, h, p)
}

// T4
func TestRegressionHangingStoreIsNoKMSOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hs := &hangingStore{KeyStore: memstore.New()}
		w := newWorld(t, func(c *keyring.Config) { c.Store = hs })
		id := active(t, w, tenant(1))
		hs.hang = true
		start := time.Now()
		err := useFor(w, tenant(1), id, 3*time.Hour)
		took := time.Since(start)
		t.Logf("served for %v; then %v", took, err)
		if took > 15*time.Minute+time.Minute {
			t.Errorf("served for %v without reading the state; the promise is TTL, 15m", took)
		}
		if errors.Is(err, kek.ErrUnavailable) || !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("a store that hangs is reported as: %v", err)
		}
	})
}

// T5a
func TestRegressionShortDeadlinesDuringKMSHang(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.kek.SetFault(memkek.Hang)
		time.Sleep(16 * time.Minute)
		ok, failed := 0, 0
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			k, err := w.ByID(ctx, tenant(1), data, id)
			cancel()
			if err != nil {
				failed++
				continue
			}
			ok++
			k.Release()
			time.Sleep(time.Second)
		}
		if failed > 0 {
			t.Fatalf("%d of %d callers with a deadline of 1s failed within the grace", failed, ok+failed)
		}
	})
}

// T5b
func TestRegressionShortDeadlinesDuringStoreHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hs := &hangingStore{KeyStore: memstore.New()}
		w := newWorld(t, func(c *keyring.Config) { c.Store = hs })
		id := active(t, w, tenant(1))
		hs.hang = true
		time.Sleep(61 * time.Second)
		ok, failed := 0, 0
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			k, err := w.ByID(ctx, tenant(1), data, id)
			cancel()
			if err != nil {
				failed++
				continue
			}
			ok++
			k.Release()
			time.Sleep(time.Second)
		}
		if failed > 0 {
			t.Fatalf("%d of %d callers with a deadline of 1s failed with a key well within its TTL", failed, ok+failed)
		}
	})
}

// T7
func TestRegressionNoBackgroundSlowKMSRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.NoBackground = true })
		id := active(t, w, tenant(1))
		w.kek.SetLatency(3 * time.Second) // slow, and within CallTimeout
		w.kek.SetFault(memkek.Denied)
		start := time.Now()
		err := useFor(w, tenant(1), id, 3*time.Hour)
		took := time.Since(start)
		t.Logf("%v %v", took, err)
		if took > 16*time.Minute {
			t.Fatalf("a revocation is noticed after %v although the KMS answers every call within 3s", took)
		}
	})
}

// T8
func TestRegressionAnyOfReachesTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ks := []*memkek.KEK{memkek.New("a"), memkek.New("b"), memkek.New("c"), memkek.New("d"), memkek.New("e")}
		ws := []kek.Wrapper{ks[0], ks[1], ks[2], ks[3], ks[4]}
		choice := kek.Choice{KEKs: ws, Quorum: kek.AnyOf}
		pol := func(c *keyring.Config) {
			c.Policy = kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) { return choice, nil })
		}
		store := memstore.New()
		w := newWorldOn(t, ks[0], store, pol)
		id := active(t, w, tenant(1))
		for _, k := range ks[:4] {
			k.SetFault(memkek.Hang)
		}
		cold := newWorldOn(t, ks[0], store, pol)
		for range 3 {
			if err := tryByID(cold, tenant(1), id); err == nil {
				return
			} else {
				t.Log(err)
			}
		}
		t.Fatalf("any-of with one healthy KEK never loads; it was asked %d times", ks[4].Unwraps())
	})
}

// scribbler changes the key it is given, then wraps that.
type scribbler struct{ *memkek.KEK }

func (s scribbler) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	slices.Reverse(key) // "little endian for the HSM"
	return s.KEK.Wrap(ctx, key, b)
}

// T9
func TestRegressionWrapCheckComparesWithItsOwnCopy(t *testing.T) {
	k := memkek.New("test")
	store := memstore.New()
	pol := func(c *keyring.Config) { c.Policy = kek.Fixed(scribbler{k}) }
	w := newWorldOn(t, k, store, pol)
	kk, err := w.Active(t.Context(), tenant(1), data)
	if err != nil {
		return // noticed: fine
	}
	id := kk.ID()
	kk.Release()
	cold := newWorldOn(t, k, store, pol)
	if err := tryByID(cold, tenant(1), id); err != nil {
		t.Fatalf("the wrapping passed its check, data was sealed, and is lost: %v", err)
	}
}

// T14
func TestRegressionBackoffCountsFlightsNotWaiters(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		time.Sleep(16 * time.Minute)
		w.kek.SetLatency(100 * time.Millisecond)
		w.kek.FailNext(3, memkek.Unavailable) // one load fails: a blip
		done := make(chan error, 200)
		for range 200 {
			go func() { done <- tryByID(w, tenant(1), id) }()
		}
		for range 200 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		w.kek.SetFault(memkek.Denied)
		start := time.Now()
		for tryByID(w, tenant(1), id) == nil {
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Fatalf("after one failed load the KMS, which denies, is not asked for %v; the first pause is 1s", took)
		}
	})
}

// T10
func TestRegressionBlockOfAPreviousKEKDoesNotSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := memkek.New("old"), memkek.New("next")
		store := memstore.New()
		choice := one(old)
		policy := kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) { return choice, nil })
		cfg := func(c *keyring.Config) { c.Policy, c.KeepBlocks = policy, true }
		w := newWorldOn(t, old, store, cfg)
		id, oldBlock := carried(t, w, tenant(1))
		// The record is rewrapped under the next KEK.
		rec, err := store.GetKey(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		b := kek.Binding{KeyID: id, ContextHash: rec.ContextHash, Purpose: data, Version: 1, Context: rec.Context}
		secret, err := old.Unwrap(t.Context(), rec.Wrappings[0].Wrapped, b)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := next.Wrap(t.Context(), secret, b)
		if err != nil {
			t.Fatal(err)
		}
		rec.Wrappings = []keyctx.Wrapping{{URI: next.URI(), Wrapped: blob}}
		if err := store.UpdateKey(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		choice = one(next)
		choice.Previous = []kek.Choice{one(old)}

		fresh := newWorldOn(t, next, store, cfg)
		old.SetLatency(3 * time.Second)
		done := make(chan error, 1)
		go func() { done <- tryBlock(fresh, tenant(1), id, oldBlock) }() // an envelope of before the rewrap
		synctest.Wait()
		_, before := carried(t, fresh, tenant(1))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		_, after := carried(t, fresh, tenant(1))
		uri := func(block []byte) string {
			p, err := envelope.ParseBlock(block)
			if err != nil {
				t.Fatal(err)
			}
			return p.Wrappings[0].URI
		}
		if uri(before) != next.URI() {
			t.Fatal("setup")
		}
		if uri(after) != next.URI() {
			t.Fatalf("new envelopes carry a wrapping under %s, a Previous KEK, because somebody opened an old one", uri(after))
		}
	})
}

// T17
func TestRegressionRotateThatLostTheRaceIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		v1 := active(t, w, tenant(1))
		p := w.peer(t)
		p.kek.SetLatency(4 * time.Second)
		got := make(chan error, 1)
		go func() { got <- tryActive(p, tenant(1)) }() // reads v1, and waits for its KMS
		synctest.Wait()
		p.kek.SetLatency(0)
		// p rotates, w is faster by a hair
		w.store.SetFault(func(op string) error {
			if op == "InsertKey" {
				w.store.SetFault(nil)
				k, err := w.Rotate(context.Background(), tenant(1), data)
				if err != nil {
					return err
				}
				k.Release()
			}
			return nil
		})
		k, err := p.Rotate(t.Context(), tenant(1), data)
		if err != nil {
			t.Fatal(err)
		}
		v2 := k.ID()
		k.Release()
		if v2 == v1 || active(t, p, tenant(1)) != v2 {
			t.Fatal("setup")
		}
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		if active(t, p, tenant(1)) != v2 {
			t.Fatal("Rotate returned, and the process that called it seals under the old version again")
		}
	})
}

// T16
type both struct{ *memkek.KEK }

func (b both) Unwrap(context.Context, []byte, kek.Binding) ([]byte, error) {
	return nil, fmt.Errorf("%w: %w", kek.ErrDenied, kek.ErrUnavailable)
}

func TestRegressionOneClass(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	p := newWorldOn(t, w.kek, w.store, withPolicy(kek.Fixed(both{w.kek})))
	wantErr(t, tryByID(p, tenant(1), id), kek.ErrDenied, kek.ErrUnavailable)
}

// T6 in the keyring: a by-reference ID must not drop a key that no store has
func TestRegressionByReferenceDoesNotDropACarriedKey(t *testing.T) {
	for name, w := range map[string]*world{"no store": alone(t, memkek.New("test")), "store": newWorld(t)} {
		t.Run(name, func(t *testing.T) {
			id, block := carried(t, alone(t, w.kek.Peer()), tenant(1))
			if err := tryBlock(w, tenant(1), id, block); err != nil {
				t.Fatal(err)
			}
			unwraps := w.kek.Unwraps()
			for range 10 {
				wantErr(t, tryByID(w, tenant(1), id), keyring.ErrKeyNotFound) // hostile
				if err := tryBlock(w, tenant(1), id, block); err != nil {     // honest
					t.Fatal(err)
				}
			}
			if n := w.kek.Unwraps() - unwraps; n > 0 {
				t.Errorf("%d KMS calls for warm reads", n)
			}
			w.kek.SetFault(memkek.Unavailable)
			wantErr(t, tryByID(w, tenant(1), id), keyring.ErrKeyNotFound)
			if err := tryBlock(w, tenant(1), id, block); err != nil {
				t.Errorf("a hostile envelope fails an honest one: %v", err)
			}
		})
	}
}

// T4b: writers keep readers from rereading the state.
func TestRegressionShreddedKeyDecryptsWhileKMSIsDown(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, id keyctx.KeyID) {
		w.kek.SetFault(memkek.Unavailable)
		w.change(t, tenant(1), shred)
		start := time.Now()
		for time.Since(start) < 2*time.Hour {
			_ = tryActive(w, tenant(1)) // writers
			if err := tryByID(w, tenant(1), id); err != nil {
				break
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if took := time.Since(start); took > 61*time.Second {
			t.Fatalf("a shredded key decrypted for %v; the store was up, ActiveKeyTTL is 1m", took)
		}
	})
}

// T2b: the row of the newest version is gone, the one before it is there.
func TestRegressionNewestRowGoneOlderLeft(t *testing.T) {
	inTime(t, func(t *testing.T, w *world, v1 keyctx.KeyID) {
		k, err := w.Rotate(t.Context(), tenant(1), data)
		if err != nil {
			t.Fatal(err)
		}
		v2 := k.ID()
		k.Release()
		if err := w.store.DeleteKey(t.Context(), v2, 1); err != nil {
			t.Fatal(err)
		}
		w.kek.SetFault(memkek.Unavailable)
		time.Sleep(5 * time.Minute)
		if k, err := w.Active(t.Context(), tenant(1), data); err == nil {
			defer k.Release()
			if k.ID() == v2 {
				t.Fatal("sealing under a key that is not stored, 5 minutes after its row went")
			}
		}
	})
}
