package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
)

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Edit KEK rules in a file, with their history",
		Long: `Edits the file of --policy, which holds kek.Rules as JSON: which KEKs wrap the keys of
which contexts, and which did before. It calls no KEK and no store. The application that
reads the file must have the change before "rewrap" is run, or it can't read what that
has moved.`,
	}
	c.AddCommand(
		a.edit("default --kek URI…", "Set the KEKs of contexts that no rule matches; makes the file if it isn't there",
			"  vaultctl policy default --policy rules.json --kek tink-keyset:local",
			func(_ context.Context, r *kek.Rules, match vault.KeyContext, c kek.Choice, _ []string) error {
				if len(match) > 0 || len(c.KEKs) == 0 {
					return usage("policy default takes --kek and no pairs")
				}
				return r.SetDefault(c)
			}),
		a.edit("set PAIR… --kek URI…", "Set the KEKs of every context that contains the pairs",
			"  vaultctl policy set organization_id=org_01 --policy rules.json --kek aws-kms://arn:aws:kms:…",
			func(_ context.Context, r *kek.Rules, match vault.KeyContext, c kek.Choice, _ []string) error {
				if len(c.KEKs) == 0 {
					return usage("say which KEKs: --kek")
				}
				return r.Set(match, c)
			}),
		a.edit("remove-to-default PAIR…", "Remove a rule; its contexts use the default again",
			"  vaultctl policy remove-to-default organization_id=org_01 --policy rules.json",
			func(_ context.Context, r *kek.Rules, match vault.KeyContext, _ kek.Choice, _ []string) error {
				return r.RemoveToDefault(match)
			}),
		a.edit("drop-previous PAIR…", "Forget the KEKs that contexts used before: what is still wrapped under them alone is lost to the vault",
			"  vaultctl policy drop-previous organization_id=org_01 --policy rules.json",
			func(ctx context.Context, r *kek.Rules, match vault.KeyContext, _ kek.Choice, args []string) error {
				if err := a.confirmPairs(ctx, "What is wrapped under earlier KEKs alone, self-contained envelopes and backups too, can't be unwrapped any more.", args); err != nil {
					return err
				}
				return r.DropPrevious(match)
			}),
	)
	return c
}

// edit makes a command that changes the rules in the file.
func (a *app) edit(use, short, example string, change func(context.Context, *kek.Rules, vault.KeyContext, kek.Choice, []string) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example}
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := pairs(args)
		if err != nil {
			return err
		}
		file := a.either(a.flags.policy, "VAULTCTL_POLICY")
		if file == "" {
			return usage("say which file: --policy, or VAULTCTL_POLICY")
		}
		opener, err := a.newOpener()
		if err != nil {
			return err
		}
		var choice kek.Choice
		if len(a.flags.keks) > 0 {
			if choice, err = a.choice(a.flags.keks, opener); err != nil {
				return err
			}
		}
		rules, err := readRules(ctx, file, opener)
		if errors.Is(err, fs.ErrNotExist) && c.Name() == "default" {
			rules, err = kek.NewRules(kek.Choice{})
		}
		if err != nil {
			return err
		}
		if err := change(ctx, rules, match, choice, args); err != nil {
			return err
		}
		if err := writeRules(file, rules); err != nil {
			return err
		}
		return a.print(map[string]any{"file": file, "changed": true}, "policy: "+file+" is changed: "+rules.String())
	})
}

// writeRules puts the rules in place of the file, whole or not at all.
func writeRules(file string, rules *kek.Rules) error {
	data, err := json.MarshalIndent(rules, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".policy-*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("write the policy: %w", err)
	}
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write the policy: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}
