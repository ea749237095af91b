package vault_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

// A customer leaves: their keys are disabled at once, destroyed after a month, and the
// receipt goes into the file.
func ExampleVault_Shred() {
	ctx := vault.WithActor(context.Background(), "ops@example.com")
	v, err := vault.New(vault.Config{KEK: memkek.New("example"), Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	customer := vault.KeyContext{"organization_id": "org_01"}
	if _, err := v.Put(ctx, customer, "token", []byte("secret")); err != nil {
		log.Fatal(err)
	}

	r, err := v.Shred(ctx, customer, vault.ShredOptions{After: 30 * 24 * time.Hour, Reason: "contract 17 ended"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = v.Get(ctx, customer, "token")
	fmt.Println(r.Pending(), err != nil)

	// Or now, after all.
	if r, err = v.Shred(ctx, customer, vault.ShredOptions{Reason: "they insist"}); err != nil {
		log.Fatal(err)
	}
	if err := v.VerifyShred(ctx, r); err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Keys, "key destroyed by", r.Actor, "since", r.Reason)
	// Output:
	// true true
	// 1 key destroyed by ops@example.com since they insist
}

// A key may have leaked: new data goes under a new one, and the old data after it.
func ExampleVault_ReencryptObjects() {
	ctx := context.Background()
	v, err := vault.New(vault.Config{KEK: memkek.New("example"), Store: memstore.New()})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	customer := vault.KeyContext{"organization_id": "org_01"}
	if _, err := v.Put(ctx, customer, "token", []byte("secret")); err != nil {
		log.Fatal(err)
	}

	if err := v.Rotate(ctx, customer); err != nil {
		log.Fatal(err)
	}
	report, err := v.ReencryptObjects(ctx, vault.ReencryptOptions{Match: customer, OldVersions: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Moved, "moved")

	// A day later the old key is of no use to anyone.
	retired, err := v.RetireKeys(ctx, vault.RetireOptions{Match: customer, ElsewhereReencrypted: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(retired.Young, "too young,", retired.Retired, "retired")
	// Output:
	// 1 moved
	// 1 too young, 0 retired
}
