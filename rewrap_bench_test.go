package vault_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/boltstore"
)

// BenchmarkRewrap moves the keys of b.N contexts to a KEK's newest version, on
// bbolt with a KEK in memory: what a pass costs beside the KMS.
//
//	go test -run '^$' -bench Rewrap -benchtime 20000x .
func BenchmarkRewrap(b *testing.B) {
	store, err := boltstore.Open(filepath.Join(b.TempDir(), "vault.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	key := memkek.New("bench")
	v := open(b, vault.Config{KEK: key, Store: store})
	kcs := make([]vault.KeyContext, b.N)
	for i := range kcs {
		kcs[i] = vault.KeyContext{"organization_id": fmt.Sprintf("org_%07d", i)}
	}
	if err := v.Prepare(context.Background(), kcs...); err != nil {
		b.Fatal(err)
	}
	key.Rotate()
	defer heapPeak(b)()
	b.ResetTimer()
	r, err := v.Rewrap(context.Background(), vault.RewrapOptions{All: true, Concurrency: 64})
	if err != nil || r.Moved != int64(b.N) {
		b.Fatalf("%+v, %v", r, err)
	}
}
