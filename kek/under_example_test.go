package kek_test

import (
	"context"
	"fmt"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

// A thousand users of two organisations cost two calls to wrap, and two to check
// what was wrapped.
func ExampleUnder() {
	kms := memkek.New("kms")
	policy, err := kek.Under(kek.Fixed(kms), "organization_id")
	if err != nil {
		panic(err)
	}
	v, err := vault.New(vault.Config{Policy: policy, Store: memstore.New()})
	if err != nil {
		panic(err)
	}
	defer v.Close()
	for n := range 1000 {
		user := vault.KeyContext{"organization_id": fmt.Sprint("org_", n%2), "user_id": fmt.Sprint("user_", n)}
		if _, err := v.Encrypt(context.Background(), user, []byte("secret"), nil); err != nil {
			panic(err)
		}
	}
	fmt.Println("calls to the KMS:", kms.Calls())
	// Output: calls to the KMS: 4
}
