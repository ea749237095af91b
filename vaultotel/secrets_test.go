package vaultotel_test

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/vaultotel"
)

// everyCall makes a call of each method, with secrets wherever one can be, and
// ignores what comes of it.
func everyCall(t *testing.T, v *vault.Vault, kc vault.KeyContext, secret func() string) {
	t.Helper()
	ctx := vault.WithReason(vault.WithActor(t.Context(), secret()), secret())
	aad, name := []byte(secret()), secret()
	sealed, _ := v.Encrypt(ctx, kc, []byte(secret()), aad)
	text, _ := v.EncryptString(ctx, kc, secret(), aad)
	key, _ := v.CreateDataKey(ctx, kc)
	meta, _ := v.Put(ctx, kc, name, []byte(secret()), vault.Labels(map[string]string{"l": secret()}))
	for _, call := range []func() error{
		func() error { _, err := v.Decrypt(ctx, kc, sealed, aad); return err },
		func() error { _, err := v.Decrypt(ctx, kc, sealed, []byte(secret())); return err },
		func() error { _, err := v.Decrypt(ctx, kc, []byte(secret()), nil); return err },
		func() error { _, err := v.DecryptString(ctx, kc, text, aad); return err },
		func() error { _, err := v.DecryptString(ctx, kc, secret(), aad); return err },
		func() error { _, err := v.DecryptDataKey(ctx, kc, key.Sealed); return err },
		func() error { _, err := v.RekeyDataKey(ctx, kc, key.Sealed, kc); return err },
		func() error { _, err := v.Get(ctx, kc, name); return err },
		func() error { _, err := v.Get(ctx, kc, secret()); return err },
		func() error { _, err := v.GetByID(ctx, kc, meta.ID); return err },
		func() error { _, err := v.GetMany(ctx, kc, name, secret()); return err },
		func() error { _, err := v.Describe(ctx, kc, name); return err },
		func() error { _, err := v.Lookup(ctx, meta.ID); return err },
		func() error { _, err := v.ListPage(ctx, kc, vault.ListOptions{Prefix: secret()}); return err },
		func() error { _, err := v.ListPage(ctx, kc, vault.ListOptions{Cursor: secret()}); return err },
		func() error {
			for _, err := range v.Versions(ctx, kc, name) {
				return err
			}
			return nil
		},
		func() error {
			for _, err := range v.Keys(ctx, vault.KeyFilter{Match: kc}) {
				return err
			}
			return nil
		},
		func() error { _, err := v.NeedsReencrypt(ctx, kc, sealed); return err },
		func() error { _, err := v.Reencrypt(ctx, kc, sealed, aad); return err },
		func() error { return v.Rotate(ctx, kc) },
		func() error { return v.VerifyKEK(ctx, kc) },
		func() error { return v.Prepare(ctx, kc) },
		func() error { return v.Check(ctx) },
		func() error { _, err := v.Rewrap(ctx, vault.RewrapOptions{Match: kc, Force: true}); return err },
		func() error { _, err := v.ReencryptObjects(ctx, vault.ReencryptOptions{Match: kc}); return err },
		func() error {
			_, err := v.RetireKeys(ctx, vault.RetireOptions{Match: kc, ElsewhereReencrypted: true})
			return err
		},
		func() error { _, err := v.Disable(ctx, kc); return err },
		func() error { _, err := v.Enable(ctx, kc); return err },
		func() error { return v.Delete(ctx, kc, name) },
		func() error { _, err := v.Sweep(ctx); return err },
		func() error { _, err := v.Shred(ctx, kc, vault.ShredOptions{Reason: secret()}); return err },
		func() error { _, err := v.PendingShreds(ctx); return err },
		func() error { return v.CancelShred(ctx, meta.ID) },
		func() error { _, err := v.RunShreds(ctx); return err },
		func() error { return v.VerifyShred(ctx, vault.ShredReceipt{}) },
		func() error { _, err := v.Encrypt(ctx, kc, []byte(secret()), aad); return err },
	} {
		_ = call()
	}
}

// exported is all that was exported, as text.
func exported(t *testing.T, w *world) (spans, metrics string) {
	t.Helper()
	var b strings.Builder
	for _, s := range w.spans.GetSpans() {
		fmt.Fprintf(&b, "%+v %#v\n", s, s)
		for _, kv := range s.Attributes {
			fmt.Fprintf(&b, "%s=%s\n", kv.Key, kv.Value.String())
		}
	}
	m, err := json.Marshal(collect(t, w.reader))
	ok(t, err)
	return b.String(), string(m)
}

