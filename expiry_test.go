package vault_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// What has expired reads as absent from the very microsecond on, whatever the
// call.
func TestExpiredReadsAsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.NoBackground = true })
		ctx := t.Context()
		first := must(v.Put(ctx, orgA, "x", []byte("1")))(t)
		meta := must(v.Put(ctx, orgA, "x", []byte("2"), vault.ExpiresAt(time.Now().Add(time.Hour+999))))(t)
		if !meta.ExpiresAt.Equal(time.Now().Add(time.Hour)) {
			t.Fatalf("it expires at %v: what is finer than a microsecond isn't cut off", meta.ExpiresAt)
		}
		must(v.Put(ctx, orgA, "stays", nil))(t)
		time.Sleep(time.Hour - time.Microsecond)
		if string(must(v.Get(ctx, orgA, "x"))(t).Value) != "2" {
			t.Fatal("another value")
		}
		time.Sleep(time.Microsecond)
		for name, call := range map[string]func() error{
			"Get":       func() error { _, err := v.Get(ctx, orgA, "x"); return err },
			"GetByID":   func() error { _, err := v.GetByID(ctx, orgA, meta.ID); return err },
			"AtVersion": func() error { _, err := v.Get(ctx, orgA, "x", vault.AtVersion(meta.VersionID)); return err },
			"older":     func() error { _, err := v.Get(ctx, orgA, "x", vault.AtVersion(first.VersionID)); return err },
			"Describe":  func() error { _, err := v.Describe(ctx, orgA, "x"); return err },
			"Lookup":    func() error { _, err := v.Lookup(ctx, meta.ID); return err },
			"Versions":  func() error { return firstErr(v.Versions(ctx, orgA, "x")) },
			"Delete":    func() error { return v.Delete(ctx, orgA, "x") },
		} {
			if err := call(); fmt.Sprint(classes(err)) != "[ErrNotFound]" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if many, err := v.GetMany(ctx, orgA, "x", "stays"); err != nil || len(many) != 1 {
			t.Errorf("GetMany: %d, %v", len(many), err)
		}
		if got := names(t, v.List(ctx, orgA, vault.ListOptions{})); fmt.Sprint(got) != "[stays]" {
			t.Errorf("List: %q", got)
		}
		_, err := v.Put(ctx, orgA, "x", nil, vault.IfVersion(meta.VersionID))
		wantClass(t, err, "ErrVersionConflict")

		// A put makes a new object, also a guarded one.
		again := must(v.Put(ctx, orgA, "x", []byte("3"), vault.IfAbsent()))(t)
		if again.Number != 1 || again.ID == meta.ID {
			t.Fatalf("%+v continues what has expired", again)
		}
		_, err = v.GetByID(ctx, orgA, meta.ID)
		wantClass(t, err, "ErrNotFound")
	})
}

