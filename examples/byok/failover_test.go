package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/storage/memstore"
)

// twoKEKs are one in AWS KMS and one in HashiCorp Vault.
type twoKEKs struct {
	aws    *awskmstest.Server
	awsKey *awskmstest.Key
	vault  *hashivaulttest.Server
	keks   []kek.Wrapper
	store  *memstore.Store
}

func newTwoKEKs(t *testing.T) *twoKEKs {
	t.Helper()
	w := &twoKEKs{aws: awskmstest.New(t), vault: hashivaulttest.New(t), store: memstore.New()}
	w.awsKey = w.aws.CreateKey(awskmstest.KeyOptions{})
	a, err := awskms.New(t.Context(), w.aws.Client(awskmstest.DefaultRegion), w.awsKey.ARN(), awskms.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.vault.CreateKey("embedvault", hashivaulttest.KeyOptions{Derived: true})
	h, err := hashivault.New(t.Context(), w.vault.Client(w.vault.RootToken()), "embedvault", hashivault.Options{Host: "vault.example"})
	if err != nil {
		t.Fatal(err)
	}
	w.keks = []kek.Wrapper{a, h}
	return w
}

// open is a process that starts now.
func (w *twoKEKs) open(t *testing.T, q kek.Quorum) *vault.Vault {
	t.Helper()
	v, err := vault.New(vault.Config{
		Store: w.store,
		Cache: vault.CacheConfig{TTL: time.Nanosecond, StaleIfUnavailable: -1}, // the KMS is asked each time
		Policy: kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) {
			return kek.Choice{KEKs: w.keks, Quorum: q}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// Two providers, any of them: with one sealed, reads and writes go on. What was
// made meanwhile lacks its wrapping, and Rewrap adds it.
func TestFailoverBetweenProviders(t *testing.T) {
	w := newTwoKEKs(t)
	ctx := t.Context()
	before, during := contextOf("before"), contextOf("during")
	sealed, err := w.open(t, kek.AnyOf).Encrypt(ctx, before, []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.vault.Seal()
	v := w.open(t, kek.AnyOf)
	if _, err := v.Decrypt(ctx, before, sealed, nil); err != nil {
		t.Errorf("a read with one provider down: %v", err)
	}
	written, err := v.Encrypt(ctx, during, []byte("y"), nil)
	if err != nil {
		t.Fatalf("a write with one provider down: %v", err)
	}
	if _, err := v.Rewrap(ctx, vault.RewrapOptions{Match: during}); !errors.Is(err, vault.ErrRewrapIncomplete) {
		t.Errorf("a repair while it is still down: %v", err)
	}
	w.vault.Unseal()
	report, err := w.open(t, kek.AnyOf).Rewrap(ctx, vault.RewrapOptions{All: true})
	if err != nil || report.Moved != 1 || report.Current != 1 {
		t.Fatalf("repair: %+v, %v", report, err)
	}
	w.awsKey.Disable()
	if _, err := w.open(t, kek.AnyOf).Decrypt(ctx, during, written, nil); err != nil {
		t.Errorf("after the repair, with the other provider gone: %v", err)
	}
}

// Ours and the customer's, all of them: either can stop it.
func TestBothAreNeeded(t *testing.T) {
	w := newTwoKEKs(t)
	ctx := t.Context()
	sealed, err := w.open(t, kek.AllOf).Encrypt(ctx, contextOf("acme"), []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	decrypt := func() error {
		_, err := w.open(t, kek.AllOf).Decrypt(ctx, contextOf("acme"), sealed, nil)
		return err
	}
	w.awsKey.Disable()
	if err := decrypt(); !errors.Is(err, vault.ErrKEKDenied) {
		t.Errorf("one refuses: %v", err)
	}
	w.awsKey.Enable()
	w.vault.Seal()
	if err := decrypt(); !errors.Is(err, vault.ErrKEKUnavailable) {
		t.Errorf("the other is down: %v", err)
	}
	w.vault.Unseal()
	if err := decrypt(); err != nil {
		t.Errorf("both are there: %v", err)
	}
}
