package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type rotateOut struct {
	Seen     int64     `json:"seen"`
	Rotated  int64     `json:"rotated"`
	Failed   int64     `json:"failed"`
	DryRun   bool      `json:"dry_run"`
	Failures []failure `json:"failures"`
}

const maxFailuresShown = 100

func (a *app) rotateCommand() *cobra.Command {
	var within, all, dryRun bool
	var olderThan age
	c := &cobra.Command{
		Use:   "rotate {PAIR… [--within] | --all}",
		Short: "Make a new version of a context's data key",
		Long: `Makes a new version of the data key of the context that is exactly the pairs, or with
--within of every context that contains them. What was encrypted before stays readable
under the version that it was encrypted with; see "reencrypt". The application uses the
new version within its Cache.ActiveKeyTTL. Disabled and shredded keys are left.

Stopped in the middle, a run with --within or --all goes on with --older-than: what was
rotated since then is left as it is.`,
		Example: "  vaultctl rotate organization_id=org_01 user_id=usr_07\n  vaultctl rotate organization_id=org_01 --within --older-than 1h",
	}
	f := c.Flags()
	f.BoolVar(&within, "within", false, "every context that contains the pairs")
	f.BoolVar(&all, "all", false, "every context of the namespace")
	f.BoolVar(&dryRun, "dry-run", false, "count what would be done, and do nothing")
	f.Var(&olderThan, "older-than", "only keys that were made longer ago")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, all)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing, keks: true}, func(s *session) error {
			if !within && !all && !dryRun && olderThan == 0 {
				return a.rotateOne(ctx, s, match)
			}
			q := filter(match)
			q.Purpose, q.MaxKeyAge = vault.PurposeData, time.Duration(olderThan)
			return a.rotateMany(ctx, s, q, !within && !all, dryRun)
		})
	})
}

func (a *app) rotateOne(ctx context.Context, s *session, kc vault.KeyContext) error {
	if err := s.Rotate(ctx, kc); err != nil {
		return err
	}
	return a.print(rotateOut{Seen: 1, Rotated: 1, Failures: []failure{}}, "rotate: 1 key, 1 rotated")
}

func (a *app) rotateMany(ctx context.Context, s *session, q vault.KeyFilter, exactly, dryRun bool) error {
	m, err := a.meter("rotate", func() (int64, error) { return s.countKeys(ctx, q) })
	if err != nil {
		return err
	}
	out := rotateOut{DryRun: dryRun, Failures: []failure{}}
	started := a.now()
	for k, err := range s.Keys(ctx, q) {
		if err != nil {
			return errors.Join(a.printRotate(out), a.rotateInterrupted(ctx, err, started))
		}
		if !k.Active || exactly && len(k.Context) != len(q.Match) {
			continue
		}
		out.Seen++
		if !dryRun {
			out.count(k, a, s.Rotate(ctx, k.Context))
		}
		if ctx.Err() != nil {
			m.end()
			return errors.Join(a.printRotate(out), a.rotateInterrupted(ctx, ctx.Err(), started))
		}
		m.set(out.Seen)
	}
	m.end()
	if err := a.printRotate(out); err != nil || out.Failed == 0 {
		return err
	}
	return fmt.Errorf("%w: %d keys were not rotated", errIncomplete, out.Failed)
}

func (r *rotateOut) count(k vault.KeyInfo, a *app, err error) {
	if err == nil {
		r.Rotated++
		return
	}
	r.Failed++
	if len(r.Failures) < maxFailuresShown {
		r.Failures = append(r.Failures, failure{KeyID: k.ID.String(), ContextHash: k.ContextHash.String(), Version: k.Version, Error: a.clean(err.Error())})
	}
}

// rotateInterrupted says how long ago this run began, which is what it goes on by.
func (a *app) rotateInterrupted(ctx context.Context, err error, started time.Time) error {
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		return err
	}
	ago := (a.now().Sub(started) + time.Minute).Round(time.Minute)
	return fmt.Errorf("%w; go on with the same command and --older-than, more than %v and counted from then", errInterrupted, ago)
}

func (a *app) printRotate(r rotateOut) error {
	return a.print(r, counts("rotate", "keys", r.Seen, "rotated", r.Rotated, "failed", r.Failed)+failed(r.Failures))
}
