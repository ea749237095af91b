package pgxstore_test

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/storage/pgxstore"
)

// A vault in the application's own database.
func ExampleNew() {
	open := func(ctx context.Context, k kek.Wrapper) (*vault.Vault, error) {
		pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
		if err != nil {
			return nil, err
		}
		store, err := pgxstore.New(pool)
		if err != nil {
			return nil, err
		}
		if err := store.Migrate(ctx); err != nil {
			return nil, err
		}
		return vault.New(vault.Config{Store: store, KEK: k})
	}
	_ = open
}

// An API key is stored in the same transaction as the row that it belongs to:
// both are there, or none.
func ExampleStore_WithTx() {
	connect := func(ctx context.Context, pool *pgxpool.Pool, store *pgxstore.Store, v *vault.Vault, org, service string, apiKey []byte) error {
		tx, err := pool.Begin(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(ctx) }() // does nothing after Commit
		if _, err := tx.Exec(ctx, "INSERT INTO integrations (organization, service) VALUES ($1, $2)", org, service); err != nil {
			return err
		}
		kc := vault.KeyContext{"organization_id": org}
		if _, err := v.Put(store.WithTx(ctx, tx), kc, service+"/api-key", apiKey); err != nil {
			return err
		}
		return tx.Commit(ctx)
	}
	_ = connect
}

// The statements that make the tables, for a migration tool of your own.
func ExampleStore_Schema() {
	pool, err := pgxpool.New(context.Background(), "postgres://app@db.example.com/app") // connects when it is used
	if err != nil {
		return
	}
	defer pool.Close()
	store, err := pgxstore.New(pool, pgxstore.Options{Schema: "secrets"})
	if err != nil {
		return
	}
	fmt.Println(store.Schema()[:len("-- Tables of EmbedVault for PostgreSQL")])
	// Output: -- Tables of EmbedVault for PostgreSQL
}
