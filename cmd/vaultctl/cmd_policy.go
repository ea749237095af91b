package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
)

func (a *app) policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Edit KEK rules in a file, with their history",
		Long: `Edits the file of --policy, which holds kek.Rules as JSON: which KEKs wrap the keys of
which contexts, and which did before. It calls no KEK and no store. The file keeps its
mode and owner, and is locked meanwhile by FILE.lock beside it. The application that
reads the file must have the change before "rewrap" is run, or it can't read what that
has moved.`,
	}
	c.AddCommand(
		a.edit("default --kek URI…", "Set the KEKs of contexts that no rule matches; makes the file if it isn't there",
			"  vaultctl policy default --policy rules.json --kek tink-keyset:local",
			func(r *kek.Rules, match vault.KeyContext, c kek.Choice) error {
				if len(match) > 0 || len(c.KEKs) == 0 {
					return usage("policy default takes --kek and no pairs")
				}
				return r.SetDefault(c)
			}),
		a.edit("set PAIR… --kek URI…", "Set the KEKs of every context that contains the pairs",
			"  vaultctl policy set organization_id=org_01 --policy rules.json --kek aws-kms://arn:aws:kms:…",
			func(r *kek.Rules, match vault.KeyContext, c kek.Choice) error {
				if len(c.KEKs) == 0 {
					return usage("say which KEKs: --kek")
				}
				return r.Set(match, c)
			}),
		a.edit("remove-to-default PAIR…", "Remove a rule; its contexts use the default again",
			"  vaultctl policy remove-to-default organization_id=org_01 --policy rules.json",
			func(r *kek.Rules, match vault.KeyContext, _ kek.Choice) error {
				return r.RemoveToDefault(match)
			}),
		a.edit("drop-previous PAIR…", "Forget the KEKs that contexts used before: what is still wrapped under them alone is lost to the vault",
			"  vaultctl policy drop-previous organization_id=org_01 --policy rules.json",
			func(r *kek.Rules, match vault.KeyContext, _ kek.Choice) error { return r.DropPrevious(match) }),
	)
	return group(c)
}

// edit makes a command that changes the rules in the file.
func (a *app) edit(use, short, example string, change func(*kek.Rules, vault.KeyContext, kek.Choice) error) *cobra.Command {
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
		if c.Name() == "drop-previous" { // before the file is locked: people take their time
			if err := a.confirmPairs(ctx, "What is wrapped under earlier KEKs alone, self-contained envelopes and backups too, can't be unwrapped any more.", args); err != nil {
				return err
			}
		}
		return a.editFile(ctx, file, opener, c.Name() == "default", func(r *kek.Rules) error { return change(r, match, choice) })
	})
}

// editFile changes the rules in a file, which it makes if it may.
func (a *app) editFile(ctx context.Context, path string, opener *kekOpener, mayMake bool, change func(*kek.Rules) error) (err error) {
	f, err := lockPolicy(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.unlock()) }()
	var rules *kek.Rules
	switch {
	case f.info != nil:
		rules, err = parseRules(ctx, f.old, opener)
	case mayMake:
		rules, err = kek.NewRules(kek.Choice{})
	default:
		err = fmt.Errorf("read the policy: there is no file %s: \"policy default\" makes it: %w", path, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	if err := change(rules); err != nil {
		return err
	}
	if err := f.write(rules); err != nil {
		return err
	}
	return a.print(map[string]any{"file": path, "changed": true}, "policy: "+path+" is changed: "+rules.String())
}
