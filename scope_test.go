package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// A scope gives what the vault gives for its context, method by method, and its
// errors.
func TestScopeIsTheVaultForOneContext(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	sc := v.Scope(orgA)
	if sc.Err() != nil || !maps.Equal(sc.KeyContext(), orgA) {
		t.Fatal(sc.Err(), sc.KeyContext())
	}
	s := sampleOf(t, v.Vault, orgA)
	foreign := sampleOf(t, v.Vault, orgB)
	for _, given := range []samples{s, foreign, {message: []byte("m"), field: []byte("f"), text: "t", dataKey: []byte("k"), id: vault.ID{1}}} {
		a, b := callsWith(t, v.Vault, orgA, given), scopeCalls(t, v.Vault, sc, given)
		for _, name := range order(a) {
			if name == "Delete" {
				continue
			}
			va, vb := a[name](), b[name]()
			if !slices.Equal(classes(va), classes(vb)) || (va == nil) != (vb == nil) {
				t.Errorf("%s: the vault says %v, its scope %v", name, va, vb)
			}
		}
	}

	// Each opens what the other sealed.
	for _, swap := range []bool{false, true} {
		enc, dec := sc.Encrypt, func(ctx context.Context, b, aad []byte) ([]byte, error) { return v.Decrypt(ctx, orgA, b, aad) }
		if swap {
			enc = func(ctx context.Context, b, aad []byte) ([]byte, error) { return v.Encrypt(ctx, orgA, b, aad) }
			dec = sc.Decrypt
		}
		if got := must(dec(ctx, must(enc(ctx, []byte("hello"), []byte("aad")))(t), []byte("aad")))(t); string(got) != "hello" {
			t.Fatalf("%q", got)
		}
	}
	meta := must(sc.Put(ctx, "obj", []byte("1"), vault.IfAbsent(), vault.Labels(map[string]string{"a": "b"})))(t)
	for _, get := range []func() (vault.Object, error){
		func() (vault.Object, error) { return sc.Get(ctx, "obj") },
		func() (vault.Object, error) { return v.Get(ctx, orgA, "obj") },
		func() (vault.Object, error) { return sc.GetByID(ctx, meta.ID) },
		func() (vault.Object, error) { return sc.Get(ctx, "obj", vault.AtVersion(meta.VersionID)) },
		func() (vault.Object, error) { many, err := sc.GetMany(ctx, "obj"); return many["obj"], err },
	} {
		obj := must(get())(t)
		wantMeta(t, obj.Metadata, meta)
		if string(obj.Value) != "1" {
			t.Fatalf("%q", obj.Value)
		}
	}
	wantMeta(t, must(sc.Describe(ctx, "obj"))(t), meta)
	if got := names(t, sc.List(ctx, vault.ListOptions{Prefix: "ob"})); fmt.Sprint(got) != "[obj]" {
		t.Fatal(got)
	}
	if page := must(sc.ListPage(ctx, vault.ListOptions{Limit: 1}))(t); len(page.Objects) != 1 || page.Next == "" {
		t.Fatal(page)
	}
	if got := names(t, sc.Versions(ctx, "obj")); len(got) != 1 {
		t.Fatal(got)
	}
	wantClass(t, sc.Delete(ctx, "obj", vault.IfVersion(meta.ID)), "ErrVersionConflict")
	wantErr(t, sc.Delete(ctx, "obj"), nil)
	_, err := v.Get(ctx, orgA, "obj")
	wantClass(t, err, "ErrNotFound")
	if text := must(sc.EncryptString(ctx, "text", nil))(t); must(sc.DecryptString(ctx, text, nil))(t) != "text" {
		t.Fatal("text")
	}
	key := must(sc.CreateDataKey(ctx))(t)
	if got := must(v.DecryptDataKey(ctx, orgB, must(sc.RekeyDataKey(ctx, key.Sealed, orgB))(t)))(t); !bytes.Equal(got, key.Key) {
		t.Fatal("another key")
	}
	if got := must(sc.AppendDecrypt(ctx, []byte("a"), must(sc.AppendEncrypt(ctx, nil, []byte("b"), nil))(t), nil))(t); string(got) != "ab" {
		t.Fatal(got)
	}
}

func TestInvalidScope(t *testing.T) {
	v := vaulttest.New(t)
	sc := v.Scope(nil)
	wantClass(t, sc.Err(), "ErrInvalidContext")
	if sc.KeyContext() != nil {
		t.Fatal(sc.KeyContext())
	}
	for name, call := range scopeCalls(t, v.Vault, sc) {
		if err := call(); !errors.Is(err, vault.ErrInvalidContext) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := v.Scope(orgA).RekeyDataKey(t.Context(), nil, nil)
	wantClass(t, err, "ErrInvalidContext")
}

// What a scope remembers of where its keys are survives their eviction, a
// rotation, and others that do the same.
func TestScopeSurvivesEviction(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.Cache.Size = 1 })
	ctx := t.Context()
	scopes := map[string]*vault.Scope{}
	first := map[string][]byte{}
	for i := range 5 {
		org := fmt.Sprint(i)
		scopes[org] = v.Scope(vault.KeyContext{"organization_id": org})
		first[org] = must(scopes[org].Encrypt(ctx, []byte(org), nil))(t)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 100 {
				org := fmt.Sprint((g + i) % 5)
				sc := scopes[org]
				if i%37 == 0 {
					if err := sc.Rotate(ctx); err != nil {
						t.Error(err)
					}
				}
				sealed, err := sc.Encrypt(ctx, []byte(org), nil)
				if err != nil {
					t.Error(err)
					return
				}
				for _, env := range [][]byte{sealed, first[org]} {
					if got, err := sc.Decrypt(ctx, env, nil); err != nil || string(got) != org {
						t.Errorf("%q, %v", got, err)
					}
				}
				other := scopes[fmt.Sprint((g+i+1)%5)]
				if _, err := other.Decrypt(ctx, sealed, nil); !errors.Is(err, vault.ErrWrongContext) {
					t.Errorf("another scope: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if s := v.Stats(); s.CacheEvictions == 0 || s.CachedKeys > 1 {
		t.Fatalf("%+v", s)
	}
}

func TestScopeAsTinksAEAD(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	var a tink.AEAD = v.Scope(orgA).AEAD(ctx)
	var b tink.AEADWithContext = v.Scope(orgA).AEADWithContext()
	for _, plaintext := range [][]byte{nil, {}, []byte("hello")} {
		for _, aad := range [][]byte{nil, {}, []byte("aad")} {
			x := must(a.Encrypt(plaintext, aad))(t)
			y := must(b.EncryptWithContext(ctx, plaintext, aad))(t)
			for _, sealed := range [][]byte{x, y} {
				p, err := a.Decrypt(sealed, aad)
				q, err2 := b.DecryptWithContext(ctx, sealed, aad)
				if err != nil || err2 != nil || !bytes.Equal(p, plaintext) || !bytes.Equal(q, plaintext) || p == nil || q == nil {
					t.Fatalf("%q, %v, %q, %v", p, err, q, err2)
				}
				_, err = a.Decrypt(sealed, []byte("other"))
				wantClass(t, err, "ErrDecrypt")
				_, err = v.Scope(orgB).AEAD(ctx).Decrypt(sealed, aad)
				wantClass(t, err, "ErrWrongContext")
			}
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := v.Scope(orgA).AEAD(cancelled).Encrypt(nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := b.EncryptWithContext(cancelled, nil, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
