package awskms_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/storage/memstore"
)

// openVault is what docs/providers/aws-kms.md shows.
func openVault(ctx context.Context, client *kms.Client) (*vault.Vault, error) {
	root, err := awskms.New(ctx, client, "alias/vault", awskms.Options{})
	if err != nil {
		return nil, err
	}
	status, err := root.Check(ctx)
	if err != nil {
		return nil, err
	}
	if !status.Usable {
		return nil, fmt.Errorf("the key %s can't be used: %s", root.URI(), status.Reason)
	}
	return vault.New(vault.Config{KEK: root, Store: memstore.New()})
}

// A program of yours makes its client by kms.NewFromConfig; this one has a fake
// KMS instead of AWS.
func Example() {
	srv, err := awskmstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	key := srv.CreateKey(awskmstest.KeyOptions{})
	key.SetAlias("alias/vault")

	ctx := context.Background()
	v, err := openVault(ctx, srv.Client(key.Region()))
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	org := vault.KeyContext{"organization_id": "org_01"}
	sealed, err := v.Encrypt(ctx, org, []byte("secret"), nil)
	if err != nil {
		log.Fatal(err)
	}
	plain, err := v.Decrypt(ctx, org, sealed, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", plain)

	for _, e := range srv.Events() { // what CloudTrail would show
		if e.EventName == "Encrypt" {
			fmt.Println(e.EventName, e.EncryptionContext["organization_id"], e.EncryptionContext["vault:purpose"])
		}
	}
	// Output:
	// secret
	// Encrypt org_01 1
}

// A customer revokes their key, and gives it back.
func Example_revoked() {
	srv, err := awskmstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	key := srv.CreateKey(awskmstest.KeyOptions{Account: "444455556666"}) // the customer's account
	app := srv.Principal(awskmstest.DefaultPrincipal)
	key.Allow(app)
	customer, err := awskms.New(ctx, app.Client(key.Region()), key.ARN(), awskms.Options{})
	if err != nil {
		log.Fatal(err)
	}
	wrapped, err := customer.Wrap(ctx, make([]byte, 32), exampleBinding())
	if err != nil {
		log.Fatal(err)
	}

	key.Disable()
	_, err = customer.Unwrap(ctx, wrapped, exampleBinding())
	fmt.Println(errors.Is(err, kek.ErrDenied))
	status, err := customer.Check(ctx)
	fmt.Println(status.Usable, status.Reason, err)

	key.Enable()
	_, err = customer.Unwrap(ctx, wrapped, exampleBinding())
	fmt.Println(err)
	// Output:
	// true
	// false Disabled <nil>
	// <nil>
}

func exampleBinding() kek.Binding {
	kc := vault.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	if err != nil {
		log.Fatal(err)
	}
	return kek.Binding{ContextHash: hash, Purpose: 1, Version: 1, Context: kc}
}
