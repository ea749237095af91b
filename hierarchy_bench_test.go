package vault_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
)

// BenchmarkUsersOfOrganisations makes the keys of users of 100 organisations, and
// reports what the KMS was asked for: as many wraps, and checks of them, as there are
// organisations. For the million:
//
//	go test -run xxx -bench UsersOfOrganisations -benchtime 1000000x .
func BenchmarkUsersOfOrganisations(b *testing.B) {
	const orgs = 100
	k := memkek.New("bench")
	policy, err := kek.Under(kek.Fixed(k), "organization_id")
	if err != nil {
		b.Fatal(err)
	}
	v, err := vault.New(vault.Config{Policy: policy, Store: memstore.New()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = v.Close() })
	n := 0
	for b.Loop() {
		kc := vault.KeyContext{"organization_id": fmt.Sprint("org_", n%orgs), "user_id": fmt.Sprint("u_", n)}
		if _, err := v.Encrypt(context.Background(), kc, []byte("secret"), nil); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(k.Wraps()+k.Unwraps()), "KMS-calls")
	b.ReportMetric(float64(n), "users")
}

// BenchmarkColdUser loads a user's key whose organisation's is cached: what a child
// costs beyond a look at the store, with the floor of a context under a KEK of this
// process.
func BenchmarkColdUser(b *testing.B) {
	for name, under := range map[string]bool{"under-a-parent": true, "under-a-KEK": false} {
		b.Run(name, func(b *testing.B) {
			k := memkek.New("bench")
			policy := kek.Policy(kek.Fixed(k))
			if h, err := kek.Under(policy, "organization_id"); err == nil && under {
				policy = h
			}
			v, err := vault.New(vault.Config{Policy: policy, Store: memstore.New(), Cache: vault.CacheConfig{Size: 2}, NoBackground: true})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = v.Close() })
			users := [3]vault.KeyContext{}
			sealed := [3][]byte{}
			for i := range users {
				users[i] = vault.KeyContext{"organization_id": "org_01", "user_id": fmt.Sprint("u_", i)}
				if sealed[i], err = v.Encrypt(context.Background(), users[i], []byte("x"), nil); err != nil {
					b.Fatal(err)
				}
			}
			n := 0
			for b.Loop() {
				if _, err := v.Decrypt(context.Background(), users[n%3], sealed[n%3], nil); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric(float64(k.Unwraps())/float64(n), "KMS-calls/op")
		})
	}
}
