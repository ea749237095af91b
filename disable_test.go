package vault_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// wantCount fails unless a call changed so many keys.
func wantCount(t testing.TB, want int) func(int, error) {
	return func(got int, err error) {
		t.Helper()
		ok(t, err)
		if got != want {
			t.Fatalf("%d keys were changed, want %d", got, want)
		}
	}
}

func TestDisableAndEnable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		peer := peerOf(t, v)
		old := must(v.Encrypt(t.Context(), orgA, []byte("old"), nil))(t)
		ok(t, v.Rotate(t.Context(), orgA))
		sealed := must(v.Encrypt(t.Context(), userA, []byte("x"), nil))(t)
		other := must(v.Encrypt(t.Context(), orgB, []byte("x"), nil))(t)
		must(peer.Decrypt(t.Context(), userA, sealed, nil))(t)
		calls := v.KEK.Calls()

		wantCount(t, 3)(v.Disable(t.Context(), orgA))
		wantCount(t, 0)(v.Disable(t.Context(), orgA))
		for _, try := range []func() error{
			func() error { return second(v.Decrypt(t.Context(), orgA, old, nil)) },
			func() error { return second(v.Decrypt(t.Context(), userA, sealed, nil)) },
			func() error { return second(v.Encrypt(t.Context(), orgA, nil, nil)) },
			func() error { return v.Rotate(t.Context(), userA) },
		} {
			wantClass(t, try(), "ErrKeyDisabled")
		}
		must(v.Decrypt(t.Context(), orgB, other, nil))(t)
		time.Sleep(time.Minute + time.Second)
		wantClass(t, second(peer.Decrypt(t.Context(), userA, sealed, nil)), "ErrKeyDisabled")
		wantStates(t, v.Vault, orgB, "1 active")
		if v.KEK.Calls() != calls {
			t.Error("the KMS was called")
		}

		wantCount(t, 3)(v.Enable(t.Context(), orgA))
		wantCount(t, 0)(v.Enable(t.Context(), orgA))
		must(v.Decrypt(t.Context(), orgA, old, nil))(t)
		must(peer.Decrypt(t.Context(), userA, sealed, nil))(t)
		wantStates(t, v.Vault, vault.KeyContext{"user_id": "u_1"}, "1 active")
		if n, m := len(v.Events(vault.KeyDisabled)), len(v.Events(vault.KeyEnabled)); n != 3 || m != 3 {
			t.Errorf("%d keys disabled and %d enabled by the events", n, m)
		}
	})
}

func TestDisableRefuses(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA))
	for _, match := range []vault.KeyContext{nil, {}, {"a": ""}, {"vault:scope": "global"}} {
		wantErr(t, second(v.Disable(t.Context(), match)), vault.ErrInvalidContext)
		wantErr(t, second(v.Enable(t.Context(), match)), vault.ErrInvalidContext)
		wantErr(t, second(v.Shred(t.Context(), match, vault.ShredOptions{})), vault.ErrInvalidContext)
		wantErr(t, second(v.RetireKeys(t.Context(), vault.RetireOptions{Match: match, ElsewhereReencrypted: true})), vault.ErrInvalidContext)
	}
	none := vaulttest.New(t, func(c *vault.Config) { c.Store = nil })
	wantErr(t, second(none.Disable(t.Context(), orgA)), vault.ErrNoStore)
	wantErr(t, second(none.Enable(t.Context(), orgA)), vault.ErrNoStore)
	wantErr(t, second(none.Shred(t.Context(), orgA, vault.ShredOptions{})), vault.ErrNoStore)
	wantErr(t, second(none.RetireKeys(t.Context(), vault.RetireOptions{Match: orgA, ElsewhereReencrypted: true})), vault.ErrNoStore)
	wantErr(t, second(none.Reencrypt(t.Context(), orgA, []byte("x"), nil)), vault.ErrNoStore)
	wantErr(t, second(none.NeedsReencrypt(t.Context(), orgA, []byte("x"))), vault.ErrNoStore)
	wantStates(t, v.Vault, orgA, "1 active")
}

