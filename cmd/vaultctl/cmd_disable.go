package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type changedOut struct {
	Keys int `json:"keys"` // changed
}

func (a *app) disableCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "disable PAIR…",
		Short: "Disable the keys of every context that contains the pairs",
		Long: `Disables keys, all versions and purposes, until "enable": what needs them fails, in the
application within its Cache.ActiveKeyTTL. Nothing is lost.`,
		Example: "  vaultctl disable organization_id=org_01 --reason 'TICKET-17: suspected leak'",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := needPairs(args)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing}, func(s *session) error {
			n, err := s.countKeys(ctx, filter(match))
			if err == nil && n == 0 {
				err = errNothing
			}
			if err != nil {
				return err
			}
			what := fmt.Sprintf("This makes everything under %d keys unreadable until they are enabled.", n)
			if err := a.confirmPairs(ctx, what, args); err != nil {
				return err
			}
			changed, err := s.Disable(ctx, match)
			return errors.Join(a.print(changedOut{changed}, fmt.Sprintf("disable: %d keys disabled", changed)), a.interrupted(ctx, err, "", ""))
		})
	})
}

func (a *app) enableCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "enable PAIR…",
		Short:   "Enable keys again",
		Long:    `Undoes "disable" for every context that contains the pairs. Keys for which a shredding is pending stay disabled: see "shred cancel".`,
		Example: "  vaultctl enable organization_id=org_01",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := needPairs(args)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing}, func(s *session) error {
			if err := s.mustMatch(ctx, match); err != nil {
				return err
			}
			changed, err := s.Enable(ctx, match)
			return errors.Join(a.print(changedOut{changed}, fmt.Sprintf("enable: %d keys enabled", changed)), a.interrupted(ctx, err, "", ""))
		})
	})
}

// toBeLost counts what hangs on the keys of contexts that contain match.
func (s *session) toBeLost(ctx context.Context, match vault.KeyContext) (keys, versions int64, err error) {
	q := filter(match)
	q.Objects = true
	for k, err := range s.Keys(ctx, q) {
		if err != nil {
			return 0, 0, err
		}
		if k.State != vault.StateShredded {
			keys, versions = keys+1, versions+k.Objects
		}
	}
	return keys, versions, nil
}
