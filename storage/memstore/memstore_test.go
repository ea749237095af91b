package memstore_test

import (
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{
		New: func(*testing.T) storage.Store { return memstore.New() },
	})
}
