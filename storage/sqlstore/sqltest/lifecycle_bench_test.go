package sqltest

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// benchedVault is a vault on PostgreSQL with 16 connections.
func benchedVault(b *testing.B) (*vault.Vault, *memkek.KEK, storage.Store) {
	s, db := engines[0].store(b)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	key := memkek.New("bench")
	v, err := vault.New(vault.Config{KEK: key, Store: s})
	noError(b, err)
	b.Cleanup(func() { _ = v.Close() })
	return v, key, s
}

// BenchmarkRewrap moves the keys of b.N contexts to a KEK's newest version.
//
//	go test -run '^$' -bench Rewrap -benchtime 20000x .
func BenchmarkRewrap(b *testing.B) {
	v, key, _ := benchedVault(b)
	kcs := make([]vault.KeyContext, b.N)
	for i := range kcs {
		kcs[i] = tenant(i)
	}
	noError(b, v.Prepare(context.Background(), kcs...))
	key.Rotate()
	defer heapPeak(b)()
	b.ResetTimer()
	r, err := v.Rewrap(context.Background(), vault.RewrapOptions{All: true, Concurrency: 16})
	if err != nil || r.Moved != int64(b.N) {
		b.Fatalf("%+v, %v", r, err)
	}
}

// BenchmarkReencrypt moves b.N objects of 1 KiB to a new key; the floor reads and
// writes the same rows with the same guards, and has no cryptography.
//
//	go test -run '^$' -bench Reencrypt -benchtime 100000x .
func BenchmarkReencrypt(b *testing.B) {
	const atOnce = 16
	kc := tenant(1)
	filled := func(b *testing.B) (*vault.Vault, storage.Store) {
		v, _, s := benchedVault(b)
		value := make([]byte, 1024)
		atOnceDo(b, atOnce, func(i int) error {
			_, err := v.Put(context.Background(), kc, fmt.Sprintf("object-%08d", i), value)
			return err
		})
		noError(b, v.Rotate(context.Background(), kc))
		return v, s
	}
	b.Run("floor", func(b *testing.B) {
		_, s := filled(b)
		keys, err := s.ListKeys(context.Background(), storage.KeyQuery{Contexts: storage.ContextFilter{All: true}, Purpose: keyctx.PurposeData})
		noError(b, err)
		from, to := keys.Keys[0].KeyID, keys.Keys[1].KeyID
		var rows []storage.ObjectRecord
		b.ResetTimer()
		for q := (storage.ByKeyQuery{KeyID: from, Limit: 1000}); ; {
			page, err := s.ListByKey(context.Background(), q)
			noError(b, err)
			rows = append(rows, page.Objects...)
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		atOnceDo(b, atOnce, func(i int) error {
			rec, err := s.GetObject(context.Background(), storage.ObjectRef{ID: rows[i].ID, Version: rows[i].VersionID})
			if err != nil {
				return err
			}
			return s.ReplaceEnvelope(context.Background(), rec.ID, rec.VersionID, from, to, rec.Envelope)
		})
	})
	b.Run("vault", func(b *testing.B) {
		v, _ := filled(b)
		defer heapPeak(b)()
		b.ResetTimer()
		r, err := v.ReencryptObjects(context.Background(), vault.ReencryptOptions{All: true, Concurrency: atOnce})
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

// atOnceDo runs f for 0 to b.N-1, n at a time.
func atOnceDo(b *testing.B, n int, f func(i int) error) {
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for i := w; i < b.N; i += n {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
