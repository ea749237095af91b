package vault_test

import (
	"context"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// lyingStore answers with another row than the one asked for, whole and in
// itself right: what a collation that folds case does, or someone who writes to
// the database.
type lyingStore struct {
	*memstore.Store
	answer    *storage.ObjectRef // nil: the truth
	everybody bool
}

func (s *lyingStore) GetObject(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
	if s.answer != nil {
		other := *s.answer
		other.Now = ref.Now
		ref = other
	}
	return s.Store.GetObject(ctx, ref)
}

// ListObjects lists everybody's, if it lies.
func (s *lyingStore) ListObjects(ctx context.Context, q storage.ObjectQuery) (storage.ObjectPage, error) {
	if s.everybody {
		q.Contexts = storage.ContextFilter{All: true, AnyNamespace: true}
	}
	return s.Store.ListObjects(ctx, q)
}

// A cursor comes from outside: what a store makes of a made-up one must show nobody
// the names of others.
func TestStoreThatListsOthers(t *testing.T) {
	store := &lyingStore{Store: memstore.New()}
	inNamespace := func(ns string) *vault.Vault {
		v, err := vault.New(vault.Config{KEK: memkek.New("test"), Store: store, Namespace: ns})
		ok(t, err)
		t.Cleanup(func() { _ = v.Close() })
		return v
	}
	v, other := inNamespace("one"), inNamespace("two")
	ctx := t.Context()
	must(v.Put(ctx, orgA, "mine", []byte("x")))(t)
	for _, within := range []bool{false, true} {
		opts := vault.ListOptions{Within: within}
		store.everybody = false
		must(v.ListPage(ctx, orgA, opts))(t)
		store.everybody = true
		must(v.ListPage(ctx, orgA, opts))(t) // there is nothing else yet
		must(other.Put(ctx, orgA, "another application's", []byte("x")))(t)
		_, err := v.ListPage(ctx, orgA, opts)
		wantClass(t, err, "ErrStoreCorrupt")
		ok(t, other.Delete(ctx, orgA, "another application's"))
		must(v.Put(ctx, orgB, "another tenant's", []byte("x")))(t)
		for _, err = range v.List(ctx, orgA, opts) {
			if err != nil {
				break
			}
		}
		wantClass(t, err, "ErrStoreCorrupt")
		ok(t, v.Delete(ctx, orgB, "another tenant's"))
	}
}

// What is asked for is what counts, not what the row says of itself.
func TestStoreThatAnswersWithAnotherRow(t *testing.T) {
	store := &lyingStore{Store: memstore.New()}
	v, err := vault.New(vault.Config{KEK: memkek.New("test"), Store: store})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ctx := t.Context()
	x1 := must(v.Put(ctx, orgA, "x", []byte("x1")))(t)
	x2 := must(v.Put(ctx, orgA, "x", []byte("x2")))(t)
	y := must(v.Put(ctx, orgA, "y", []byte("y")))(t)
	b := must(v.Put(ctx, orgB, "x", []byte("of another tenant")))(t)

	store.answer = &storage.ObjectRef{ID: y.ID}
	_, err = v.Get(ctx, orgA, "x")
	wantClass(t, err, "ErrDecrypt")

	store.answer = &storage.ObjectRef{ID: x1.ID, Version: x1.VersionID}
	_, err = v.Get(ctx, orgA, "x", vault.AtVersion(x2.VersionID))
	wantClass(t, err, "ErrDecrypt")

	store.answer = &storage.ObjectRef{ID: b.ID}
	_, err = v.Get(ctx, orgA, "x")
	wantClass(t, err, "ErrWrongContext")

	store.answer = nil
	if obj, err := v.Get(ctx, orgA, "x"); err != nil || string(obj.Value) != "x2" {
		t.Fatalf("%v, %v", obj, err)
	}
}