// A later version without an expiry brings no older version to life, and takes
// the expiry away.
func TestExpiryIsOfAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		ctx := t.Context()
		short := must(v.Put(ctx, orgA, "x", []byte("short"), vault.ExpiresAt(time.Now().Add(time.Minute))))(t)
		must(v.Put(ctx, orgA, "x", []byte("long")))(t)
		time.Sleep(time.Hour)
		if got := must(v.Get(ctx, orgA, "x"))(t); string(got.Value) != "long" || !got.ExpiresAt.IsZero() {
			t.Fatalf("%q until %v", got.Value, got.ExpiresAt)
		}
		_, err := v.Get(ctx, orgA, "x", vault.AtVersion(short.VersionID))
		wantClass(t, err, "ErrNotFound")
		if n := len(names(t, v.Versions(ctx, orgA, "x"))); n != 1 {
			t.Fatalf("%d versions are listed", n)
		}
		if n := must(v.Sweep(ctx))(t); n != 0 {
			t.Fatalf("%d objects were swept", n)
		}
	})
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.NoBackground = true })
		ctx := t.Context()
		const n = 1200 // more than two batches
		for i := range n {
			must(v.Put(ctx, orgA, fmt.Sprint(i), nil, vault.ExpiresAt(time.Now().Add(time.Minute))))(t)
		}
		must(v.Put(ctx, orgA, "stays", nil, vault.ExpiresAt(time.Now().Add(3*time.Hour))))(t)
		if got := must(v.Sweep(ctx))(t); got != 0 {
			t.Fatalf("%d were swept too early", got)
		}
		time.Sleep(2 * time.Hour) // and nothing sweeps in the background
		if got := must(v.Sweep(vault.WithActor(ctx, "cron")))(t); got != n {
			t.Fatalf("%d were swept", got)
		}
		if got := rowsIn(t, v); got != 1 {
			t.Fatalf("%d rows are left", got)
		}
		events := v.Events(vault.DataDeleted)
		if len(events) != n {
			t.Fatalf("%d events", len(events))
		}
		for _, e := range events {
			if e.Err != nil || e.Reason != "expired" || e.Actor != "cron" || e.Object == "" || e.ObjectID.IsZero() || e.ContextHash != hashIn(t, orgA, "") {
				t.Fatalf("%+v", e)
			}
		}
		if got := must(v.Sweep(ctx))(t); got != 0 {
			t.Fatalf("%d were swept twice", got)
		}
	})
}

func rowsIn(t testing.TB, v *vaulttest.Vault) int {
	t.Helper()
	page := must(v.Store.ListObjects(t.Context(), storage.ObjectQuery{
		Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, IncludeExpired: true, Limit: 1000,
	}))(t)
	return len(page.Objects)
}

func TestBackgroundSweep(t *testing.T) {
	for name, tc := range map[string]struct {
		every time.Duration
		off   bool
		wait  time.Duration
		swept bool
	}{
		"default":       {0, false, 2 * time.Hour, true},
		"every minute":  {time.Minute, false, 3 * time.Minute, true},
		"negative":      {-1, false, 100 * time.Hour, false},
		"no background": {0, true, 100 * time.Hour, false},
		"in an age":     {1<<63 - 1, false, 1000 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				change := func(c *vault.Config) { c.SweepEvery, c.NoBackground = tc.every, tc.off }
				v := vaulttest.New(t, change)
				if !tc.swept {
					for range 10 { // when is left to chance
						peerOf(t, v, change)
					}
				}
				must(v.Put(t.Context(), orgA, "x", nil, vault.ExpiresAt(time.Now().Add(time.Second))))(t)
				time.Sleep(tc.wait)
				synctest.Wait()
				if swept := rowsIn(t, v) == 0; swept != tc.swept {
					t.Fatalf("swept: %v", swept)
				}
				if calls := v.Store.Calls("DeleteExpired"); calls > 10 || !tc.swept && calls > 0 {
					t.Fatalf("the store was asked %d times", calls)
				}
			})
		})
	}
}

// A sweep that fails is counted and tried again.
func TestBackgroundSweepFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		must(v.Put(t.Context(), orgA, "x", nil, vault.ExpiresAt(time.Now().Add(time.Second))))(t)
		v.Store.SetFault(func(op string) error {
			if op == "DeleteExpired" {
				return vault.ErrStoreUnavailable
			}
			return nil
		})
		time.Sleep(5 * time.Hour)
		if n := v.Stats().SweepErrors; n < 2 || n > 11 {
			t.Fatalf("%d errors in five hours", n)
		}
		_, err := v.Sweep(t.Context())
		wantClass(t, err, "ErrStoreUnavailable")
		failed := v.Stats().SweepErrors
		v.Store.SetFault(func(string) error { panic("told to") })
		time.Sleep(2 * time.Hour)
		if v.Stats().SweepErrors == failed {
			t.Fatal("a panic wasn't counted")
		}
		v.Store.SetFault(nil)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if rowsIn(t, v) != 0 {
			t.Fatal("it wasn't tried again")
		}
	})
}
