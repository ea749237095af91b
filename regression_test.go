package vault_test

import (
	"context"
	"encoding/xml"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

// T1 end to end: an acknowledged write is lost.
func TestRegressionAcknowledgedWriteUnderAShreddedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		ctx := t.Context()
		if _, err := v.Encrypt(ctx, orgA, []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
		rec, err := v.Store.LatestKey(ctx, hashIn(t, orgA, ""), keyctx.PurposeData)
		if err != nil {
			t.Fatal(err)
		}
		rec.State, rec.Wrappings = storage.StateShredded, nil
		if err := v.Store.UpdateKey(ctx, rec); err != nil {
			t.Fatal(err)
		}
		v.KEK.SetFault(memkek.Unavailable)
		time.Sleep(10 * time.Minute)
		if _, err := v.Put(ctx, orgA, "invoice", []byte("4711")); err != nil {
			return // fine
		}
		v.KEK.SetFault(memkek.None)
		time.Sleep(time.Minute)
		if _, err := v.Get(ctx, orgA, "invoice"); err != nil {
			t.Fatalf("Put succeeded 10 minutes after the key was shredded, and its value is lost: %v", err)
		}
	})
}

// T6 end to end
func TestRegressionHostileReferenceEvictsNobody(t *testing.T) {
	v := open(t, vault.Config{KEK: memkek.New("test")})
	_ = v
	k := memkek.New("test")
	v = open(t, vault.Config{KEK: k})
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	hostile := append([]byte{0xE1, 1}, sealed[2:34]...)
	hostile = append(hostile, make([]byte, 52)...)
	k.SetFault(memkek.Unavailable)
	if _, err := v.Decrypt(t.Context(), orgA, sealed, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Decrypt(t.Context(), orgA, hostile, nil); err == nil {
		t.Fatal("opened")
	}
	_, err1 := v.Decrypt(t.Context(), orgA, sealed, nil)
	_, err2 := v.Encrypt(t.Context(), orgA, []byte("x"), nil)
	if err1 != nil || err2 != nil {
		t.Fatalf("after one hostile envelope: decrypt: %v\nencrypt: %v", err1, err2)
	}
}

// T11
func TestRegressionPanickingPolicy(t *testing.T) {
	v := open(t, vault.Config{Policy: kek.PolicyFunc(func(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
		var tenants map[string]*memkek.KEK
		return one(tenants[kc["organization_id"]].Peer()), nil
	})})
	if _, err := v.Encrypt(t.Context(), orgA, nil, nil); err == nil {
		t.Fatal("no error")
	}
	for name, f := range map[string]func() error{
		"VerifyKEK": func() error { return v.VerifyKEK(t.Context(), orgA) },
		"Check":     func() error { return v.Check(t.Context()) },
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: the panic reached the caller: %v", name, p)
				}
			}()
			if err := f(); err == nil {
				t.Error("no error")
			}
		}()
	}
}

// T12
func TestRegressionFailClosedDenialOfOneOfSeveral(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	store := memstore.New()
	broken := false
	cfg := vault.Config{
		Store: store,
		Policy: kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) {
			return kek.Choice{KEKs: []kek.Wrapper{a, b}, Quorum: kek.AnyOf}, nil
		}),
		FailClosed: true,
		OnEvent: func(_ context.Context, e vault.Event) error {
			if broken && e.Name == vault.KEKDenied {
				return errors.New("audit log is down")
			}
			return nil
		},
	}
	sealed := must(open(t, cfg).Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	a.SetFault(memkek.Denied)
	broken = true
	v := open(t, cfg)
	_, err := v.Decrypt(t.Context(), orgA, sealed, nil)
	if !errors.Is(err, vault.ErrEvent) {
		t.Fatalf("kek.denied was not recorded, FailClosed is set, and Decrypt says %v", err)
	}
}

// T12b: even where the operation fails the error doesn't match ErrEvent.

// T13
func TestRegressionGetManyDropsNothingSilently(t *testing.T) {
	k, store := memkek.New("test"), memstore.New()
	tenants := vaulttest.New(t) // where the application keeps its tenants' settings
	v1 := open(t, vault.Config{KEK: k, Store: store})
	must(v1.Put(t.Context(), orgA, "a", []byte("1")))(t)
	v := open(t, vault.Config{Store: store, Policy: kek.PolicyFunc(func(ctx context.Context, kc vault.KeyContext) (kek.Choice, error) {
		if _, err := tenants.Get(ctx, kc, "kek"); err != nil {
			return kek.Choice{}, err
		}
		return one(k), nil
	})})
	objs, err := v.GetMany(t.Context(), orgA, "a")
	if err == nil && len(objs) == 0 {
		t.Error("an object that is there is left out, without an error, because the policy failed")
	}
	_, err = v.Get(t.Context(), orgA, "a")
	if errors.Is(err, vault.ErrNotFound) {
		t.Errorf("Get of an object that is there: %v", err)
	}
}

// T18
func TestRegressionDataKeyXML(t *testing.T) {
	v := vaulttest.New(t)
	dk := must(v.CreateDataKey(t.Context(), orgA))(t)
	copy(dk.Key, strings.Repeat("K", 32))
	b, err := xml.Marshal(dk)
	if err == nil && strings.Contains(string(b), "KKKK") {
		t.Fatalf("%s", b)
	}
}
