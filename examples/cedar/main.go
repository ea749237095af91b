// Command cedar plugs a policy engine into the vault: Cedar's policies decide who may do
// what, and the audit says who did, and why.
//
//	go run ./examples/cedar
package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

//go:embed policies.cedar
var policies []byte

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	authorizer, err := NewAuthorizer("policies.cedar", policies)
	if err != nil {
		return err
	}
	v, err := vault.New(vault.Config{
		KEK: memkek.New("example"), Store: memstore.New(), Authorizer: authorizer,
		OnEvent: func(_ context.Context, e vault.Event) error {
			fmt.Fprintf(out, "  audit: %s by %s, reason %q, denied: %v\n", e.Name, e.Actor, e.Reason, errors.Is(e.Err, vault.ErrAccessDenied))
			return nil
		},
	})
	if err != nil {
		return err
	}
	defer v.Close()
	return stories(out, v)
}

// stories shows what each actor may do.
func stories(out io.Writer, v *vault.Vault) error {
	acme := vault.KeyContext{"organization_id": "acme"}
	globex := vault.KeyContext{"organization_id": "globex"}
	billing := actor("billing", map[string]string{"kind": "service", "organization_id": "acme"})
	ann := actor("ann", map[string]string{"role": "support"})
	tell := func(what string, err error) error {
		if err != nil && !errors.Is(err, vault.ErrAccessDenied) {
			return err
		}
		_, err = fmt.Fprintf(out, "%s: %v\n", what, err == nil)
		return err
	}
	_, err := v.Put(billing, acme, "stripe/api-key", []byte("sk_live_1"))
	if err := tell("the service puts in its tenant", err); err != nil {
		return err
	}
	_, err = v.Put(billing, globex, "stripe/api-key", []byte("sk_live_2"))
	if err := tell("the service puts elsewhere", err); err != nil {
		return err
	}
	_, err = v.Describe(ann, acme, "stripe/api-key")
	if err := tell("support describes", err); err != nil {
		return err
	}
	_, err = v.Get(ann, acme, "stripe/api-key")
	if err := tell("support reads", err); err != nil {
		return err
	}
	_, err = v.Get(vault.WithReason(ann, "INC-7 refund"), acme, "stripe/api-key")
	return tell("support breaks the glass", err)
}

// actor is what middleware makes of a verified session.
func actor(name string, attributes map[string]string) context.Context {
	return vault.WithActorAttributes(vault.WithActor(context.Background(), name), attributes)
}
