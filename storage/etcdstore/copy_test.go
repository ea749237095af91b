package etcdstore_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/etcdstore"
	"github.com/embedvault/vault/storage/memstore"
)

// TestCopyFromBolt copies a file to etcd and back, and what is in the way.
func TestCopyFromBolt(t *testing.T) {
	t.Parallel()
	src, err := boltstore.Open(filepath.Join(t.TempDir(), "vault.db"))
	must(t, err)
	defer src.Close()
	// By way of memory: bbolt syncs each put, but not each of many at once.
	first := memstore.New()
	for i := range 8 {
		k := key(t, i, 1)
		must(t, first.InsertKey(t.Context(), k))
		for n := range 20 {
			for v := range 1 + n%3 {
				put(t, first, object(t, i, fmt.Sprint("n", n), func(r *storage.ObjectRecord) {
					r.KeyID = k.KeyID
					r.UniqueName = i == 3
					if n == 7 {
						r.ExpiresAt = now.UnixMicro()
					}
					r.Envelope = make([]byte, v*3000)
				}))
			}
		}
	}
	_, err = storage.Copy(t.Context(), src, first, storage.CopyOptions{Workers: 64})
	must(t, err)

	dst := newStore(t, connectShared(t), etcdstore.Options{})
	report, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	must(t, err)
	if report.KeysCopied != 8 || report.VersionsCopied != report.Versions || report.Objects != 160 {
		t.Errorf("copied %+v", report)
	}
	must(t, dst.Audit(t.Context(), false))
	for _, pair := range [][2]storage.Store{{dst, src}, {first, dst}} {
		report, err = storage.Copy(t.Context(), pair[0], pair[1], storage.CopyOptions{VerifyOnly: true})
		if err != nil || report.ExtraKeys+report.ExtraObjects+report.ExtraVersions > 0 {
			t.Errorf("verified %+v, %v", report, err)
		}
	}
	report, err = storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	if err != nil || report.Changed() {
		t.Errorf("again: %+v, %v", report, err)
	}
	put(t, dst, object(t, 1, "n1"))
	if _, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{}); !errors.Is(err, storage.ErrCopyDiffers) {
		t.Errorf("into a store that is in use: %v", err)
	}
}
