package vaulttest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

var org = vault.KeyContext{"organization_id": "org_01"}

func TestNew(t *testing.T) {
	v := vaulttest.New(t)
	sealed, err := v.Encrypt(t.Context(), org, []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.KEK.Wraps() != 1 || v.Store.Calls("InsertKey") != 1 {
		t.Fatalf("%d wraps, %d keys stored: the fields aren't what the vault runs on", v.KEK.Wraps(), v.Store.Calls("InsertKey"))
	}
	v.KEK.SetFault(memkek.Denied)
	other := vault.KeyContext{"organization_id": "org_02"}
	if _, err := v.Encrypt(t.Context(), other, nil, nil); !errors.Is(err, vault.ErrKEKDenied) {
		t.Fatalf("after the revocation: %v", err)
	}
	if got, err := v.Decrypt(t.Context(), org, sealed, nil); err != nil || string(got) != "secret" {
		t.Fatalf("%q, %v", got, err)
	}
}

// Two vaults share nothing.
func TestVaultsAreSeparate(t *testing.T) {
	a, b := vaulttest.New(t), vaulttest.New(t)
	if _, err := a.Put(t.Context(), org, "x", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get(t.Context(), org, "x"); !errors.Is(err, vault.ErrNotFound) {
		t.Fatalf("%v", err)
	}
	if len(b.Events()) != 1 || len(a.Events()) != 2 {
		t.Fatalf("%d and %d events", len(a.Events()), len(b.Events()))
	}
}

func TestEvents(t *testing.T) {
	v := vaulttest.New(t)
	if e := v.Events(); len(e) != 0 {
		t.Fatalf("%v before the first call", e)
	}
	for range 2 {
		if _, err := v.Encrypt(t.Context(), org, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Put(t.Context(), org, "x", nil); err != nil {
		t.Fatal(err)
	}
	var got []vault.EventName
	for _, e := range v.Events() {
		got = append(got, e.Name)
	}
	if fmt.Sprint(got) != "[key.created message.encrypted message.encrypted data.created]" {
		t.Fatal(got)
	}
	if e := v.Events(vault.MessageEncrypted, vault.DataCreated); len(e) != 3 {
		t.Fatalf("%v", e)
	}
	if e := v.Events(vault.KEKDenied); len(e) != 0 {
		t.Fatalf("%v", e)
	}
	v.Events()[0].Name = "changed" // the caller's own
	if v.Events()[0].Name != vault.KeyCreated {
		t.Fatal("the events are shared")
	}
}

// The configuration can be changed; events are recorded and then given to
// whoever was to be told.
func TestChanges(t *testing.T) {
	var told []vault.Event
	full := errors.New("full")
	own := memkek.New("own")
	v := vaulttest.New(t,
		func(c *vault.Config) {
			c.OnEvent = func(_ context.Context, e vault.Event) error { told = append(told, e); return full }
			c.FailClosed = true
		},
		func(c *vault.Config) { c.Policy, c.MaxPlaintext = kek.Fixed(own), 3 },
	)
	if _, err := v.Encrypt(t.Context(), org, make([]byte, 4), nil); !errors.Is(err, vault.ErrTooLarge) {
		t.Fatalf("%v", err)
	}
	if _, err := v.Encrypt(t.Context(), org, nil, nil); !errors.Is(err, vault.ErrEvent) || !errors.Is(err, full) {
		t.Fatalf("%v", err)
	}
	if own.Wraps() != 1 || v.KEK.Calls() != 0 {
		t.Fatal("the policy wasn't used")
	}
	if len(told) != len(v.Events()) || len(told) == 0 {
		t.Fatalf("%d were told, %d recorded", len(told), len(v.Events()))
	}
}

func TestOtherDrivers(t *testing.T) {
	k, s := memkek.New("mine"), memstore.New()
	change := func(c *vault.Config) { c.KEK, c.Store = k, s }
	a, b := vaulttest.New(t, change), vaulttest.New(t, change)
	sealed, err := a.Encrypt(t.Context(), org, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Decrypt(t.Context(), org, sealed, nil); err != nil || string(got) != "x" {
		t.Fatalf("%q, %v", got, err)
	}
	if a.KEK.Calls() != 0 || k.Calls() == 0 {
		t.Fatal("the fields speak of what is used, or the change wasn't")
	}
}

// The vault is closed when its test ends, and no sooner.
func TestClosedWithItsTest(t *testing.T) {
	var v *vaulttest.Vault
	t.Run("inner", func(t *testing.T) {
		v = vaulttest.New(t)
		t.Cleanup(func() {
			if err := v.Check(context.Background()); err != nil {
				t.Errorf("before the test's own clean-up: %v", err)
			}
		})
	})
	if err := v.Check(t.Context()); !errors.Is(err, vault.ErrClosed) {
		t.Fatalf("%v", err)
	}
}

// A configuration that New refuses ends the test.
func TestBadConfig(t *testing.T) {
	tb := &fakeTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		vaulttest.New(tb, func(c *vault.Config) { c.MaxPlaintext = -1 })
	}()
	<-done
	if !tb.failed {
		t.Fatal("the test goes on")
	}
}

// fakeTB notes that it was told to fail. Its Fatalf ends the goroutine as the
// real one does.
type fakeTB struct {
	testing.TB
	failed bool
}

func (f *fakeTB) Helper() {}

func (f *fakeTB) Fatalf(string, ...any) {
	f.failed = true
	runtime.Goexit()
}

func TestConcurrentUse(t *testing.T) {
	v := vaulttest.New(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := v.Put(t.Context(), org, fmt.Sprint(i), nil); err != nil {
					t.Error(err)
				}
				_ = v.Events(vault.DataCreated)
			}
		})
	}
	wg.Wait()
	if n := len(v.Events(vault.DataCreated, vault.DataUpdated)); n != 400 {
		t.Fatalf("%d events", n)
	}
}
