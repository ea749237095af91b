package vault_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/vaulttest"
)

// Each benchmark has its floor beside it, in the same run: what counts is the
// ratio. The floor of a message is AES-256-GCM with random nonces on one
// prebuilt key, which no design with a key for each message can reach. The
// floor of storage is bbolt itself with the same bytes.
//
//	go test -run xxx -bench 'Encrypt|Decrypt' -count 6 -benchmem .

var sizes = []struct {
	name string
	n    int
}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func floorAEAD(b *testing.B) cipher.AEAD {
	block, err := aes.NewCipher(randomBytes(32))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	return aead
}

// benchVault is a vault as a program has it: no events.
func benchVault(b *testing.B) *vault.Vault {
	store := vaulttest.New(b).Store
	v, err := vault.New(vault.Config{KEK: memkek.New("bench"), Store: store})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	return v
}

func BenchmarkEncrypt(b *testing.B) {
	ctx, v := context.Background(), benchVault(b)
	kc := vault.KeyContext{"organization_id": "org_01"}
	scope := v.Scope(kc)
	for _, size := range sizes {
		plaintext := randomBytes(size.n)
		run := func(name string, f func() error) {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(size.n))
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		floor := floorAEAD(b)
		run("floor", func() error { floor.Seal(nil, nil, plaintext, nil); return nil })
		run("scope", func() error { _, err := scope.Encrypt(ctx, plaintext, nil); return err })
		run("map", func() error { _, err := v.Encrypt(ctx, kc, plaintext, nil); return err })
		buf := make([]byte, 0, size.n+200)
		run("floor-append", func() error { floor.Seal(buf, nil, plaintext, nil); return nil })
		run("scope-append", func() error { _, err := scope.AppendEncrypt(ctx, buf, plaintext, nil); return err })
	}
}

func BenchmarkDecrypt(b *testing.B) {
	ctx, v := context.Background(), benchVault(b)
	kc := vault.KeyContext{"organization_id": "org_01"}
	scope := v.Scope(kc)
	for _, size := range sizes {
		plaintext := randomBytes(size.n)
		sealed, err := scope.Encrypt(ctx, plaintext, nil)
		if err != nil {
			b.Fatal(err)
		}
		floor := floorAEAD(b)
		bare := floor.Seal(nil, nil, plaintext, nil)
		run := func(name string, f func() error) {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(size.n))
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("floor", func() error { _, err := floor.Open(nil, nil, bare, nil); return err })
		run("scope", func() error { _, err := scope.Decrypt(ctx, sealed, nil); return err })
		run("map", func() error { _, err := v.Decrypt(ctx, kc, sealed, nil); return err })
		buf := make([]byte, 0, size.n+200)
		run("floor-append", func() error { _, err := floor.Open(buf, nil, bare, nil); return err })
		run("scope-append", func() error { _, err := scope.AppendDecrypt(ctx, buf, sealed, nil); return err })
	}
}

// BenchmarkParallelEncrypt has every goroutine on one tenant, and each on its own.
func BenchmarkParallelEncrypt(b *testing.B) {
	ctx, v := context.Background(), benchVault(b)
	plaintext := randomBytes(64)
	b.Run("one-tenant", func(b *testing.B) {
		scope := v.Scope(vault.KeyContext{"organization_id": "org_01"})
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := scope.Encrypt(ctx, plaintext, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("floor", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			floor := floorAEAD(b)
			for pb.Next() {
				floor.Seal(nil, nil, plaintext, nil)
			}
		})
	})
}
