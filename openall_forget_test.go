package vault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// A tenant that is cut off in the middle of an OpenAll is cut off there, although its key
// is held for all its fields.
func TestOpenAllEndsWithTheKey(t *testing.T) {
	for name, cut := range map[string]func(context.Context, *vault.Vault) error{
		"disabled": func(ctx context.Context, v *vault.Vault) error { return second(v.Disable(ctx, orgA)) },
		"shredded": func(ctx context.Context, v *vault.Vault) error {
			return second(v.Shred(ctx, orgA, vault.ShredOptions{Reason: "gdpr"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var v *vaulttest.Vault
			opened := 0
			v = vaulttest.New(t, func(c *vault.Config) {
				c.EventMessages = true
				c.OnEvent = func(_ context.Context, e vault.Event) error {
					if e.Name != vault.FieldDecrypted {
						return nil
					}
					if opened++; opened == 3 {
						return cut(context.Background(), v.Vault)
					}
					return nil
				}
			})
			ctx := vault.WithVault(vault.WithKeyContext(t.Context(), orgA), v.Vault)
			var boxes []vault.Encrypted[string]
			for i := range 20 {
				at := vault.At("users", "ssn", i)
				boxes = append(boxes, vault.SealedBytes[string](must(v.SealField(ctx, orgA, at, fmt.Sprint(i)))(t)).AtLocation(at))
			}
			err := vault.OpenAll(ctx, &boxes)
			if !errors.Is(err, vault.ErrKeyDisabled) && !errors.Is(err, vault.ErrKeyShredded) {
				t.Errorf("OpenAll: %v", err)
			}
			if opened := v.Decryptions(); opened > 3 {
				t.Errorf("%d fields were opened, the tenant was cut off at the third", opened)
			}
		})
	}
}
