package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/storagetest"
)

func open(t testing.TB, path string, opts ...boltstore.Options) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "vault.db") }

func TestStore(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{
		CursorDriver: "boltstore",
		New:          func(t *testing.T) storage.Store { return open(t, newPath(t)) },
		Reopen: func(t *testing.T, s storage.Store) storage.Store {
			old := s.(*boltstore.Store)
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, old.Path())
		},
	})
}
