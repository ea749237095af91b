package etcdstore_test

import (
	"sync"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
	"github.com/embedvault/vault/storage/storagetest"
)

// TestStore runs the suite, with a second store on a client of its own for the
// races. TestMembers races on three members.
func TestStore(t *testing.T) {
	t.Parallel()
	client := connectShared(t)
	second := connectShared(t)
	var prefixOf sync.Map
	open := func(t *testing.T, prefix string) storage.Store {
		s := newStore(t, client, etcdstore.Options{Prefix: prefix})
		prefixOf.Store(storage.Store(s), prefix)
		return s
	}
	prefix := func(s storage.Store) string {
		p, _ := prefixOf.Load(s)
		return p.(string)
	}
	storagetest.Run(t, storagetest.Harness{
		New:    func(t *testing.T) storage.Store { return open(t, newPrefix()) },
		Reopen: func(t *testing.T, s storage.Store) storage.Store { return open(t, prefix(s)) },
		Second: func(t *testing.T, s storage.Store) storage.Store {
			return newStore(t, second, etcdstore.Options{Prefix: prefix(s)})
		},
		MaxEnvelope:  1 << 20,
		CursorDriver: "etcdstore",
	})
}
