package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [PAIR…]",
		Short: "Make a round trip to the store and to the KEKs",
		Long: `Makes a round trip to the store and to the default KEK or, with pairs, to every KEK that
the policy names for that context: before a customer's key is relied on. It makes and
stores no key.`,
		Example: "  vaultctl check\n  vaultctl check organization_id=org_01 --policy rules.json",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		kc, err := pairs(args)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: reading, keks: true}, func(s *session) error {
			if len(kc) == 0 {
				err = s.Check(ctx)
			} else if err = s.store.Ping(ctx); err == nil {
				err = s.VerifyKEK(ctx, kc)
			}
			if err != nil {
				return err
			}
			return a.print(map[string]any{"ok": true, "store": s.store.name}, fmt.Sprintf("check: %s and the KEKs answer", s.store.name))
		})
	})
}
