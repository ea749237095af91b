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
	answer *storage.ObjectRef // nil: the truth
}

func (s *lyingStore) GetObject(ctx context.Context, ref storage.ObjectRef) (storage.ObjectRecord, error) {
	if s.answer != nil {
		other := *s.answer
		other.Now = ref.Now
		ref = other
	}
	return s.Store.GetObject(ctx, ref)
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
