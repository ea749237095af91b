package vault_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// A time that no store takes is the caller's mistake, not the store's.
func TestListUpdatedAfterOutOfRange(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		for _, at := range []time.Time{time.Unix(1<<60, 0), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC)} {
			_, err := v.ListPage(t.Context(), orgA, vault.ListOptions{Order: vault.ByUpdated, UpdatedAfter: at})
			wantClass(t, err, "ErrInvalidOption")
		}
	})
}

// A put that waits for the KMS doesn't bring back an object that expired, and
// was not found, in the meantime.
func TestPutThatWaitsRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		change := func(c *vault.Config) { c.NoBackground = true }
		v := vaulttest.New(t, change)
		old, err := v.Put(t.Context(), orgA, "x", nil, vault.ExpiresAt(time.Now().Add(time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		cold := peerOf(t, v, change)
		cold.KEK.SetLatency(3 * time.Second)
		put := make(chan vault.Metadata)
		go func() {
			m, err := cold.Put(t.Context(), orgA, "x", nil)
			if err != nil {
				t.Error(err)
			}
			put <- m
		}()
		time.Sleep(2 * time.Second)
		_, err = v.GetByID(t.Context(), orgA, old.ID)
		wantClass(t, err, "ErrNotFound")
		if m := <-put; m.ID == old.ID || m.Number != 1 || time.Since(m.UpdatedAt) > time.Second {
			t.Fatalf("version %d, the old ID: %v, updated %v ago", m.Number, m.ID == old.ID, time.Since(m.UpdatedAt))
		}
	})
}
