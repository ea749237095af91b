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

// What an application's test of who may do what looks like.
func ExampleVault_Decisions() {
	testAccess := func(t testing.TB) {
		org := vault.KeyContext{"organization_id": "org_01"}
		v := vaulttest.New(t, func(c *vault.Config) {
			c.Authorizer = vault.AuthorizerFunc(func(_ context.Context, r vault.AccessRequest) error {
				if role, _ := r.Attributes.Get("role"); role == "support" && r.Operation == vault.OpGet {
					return errors.New("support doesn't read")
				}
				return nil
			})
		})
		ctx := vault.WithActor(context.Background(), "ann")
		ctx = vault.WithActorAttributes(ctx, map[string]string{"role": "support"})
		_, err := v.Get(ctx, org, "a")
		fmt.Println("denied:", errors.Is(err, vault.ErrAccessDenied), "calls of the KEK:", v.KEK.Calls())
		for _, d := range v.Decisions(vault.OpGet) {
			fmt.Println(d.Request.Operation, d.Request.Actor, d.Err)
		}
	}
	t := new(exampleTB)
	testAccess(t)
	t.end()

	// Output:
	// denied: true calls of the KEK: 0
	// data.get ann support doesn't read
}
