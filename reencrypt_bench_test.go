package vault_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// BenchmarkReencrypt moves 1 KiB objects on bbolt to a new version of their key, beside
// reading the same rows and writing the same bytes back through the same store,
// unencrypted, as many at a time. One iteration is one object.
func BenchmarkReencrypt(b *testing.B) {
	const atOnce = 64
	fill := func(b *testing.B) (*vault.Vault, *boltstore.Store, context.Context) {
		store, err := boltstore.Open(filepath.Join(b.TempDir(), "vault.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = store.Close() })
		v := open(b, vault.Config{KEK: memkek.New("bench"), Store: store})
		value, ctx := randomBytes(1<<10), context.Background()
		names := make(chan string)
		var wg sync.WaitGroup
		for range atOnce {
			wg.Go(func() {
				for name := range names {
					if _, err := v.Put(ctx, orgA, name, value); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for n := range b.N {
			names <- fmt.Sprintf("object-%08d", n)
		}
		close(names)
		wg.Wait()
		if err := v.Rotate(ctx, orgA); err != nil {
			b.Fatal(err)
		}
		return v, store, ctx
	}
	b.Run("floor", func(b *testing.B) {
		_, store, ctx := fill(b)
		b.ResetTimer()
		copyAll(ctx, b, store, atOnce)
	})
	b.Run("vault", func(b *testing.B) {
		v, _, ctx := fill(b)
		defer heapPeak(b)()
		b.ResetTimer()
		r, err := v.ReencryptObjects(ctx, vault.ReencryptOptions{All: true, Concurrency: atOnce})
		if err != nil || r.Moved != int64(b.N) {
			b.Fatalf("%+v, %v", r, err)
		}
	})
}

// heapPeak reports the most heap in use until the returned function is called, over
// what was in use before.
func heapPeak(b *testing.B) (end func()) {
	inUse := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before, peak := inUse(), uint64(0)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				peak = max(peak, inUse())
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		b.ReportMetric(float64(max(peak, before)-before)/(1<<20), "peak-MiB")
	}
}

// copyAll writes every envelope under the first key back as it is, under the second
// key's ID: the same reads and the same guarded writes, and no cryptography.
func copyAll(ctx context.Context, b *testing.B, store storage.Store, atOnce int) {
	page, err := store.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{All: true}, Purpose: keyctx.PurposeData})
	if err != nil {
		b.Fatal(err)
	}
	from, to := page.Keys[0].KeyID, page.Keys[1].KeyID
	for q := (storage.ByKeyQuery{KeyID: from, Limit: 200}); ; {
		rows, err := store.ListByKey(ctx, q)
		if err != nil {
			b.Fatal(err)
		}
		places := make(chan struct{}, atOnce)
		var wg sync.WaitGroup
		for _, row := range rows.Objects {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				rec, err := store.GetObject(ctx, storage.ObjectRef{ID: row.ID, Version: row.VersionID})
				if err == nil {
					err = store.ReplaceEnvelope(ctx, rec.ID, rec.VersionID, from, to, rec.Envelope)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if q.Cursor = rows.Next; q.Cursor == "" {
			return
		}
	}
}
