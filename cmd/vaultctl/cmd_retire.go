package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type retireOut struct {
	vault.RetireReport
	DryRun  bool      `json:"dry_run"`
	Refused []failure `json:"refused"`
}

// defaultCacheTTL is how long a vault with the default configuration may go on sealing
// under a key that was superseded.
const defaultCacheTTL = 75 * time.Minute

func (a *app) retireCommand() *cobra.Command {
	var elsewhere, dryRun bool
	var olderThan, cacheTTL, activeTTL age
	c := &cobra.Command{
		Use:   "retire PAIR… --elsewhere-reencrypted",
		Short: "Destroy superseded keys that nothing needs any more",
		Long: `Destroys superseded versions of keys of every context that contains the pairs, if no
stored version of an object and no other key refers to them: after "reencrypt
--old-versions". There is no way back. With --elsewhere-reencrypted you say that nothing
outside of the store (messages, fields, data keys, backups that are to be of use) is
encrypted under them either, which the vault can't know.`,
		Example: "  vaultctl retire organization_id=org_01 --elsewhere-reencrypted --dry-run",
	}
	f := c.Flags()
	f.BoolVar(&elsewhere, "elsewhere-reencrypted", false, "nothing outside of the store is under superseded keys")
	f.BoolVar(&dryRun, "dry-run", false, "count what would be done, and do nothing")
	f.Var(&olderThan, "older-than", "only keys superseded longer ago; default 24h, or twice the longer of the next two")
	f.Var(&cacheTTL, "cache-ttl", "the longest Cache.TTL + Cache.StaleIfUnavailable of the application's processes; default 1h15m")
	f.Var(&activeTTL, "active-key-ttl", "the longest Cache.ActiveKeyTTL of the application's processes; default 1m")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := needPairs(args)
		if err != nil {
			return err
		}
		if !elsewhere {
			return usage("retire destroys keys: say by --elsewhere-reencrypted that nothing outside of the store needs them")
		}
		ttl := cmp.Or(time.Duration(cacheTTL), defaultCacheTTL)
		n := needs{access: writing, cache: vault.CacheConfig{TTL: ttl, ActiveKeyTTL: time.Duration(activeTTL)}}
		return a.with(ctx, n, func(s *session) error {
			if err := s.mustMatch(ctx, match); err != nil {
				return err
			}
			if !dryRun {
				if err := a.confirmPairs(ctx, "This destroys superseded keys for ever.", args); err != nil {
					return err
				}
			}
			return a.retire(ctx, s, vault.RetireOptions{
				Match: match, ElsewhereReencrypted: true, OlderThan: time.Duration(olderThan), DryRun: dryRun,
			})
		})
	})
}

func (a *app) retire(ctx context.Context, s *session, o vault.RetireOptions) error {
	m, err := a.meter("retire", func() (int64, error) { return s.countKeys(ctx, filter(o.Match)) })
	if err != nil {
		return err
	}
	o.Progress = func(r vault.RetireReport) { m.set(r.Seen) }
	r, err := s.RetireKeys(ctx, o)
	m.end()
	return errors.Join(a.printRetire(r, o.DryRun), a.interrupted(ctx, err, "", ""))
}

func (a *app) printRetire(r vault.RetireReport, dryRun bool) error {
	out := retireOut{RetireReport: r, DryRun: dryRun, Refused: []failure{}}
	for _, f := range r.Refused {
		out.Refused = append(out.Refused, failure{
			KeyID: f.KeyID.String(), ContextHash: f.ContextHash.String(), Version: f.Version,
			Objects: f.Objects, Children: f.Children, Error: a.clean(f.Err.Error()),
		})
	}
	retired := "retired"
	if dryRun {
		retired = "to be retired"
	}
	return a.print(out, counts("retire", "keys", r.Seen, retired, r.Retired, "newest", r.Newest, "superseded too lately", r.Young,
		"disabled", r.Disabled, "gone before", r.Gone, "in use", r.InUse, "failed", r.Failed)+failed(out.Refused))
}
