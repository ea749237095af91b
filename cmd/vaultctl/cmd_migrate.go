package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
)

var errNoTables = usage("this store has no tables: it needs no migration")

func (a *app) migrateCommand() *cobra.Command {
	var show bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Make the tables of an SQL store, or bring them up to date",
		Long: `Makes the tables in the database of --store, or brings them up to date. It can be run at
any time, and by several at once. A SQLite file that isn't there is made. --print shows
the statements instead, for teams with a migration tool of their own.`,
		Example: "  vaultctl migrate --store sqlite:vault.sqlite\n  vaultctl migrate --store postgres://… --print > vault.sql",
		Args:    cobra.NoArgs,
	}
	c.Flags().BoolVar(&show, "print", false, "print the statements and do nothing")
	return a.command(c, func(ctx context.Context, _ []string) (err error) {
		if u := a.either(a.flags.store, "VAULTCTL_STORE"); strings.HasPrefix(u, "bolt:") {
			return errNoTables // before a file is made
		}
		s, err := a.mainStore(making)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		m, ok := s.Store.(migrator)
		switch {
		case !ok:
			return errNoTables
		case show:
			return a.print(map[string]any{"schema": m.Schema()}, m.Schema())
		}
		if err := m.Migrate(ctx); err != nil {
			return err
		}
		return a.print(map[string]any{"migrated": true, "store": s.name}, "migrate: the tables are up to date")
	})
}
