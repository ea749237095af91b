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

// rotateFlags say which keys are rotated.
type rotateFlags struct {
	within, all, dryRun bool
	olderThan           age
	madeBefore          string
	before              time.Time // of the two before
}

func (a *app) rotateCommand() *cobra.Command {
	var o rotateFlags
	c := &cobra.Command{
		Use:   "rotate {PAIR… [--within] | --all}",
		Short: "Make a new version of a context's data key",
		Long: `Makes a new version of the data key of the context that is exactly the pairs, or with
--within of every context that contains them. What was encrypted before stays readable
under the version that it was encrypted with; see "reencrypt". The application uses the
new version within its Cache.ActiveKeyTTL. Disabled and shredded keys are left.
Interrupted or killed, a run goes on with --made-before and the time at which it began.`,
		Example: "  vaultctl rotate organization_id=org_01 user_id=usr_07\n  vaultctl rotate organization_id=org_01 --within --older-than 90d",
	}
	f := c.Flags()
	f.BoolVar(&o.within, "within", false, "every context that contains the pairs")
	f.BoolVar(&o.all, "all", false, "every context of the namespace")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what would be done, and do nothing")
	f.Var(&o.olderThan, "older-than", "only keys that were made longer ago")
	f.StringVar(&o.madeBefore, "made-before", "", "only keys that were made before this `TIME`, 2006-01-02T15:04:05Z")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, o.all)
		if err == nil {
			err = o.setBefore(a.now())
		}
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing, keks: true}, func(s *session) error {
			if !o.within && !o.all && !o.dryRun && o.before.IsZero() {
				return a.rotateOne(ctx, s, match)
			}
			return a.rotateMany(ctx, s, match, o)
		})
	})
}

// setBefore finds the time before which keys must have been made; zero: any time.
func (o *rotateFlags) setBefore(now time.Time) (err error) {
	switch {
	case o.madeBefore != "" && o.olderThan != 0:
		return usage("--older-than and --made-before exclude each other")
	case o.madeBefore != "":
		if o.before, err = time.Parse(time.RFC3339Nano, o.madeBefore); err != nil {
			return usage("--made-before is a time such as 2006-01-02T15:04:05Z")
		}
	case o.olderThan != 0:
		o.before = now.Add(-time.Duration(o.olderThan))
	}
	return nil
}

// selects reports whether a key is one to be rotated.
func (o *rotateFlags) selects(k vault.KeyInfo, match vault.KeyContext) bool {
	return k.Active && (o.within || o.all || len(k.Context) == len(match)) &&
		(o.before.IsZero() || k.CreatedAt.Before(o.before))
}

func (a *app) rotateOne(ctx context.Context, s *session, kc vault.KeyContext) error {
	if err := s.Rotate(ctx, kc); err != nil {
		return err
	}
	return a.print(rotateOut{Seen: 1, Rotated: 1, Failures: []failure{}}, "rotate: 1 key, 1 rotated")
}

func (a *app) rotateMany(ctx context.Context, s *session, match vault.KeyContext, o rotateFlags) error {
	q := filter(match)
	q.Purpose = vault.PurposeData
	m, err := a.meter("rotate", func() (int64, error) { return s.countKeys(ctx, q) })
	if err != nil {
		return err
	}
	given := !o.before.IsZero()
	if !given { // what this run makes is not for the run that goes on
		o.before = a.now().UTC().Truncate(time.Microsecond) // as times are kept
	}
	since := o.before.UTC().Format(time.RFC3339Nano)
	if !o.dryRun {
		a.announce("--made-before", since, given)
	}
	out, err := a.rotateAll(ctx, s, q, o, m)
	m.end()
	if err == nil && out.Failed > 0 {
		err = fmt.Errorf("%w: %d keys were not rotated", errIncomplete, out.Failed)
	}
	return errors.Join(a.printRotate(out), a.interrupted(ctx, err, "--made-before", since))
}

func (a *app) rotateAll(ctx context.Context, s *session, q vault.KeyFilter, o rotateFlags, m *meter) (rotateOut, error) {
	out, seen := rotateOut{DryRun: o.dryRun, Failures: []failure{}}, int64(0)
	for k, err := range s.Keys(ctx, q) {
		if err != nil {
			return out, err
		}
		seen++
		m.set(seen)
		if !o.selects(k, q.Match) {
			continue
		}
		out.Seen++
		if o.dryRun {
			continue
		}
		err := s.Rotate(ctx, k.Context)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		out.count(k, a, err)
	}
	return out, nil
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

func (a *app) printRotate(r rotateOut) error {
	return a.print(r, counts("rotate", "keys", r.Seen, "rotated", r.Rotated, "failed", r.Failed)+failed(r.Failures))
}
