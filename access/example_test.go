package access_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

// Three stories: support staff may describe and not read; a service reads only its own
// tenant; break-glass needs a reason, which lands in the audit.
func Example() {
	rules, err := access.ParseRules([]byte(`{"version": 1, "rules": [
		{"name": "support-describes", "effect": "allow",
		 "attributes": {"role": ["support"]},
		 "operations": ["describe"],
		 "any_context": true},
		{"name": "service-in-its-tenant", "effect": "allow",
		 "attributes": {"kind": ["service"]},
		 "operations": ["read", "write", "describe"],
		 "context": {"organization_id": "${actor.organization_id}"}},
		{"name": "break-glass", "effect": "allow",
		 "attributes": {"role": ["support"]},
		 "operations": ["data.get"],
		 "any_context": true,
		 "require_reason": true}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := vault.New(vault.Config{
		KEK: memkek.New("example"), Store: memstore.New(),
		Authorizer: rules,
		OnEvent: func(_ context.Context, e vault.Event) error {
			if e.Name == vault.DataRead {
				fmt.Printf("  audit: %s by %s, reason %q, denied: %v\n", e.Name, e.Actor, e.Reason, errors.Is(e.Err, vault.ErrAccessDenied))
			}
			return nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()
	acme := vault.KeyContext{"organization_id": "acme"}
	globex := vault.KeyContext{"organization_id": "globex"}

	// Once, where the application knows who is calling: middleware.
	billing := vault.WithActor(context.Background(), "billing")
	billing = vault.WithActorAttributes(billing, map[string]string{"kind": "service", "organization_id": "acme"})
	ann := vault.WithActor(context.Background(), "ann")
	ann = vault.WithActorAttributes(ann, map[string]string{"role": "support"})

	_, err = v.Put(billing, acme, "stripe/api-key", []byte("sk_live_1"))
	fmt.Println("the service puts in its tenant:", err == nil)
	_, err = v.Put(billing, globex, "stripe/api-key", []byte("sk_live_2"))
	fmt.Println("the service puts elsewhere:", err == nil)

	_, err = v.Describe(ann, acme, "stripe/api-key")
	fmt.Println("support describes:", err == nil)
	_, err = v.Get(ann, acme, "stripe/api-key")
	fmt.Println("support reads:", err == nil, errors.Is(err, access.ErrReasonRequired))

	_, err = v.Get(vault.WithReason(ann, "INC-7 refund"), acme, "stripe/api-key")
	fmt.Println("support breaks the glass:", err == nil)

	// Output:
	// the service puts in its tenant: true
	// the service puts elsewhere: false
	// support describes: true
	//   audit: data.read by ann, reason "", denied: true
	// support reads: false true
	//   audit: data.read by ann, reason "INC-7 refund", denied: false
	// support breaks the glass: true
}

// Which rule decided, and would another actor be allowed? Before a button is shown, in a
// test of the rules, and when somebody asks.
func ExampleRules_Explain() {
	rules, err := access.NewRules(
		access.Rule{
			Name: "support-describes", Effect: access.Allow,
			Attributes: map[string][]string{"role": {"support"}}, AnyContext: true,
			Operations: []vault.Operation{access.Describe},
		},
		access.Rule{
			Name: "not-the-bank", Effect: access.Deny, Anyone: true,
			Context:    map[string]string{"organization_id": "bank"},
			Operations: []vault.Operation{access.Describe},
		},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := vault.WithActor(context.Background(), "ann")
	ctx = vault.WithActorAttributes(ctx, map[string]string{"role": "support"})
	for _, org := range []string{"acme", "bank"} {
		request := vault.AccessRequestOf(ctx, vault.OpDescribe, vault.KeyContext{"organization_id": org})
		request.Object = "stripe/api-key"
		fmt.Printf("%s: %+v\n", org, rules.Explain(request))
	}
	fmt.Printf("to read: %+v\n", rules.Explain(vault.AccessRequestOf(ctx, vault.OpGet, vault.KeyContext{"organization_id": "acme"})))
	// Output:
	// acme: {Allowed:true Rule:support-describes ReasonMissing:false}
	// bank: {Allowed:false Rule:not-the-bank ReasonMissing:false}
	// to read: {Allowed:false Rule: ReasonMissing:false}
}
