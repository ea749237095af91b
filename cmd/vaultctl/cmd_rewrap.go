package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type rewrapOut struct {
	vault.RewrapReport
	DryRun   bool      `json:"dry_run"`
	Job      string    `json:"job,omitempty"`
	Failures []failure `json:"failures"`
}

func (a *app) rewrapCommand() *cobra.Command {
	var p passFlags
	var force bool
	c := &cobra.Command{
		Use:   "rewrap {PAIR… | --all}",
		Short: "Wrap keys anew, as the policy says now; no data is touched",
		Long: `Wraps the keys of every context that contains the pairs under the KEKs that the policy
names now, and under those KEKs' newest versions. Each new wrapping is unwrapped and
compared before it replaces the old one. The application goes on meanwhile. The policy
must still name the KEKs that keys are wrapped under now: --previous-kek, or the history
in --policy. Interrupted or killed, it goes on with --job NAME.`,
		Example: "  vaultctl rewrap --all --dry-run\n  vaultctl rewrap organization_id=org_01 --rate 50",
	}
	p.add(c.Flags(), "keys")
	c.Flags().BoolVar(&force, "force", false, "also what is current as far as can be told")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, p.all)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing, keks: true}, func(s *session) error {
			if err := s.mustMatch(ctx, match); err != nil {
				return err
			}
			m, err := a.meter("rewrap", func() (int64, error) { return s.countKeys(ctx, filter(match)) })
			if err != nil {
				return err
			}
			job := p.begin(a)
			r, err := s.Rewrap(ctx, vault.RewrapOptions{
				Match: match, All: p.all, DryRun: p.dryRun, Force: force, Concurrency: p.concurrency,
				RateLimit: p.rate, MaxFailures: p.maxFailures, Job: job,
				Progress: func(r vault.RewrapReport) { m.set(r.Seen) },
			})
			m.end()
			return errors.Join(a.printRewrap(ctx, s, r, p.dryRun, job), a.interrupted(ctx, err, "--job", job))
		})
	})
}

func (a *app) printRewrap(ctx context.Context, s *session, r vault.RewrapReport, dryRun bool, job string) error {
	out := rewrapOut{RewrapReport: r, DryRun: dryRun, Job: job, Failures: []failure{}}
	for _, f := range r.Failures {
		out.Failures = append(out.Failures, failure{KeyID: f.KeyID.String(), ContextHash: f.ContextHash.String(), Error: a.clean(s.explain(ctx, f.KeyID, f.Err).Error())})
	}
	moved := "wrapped anew"
	if dryRun {
		moved = "to be wrapped anew"
	}
	return a.print(out, counts("rewrap", "keys", r.Seen, moved, r.Moved, "current", r.Current, "shredded", r.Nothing,
		"without a KEK that could not be asked", r.Partly, "failed", r.Failed)+failed(out.Failures))
}
