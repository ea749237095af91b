package keyring_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

func tryExisting(w *world, c keyring.Context, p keyctx.Purpose) error {
	k, err := w.Existing(context.Background(), c, p)
	if err == nil {
		k.Release()
	}
	return err
}

// Existing gives what Active gives, where there is a key, and makes none where there
// isn't, whatever else goes wrong.
func TestExistingNeverMints(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		if err := tryExisting(w, tenant(1), data); !errors.Is(err, keyring.ErrKeyNotFound) {
			t.Fatal(err)
		}
	}
	id := active(t, w, tenant(1))
	for _, w := range []*world{w, w.peer(t)} {
		k, err := w.Existing(t.Context(), tenant(1), data)
		if err != nil || k.ID() != id {
			t.Fatal(err)
		}
		k.Release()
		if err := tryExisting(w, tenant(1), keyctx.PurposeIndex); !errors.Is(err, keyring.ErrKeyNotFound) {
			t.Errorf("another purpose: %v", err)
		}
		if err := tryExisting(w, tenant(2), data); !errors.Is(err, keyring.ErrKeyNotFound) {
			t.Errorf("another context: %v", err)
		}
	}
	broken := w.peer(t)
	failing := errors.New("the database is on fire")
	w.store.SetFault(func(op string) error {
		if op == "LatestKey" {
			return failing
		}
		return nil
	})
	if err := tryExisting(broken, tenant(1), data); !errors.Is(err, failing) || errors.Is(err, keyring.ErrKeyNotFound) {
		t.Error(err)
	}
	w.store.SetFault(nil)
	broken.kek.SetFault(memkek.Corrupt)
	if err := tryExisting(broken, tenant(1), data); err == nil {
		t.Error("a key that doesn't unwrap was found")
	}
	if n := w.store.Calls("InsertKey"); n != 1 {
		t.Errorf("%d keys were made, want 1", n)
	}
	alone := newWorld(t, func(c *keyring.Config) { c.Store = nil })
	if err := tryExisting(alone, tenant(1), data); !errors.Is(err, keyring.ErrNoStore) {
		t.Error(err)
	}
	w.Close()
	if err := tryExisting(w, tenant(1), data); !errors.Is(err, keyring.ErrClosed) {
		t.Error(err)
	}
}

// One who looks for a key while another makes it gets that key or none, and the other
// gets one all the same.
func TestExistingBesideActive(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if err := tryActive(w, tenant(i)); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if err := tryExisting(w, tenant(i), data); err != nil && !errors.Is(err, keyring.ErrKeyNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := tryExisting(w, tenant(i), data); err != nil {
			t.Error(err)
		}
	}
	if n := w.store.Calls("InsertKey"); n != 50 {
		t.Errorf("%d keys were made, want 50", n)
	}
}
