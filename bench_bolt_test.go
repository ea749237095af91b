package vault_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/boltstore"
)

// boltBench is a vault on bbolt and, beside it, a bare bbolt database.
func boltBench(b *testing.B) (*vault.Vault, *bbolt.DB) {
	dir := b.TempDir()
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	v, err := vault.New(vault.Config{KEK: memkek.New("bench"), Store: store})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	bare, err := bbolt.Open(filepath.Join(dir, "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = bare.Close() })
	if err := bare.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte("b"))
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return v, bare
}

// BenchmarkBoltPut puts 1 KiB values under new names, beside what bbolt takes
// for the same bytes, alone and with 64 writers at once.
func BenchmarkBoltPut(b *testing.B) {
	ctx := context.Background()
	v, bare := boltBench(b)
	scope := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	value := randomBytes(1 << 10)
	stored := randomBytes(1<<10 + 86 + 200) // with envelope and metadata
	put := func(name string) error { _, err := scope.Put(ctx, name, value); return err }
	update := func(name string) error {
		return bare.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("b")).Put([]byte(name), stored) })
	}
	batch := func(name string) error {
		return bare.Batch(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("b")).Put([]byte(name), stored) })
	}
	for _, w := range []struct {
		name string
		f    func(string) error
	}{{"floor", update}, {"vault", put}} {
		b.Run("alone/"+w.name, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				if err := w.f(fmt.Sprintf("alone-%08d", n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for _, w := range []struct {
		name string
		f    func(string) error
	}{{"floor", batch}, {"vault", put}} {
		b.Run("64-writers/"+w.name, func(b *testing.B) {
			names := make(chan string, 256)
			go func() {
				defer close(names)
				for n := range b.N {
					names <- fmt.Sprintf("many-%s-%08d", w.name, n)
				}
			}()
			b.ResetTimer()
			errs := make(chan error, 64)
			for range 64 {
				go func() {
					var err error
					for name := range names {
						if e := w.f(name); e != nil {
							err = e
						}
					}
					errs <- err
				}()
			}
			for range 64 {
				if err := <-errs; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBoltGet gets a 1 KiB value, beside a bare read of the same bytes.
func BenchmarkBoltGet(b *testing.B) {
	ctx := context.Background()
	v, bare := boltBench(b)
	scope := v.Scope(vault.KeyContext{"organization_id": "org_01"})
	value := randomBytes(1 << 10)
	const objects = 1000
	for n := range objects {
		name := fmt.Sprintf("object-%04d", n)
		if _, err := scope.Put(ctx, name, value); err != nil {
			b.Fatal(err)
		}
		if err := bare.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("b")).Put([]byte(name), value) }); err != nil {
			b.Fatal(err)
		}
	}
	names := make([]string, objects)
	for n := range names {
		names[n] = fmt.Sprintf("object-%04d", n)
	}
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if err := bare.View(func(tx *bbolt.Tx) error {
				got := tx.Bucket([]byte("b")).Get([]byte(names[n%objects]))
				_ = append([]byte(nil), got...)
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("vault", func(b *testing.B) {
		b.ReportAllocs()
		for n := 0; b.Loop(); n++ {
			if _, err := scope.Get(ctx, names[n%objects]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
