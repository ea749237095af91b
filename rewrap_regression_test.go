package vault_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/vaulttest"
)

// Close in the middle of a job: the rest must not count as failed, the cursor
// not pass it, the job not be forgotten.
func TestRegressionCloseInTheMiddleOfAJob(t *testing.T) {
	w := newBYOKWorld(t, 10)
	w.manyKeys(t, 990)
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	pages := 0
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Job: "j", Progress: func(vault.RewrapReport) {
		if pages++; pages == 1 {
			go func() { _ = w.Close() }() // SIGTERM
			time.Sleep(50 * time.Millisecond)
		}
	}})
	report.Failures = nil
	t.Logf("report %+v, pages %d", report, pages)
	if !errors.Is(err, vault.ErrClosed) || report.Failed > 0 {
		t.Errorf("error %v, %d failed", err, report.Failed)
	}
	left, lerr := w.Store.ListSystem(t.Context(), "rewrap/", "", 10)
	if lerr != nil || len(left) != 1 {
		t.Errorf("the job is forgotten with most keys where they were: %d records", len(left))
	}
}

// "RateLimit is how many keys a second are looked at, at most": after a pause
// the pass makes up for it.
func TestRegressionRateLimitSavesNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBYOKWorld(t, 10)
		w.manyKeys(t, 390)
		var at []time.Time
		var seen []int64
		_, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true, RateLimit: 10, Progress: func(r vault.RewrapReport) {
			at, seen = append(at, time.Now()), append(seen, r.Seen)
			time.Sleep(time.Minute) // or the store, or the KMS, was slow
		}})
		ok(t, err)
		took := at[1].Sub(at[0]) - time.Minute
		if n := seen[1] - seen[0]; took < time.Duration(n-1)*100*time.Millisecond {
			t.Errorf("%d keys in %v at 10 a second", n, took)
		}
	})
}

func TestRegressionTinyRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBYOKWorld(t, 10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		report, err := w.Rewrap(ctx, vault.RewrapOptions{All: true, RateLimit: 1e-10})
		if report.Seen > 1 {
			t.Errorf("%d keys in a second, at one in 300 years: %v", report.Seen, err)
		}
	})
}

// Self-contained envelopes that are made after a rewrap still carry the old
// wrapping, although the rewrap was done by this very process.
func TestRegressionSelfContainedAfterRewrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBYOKWorld(t, 1, func(c *vault.Config) { c.SelfContained = true; c.Cache.TTL = 24 * time.Hour })
		ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
		report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
		ok(t, err)
		wantReport(t, report, vault.RewrapReport{Moved: 1})
		time.Sleep(2 * time.Hour)
		sealed := must(w.Encrypt(t.Context(), org(0), []byte("written two hours after the rewrap"), nil))(t)
		w.ours.SetFault(memkek.Denied) // the old KEK is gone
		p := vaulttest.New(t, func(c *vault.Config) { c.KEK, c.Policy, c.Store = nil, w.rules, w.Store })
		_, err = p.Decrypt(t.Context(), org(0), sealed, nil)
		wantErr(t, err, nil)
	})
}

// FailClosed through the vault: key.rewrapped isn't recorded and nobody is
// told.
func TestRegressionFailClosedRewrap(t *testing.T) {
	fail := false
	w := newBYOKWorld(t, 1, func(c *vault.Config) {
		c.FailClosed = true
		c.OnEvent = func(_ context.Context, e vault.Event) error {
			if fail && e.Name == vault.KeyRewrapped {
				return vault.ErrVersionConflict // the sink writes to the vault's store
			}
			return nil
		}
	})
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	fail = true
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	if !errors.Is(err, vault.ErrRewrapIncomplete) && !errors.Is(err, vault.ErrEvent) {
		t.Errorf("report %+v, error %v", report, err)
	}
}

// A KMS that can't be asked for its newest version for a moment: no key is said to
// be moved that isn't.
func TestRegressionMovedForEver(t *testing.T) {
	w := newBYOKWorld(t, 1)
	w.ours.Rotate()
	w.ours.FailNext(1, memkek.Unavailable)
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Concurrency: 1})
	if report.Moved > 0 && w.ours.Rewraps() == 0 {
		t.Errorf("report %+v, error %v, and nothing was rewrapped", report, err)
	}
	if err == nil {
		w.ours.DestroyOld()
		w.opens(t)
	}
}

// The vault is closed while keys are being rewrapped: none of them counts as
// failed, and Close waits for what is under way and no longer.
func TestRegressionCloseInTheMiddleOfAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBYOKWorld(t, 100)
		slow := memkek.New("new")
		slow.SetLatency(time.Second)
		ok(t, w.rules.SetDefault(any1(slow)))
		start := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			_ = w.Close()
			if took := time.Since(start); took > 11*time.Second {
				t.Errorf("Close waited until %v", took)
			}
			w.Store.ResetCalls()
		}()
		report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
		wantErr(t, err, vault.ErrClosed)
		if report.Failed > 0 || report.Moved == 0 || report.Moved == 100 {
			t.Errorf("report %+v", report)
		}
		synctest.Wait()
		if n := w.Store.Calls("UpdateKey"); n > 0 {
			t.Errorf("%d writes after Close", n)
		}
	})
}
