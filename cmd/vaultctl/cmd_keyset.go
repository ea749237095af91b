package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault/kek/tinkkek"
)

func (a *app) keysetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keyset",
		Short: "Make and rotate a local keyset, the KEK in a file",
	}
	c.AddCommand(a.keysetCreateCommand(), a.keysetRotateCommand())
	return group(c)
}

func (a *app) keysetCreateCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "create FILE", Short: "Make a keyset file with one key", Args: cobra.ExactArgs(1),
		Long:    "Makes a keyset file, which must not exist. Back it up apart from the database: without it nothing can be read.",
		Example: "  vaultctl keyset create root-keyset.json",
	}
	c.Flags().StringVar(&name, "name", "local", "the keyset's name, for ever: its URI is tink-keyset:NAME")
	return a.command(c, func(_ context.Context, args []string) error {
		if _, err := os.Lstat(args[0]); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make a keyset: %w: %s", fs.ErrExist, args[0])
		}
		k, err := tinkkek.LoadOrCreate(args[0], tinkkek.Options{Name: name})
		if err != nil {
			return err
		}
		return a.print(map[string]any{"uri": k.URI(), "file": args[0]}, fmt.Sprintf("keyset: %s is in %s", k.URI(), args[0]))
	})
}

func (a *app) keysetRotateCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "rotate FILE", Short: "Add a key to a keyset file and make it the primary one", Args: cobra.ExactArgs(1),
		Long: `Adds a key, with which everything is wrapped from now on. Older keys stay, so that
everything is still read. Running applications notice by themselves. Back the file up
anew; then "rewrap" moves stored keys to the new one.`,
		Example: "  vaultctl keyset rotate root-keyset.json",
	}
	c.Flags().StringVar(&name, "name", "local", "the keyset's name")
	return a.command(c, func(ctx context.Context, args []string) error {
		if err := tinkkek.Rotate(args[0], tinkkek.Options{Name: name}); err != nil {
			return err
		}
		k, err := tinkkek.Load(args[0], tinkkek.Options{Name: name})
		if err != nil {
			return err
		}
		status, err := k.Check(ctx)
		if err != nil {
			return err
		}
		return a.print(map[string]any{"uri": k.URI(), "file": args[0], "primary": status.PrimaryVersion}, fmt.Sprintf("keyset: %s has a new primary key, %s", k.URI(), status.PrimaryVersion))
	})
}
