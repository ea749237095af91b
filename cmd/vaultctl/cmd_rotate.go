package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage"
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
	madeBefore, began   string

	before time.Time // keys made before; zero: at any time
	since  time.Time // when the run that goes on began; zero: this is the first
}

func (a *app) rotateCommand() *cobra.Command {
	var o rotateFlags
	c := &cobra.Command{
		Use:   "rotate {PAIR… [--within] | --all}",
		Short: "Make new versions of a context's keys",
		Long: `Makes a new version of the data key of the context that is exactly the pairs, or with
--within of every context that contains them, and of the key under which the keys of
narrower contexts are wrapped, if it has one. Of a context's keys all are rotated if one
is to be. What was encrypted before stays readable under the version that it was encrypted
with; see "reencrypt". The application uses the new versions within its
Cache.ActiveKeyTTL. Disabled and shredded keys are left.

The current version must open under the KEKs that are named, and be wrapped under them:
with others than the application's nothing is rotated. Interrupted or killed, a run goes
on with --began and the time at which it began.`,
		Example: "  vaultctl rotate organization_id=org_01 user_id=usr_07\n  vaultctl rotate organization_id=org_01 --within --older-than 90d",
	}
	f := c.Flags()
	f.BoolVar(&o.within, "within", false, "every context that contains the pairs")
	f.BoolVar(&o.all, "all", false, "every context of the namespace")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what would be done, and do nothing")
	f.Var(&o.olderThan, "older-than", "only keys that were made longer ago")
	f.StringVar(&o.madeBefore, "made-before", "", "only keys that were made before this `TIME`, 2006-01-02T15:04:05Z")
	f.StringVar(&o.began, "began", "", "go on with a run that began at this `TIME`: what it has rotated is left")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, o.all)
		if err == nil {
			err = o.times(a.now())
		}
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing, keks: true}, func(s *session) error { return a.rotate(ctx, s, match, o) })
	})
}

// times reads the flags that are times.
func (o *rotateFlags) times(now time.Time) (err error) {
	if o.began != "" {
		if o.since, err = time.Parse(time.RFC3339Nano, o.began); err != nil {
			return usage("--began is a time such as 2006-01-02T15:04:05Z")
		}
		now = o.since
	}
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

// selects reports whether a key is one to be rotated. What a run that was stopped has
// made is a version after the first, made since it began; a first version is not, even
// if the clock of the process that made it is ahead.
func (o *rotateFlags) selects(k storage.KeyRecord) bool {
	rotated := !o.since.IsZero() && k.Version > 1 && !k.CreatedAt.Before(o.since)
	return !rotated && (o.before.IsZero() || k.CreatedAt.Before(o.before))
}

func (a *app) rotate(ctx context.Context, s *session, match vault.KeyContext, o rotateFlags) (err error) {
	r := &rotation{a: a, s: s, o: o, match: match, meter: &meter{}, out: rotateOut{DryRun: o.dryRun, Failures: []failure{}}}
	if r.ring, err = s.newRing(nowOnly{s.policy}); err != nil {
		return err
	}
	defer r.ring.Close()
	if !o.within && !o.all {
		if err := r.exactly(ctx); err != nil {
			return a.interrupted(ctx, err, "", "")
		}
		return a.printRotate(r.out)
	}
	return a.rotateMany(ctx, r)
}

func (a *app) rotateMany(ctx context.Context, r *rotation) error {
	err := r.s.mustMatch(ctx, r.match)
	if err != nil {
		return err
	}
	if r.meter, err = a.meter("rotate", func() (int64, error) { return r.s.countRotating(ctx, r.match) }); err != nil {
		return err
	}
	began := r.o.since
	if began.IsZero() {
		began = a.now()
	}
	since := began.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano) // as times are kept
	if !r.o.dryRun {
		a.announce("--began", since, r.o.began != "")
	}
	err = r.run(ctx)
	r.meter.end()
	if err == nil && r.out.Failed > 0 {
		err = fmt.Errorf("%w: %d keys were not rotated", errIncomplete, r.out.Failed)
	}
	return errors.Join(a.printRotate(r.out), a.interrupted(ctx, err, "--began", since))
}

// countRotating counts the keys that rotate goes through.
func (s *session) countRotating(ctx context.Context, match vault.KeyContext) (n int64, err error) {
	for _, p := range []vault.Purpose{vault.PurposeData, vault.PurposeWrapping} {
		q := filter(match)
		q.Purpose = p
		more, err := s.countKeys(ctx, q)
		if err != nil {
			return 0, err
		}
		n += more
	}
	return n, nil
}

func (r *rotateOut) count(recs []storage.KeyRecord, bad storage.KeyRecord, a *app, err error) {
	if err == nil {
		r.Rotated += int64(len(recs))
		return
	}
	r.Failed += int64(len(recs))
	if len(r.Failures) < maxFailuresShown {
		r.Failures = append(r.Failures, failure{KeyID: bad.KeyID.String(), ContextHash: bad.ContextHash.String(), Version: bad.Version, Error: a.clean(err.Error())})
	}
}

func (a *app) printRotate(r rotateOut) error {
	return a.print(r, counts("rotate", "keys", r.Seen, "rotated", r.Rotated, "failed", r.Failed)+failed(r.Failures))
}
