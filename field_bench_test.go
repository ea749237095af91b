package vault_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/embedvault/vault"
)

// A field beside a message of the same bytes in the same run: what the place, the type
// and the key context of a ctx cost.
//
//	go test -run xxx -bench 'Field' -count 6 -benchmem .
func BenchmarkField(b *testing.B) {
	v := benchVault(b)
	kc := vault.KeyContext{"organization_id": "org_01"}
	scope := v.Scope(kc)
	ctx := vault.WithKeyContext(vault.WithVault(context.Background(), v), kc)
	must(v.BlindIndex(ctx, kc, emailIndex, "ann@example.org"))(b) // a query makes no key
	for _, n := range []int{16, 1 << 10} {
		text := string(randomBytes(n))
		plain := []byte(text)
		id := "018fab00-0000-7000-8000-0000000000ff"
		at := vault.At("users", "email", id)
		message := must(scope.Encrypt(ctx, plain, nil))(b)
		sealed := must(scope.SealField(ctx, at, text))(b)
		bound := vault.SealedBytes[string](sealed)
		bound.BindField(ctx, vault.FieldBinding{Location: at})
		run := func(name string, f func() error) {
			b.Run(fmt.Sprintf("%s/%dB", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("seal/message", func() error { return second(scope.Encrypt(ctx, plain, nil)) })
		run("seal/SealField", func() error { return second(scope.SealField(ctx, vault.At("users", "email", id), text)) })
		run("seal/Encrypted", func() error {
			return second(vault.Seal(text).At("users", "email", id).SealField(ctx, vault.FieldBinding{}))
		})
		run("open/message", func() error { return second(scope.Decrypt(ctx, message, nil)) })
		run("open/OpenField", func() error {
			var s string
			return scope.OpenField(ctx, at, sealed, &s)
		})
		run("open/Encrypted", func() error { return second(bound.Open(ctx)) })
		run("scan and bind", func() error {
			var e vault.Encrypted[string]
			err := e.Scan(sealed)
			e.BindField(ctx, vault.FieldBinding{Location: vault.At("users", "email", id)})
			return err
		})
		run("index/write", func() error { return second(v.BlindIndex(ctx, kc, emailIndex, "ann@example.org")) })
		run("index/query", func() error { return second(v.BlindIndexQuery(ctx, kc, emailIndex, "ann@example.org")) })
	}
}
