package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/sqlstore"
)

// vaults opens the vault before and after: one line is different.
func vaults(root kek.Wrapper, bolt *boltstore.Store, sql *sqlstore.Store) (before, after *vault.Vault, err error) {
	before, err = vault.New(vault.Config{
		KEK:   root,
		Store: bolt,
	})
	if err != nil {
		return nil, nil, err
	}
	after, err = vault.New(vault.Config{
		KEK:   root,
		Store: sql,
	})
	return before, after, err
}

// check reads every secret through both vaults, those of vaults without a namespace.
func check(ctx context.Context, root kek.Wrapper, bolt *boltstore.Store, sql *sqlstore.Store, out io.Writer) error {
	before, after, err := vaults(root, bolt, sql)
	if err != nil {
		return err
	}
	defer before.Close()
	defer after.Close()
	same := 0
	q := storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, Now: time.Now()}
	for {
		page, err := bolt.ListObjects(ctx, q)
		if err != nil {
			return err
		}
		for _, rec := range page.Objects {
			if err := compare(ctx, before.Scope(rec.Context), after.Scope(rec.Context), rec.Name); err != nil {
				return err
			}
			same++
		}
		if page.Next == "" {
			break
		}
		q.Cursor = page.Next
	}
	fmt.Fprintf(out, "read through the new store: %d secrets with all their versions, the same as through the old one\n", same)
	return nil
}

// compare reads all versions of a secret, and wants them to be the same.
func compare(ctx context.Context, before, after *vault.Scope, name string) error {
	for meta, err := range before.Versions(ctx, name) {
		if err != nil {
			return err
		}
		want, err := before.Get(ctx, name, vault.AtVersion(meta.VersionID))
		if err != nil {
			return err
		}
		got, err := after.Get(ctx, name, vault.AtVersion(meta.VersionID))
		if err != nil {
			return err
		}
		if !bytes.Equal(got.Value, want.Value) {
			return fmt.Errorf("version %d of %s is another one in the new store", meta.Number, name)
		}
	}
	return nil
}
