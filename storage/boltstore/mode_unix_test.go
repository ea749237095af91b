//go:build !windows

package boltstore_test

import (
	"io/fs"
	"os"
	"testing"

	"github.com/embedvault/vault/storage/boltstore"
)

func TestMode(t *testing.T) {
	for _, c := range []struct{ ask, want fs.FileMode }{{0, 0o600}, {0o640, 0o640}} {
		path := newPath(t)
		open(t, path, boltstore.Options{Mode: c.ask})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != c.want {
			t.Errorf("mode %v became %v, %v", c.ask, info.Mode(), err)
		}
	}
}
