package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

// FuzzDecrypt gives hostile bytes to everything that reads envelopes: there is no
// panic, every error has a documented class, no call goes to a KEK that the
// policy doesn't name, and what opens is what was sealed.
func FuzzDecrypt(f *testing.F) {
	named, other := memkek.New("a"), memkek.New("b")
	choice := kek.Choice{KEKs: []kek.Wrapper{named}, Quorum: kek.AnyOf, Previous: []kek.Choice{{KEKs: []kek.Wrapper{other, named}, Quorum: kek.AllOf}}}
	policy := byTenant{"org_01": choice, "org_02": one(named)}
	byRef := open(f, vault.Config{Policy: policy, Store: memstore.New(), NoBackground: true})
	alone := open(f, vault.Config{Policy: policy, NoBackground: true})
	mine := map[string]bool{}
	for _, v := range []*vault.Vault{byRef, alone} {
		s := sampleOf(f, v, orgA)
		for _, b := range [][]byte{s.message, s.dataKey} {
			f.Add(b, []byte(nil))
			f.Add(b, []byte("aad"))
		}
		f.Add([]byte(s.text), []byte(nil))
		f.Add(must(v.Encrypt(f.Context(), orgB, []byte("B's"), nil))(f), []byte(nil))
		mine["x"] = true
	}
	for _, v := range must(vectors.Read[vectors.Envelope](vectors.EnvelopeFile))(f) {
		f.Add([]byte(v.Envelope), []byte(v.AAD))
	}
	f.Fuzz(func(t *testing.T, data, aad []byte) {
		kept, keptAAD := bytes.Clone(data), bytes.Clone(aad)
		for _, v := range []*vault.Vault{byRef, alone} {
			ctx := t.Context()
			check := func(what string, got []byte, err error) {
				if err == nil {
					if !mine[string(got)] && what != "DecryptDataKey" {
						t.Fatalf("%s gives %q, which was never sealed", what, got)
					}
					return
				}
				allowed := []error{vault.ErrMalformed, vault.ErrDecrypt, vault.ErrWrongContext, vault.ErrKeyNotFound, vault.ErrPolicy, vault.ErrKEKCorrupt}
				for _, a := range allowed {
					if errors.Is(err, a) {
						return
					}
				}
				t.Fatalf("%s: %v has the classes %v", what, err, classes(err))
			}
			got, err := v.Decrypt(ctx, orgA, data, aad)
			check("Decrypt", got, err)
			s, err := v.DecryptString(ctx, orgA, string(data), aad)
			check("DecryptString", []byte(s), err)
			got, err = v.DecryptDataKey(ctx, orgA, data)
			check("DecryptDataKey", got, err)
			own := append(make([]byte, 0, len(data)+64), data...)
			if got, err = v.AppendDecrypt(ctx, orgA, own[:0], own, aad); err == nil {
				check("AppendDecrypt", got, err)
			}
			if _, err := v.Decrypt(ctx, vault.KeyContext{"organization_id": "org_03"}, data, aad); err == nil {
				t.Fatal("it opens for a context that has no KEK")
			}
		}
		info, err := vault.Inspect(data)
		if err != nil && !errors.Is(err, vault.ErrMalformed) {
			t.Fatalf("Inspect: %v", err)
		}
		if err == nil && (info.Size < 86 || len(info.KEKs) > 8 || !info.Kind.Valid()) {
			t.Fatalf("Inspect: %+v", info)
		}
		if !bytes.Equal(data, kept) || !bytes.Equal(aad, keptAAD) {
			t.Fatal("the caller's bytes were changed")
		}
	})
}

// FuzzObjectName puts under any name: it is refused by its rules alone, and what
// is taken reads back under exactly that name.
func FuzzObjectName(f *testing.F) {
	v := open(f, vault.Config{KEK: memkek.New("a"), Store: memstore.New(), NoBackground: true, KeepVersions: 1})
	for _, s := range []string{"", "x", "stripe/api-key", strings.Repeat("n", 512), strings.Repeat("n", 513), "\x00", "a\nb", "\u0085", "ü", "\xff", "../..", "%s", "\u2028", "\U0010FFFF", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		ctx := t.Context()
		valid := len(name) >= 1 && len(name) <= 512 && utf8.ValidString(name) &&
			!strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f })
		meta, err := v.Put(ctx, orgA, name, []byte(name))
		if !valid {
			_, gerr := v.Get(ctx, orgA, name)
			_, derr := v.Describe(ctx, orgA, name)
			for _, err := range []error{err, gerr, derr, v.Delete(ctx, orgA, name), firstErr(v.Versions(ctx, orgA, name))} {
				wantClass(t, err, "ErrInvalidName")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		obj, err := v.Get(ctx, orgA, name)
		if err != nil || obj.Name != name || string(obj.Value) != name || obj.ID != meta.ID {
			t.Fatalf("%q reads back as %q: %v", name, obj.Name, err)
		}
		found := false
		for m, err := range v.List(ctx, orgA, vault.ListOptions{Prefix: name}) {
			if err != nil || !strings.HasPrefix(m.Name, name) {
				t.Fatalf("%q, %v", m.Name, err)
			}
			found = found || m.Name == name
		}
		if !found {
			t.Fatalf("%q isn't listed", name)
		}
		if err := v.Delete(ctx, orgA, name); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Get(ctx, orgA, name); fmt.Sprint(classes(err)) != "[ErrNotFound]" {
			t.Fatalf("%v", err)
		}
	})
}
