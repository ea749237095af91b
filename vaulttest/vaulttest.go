// Package vaulttest gives tests a vault on memory drivers in one line:
//
//	v := vaulttest.New(t)
//	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
//	v.KEK.SetFault(memkek.Denied) // the customer revokes their key
//
// Everything in it is lost with the process.
package vaulttest

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

// Vault is a vault for tests, with the drivers it runs on.
type Vault struct {
	*vault.Vault

	// KEK wraps its keys, counts its calls and can be told to fail.
	KEK *memkek.KEK

	// Store holds its keys and objects, counts its calls and can be told to
	// fail.
	Store *memstore.Store

	mu        sync.Mutex
	events    []vault.Event
	decisions []Decision
}

// New returns a vault that is closed when the test ends. Each of change may
// change its configuration before it is made; if they replace KEK, Policy, Store
// or OnEvent, the fields and methods of the result speak of what is no longer
// used, except that events are recorded and then given to the new OnEvent.
func New(t testing.TB, change ...func(*vault.Config)) *Vault {
	t.Helper()
	v := &Vault{KEK: memkek.New("test"), Store: memstore.New()}
	cfg := vault.Config{KEK: v.KEK, Store: v.Store, EventMessages: true}
	for _, f := range change {
		f(&cfg)
	}
	if cfg.Policy != nil && cfg.KEK == v.KEK {
		cfg.KEK = nil
	}
	cfg.Authorizer = v.recording(cfg.Authorizer)
	next := cfg.OnEvent
	cfg.OnEvent = func(ctx context.Context, e vault.Event) error {
		v.record(e)
		if next == nil {
			return nil
		}
		return next(ctx, e)
	}
	var err error
	if v.Vault, err = vault.New(cfg); err != nil {
		t.Fatalf("vaulttest: %v", err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func (v *Vault) record(e vault.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, e)
}

// Events returns the events so far, in order; with names, only those of these
// names.
func (v *Vault) Events(names ...vault.EventName) []vault.Event {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.events), func(e vault.Event) bool {
		return len(names) > 0 && !slices.Contains(names, e.Name)
	})
}
