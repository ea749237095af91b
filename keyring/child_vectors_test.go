package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// withoutUser projects a context onto all its pairs but the user and the reserved
// ones; what has no user is a parent.
func withoutUser(k kek.Wrapper) kek.Policy {
	return kek.PolicyFunc(func(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
		if kc["user_id"] == "" {
			return one(k), nil
		}
		parent := kc.Clone()
		for pair := range kc {
			if pair == "user_id" || keyctx.IsReserved(pair) {
				delete(parent, pair)
			}
		}
		return kek.Choice{Parent: parent}, nil
	})
}

// insertVector stores a vector's key as a record, unchecked.
func insertVector(t *testing.T, s *memstore.Store, v vectors.Key, quorum uint8, ws ...vectors.Wrapping) {
	t.Helper()
	rec := storage.KeyRecord{
		KeyID: keyctx.KeyID(v.KeyID), Context: v.Context, ContextHash: keyctx.Hash(v.ContextHash),
		Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, State: storage.StateActive,
	}
	if err := s.InsertKey(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	err := s.EditKey(rec.KeyID, func(r *storage.KeyRecord) {
		r.Quorum = keyctx.Quorum(quorum)
		for _, w := range ws {
			r.Wrappings = append(r.Wrappings, keyctx.Wrapping{URI: w.URI, Wrapped: w.Wrapped})
			if id, ok := keyctx.ParseParentURI(w.URI); ok && len(ws) == 1 && quorum == 1 {
				r.ParentID = id
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The vectors, through a store and a keyring.
func TestChildKeyVectors(t *testing.T) {
	vs, err := vectors.Read[vectors.ChildKey](vectors.ChildKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		t.Run(v.Name, func(t *testing.T) {
			plain, s := &unbound{URIText: "plain:x"}, memstore.New()
			insertVector(t, s, v.Parent, 1, vectors.Wrapping{URI: plain.URI(), Wrapped: v.Parent.ContextKey})
			insertVector(t, s, v.Key, v.Quorum, v.Wrappings...)
			kc := keyctx.KeyContext(v.Context)
			w := newWorldOn(t, memkek.New("unused"), s, withPolicy(withoutUser(plain)), func(c *keyring.Config) { c.Namespace = kc.Namespace() })
			c := keyring.Context{Hash: keyctx.Hash(v.ContextHash), Pairs: kc.WithoutNamespace()}
			k, err := w.ByID(t.Context(), c, keyctx.Purpose(v.Purpose), keyctx.KeyID(v.KeyID))
			got := vectors.Valid
			switch {
			case errors.Is(err, kek.ErrPolicy):
				got = vectors.Policy
			case errors.Is(err, kek.ErrCorrupt):
				got = vectors.Corrupt
			case errors.Is(err, keyring.ErrKeyNotFound) && strings.HasPrefix(v.Name, "uri-of-another-"):
				got = vectors.Policy // of a parent that isn't stored it can't say whose it is
			case err != nil:
				t.Fatal(err)
			default:
				defer k.Release()
				if secret, err := k.AppendSecret(nil); err != nil || !bytes.Equal(secret, v.ContextKey) {
					t.Errorf("another key: %v", err)
				}
			}
			if got != v.Result {
				t.Errorf("got %q, %v, want %q", got, err, v.Result)
			}
		})
	}
}