// What matches in another namespace is another application's.
func TestDisableAndShredStayInTheirNamespace(t *testing.T) {
	v := vaulttest.New(t)
	other := vaulttest.New(t, func(c *vault.Config) { c.KEK, c.Store, c.Namespace = memkek.New("o"), v.Store, "billing" })
	ok(t, v.Prepare(t.Context(), orgA))
	ok(t, other.Prepare(t.Context(), orgA))
	wantCount(t, 1)(v.Disable(t.Context(), orgA))
	wantStates(t, other.Vault, orgA, "1 active")
	r := must(other.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
	wantStates(t, v.Vault, orgA, "1 disabled")
	wantErr(t, v.VerifyShred(t.Context(), r), vault.ErrReceipt)
	ok(t, other.VerifyShred(t.Context(), r))
}

// A key is disabled while its next version is being made: that isn't the way around
// it.
func TestRotationRacesDisable(t *testing.T) {
	v := vaulttest.New(t)
	peer := peerOf(t, v)
	ok(t, v.Prepare(t.Context(), orgA))
	// The moment before the new version is stored: whoever lists keys doesn't see it.
	v.Store.SetFault(func(op string) error {
		if op == "InsertKey" {
			v.Store.SetFault(nil)
			wantCount(t, 1)(peer.Disable(t.Context(), orgA))
		}
		return nil
	})
	wantClass(t, v.Rotate(t.Context(), orgA), "ErrKeyDisabled")
	wantStates(t, v.Vault, orgA, "1 disabled", "2 disabled")
	wantClass(t, second(v.Encrypt(t.Context(), orgA, nil, nil)), "ErrKeyDisabled")
	wantCount(t, 2)(v.Enable(t.Context(), orgA))
	must(v.Encrypt(t.Context(), orgA, nil, nil))(t)
}

// Another process changes a record between its reading and its change.
func TestDisableOverwritesNothing(t *testing.T) {
	v := vaulttest.New(t)
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	v.Store.SetFault(func(op string) error {
		if op == "UpdateKey" {
			v.Store.SetFault(nil)
			rec, err := v.Store.LatestKey(context.Background(), hashIn(t, orgA, ""), vault.PurposeData)
			ok(t, err)
			rec.RewrappedAt = time.Now()
			ok(t, v.Store.UpdateKey(context.Background(), rec))
		}
		return nil
	})
	wantCount(t, 1)(v.Disable(t.Context(), orgA))
	rec := must(v.Store.LatestKey(t.Context(), hashIn(t, orgA, ""), vault.PurposeData))(t)
	if rec.RewrappedAt.IsZero() || rec.State != storage.StateDisabled {
		t.Errorf("the record is %+v", rec)
	}
	wantCount(t, 1)(v.Enable(t.Context(), orgA))
	must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
}

// One key that can't be changed doesn't keep the others from being disabled.
func TestDisableGoesOn(t *testing.T) {
	v := vaulttest.New(t)
	for i := range 20 {
		ok(t, v.Prepare(t.Context(), vault.KeyContext{"organization_id": "org_01", "n": string(rune('a' + i))}))
	}
	var failed atomic.Bool
	boom := errors.New("boom")
	v.Store.SetFault(func(op string) error {
		if op == "UpdateKey" && failed.CompareAndSwap(false, true) {
			return boom
		}
		return nil
	})
	n, err := v.Disable(t.Context(), orgA)
	wantErr(t, err, boom)
	if n != 19 {
		t.Errorf("%d were disabled", n)
	}
	wantCount(t, 1)(v.Disable(t.Context(), orgA))
}

func TestRequiredEventsOfDisable(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) {
		c.FailClosed = true
		c.OnEvent = func(_ context.Context, e vault.Event) error {
			if e.Name == vault.KeyDisabled || e.Name == vault.KeyShredded {
				return errors.New("the sink is full")
			}
			return nil
		}
	})
	ok(t, v.Prepare(t.Context(), orgA, orgB))
	n, err := v.Disable(t.Context(), orgA)
	if n != 1 {
		t.Errorf("%d keys", n)
	}
	wantErr(t, err, vault.ErrEvent)
	r, err := v.Shred(t.Context(), orgB, vault.ShredOptions{})
	wantErr(t, err, vault.ErrEvent)
	ok(t, v.VerifyShred(t.Context(), r))
}
