package vaulttest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/vaulttest"
)

// What a test of an application looks like. It is run by go test, which gives
// it its t; here it is called by hand.
func ExampleNew() {
	testRevocation := func(t testing.TB) {
		ctx := context.Background()
		org := vault.KeyContext{"organization_id": "org_01"}
		v := vaulttest.New(t)

		v.KEK.SetFault(memkek.Denied) // the customer revokes their key
		_, err := v.Encrypt(ctx, org, []byte("secret"), nil)
		fmt.Println("denied:", errors.Is(err, vault.ErrKEKDenied))
		for _, e := range v.Events(vault.KEKDenied) {
			fmt.Println(e.Name, e.KEK)
		}
	}
	t := new(exampleTB)
	testRevocation(t)
	t.end()

	// Output:
	// denied: true
	// kek.denied mem:test
}

// exampleTB stands for the *testing.T that an example doesn't have.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (t *exampleTB) Helper() {}

func (t *exampleTB) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

func (t *exampleTB) end() {
	for _, f := range t.cleanups {
		f()
	}
}
