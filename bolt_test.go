package vault_test

import (
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// openBolt opens a bbolt database that is closed when the test ends, after the
// vaults that were made later.
func openBolt(t testing.TB, path string) storage.Store {
	t.Helper()
	s, err := boltstore.Open(path)
	if err != nil {
		t.Fatalf("opening %s: %v", path, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing %s: %v", path, err)
		}
	})
	return s
}
