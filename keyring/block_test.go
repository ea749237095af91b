package keyring_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// alone has no store: its envelopes carry their keys.
func alone(t testing.TB, k *memkek.KEK, change ...func(*keyring.Config)) *world {
	return newWorldOn(t, k, nil, append(change, func(c *keyring.Config) { c.Store = nil })...)
}

// carried returns the active key's ID and the block that carries it.
func carried(t testing.TB, w *world, c keyring.Context) (keyctx.KeyID, []byte) {
	t.Helper()
	k, err := w.Active(context.Background(), c, data)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	return k.ID(), bytes.Clone(k.Block())
}

func tryBlock(w *world, c keyring.Context, id keyctx.KeyID, block []byte) error {
	k, err := w.FromBlock(context.Background(), c, id, block)
	if err != nil {
		return err
	}
	defer k.Release()
	if k.Block() == nil {
		return nil
	}
	return useKey(k)
}

func TestWithoutAStore(t *testing.T) {
	k := memkek.New("k")
	w := alone(t, k)
	id, block := carried(t, w, tenant(1))
	wantCalls(t, k, 1, 1)
	if id2, block2 := carried(t, w, tenant(1)); id2 != id || !bytes.Equal(block, block2) {
		t.Fatal("a warm call made another key")
	}
	other := alone(t, k.Peer())
	if err := tryBlock(other, tenant(1), id, block); err != nil {
		t.Fatal(err)
	}
	if id2, _ := carried(t, other, tenant(1)); id2 == id {
		t.Fatal("a key that an envelope brought became the active key")
	}
	wantErr(t, tryByID(other, tenant(1), id), keyring.ErrKeyNotFound)
	wantErr(t, tryByID(other, tenant(1), id), keyring.ErrNoStore)
	_, err := other.Rotate(t.Context(), tenant(1), data)
	wantErr(t, err, keyring.ErrNoStore)
	_, err = other.Active(t.Context(), tenant(1), keyctx.PurposeIndex)
	wantErr(t, err, keyring.ErrNoStore)
}

// The error of another context's envelope is the same warm and cold, and
// matches both classes.
func TestBlockOfAnotherContext(t *testing.T) {
	k := memkek.New("k")
	w := alone(t, k)
	id, block := carried(t, w, tenant(1))
	for _, w := range []*world{w, alone(t, k.Peer())} {
		for range 2 {
			err := tryBlock(w, tenant(2), id, block)
			wantErr(t, err, keyring.ErrWrongContext)
			wantErr(t, err, kek.ErrCorrupt)
		}
	}
}

// An envelope with an honest ID and a hostile block fails by itself alone.
func TestHostileBlockHurtsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := memkek.New("k")
		id, block := carried(t, alone(t, k), tenant(1))
		parsed, err := envelope.ParseBlock(block)
		if err != nil {
			t.Fatal(err)
		}
		parsed.Wrappings[0].Wrapped[5] ^= 1
		hostile, err := parsed.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		w := alone(t, k.Peer())
		w.kek.SetLatency(time.Second)
		bad, good := make(chan error, 1), make(chan error, 1)
		go func() { bad <- tryBlock(w, tenant(1), id, hostile) }()
		synctest.Wait()
		go func() { good <- tryBlock(w, tenant(1), id, block) }()
		wantErr(t, <-bad, kek.ErrCorrupt)
		if err := <-good; err != nil {
			t.Fatalf("the honest envelope failed with the hostile one: %v", err)
		}
		// And it doesn't push out what is cached, not even when that is due.
		time.Sleep(16 * time.Minute)
		if err := tryBlock(w, tenant(1), id, hostile); err != nil {
			t.Fatalf("a cached key must be believed, and renewed from its own block: %v", err)
		}
		if err := tryBlock(w, tenant(1), id, block); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRevokedWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := memkek.New("k")
		w := alone(t, k)
		id, block := carried(t, w, tenant(1))
		k.SetFault(memkek.Denied)
		time.Sleep(15 * time.Minute)
		wantErr(t, tryBlock(w, tenant(1), id, block), kek.ErrDenied)
		wantErr(t, tryActive(w, tenant(1)), kek.ErrDenied)
		k.SetFault(memkek.None)
		if err := tryBlock(w, tenant(1), id, block); err != nil {
			t.Fatal(err)
		}
		if err := tryActive(w, tenant(1)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestOutageWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := memkek.New("k")
		w := alone(t, k)
		id, block := carried(t, w, tenant(1))
		k.SetFault(memkek.Unavailable)
		time.Sleep(60 * time.Minute)
		if err := tryBlock(w, tenant(1), id, block); err != nil {
			t.Fatal(err)
		}
		if err := tryActive(w, tenant(1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(16 * time.Minute)
		wantErr(t, tryBlock(w, tenant(1), id, block), kek.ErrUnavailable)
		wantErr(t, tryActive(w, tenant(1)), kek.ErrUnavailable)
	})
}

