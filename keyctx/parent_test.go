package keyctx_test

import (
	"strings"
	"testing"

	"github.com/embedvault/vault/keyctx"
)

func TestParentURI(t *testing.T) {
	id := keyctx.KeyID{0xab, 31: 0x01}
	uri := keyctx.ParentURI(id)
	if want := "vault-key:ab" + strings.Repeat("00", 30) + "01"; uri != want {
		t.Fatalf("ParentURI: got %s, want %s", uri, want)
	}
	if got, ok := keyctx.ParseParentURI(uri); !ok || got != id {
		t.Fatalf("ParseParentURI: got %v, %v", got, ok)
	}
	for name, bad := range map[string]string{
		"empty":      "",
		"prefix":     "vault-key:",
		"short":      uri[:len(uri)-1],
		"long":       uri + "0",
		"upper case": strings.ToUpper(uri[:12]) + uri[12:],
		"digits":     "vault-key:AB" + uri[12:],
		"no digits":  "vault-key:" + strings.Repeat("g", 64),
		"zero":       "vault-key:" + strings.Repeat("0", 64),
		"space":      " " + uri,
		"a KEK's":    "aws-kms://x",
	} {
		if got, ok := keyctx.ParseParentURI(bad); ok || !got.IsZero() {
			t.Errorf("%s: ParseParentURI takes it: %v", name, got)
		}
	}
}

func TestParentOf(t *testing.T) {
	id := keyctx.KeyID{1}
	under, kek := keyctx.Wrapping{URI: keyctx.ParentURI(id)}, keyctx.Wrapping{URI: "kek:1"}
	for name, c := range map[string]struct {
		quorum    keyctx.Quorum
		wrappings []keyctx.Wrapping
		id        keyctx.KeyID
		under     bool
	}{
		"a child's":     {keyctx.AnyOf, []keyctx.Wrapping{under}, id, true},
		"nothing":       {keyctx.AnyOf, nil, keyctx.KeyID{}, false},
		"a KEK's":       {keyctx.AnyOf, []keyctx.Wrapping{kek}, keyctx.KeyID{}, false},
		"both":          {keyctx.AnyOf, []keyctx.Wrapping{kek, under}, keyctx.KeyID{}, true},
		"two":           {keyctx.AnyOf, []keyctx.Wrapping{under, under}, keyctx.KeyID{}, true},
		"all-of":        {keyctx.AllOf, []keyctx.Wrapping{under}, keyctx.KeyID{}, true},
		"no quorum":     {0, []keyctx.Wrapping{under}, keyctx.KeyID{}, true},
		"no ID":         {keyctx.AnyOf, []keyctx.Wrapping{{URI: "vault-key:x"}}, keyctx.KeyID{}, true},
		"similar words": {keyctx.AnyOf, []keyctx.Wrapping{{URI: "vault-keys:x"}}, keyctx.KeyID{}, false},
	} {
		if got, u := keyctx.ParentOf(c.quorum, c.wrappings); got != c.id || u != c.under {
			t.Errorf("%s: got %v, %v, want %v, %v", name, got, u, c.id, c.under)
		}
	}
}

func FuzzParseParentURI(f *testing.F) {
	f.Add("vault-key:")
	f.Add(keyctx.ParentURI(keyctx.KeyID{1}))
	f.Fuzz(func(t *testing.T, uri string) {
		if id, ok := keyctx.ParseParentURI(uri); ok && keyctx.ParentURI(id) != uri {
			t.Fatalf("%q is read as %v and not written so", uri, id)
		}
	})
}
