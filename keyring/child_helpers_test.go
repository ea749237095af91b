package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

const wrapping = keyctx.PurposeWrapping

// under is a policy that puts contexts under parents, on top of inner.
func under(t testing.TB, inner kek.Policy, keys ...string) *kek.Hierarchy {
	t.Helper()
	h, err := kek.Under(inner, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// newFamily is a keyring whose users' keys are under their organisations'.
func newFamily(t testing.TB, change ...func(*keyring.Config)) *world {
	t.Helper()
	k := memkek.New("test")
	return newWorldOn(t, k, memstore.New(), append([]func(*keyring.Config){familyOf(t, k)}, change...)...)
}

// cousin is another process on the same KEK and the same store.
func (w *world) cousin(t testing.TB, change ...func(*keyring.Config)) *world {
	t.Helper()
	k := w.kek.Peer()
	return newWorldOn(t, k, w.store, append([]func(*keyring.Config){familyOf(t, k)}, change...)...)
}

func familyOf(t testing.TB, k kek.Wrapper) func(*keyring.Config) {
	return withPolicy(under(t, kek.Fixed(k), "organization_id"))
}

// user is a user of tenant(org).
func user(org, n int) keyring.Context {
	kc := tenant(org).Pairs
	kc["user_id"] = fmt.Sprint("u_", n)
	return contextOf(kc)
}

// parentOf is the newest wrapping key of a context.
func (w *world) parentOf(t testing.TB, c keyring.Context) storage.KeyRecord {
	t.Helper()
	rec, err := w.store.LatestKey(context.Background(), c.Hash, wrapping)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// edit changes a record as whoever can write to the database can.
func (w *world) edit(t testing.TB, id keyctx.KeyID, f func(*storage.KeyRecord)) {
	t.Helper()
	if err := w.store.EditKey(id, f); err != nil {
		t.Fatal(err)
	}
}

// setState changes the state of a key as an operator's tool does.
func (w *world) setState(t testing.TB, id keyctx.KeyID, state storage.State) {
	t.Helper()
	rec := w.record(t, id)
	rec.State = state
	if state == storage.StateShredded {
		rec.Quorum, rec.Wrappings = 0, nil
	}
	if err := w.store.UpdateKey(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
}

// rotateParent makes a new version of a context's wrapping key.
func (w *world) rotateParent(t testing.TB, c keyring.Context) keyctx.KeyID {
	t.Helper()
	k, err := w.Rotate(context.Background(), c, wrapping)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	return k.ID()
}

// wantUnder fails unless a key is wrapped under this one, alone and by any-of.
func (w *world) wantUnder(t testing.TB, id, parent keyctx.KeyID) {
	t.Helper()
	rec := w.record(t, id)
	if rec.ParentID != parent || rec.Quorum != keyctx.AnyOf || len(rec.Wrappings) != 1 ||
		rec.Wrappings[0].URI != "vault-key:"+parent.String() || len(rec.Wrappings[0].Wrapped) != 85 {
		t.Fatalf("key %s: quorum %v, parent %v, wrapped under %v, want under %s", id.Short(), rec.Quorum, rec.ParentID, uris(rec), parent.Short())
	}
}

// wantBoth fails unless both ways to a key give what is wanted.
func wantBoth(t testing.TB, w *world, c keyring.Context, id keyctx.KeyID, want error, not ...error) {
	t.Helper()
	wantErr(t, tryByID(w, c, id), want, not...)
	wantErr(t, tryActive(w, c), want, not...)
}

// errCut is what a store gives that can't be reached.
var errCut = errors.Join(storage.ErrUnavailable, errors.New("told to fail"))
