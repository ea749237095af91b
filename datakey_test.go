package vault_test

import (
	"bytes"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

func TestDataKeys(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		v, cold := open(t, c), open(t, c)
		ctx := t.Context()
		a, b := must(v.CreateDataKey(ctx, orgA))(t), must(v.CreateDataKey(ctx, orgA))(t)
		if len(a.Key) != 32 || bytes.Equal(a.Key, b.Key) || bytes.Equal(a.Key, make([]byte, 32)) || bytes.Contains(a.Sealed, a.Key[:8]) {
			t.Fatal("not a key of its own")
		}
		for _, v := range []*vault.Vault{v, cold} {
			got, err := v.DecryptDataKey(ctx, orgA, a.Sealed)
			if err != nil || !bytes.Equal(got, a.Key) {
				t.Fatal(err)
			}
			clear(got) // the caller's own
		}
		_, err := v.DecryptDataKey(ctx, orgB, a.Sealed)
		wantErr(t, err, vault.ErrWrongContext)
		for i := range a.Sealed {
			flipped := bytes.Clone(a.Sealed)
			flipped[i] ^= 0x10
			if got, err := open(t, c).DecryptDataKey(ctx, orgA, flipped); err == nil || got != nil {
				t.Fatalf("with byte %d flipped it opens", i)
			}
			if got, err := v.DecryptDataKey(ctx, orgA, a.Sealed[:i]); err == nil || got != nil {
				t.Fatalf("cut to %d bytes it opens", i)
			}
		}
	})
}

func TestRekeyDataKey(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		key := must(v.CreateDataKey(ctx, orgA))(t)
		moved := must(v.RekeyDataKey(ctx, orgA, key.Sealed, orgB))(t)
		if got := must(open(t, c).DecryptDataKey(ctx, orgB, moved))(t); !bytes.Equal(got, key.Key) {
			t.Fatal("another key came out")
		}
		_, err := v.DecryptDataKey(ctx, orgA, moved)
		wantErr(t, err, vault.ErrWrongContext)
		must(v.DecryptDataKey(ctx, orgA, key.Sealed))(t) // rekeying revokes nothing
		_, err = v.RekeyDataKey(ctx, orgB, key.Sealed, orgA)
		wantErr(t, err, vault.ErrWrongContext)
		_, err = v.RekeyDataKey(ctx, orgA, key.Sealed, nil)
		wantClass(t, err, "ErrInvalidContext")
		_, err = v.RekeyDataKey(ctx, nil, key.Sealed, orgA)
		wantClass(t, err, "ErrInvalidContext")
		if !s.stored {
			return
		}
		// For the same context: under its active key.
		old := must(vault.Inspect(key.Sealed))(t).KeyID
		wantErr(t, v.Rotate(ctx, orgA), nil)
		again := must(v.RekeyDataKey(ctx, orgA, key.Sealed, orgA))(t)
		if must(vault.Inspect(again))(t).KeyID == old {
			t.Fatal("rekeyed under the old key")
		}
		if got := must(v.DecryptDataKey(ctx, orgA, again))(t); !bytes.Equal(got, key.Key) {
			t.Fatal("another key came out")
		}
	})
}

func TestDataKeyEvents(t *testing.T) {
	v := vaulttest.New(t)
	key := must(v.CreateDataKey(t.Context(), orgA))(t)
	must(v.RekeyDataKey(t.Context(), orgA, key.Sealed, orgB))(t)
	created, rekeyed := v.Events(vault.DEKCreated), v.Events(vault.DEKRekeyed)
	if opened := v.Events(vault.DEKDecrypted); len(created) != 1 || len(rekeyed) != 1 || len(opened) != 1 || opened[0].ContextHash != created[0].ContextHash {
		t.Fatalf("%v, %v, %v", created, opened, rekeyed)
	}
	if created[0].KeyID == rekeyed[0].KeyID || rekeyed[0].ContextHash != hashIn(t, orgB, "") {
		t.Fatalf("%+v", rekeyed[0])
	}
}

// "Who had this customer's data keys" is answered also for one that was rekeyed to
// another context: without a record of that, there is no rekeying.
func TestRekeyLeavesATraceInBothContexts(t *testing.T) {
	r := new(recorder)
	v := vaulttest.New(t, func(c *vault.Config) { c.OnEvent, c.FailClosed = r.on, true })
	key := must(v.CreateDataKey(t.Context(), orgA))(t)
	must(v.Encrypt(t.Context(), orgB, nil, nil))(t)
	r.take()
	must(v.RekeyDataKey(vault.WithActor(t.Context(), "mallory"), orgA, key.Sealed, orgB))(t)
	events := r.take()
	if len(events) != 2 || events[0].Name != vault.DEKDecrypted || events[0].ContextHash != hashIn(t, orgA, "") ||
		events[1].Name != vault.DEKRekeyed || events[1].ContextHash != hashIn(t, orgB, "") || events[0].Actor != "mallory" {
		t.Errorf("%+v", events)
	}
	must(v.RekeyDataKey(t.Context(), orgA, key.Sealed, orgA))(t)
	if events := r.take(); len(events) != 1 || events[0].Name != vault.DEKRekeyed {
		t.Errorf("within one context: %+v", events)
	}
}
