package main

import (
	"github.com/spf13/cobra"
)

// globals are the flags that every command takes.
type globals struct {
	store     string
	keks      []string
	previous  []string
	quorum    string
	policy    string
	keysets   []string
	namespace string
	actor     string
	reason    string
	auditLog  string
	json      bool
	quiet     bool
	yes       bool
	aws       awsFlags
	azure     azureFlags
	hashi     hashiFlags
	under     underFlags
}

const rootHelp = `vaultctl looks at and looks after a vault: its keys, its objects and its store.

There is no command that prints a stored value, and there will be none: reading
customers' secrets is for the application, which knows who may, and not for a shell
with a history, a scrollback and a log. "verify" proves that values can be read
without showing any.

The store is named by a URL, in --store or better, since others can see command
lines, in VAULTCTL_STORE:

  bolt:PATH
  sqlite:PATH
  postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full
  mysql://USER:PASSWORD@HOST:PORT/DATABASE?tls=true

SQL stores with other tables than the default say so behind a #:
#table-prefix=vault_&schema=app. No command but "migrate" and "copy" makes a store.

Commands that unwrap keys need the KEKs, just as the application has them: --kek
(several with --quorum), or --policy with the rules in a file. Credentials come from
where each provider's own tools have them. Say in --namespace what the application's
Config.Namespace says.

  tink-keyset:NAME    with --keyset NAME=FILE, or --keyset FILE alone for "local"
  aws-kms://ARN
  gcp-kms://projects/…/cryptoKeys/…
  azure-kv://VAULT/keys/NAME
  hashivault://HOST/MOUNT/keys/NAME

Contexts are given as PAIR arguments, organization_id=org_01. Where "every context that
contains" the pairs is meant the help says so.

Exit codes: 0 done; 1 failed; 2 the command line is wrong and nothing was done;
3 incomplete: some of it was done, run it again.

With --json each command writes one JSON object to stdout ("keys", "objects" and "jobs"
one a line), an error is {"error": …, "exit_code": …} on stderr, and progress one line
{"progress": …} there. Fields are added and never renamed.`

// root returns the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "vaultctl",
		Short:         "Looks at and looks after a vault",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	a.globalFlags(root)
	root.AddCommand(
		a.inspectCommand(), a.keysCommand(), a.objectsCommand(),
		a.rotateCommand(), a.rewrapCommand(), a.reencryptCommand(), a.jobsCommand(), a.retireCommand(),
		a.disableCommand(), a.enableCommand(), a.shredCommand(),
		a.copyCommand(), a.verifyCommand(), a.checkCommand(), a.migrateCommand(),
		a.keysetCommand(), a.policyCommand(), a.auditCommand(), a.versionCommand(),
	)
	return root
}

func (a *app) globalFlags(root *cobra.Command) {
	g, f := &a.flags, root.PersistentFlags()
	f.StringVar(&g.store, "store", "", "the store's `URL` (VAULTCTL_STORE)")
	f.StringArrayVar(&g.keks, "kek", nil, "a KEK's `URI`; again for more (VAULTCTL_KEK, separated by spaces)")
	f.StringVar(&g.quorum, "quorum", "", "any-of or all-of, where there are several --kek")
	f.StringArrayVar(&g.previous, "previous-kek", nil, "`URI` of a KEK that keys may still be wrapped under; again for more")
	f.StringVar(&g.policy, "policy", "", "`FILE` with KEK rules in JSON, instead of --kek (VAULTCTL_POLICY)")
	f.StringArrayVar(&g.keysets, "keyset", nil, "where a Tink keyset is, `[NAME=]FILE`; again for more (VAULTCTL_KEYSET, one)")
	f.StringVar(&g.namespace, "namespace", "", "the application's Config.Namespace (VAULTCTL_NAMESPACE)")
	f.StringVar(&g.actor, "actor", "", "who acts, for events and receipts; default: the user of the operating system")
	f.StringVar(&g.reason, "reason", "", "why, for events and receipts: a ticket")
	f.StringVar(&g.auditLog, "audit-log", "", "append events to `FILE`, a JSON object a line; if that fails so does the command (VAULTCTL_AUDIT_LOG)")
	f.BoolVar(&g.json, "json", false, "write JSON")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "show no progress")
	f.BoolVar(&g.yes, "yes", false, "don't ask before what can't be undone")
	g.aws.add(f)
	g.azure.add(f)
	g.hashi.add(f)
	g.under.add(f)
}
