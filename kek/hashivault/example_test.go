package hashivault_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/keyctx"
	"github.com/hashicorp/vault/api"
)

// Open a key that exists, by the SDK's own client.
func ExampleNew() {
	open := func(ctx context.Context) (*hashivault.KEK, error) {
		client, err := api.NewClient(api.DefaultConfig()) // VAULT_ADDR, VAULT_TOKEN, VAULT_NAMESPACE, …
		if err != nil {
			return nil, err
		}
		return hashivault.New(ctx, client, "embedvault", hashivault.Options{
			Host: "vault.example.com", // the same in every process, for ever
		})
	}
	_ = open
}

// The whole way, with the server of package hashivaulttest in the place of a
// Vault.
func Example() {
	ctx := context.Background()
	srv := hashivaulttest.NewServer()
	defer srv.Close()
	key := srv.CreateKey("embedvault", hashivaulttest.KeyOptions{Derived: true})
	srv.SetPolicy("app", hashivaulttest.KeyPolicy("transit", "embedvault"))
	client := srv.Client(srv.CreateToken(time.Hour, "app"))

	k, err := hashivault.New(ctx, client, "embedvault", hashivault.Options{Host: "vault.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(k.URI())

	kc := keyctx.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	if err != nil {
		log.Fatal(err)
	}
	b := kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
	wrapped, err := k.Wrap(ctx, []byte("32 bytes that are some one's key"), b)
	if err != nil {
		log.Fatal(err)
	}

	key.Rotate()
	wrapped, err = k.Rewrap(ctx, wrapped, b) // done by Vault: the key isn't shown
	fmt.Println("version", k.WrappedVersion(wrapped), err)

	b.Version = 2
	_, err = k.Unwrap(ctx, wrapped, b)
	fmt.Println("another binding:", errors.Is(err, kek.ErrCorrupt))

	srv.SetPolicy("app", nil)
	b.Version = 1
	_, err = k.Unwrap(ctx, wrapped, b)
	fmt.Println("revoked:", errors.Is(err, kek.ErrDenied))
	// Output:
	// hashivault://vault.example.com/transit/keys/embedvault
	// version 2 <nil>
	// another binding: true
	// revoked: true
}
