package vectors_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

// readChild follows "Child keys" step by step; it is a second reader.
func readChild(v vectors.ChildKey) ([]byte, vectors.Result) {
	if v.Quorum != 1 || len(v.Wrappings) != 1 || v.Wrappings[0].URI != "vault-key:"+hex.EncodeToString(v.Parent.KeyID) {
		return nil, vectors.Policy
	}
	if v.Parent.Purpose != 3 || !narrower(v.Context, v.Parent.Context) {
		return nil, vectors.Policy
	}
	w := v.Wrappings[0].Wrapped
	if len(w) != 1+24+12+32+16 || w[0] != 1 {
		return nil, vectors.Corrupt
	}
	kek := expand(v.Parent.ContextKey, slices.Concat([]byte("vault/v1/kek"), w[1:25]))
	secret, err := gcm(kek).Open(nil, nil, w[25:], v.Binding)
	if err != nil || bytes.Equal(secret, make([]byte, 32)) {
		return nil, vectors.Corrupt
	}
	info := slices.Concat([]byte("vault/v1/kid"), v.ContextHash, []byte{v.Purpose}, u32(v.Version))
	if !bytes.Equal(expand(secret, info), v.KeyID) {
		return nil, vectors.Corrupt
	}
	return secret, vectors.Valid
}

// narrower reports whether a parent can be of a context: a strict subset of its
// pairs in the same namespace.
func narrower(context, parent map[string]string) bool {
	if context["vault:namespace"] != parent["vault:namespace"] || len(parent) >= len(context) {
		return false
	}
	for k, v := range parent {
		if context[k] != v {
			return false
		}
	}
	return true
}

// unwrapChild is the same with the packages of this module. Package keyring has its
// own way, with a policy, a store and a cache.
func unwrapChild(t *testing.T, v vectors.ChildKey) ([]byte, vectors.Result) {
	t.Helper()
	parent := newKey(t, v.Parent)
	defer parent.Destroy()
	ws := make([]keyctx.Wrapping, len(v.Wrappings))
	for i, w := range v.Wrappings {
		ws[i] = keyctx.Wrapping{URI: w.URI, Wrapped: w.Wrapped}
	}
	id, under := keyctx.ParentOf(keyctx.Quorum(v.Quorum), ws)
	if !under || id != parent.ID() || v.Parent.Purpose != uint8(keyctx.PurposeWrapping) || !narrower(v.Context, v.Parent.Context) {
		return nil, vectors.Policy
	}
	b := bindingOf(v.Key)
	secret, err := parent.UnwrapChild(ws[0].Wrapped, b.AppendBytes(nil))
	switch {
	case errors.Is(err, envelope.ErrMalformed), errors.Is(err, envelope.ErrDecrypt):
		return nil, vectors.Corrupt
	case err != nil:
		t.Fatal(err)
	case !isKey(secret, b):
		return nil, vectors.Corrupt
	}
	return secret, vectors.Valid
}

func TestChildKeys(t *testing.T) {
	count := map[vectors.Result]int{}
	for _, v := range read[vectors.ChildKey](t, vectors.ChildKeyFile) {
		t.Run(v.Name, func(t *testing.T) {
			newKey(t, v.Key)
			b := bindingOf(v.Key)
			if got := b.AppendBytes(nil); !bytes.Equal(got, v.Binding) {
				t.Errorf("binding: got %x, want %x", got, v.Binding)
			}
			if got := expand(v.Parent.ContextKey, slices.Concat([]byte("vault/v1/kek"), v.Salt)); !bytes.Equal(got, v.WrappingKey) {
				t.Errorf("wrapping key: got %x, want %x", got, v.WrappingKey)
			}
			for name, f := range map[string]func() ([]byte, vectors.Result){
				"second reader": func() ([]byte, vectors.Result) { return readChild(v) },
				"module":        func() ([]byte, vectors.Result) { return unwrapChild(t, v) },
			} {
				secret, result := f()
				if result != v.Result || result == vectors.Valid && !bytes.Equal(secret, v.ContextKey) {
					t.Errorf("%s: got %q %x, want %q", name, result, secret, v.Result)
				}
			}
			count[v.Result]++
		})
	}
	if want := (map[vectors.Result]int{vectors.Valid: 10, vectors.Corrupt: 32, vectors.Policy: 18}); !maps.Equal(count, want) {
		t.Errorf("%v, want %v", count, want)
	}
}

// What the module wraps the second reader unwraps.
func TestWrapChildAgain(t *testing.T) {
	v := read[vectors.ChildKey](t, vectors.ChildKeyFile)[0]
	b := bindingOf(v.Key)
	wrapped, err := newKey(t, v.Parent).WrapChild(newKey(t, v.Key), b.AppendBytes(nil))
	if err != nil {
		t.Fatal(err)
	}
	v.Wrappings[0].Wrapped = wrapped
	if secret, result := readChild(v); result != vectors.Valid || !bytes.Equal(secret, v.ContextKey) {
		t.Fatalf("got %q %x", result, secret)
	}
}