// Whatever is called and goes wrong, no span and no metric shows a value, associated
// data, a key, a name, a label, an actor, a reason or a key context, in any form.
func TestNothingSecretIsExported(t *testing.T) {
	marker := rand.Text()[:12]
	secret := func() string { return marker + rand.Text() }
	hidden := func(text string) bool {
		return strings.Contains(text, marker) || strings.Contains(text, hex.EncodeToString([]byte(marker))) ||
			strings.Contains(text, strings.Trim(fmt.Sprint([]byte(marker)), "[]"))
	}
	operations := make(map[string]bool)
	for _, fault := range []memkek.Fault{memkek.None, memkek.Denied, memkek.Corrupt, memkek.Garbage} {
		for _, failing := range []string{"", "GetKey", "LatestKey", "InsertKey", "UpdateKey", "PutObject", "GetObject", "ListKeys", "PutSystem"} {
			w := newWorld(t, nil, func(c *vault.Config) { c.NoBackground = true })
			kc := vault.KeyContext{"organization_id": secret()}
			if fault != memkek.None || failing != "" { // some of it was there before
				must(w.Encrypt(t.Context(), kc, []byte(secret()), nil))(t)
			}
			w.KEK.SetFault(fault)
			w.Store.SetFault(func(op string) error {
				if op == failing {
					return errors.New("the database says: " + secret())
				}
				return nil
			})
			everyCall(t, w.Vault.Vault, kc, secret)
			for _, s := range w.spans.GetSpans() {
				operations[value(s, "embedvault.operation")] = true
			}
			spans, metrics := exported(t, w)
			if hidden(spans) || hidden(metrics) {
				t.Errorf("KEK %v, failing %q: a secret is exported", fault, failing)
			}
			if strings.Contains(spans, "embedvault.context") {
				t.Errorf("KEK %v, failing %q: spans tell of the key context", fault, failing)
			}
			if len(spans) < 10_000 || len(metrics) < 1_000 {
				t.Fatalf("%d bytes of spans, %d of metrics: nothing was exported", len(spans), len(metrics))
			}
		}
	}
	// 31 operations and "", which calls to KEKs and stores have.
	if len(operations) != 32 {
		t.Errorf("%d operations were told of: %v", len(operations)-1, operations)
	}
}

// The hash and the pairs of the key context are told only if they are asked for, and
// then on the spans of operations alone.
func TestContextIsToldOnDemand(t *testing.T) {
	for _, asked := range []struct{ hash, pairs bool }{{}, {hash: true}, {pairs: true}, {true, true}} {
		w := newWorld(t, func(o *vaultotel.Options) { o.ContextHash, o.ContextPairs = asked.hash, asked.pairs })
		kc := vault.KeyContext{"organization_id": "org_" + rand.Text()}
		must(w.Encrypt(t.Context(), kc, []byte("x"), nil))(t)
		must(w.Sweep(t.Context()))(t)
		for _, s := range w.spans.GetSpans() {
			hash, pair := value(s, "embedvault.context_hash"), value(s, "embedvault.context.organization_id")
			about := s.Name == "embedvault.encrypt"
			if (hash != "") != (asked.hash && about) || len(hash) > 16 {
				t.Errorf("asked for %+v, %s has the hash %q", asked, s.Name, hash)
			}
			if (pair == kc["organization_id"]) != (asked.pairs && about) {
				t.Errorf("asked for %+v, %s has the pair %q", asked, s.Name, pair)
			}
		}
		if _, metrics := exported(t, w); strings.Contains(metrics, kc["organization_id"]) || strings.Contains(metrics, "embedvault.context") {
			t.Errorf("asked for %+v, the metrics tell of the key context", asked)
		}
	}
}

// No pair of a key context takes the place of its hash.
func TestPairNamedHash(t *testing.T) {
	w := newWorld(t, func(o *vaultotel.Options) { o.ContextHash, o.ContextPairs = true, true })
	kc := vault.KeyContext{"organization_id": "org_01", "hash": "0badc0de", "_hash": "0badc0de", "context_hash": "0badc0de"}
	must(w.Encrypt(t.Context(), kc, nil, nil))(t)
	hash := must(kc.Hash())(t).Short()
	for _, s := range w.spans.GetSpans() {
		if s.Name == "embedvault.encrypt" && (value(s, "embedvault.context_hash") != hash || value(s, "embedvault.context.hash") != "0badc0de") {
			t.Errorf("the hash is %q, the pair %q", value(s, "embedvault.context_hash"), value(s, "embedvault.context.hash"))
		}
	}
}
