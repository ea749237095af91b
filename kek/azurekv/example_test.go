package azurekv_test

import (
	"context"
	"fmt"
	"log"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
	"github.com/embedvault/vault/keyctx"
)

// exampleBinding is what the vault binds a wrapped key to.
func exampleBinding() kek.Binding {
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	if err != nil {
		log.Fatal(err)
	}
	return kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
}

// openRoot is in docs/providers/azure-key-vault.md, word for word.
func openRoot(ctx context.Context, credential azcore.TokenCredential, o *azkeys.ClientOptions, signingKey string, pinned []byte) (*azurekv.KEK, error) {
	client, err := azkeys.NewClient("https://contoso.vault.azure.net", credential, o)
	if err != nil {
		return nil, err
	}
	verifying, err := azurekv.ParseVerifyingKeys(pinned)
	if err != nil {
		return nil, err
	}
	return azurekv.New(ctx, client, "https://contoso.vault.azure.net/keys/vault-root", azurekv.Options{
		SigningKey:    signingKey,
		VerifyingKeys: verifying,
	})
}

// An RSA key, and another that signs. The server stands in for Azure.
func Example() {
	srv, err := azurekvtest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	for _, name := range []string{"vault-root", "vault-sign"} {
		if _, err := srv.CreateKey("https://contoso.vault.azure.net/keys/"+name, azurekvtest.RSA2048); err != nil {
			log.Fatal(err)
		}
	}

	// Once, when the keys are set up: what to put into the configuration.
	ctx := context.Background()
	admin, err := srv.ClientAs("admin", "contoso.vault.azure.net")
	if err != nil {
		log.Fatal(err)
	}
	signingKey, pinned, err := azurekv.FetchVerifyingKey(ctx, admin, "https://contoso.vault.azure.net/keys/vault-sign", azurekv.Options{})
	if err != nil {
		log.Fatal(err)
	}

	// At each start.
	root, err := openRoot(ctx, srv.Credential(azurekvtest.App), srv.ClientOptions(), signingKey, pinned)
	if err != nil {
		log.Fatal(err)
	}
	wrapped, err := root.Wrap(ctx, []byte("the 32 bytes of some context key"), exampleBinding())
	if err != nil {
		log.Fatal(err)
	}
	key, err := root.Unwrap(ctx, wrapped, exampleBinding())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI())
	fmt.Printf("%s\n", key)
	for _, e := range srv.Log() {
		fmt.Println(e.Identity, e.Operation, e.Result)
	}
	// Output:
	// azure-kv://contoso.vault.azure.net/keys/vault-root
	// the 32 bytes of some context key
	// admin KeyGet OK
	// app KeyGet OK
	// app KeyGet OK
	// app KeyWrap OK
	// app KeyGet OK
	// app KeySign OK
	// app KeyUnwrap OK
}

// An oct-HSM key of a Managed HSM needs no signing key.
func ExampleNew_managedHSM() {
	srv, err := azurekvtest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	if _, err := srv.CreateKey("https://contoso.managedhsm.azure.net/keys/vault-root", azurekvtest.AES256); err != nil {
		log.Fatal(err)
	}
	client, err := srv.Client("contoso.managedhsm.azure.net")
	if err != nil {
		log.Fatal(err)
	}
	root, err := azurekv.New(context.Background(), client, "https://contoso.managedhsm.azure.net/keys/vault-root", azurekv.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(root.URI())
	// Output: azure-kv://contoso.managedhsm.azure.net/keys/vault-root
}

// Before a customer's key is relied on.
func ExampleKEK_Check() {
	srv, err := azurekvtest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	theirs, err := srv.CreateKey("https://customer.managedhsm.azure.net/keys/theirs", azurekvtest.AES256)
	if err != nil {
		log.Fatal(err)
	}
	client, err := srv.Client("customer.managedhsm.azure.net")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	k, err := azurekv.New(ctx, client, theirs.ID(), azurekv.Options{})
	if err != nil {
		log.Fatal(err)
	}
	theirs.Disable()
	status, err := k.Check(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(status.Usable, status.Reason)
	// Output: false KeyDisabled
}
