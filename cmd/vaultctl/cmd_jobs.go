package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type jobLine struct {
	Kind        vault.JobKind    `json:"kind"`
	Name        string           `json:"name"`
	Match       vault.KeyContext `json:"match,omitempty"` // none: --all
	Force       bool             `json:"force,omitempty"`
	OldVersions bool             `json:"old_versions,omitempty"`
	Seen        int64            `json:"seen"`
	Moved       int64            `json:"moved"`
	Failed      int64            `json:"failed"`
}

func (a *app) jobsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "jobs", Short: "List rewraps and re-encryptions that have not come to their end", Args: cobra.NoArgs,
		Long: `Lists the rewraps and re-encryptions, of vaultctl and of the application, that are under
way, or were stopped or killed. The same command with --job NAME goes on with one.`,
		Example: "  vaultctl jobs --json",
	}
	c.AddCommand(a.jobsForgetCommand())
	return a.command(c, func(ctx context.Context, _ []string) error {
		return a.with(ctx, needs{access: reading}, func(s *session) error {
			jobs, unread := s.Jobs(ctx) // one that can't be read doesn't hide the others
			out := a.lines()
			for _, j := range jobs {
				line := jobLine{j.Kind, j.Name, j.Match, j.Force, j.OldVersions, j.Seen, j.Moved, j.Failed}
				if err := out.addJob(line); err != nil {
					return err
				}
			}
			return unread
		})
	})
}

func (l *lines) addJob(j jobLine) error {
	header := fmt.Sprintf("%-9s  %-40s  %10s  %10s  %8s  %s", "JOB", "NAME", "SEEN", "MOVED", "FAILED", "CONTEXT")
	what := "--all"
	if len(j.Match) > 0 {
		what = pairsText(j.Match)
	}
	return l.add(j, header, fmt.Sprintf("%-9s  %-40s  %10d  %10d  %8d  %s", j.Kind, j.Name, j.Seen, j.Moved, j.Failed, what))
}

func (a *app) jobsForgetCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "forget KIND NAME", Short: "Forget how far a job has come", Args: cobra.ExactArgs(2),
		Long: `Removes the note of how far a rewrap or a re-encryption has come, by the kind and the name
that "jobs" shows. No key and no object is touched; nothing is lost but the place where it
would go on. If it is under way it ends.`,
		Example: "  vaultctl jobs forget rewrap vaultctl-20260102-030405-0a1b2c3d",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		return a.with(ctx, needs{access: writing}, func(s *session) error {
			if err := s.ForgetJob(ctx, vault.JobKind(args[0]), args[1]); err != nil {
				return err
			}
			return a.print(map[string]any{"kind": args[0], "name": args[1], "forgotten": true}, fmt.Sprintf("jobs: %s job %s is forgotten", args[0], args[1]))
		})
	})
}
