package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type reencryptOut struct {
	vault.ReencryptReport
	DryRun   bool      `json:"dry_run"`
	Job      string    `json:"job,omitempty"`
	Failures []failure `json:"failures"`
}

func (a *app) reencryptCommand() *cobra.Command {
	var p passFlags
	var old bool
	c := &cobra.Command{
		Use:   "reencrypt {PAIR… | --all}",
		Short: "Move stored objects from superseded keys to the active ones",
		Long: `Moves the stored objects of every context that contains the pairs from superseded
versions of their keys to the active one: after "rotate", if a key may have leaked, or
before "retire". Readers and writers go on meanwhile; a writer who is faster wins.
Ciphertext that the application keeps itself is not reached: see vault.Reencrypt.`,
		Example: "  vaultctl reencrypt organization_id=org_01 --old-versions",
	}
	p.add(c.Flags(), "objects")
	c.Flags().BoolVar(&old, "old-versions", false, "also versions that are not current, which \"retire\" needs")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, p.all)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing, keks: true}, func(s *session) error {
			if err := s.mustMatch(ctx, match); err != nil {
				return err
			}
			m, err := a.meter("reencrypt", func() (int64, error) { return s.countSuperseded(ctx, match) })
			if err != nil {
				return err
			}
			job := p.begin(a)
			r, err := s.ReencryptObjects(ctx, vault.ReencryptOptions{
				Match: match, All: p.all, OldVersions: old, DryRun: p.dryRun, Concurrency: p.concurrency,
				RateLimit: p.rate, MaxFailures: p.maxFailures, Job: job,
				Progress: func(r vault.ReencryptReport) { m.set(r.Seen) },
			})
			m.end()
			return errors.Join(a.printReencrypt(ctx, s, r, p.dryRun, job), a.interrupted(ctx, err, "--job", job))
		})
	})
}

// countSuperseded counts the versions of objects under superseded keys.
func (s *session) countSuperseded(ctx context.Context, match vault.KeyContext) (n int64, err error) {
	q := filter(match)
	q.Purpose, q.Objects = vault.PurposeData, true
	for k, err := range s.Keys(ctx, q) {
		if err != nil {
			return 0, err
		}
		if !k.SupersededAt.IsZero() && k.State != vault.StateShredded {
			n += k.Objects
		}
	}
	return n, nil
}

func (a *app) printReencrypt(ctx context.Context, s *session, r vault.ReencryptReport, dryRun bool, job string) error {
	out := reencryptOut{ReencryptReport: r, DryRun: dryRun, Job: job, Failures: []failure{}}
	for _, f := range r.Failures {
		out.Failures = append(out.Failures, failure{
			KeyID: f.KeyID.String(), ContextHash: f.ContextHash.String(), Object: f.Name,
			VersionID: f.VersionID.String(), Error: a.clean(s.explain(ctx, f.KeyID, f.Err).Error()),
		})
	}
	moved := "moved"
	if dryRun {
		moved = "to be moved"
	}
	return a.print(out, counts("reencrypt", "versions under superseded keys", r.Seen, moved, r.Moved,
		"old and left", r.Old, "changed by others meanwhile", r.Raced, "failed", r.Failed, "under shredded keys", r.Dead)+failed(out.Failures))
}