// Once the policy has moved on, new envelopes carry a key under the new KEK.
func TestPolicyChangeWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := memkek.New("old"), memkek.New("next")
		policy := byTenant{"org_01": one(old)}
		w := alone(t, old, withPolicy(policy))
		id, block := carried(t, w, tenant(1))
		choice := one(next)
		choice.Previous = []kek.Choice{one(old)}
		policy["org_01"] = choice
		time.Sleep(16 * time.Minute)
		id2, block2 := carried(t, w, tenant(1))
		parsed, err := envelope.ParseBlock(block2)
		if err != nil || id2 == id || parsed.Wrappings[0].URI != next.URI() {
			t.Fatalf("new envelopes are still under the old KEK: %v", err)
		}
		if err := tryBlock(w, tenant(1), id, block); err != nil {
			t.Fatal(err)
		}
	})
}

// With a store, its word on a key's state holds for envelopes that carry their
// key too.
func TestSelfContainedHeedsTheStore(t *testing.T) {
	for state, want := range map[storage.State]error{
		storage.StateDisabled: keyring.ErrKeyDisabled,
		storage.StateShredded: keyring.ErrKeyShredded,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(c *keyring.Config) { c.KeepBlocks = true })
			id, block := carried(t, w, tenant(1))
			if len(block) == 0 {
				t.Fatal("no block")
			}
			reader := alone(t, w.kek.Peer())
			if err := tryBlock(reader, tenant(1), id, block); err != nil {
				t.Fatalf("the KEK alone must do: %v", err)
			}
			w.change(t, tenant(1), func(r *storage.KeyRecord) { r.State = state })
			wantErr(t, tryBlock(w.peer(t), tenant(1), id, block), want)
			time.Sleep(time.Minute)
			wantErr(t, tryBlock(w, tenant(1), id, block), want)
			failStore(w.store, storage.ErrUnavailable, "GetKey")
			wantErr(t, tryBlock(w.peer(t), tenant(1), id, block), storage.ErrUnavailable)
		})
	}
}

// A key that only an envelope brought is no stored key, warm or cold.
func TestByReferenceNeedsTheStore(t *testing.T) {
	w := newWorld(t)
	id, block := carried(t, alone(t, w.kek.Peer()), tenant(1))
	for range 2 {
		if err := tryBlock(w, tenant(1), id, block); err != nil {
			t.Fatal(err)
		}
		wantErr(t, tryByID(w, tenant(1), id), keyring.ErrKeyNotFound)
		if active(t, w, tenant(1)) == id {
			t.Fatal("a key that an envelope brought became the active key")
		}
	}
}

// An envelope whose key record has left the store is as readable warm as cold.
func TestSelfContainedAfterItsRecordIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *keyring.Config) { c.KeepBlocks = true })
		id, block := carried(t, w, tenant(1))
		if err := w.store.DeleteKey(t.Context(), id, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for _, w := range []*world{w, w.peer(t)} {
			if err := tryBlock(w, tenant(1), id, block); err != nil {
				t.Fatal(err)
			}
		}
	})
}
