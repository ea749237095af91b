package boltstore

import (
	"path/filepath"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/storagetest"
)

// TestStoreByJournal runs the suite with a journal that is emptied after every
// few writes.
func TestStoreByJournal(t *testing.T) {
	t.Parallel()
	newStore := func(t *testing.T, path string) *Store {
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		s.journalLimit = 700
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	storagetest.Run(t, storagetest.Harness{
		CursorDriver: "boltstore",
		New: func(t *testing.T) storage.Store {
			return newStore(t, filepath.Join(t.TempDir(), "vault.db"))
		},
		Reopen: func(t *testing.T, s storage.Store) storage.Store {
			old := s.(*Store)
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			return newStore(t, old.path)
		},
	})
}
