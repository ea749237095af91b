// Byok shows a customer's own key from its first day to its revocation: two
// customers with keys in two different systems, and one without.
//
//	go run ./examples/byok
//
// It needs no account and no network: AWS KMS and HashiCorp Vault are the servers
// that the drivers bring for tests, which the providers' own SDKs talk to here over
// loopback. With real ones, clouds.go is what would be different. It leaves nothing
// behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
)

// ttl is how long an unwrapped key is cached. In production minutes; here so short
// that one can watch.
const ttl = 2 * time.Second

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "byok:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "byok-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	world, err := startClouds()
	if err != nil {
		return err
	}
	defer world.close()
	ours, err := tinkkek.LoadOrCreate(filepath.Join(dir, "our-keyset.json"))
	if err != nil {
		return err
	}
	table, err := openTable(filepath.Join(dir, "app.db"), ours, world.open)
	if err != nil {
		return err
	}
	defer table.close()
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	v, err := vault.New(vault.Config{
		Policy: table,
		Store:  store,
		Cache:  vault.CacheConfig{TTL: ttl, ActiveKeyTTL: ttl / 2},
	})
	if err != nil {
		return err
	}
	defer v.Close()
	s := &story{v: v, table: table, world: world}
	for _, step := range []func(context.Context) error{
		s.everybodyWrites, s.customersBringKeys, s.rewrap, s.forgetOurKey, s.revoke, s.restore, s.wrongKey,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
