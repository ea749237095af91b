package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/embedvault/vault"
)

// passFlags are the flags that rewrap and reencrypt share.
type passFlags struct {
	all         bool
	dryRun      bool
	concurrency int
	rate        float64
	maxFailures int
	job         string
}

func (p *passFlags) add(f *pflag.FlagSet, what string) {
	f.BoolVar(&p.all, "all", false, "all "+what+" of the namespace")
	f.BoolVar(&p.dryRun, "dry-run", false, "count what would be done, and do nothing")
	f.IntVar(&p.concurrency, "concurrency", 0, "how many at the same time; default 8")
	f.Float64Var(&p.rate, "rate", 0, "at most so many a second")
	f.IntVar(&p.maxFailures, "max-failures", 0, "stop after so many failures")
	f.StringVar(&p.job, "job", "", "`NAME` of the job to go on with; default: a new one")
}

// begin names the job, if there is to be one, and says how to go on with it.
func (p *passFlags) begin(a *app) (job string) {
	if p.dryRun {
		return ""
	}
	given := p.job != ""
	if !given {
		p.job = a.newJob()
	}
	a.announce("--job", p.job, given)
	return p.job
}

// countKeys counts the keys that a filter selects.
func (s *session) countKeys(ctx context.Context, f vault.KeyFilter) (n int64, err error) {
	for _, err := range s.Keys(ctx, f) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}
