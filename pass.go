package vault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/embedvault/vault/storage"
)

// What passes over keys and objects share: many things looked at, several at a
// time, no faster than they may be, each of them on its own.

// passPage is how many keys or objects lie between two notes of how far a pass
// has come.
const passPage = 200

// maxPassPage is the same where they go fast.
const maxPassPage = 1000

// pageSize is how many keys a page has: so many that it takes about a second, of
// which less is lost if the process dies.
type pageSize struct {
	n     int
	begun time.Time
}

func (s *pageSize) begin() { s.begun = time.Now() }

func (s *pageSize) end() {
	switch took := time.Since(s.begun); {
	case took < time.Second/2:
		s.n = min(2*s.n, maxPassPage)
	case took > 2*time.Second:
		s.n = max(s.n/2, passPage)
	}
}

// defaultConcurrency is how many keys or objects a pass works on at a time.
const defaultConcurrency = 8

// passOptions are the options that passes share, for their checks.
type passOptions struct {
	match       *KeyContext
	all         bool
	concurrency *int
	maxFailures int
	rateLimit   float64
	job         string
	dryRun      bool
}

// check refuses what makes no sense, copies Match and fills in the defaults.
func (o passOptions) check() error {
	switch {
	case o.all == (len(*o.match) > 0):
		return fmt.Errorf("%w: set exactly one of Match and All", ErrInvalidOption)
	case *o.concurrency < 0 || o.maxFailures < 0:
		return fmt.Errorf("%w: Concurrency and MaxFailures must not be negative", ErrInvalidOption)
	case o.rateLimit < 0 || math.IsNaN(o.rateLimit):
		return fmt.Errorf("%w: RateLimit is %v", ErrInvalidOption, o.rateLimit)
	case o.job != "" && !jobName.MatchString(o.job):
		return fmt.Errorf("%w: Job must be 1 to 100 of A-Z a-z 0-9 . _ : -", ErrInvalidOption)
	case o.job != "" && o.dryRun:
		return fmt.Errorf("%w: a DryRun keeps no Job", ErrInvalidOption)
	}
	if !o.all {
		if err := o.match.Validate(); err != nil {
			return err
		}
		*o.match = o.match.Clone()
	}
	if *o.concurrency == 0 {
		*o.concurrency = defaultConcurrency
	}
	return nil
}

// contexts is the filter of what contains match, or of all, in this vault's own
// namespace.
func (v *Vault) contexts(match KeyContext, all bool) storage.ContextFilter {
	return storage.ContextFilter{Match: match, All: all, Namespace: v.cfg.Namespace}
}

// long begins a call that takes long, as [Vault.work] does, if the vault has a
// store and ctx has not ended, and carries no transaction: keys are changed outside of
// it for good, while what it reads, and moves, may never be committed.
func (v *Vault) long(ctx context.Context) (_ context.Context, end func(), err error) {
	if err := v.ready(ctx); err != nil {
		return nil, nil, err
	}
	if tx, ok := v.cfg.Store.(storage.TxTeller); ok && tx.InTx(ctx) {
		return nil, nil, fmt.Errorf("%w: ctx carries a transaction; call it outside of the transaction", ErrInvalidOption)
	}
	return v.work(ctx)
}

// closedBy gives the error of a pass that the vault's closing has ended its class.
func closedBy(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrClosed) && !errors.Is(err, ErrClosed) {
		return fmt.Errorf("%w: %v", ErrClosed, err)
	}
	return err
}

// pacer lets no more through than so many a second; the zero pacer all. It is for
// one goroutine.
type pacer struct {
	limit float64
	next  time.Time // when the next may go
}

// wait waits for the next one's turn; false if ctx ended.
func (p *pacer) wait(ctx context.Context) bool {
	if p.limit <= 0 {
		return ctx.Err() == nil
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now // what wasn't used is not saved up
	}
	timer := time.NewTimer(p.next.Sub(now))
	defer timer.Stop()
	p.next = p.next.Add(time.Duration(min(float64(time.Second)/p.limit, float64(forever))))
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// each runs f for every item, up to n at a time, as pace allows, and waits for all
// that it began. An error of f ends it, and so does the end of ctx, whose cause it
// then returns; items may be left over then.
func each[T any](ctx context.Context, items []T, n int, pace *pacer, f func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	places := make(chan struct{}, n)
	var wg sync.WaitGroup
	for _, item := range items {
		if !pace.wait(ctx) {
			break
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			continue
		}
		wg.Go(func() {
			defer func() { <-places }()
			if err := f(ctx, item); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}
