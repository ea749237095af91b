//go:build !windows

package boltstore_test

import (
	"os"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

func TestTruncatedFile(t *testing.T) {
	whole := filled(t)
	for _, n := range []int{1, 100, 4095, 4096, 8192, 8193, 12288, 16384, 1 << 16, len(whole) / 2} {
		path := newPath(t)
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, path, storage.ErrCorrupt)
		wantOpenError(t, path, storage.ErrCorrupt, boltstore.Options{ReadOnly: true})
		if err := os.WriteFile(path, whole, 0o600); err != nil { // nobody holds on to it
			t.Fatal(err)
		}
		if err := open(t, path).Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
