package vault_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// byokWorld is a vault whose KEKs are chosen by rules, with sealed data of several
// organisations.
type byokWorld struct {
	*vaulttest.Vault
	rules  *kek.Rules
	ours   *memkek.KEK
	sealed map[int][]byte
}

func any1(w kek.Wrapper) kek.Choice { return kek.Choice{KEKs: []kek.Wrapper{w}} }

func org(i int) vault.KeyContext {
	return vault.KeyContext{"organization_id": fmt.Sprintf("org_%03d", i), "env": []string{"test", "live"}[i%2]}
}

// match is what a rule for one organisation matches.
func match(i int) vault.KeyContext {
	return vault.KeyContext{"organization_id": org(i)["organization_id"]}
}

func newBYOKWorld(t testing.TB, orgs int, change ...func(*vault.Config)) *byokWorld {
	t.Helper()
	w := &byokWorld{ours: memkek.New("ours"), sealed: map[int][]byte{}}
	w.rules = must(kek.NewRules(any1(w.ours)))(t)
	w.Vault = vaulttest.New(t, append([]func(*vault.Config){func(c *vault.Config) { c.KEK, c.Policy = nil, w.rules }}, change...)...)
	for i := range orgs {
		w.sealed[i] = must(w.Encrypt(t.Context(), org(i), fmt.Append(nil, "secret of ", i), nil))(t)
	}
	return w
}

// peer is another process with the same rules and the same store, and an empty
// cache.
func (w *byokWorld) peer(t testing.TB) *vaulttest.Vault {
	return vaulttest.New(t, func(c *vault.Config) { c.KEK, c.Policy, c.Store = nil, w.rules, w.Store })
}

// opens fails unless a fresh process reads every organisation's data.
func (w *byokWorld) opens(t testing.TB) {
	t.Helper()
	p := w.peer(t)
	for i, sealed := range w.sealed {
		if got, err := p.Decrypt(t.Context(), org(i), sealed, nil); err != nil || string(got) != fmt.Sprint("secret of ", i) {
			t.Fatalf("organisation %d: %q, %v", i, got, err)
		}
	}
}

// report compares the counts of a report; Seen is their sum.
func wantReport(t testing.TB, got vault.RewrapReport, want vault.RewrapReport) {
	t.Helper()
	want.Seen = want.Moved + want.Current + want.Nothing + want.Failed
	got.Failures = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("report %+v, want %+v", got, want)
	}
}

func TestRewrapMatchesExactly(t *testing.T) {
	w := newBYOKWorld(t, 10)
	theirs := memkek.New("theirs")
	ok(t, w.rules.Set(match(3), any1(theirs)))
	ok(t, w.rules.Set(vault.KeyContext{"env": "live"}, any1(theirs)))
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{Match: vault.KeyContext{"env": "test"}})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Current: 5})
	report, err = w.Rewrap(t.Context(), vault.RewrapOptions{Match: match(3)})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Moved: 1})
	report, err = w.Rewrap(t.Context(), vault.RewrapOptions{All: true, DryRun: true})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Moved: 4, Current: 6})
	w.ours.ResetCounts()
	report, err = w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Moved: 4, Current: 6})
	if w.ours.Unwraps() != 4 {
		t.Errorf("%d keys were unwrapped, want 4", w.ours.Unwraps())
	}
	w.rules.DropAllPrevious()
	w.opens(t)
}

func TestRewrapStaysInItsNamespace(t *testing.T) {
	w := newBYOKWorld(t, 5)
	other := vaulttest.New(t, func(c *vault.Config) {
		c.KEK, c.Policy, c.Store, c.Namespace = nil, w.rules, w.Store, "billing"
	})
	for i := range 3 {
		must(other.Encrypt(t.Context(), org(i), nil, nil))(t)
	}
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Moved: 5})
	report, err = other.Rewrap(t.Context(), vault.RewrapOptions{Match: vault.KeyContext{"env": "test"}})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Moved: 2})
}

func TestRewrapOptions(t *testing.T) {
	w := newBYOKWorld(t, 1)
	for name, o := range map[string]vault.RewrapOptions{
		"nothing":          {},
		"empty match":      {Match: vault.KeyContext{}},
		"both":             {All: true, Match: match(1)},
		"concurrency":      {All: true, Concurrency: -1},
		"failures":         {All: true, MaxFailures: -1},
		"rate":             {All: true, RateLimit: -1},
		"job":              {All: true, Job: "../x"},
		"job of a dry run": {All: true, Job: "x", DryRun: true},
	} {
		_, err := w.Rewrap(t.Context(), o)
		if !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := w.Rewrap(t.Context(), vault.RewrapOptions{Match: vault.KeyContext{"vault:scope": "global"}})
	wantErr(t, err, vault.ErrInvalidContext)
	_, err = vaulttest.New(t, func(c *vault.Config) { c.Store = nil }).Rewrap(t.Context(), vault.RewrapOptions{All: true})
	wantErr(t, err, vault.ErrNoStore)
	_ = w.Close()
	_, err = w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	wantErr(t, err, vault.ErrClosed)
}

// A customer's KMS that refuses fails its own keys, by name, and no others.
func TestRewrapReportsFailures(t *testing.T) {
	w := newBYOKWorld(t, 30)
	theirs := memkek.New("theirs")
	ok(t, w.rules.Set(match(7), any1(theirs)))
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	theirs.SetFault(memkek.Denied)
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	wantErr(t, err, vault.ErrRewrapIncomplete)
	if len(report.Failures) != 1 || !errors.Is(report.Failures[0].Err, vault.ErrKEKDenied) {
		t.Fatalf("failures %v", report.Failures)
	}
	wantReport(t, report, vault.RewrapReport{Moved: 29, Failed: 1})
	w.opens(t)
	events := w.Events(vault.KeyRewrapped)
	failed := 0
	for _, e := range events {
		if e.Err != nil {
			failed++
		}
	}
	if len(events) != 30 || failed != 1 {
		t.Errorf("%d events, %d of them failed", len(events), failed)
	}
	theirs.SetFault(memkek.None)
	report, err = w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Moved: 1, Current: 29})
}

// The repair of any-of keys that were made during an outage; still without the
// one that is down it says so.
func TestRewrapRepairs(t *testing.T) {
	synctest.Test(t, testRewrapRepairs)
}

func testRewrapRepairs(t *testing.T) {
	w := newBYOKWorld(t, 0)
	west, third := memkek.New("west"), memkek.New("third")
	ok(t, w.rules.SetDefault(kek.Choice{KEKs: []kek.Wrapper{w.ours, west, third}, Quorum: kek.AnyOf}))
	west.SetFault(memkek.Unavailable)
	third.SetFault(memkek.Unavailable)
	for i := range 4 {
		w.sealed[i] = must(w.Encrypt(t.Context(), org(i), fmt.Append(nil, "secret of ", i), nil))(t)
	}
	third.SetFault(memkek.None)
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	wantErr(t, err, vault.ErrRewrapIncomplete)
	wantReport(t, report, vault.RewrapReport{Moved: 4, Partly: 4})
	west.SetFault(memkek.None)
	time.Sleep(6 * time.Second) // it was asked too often to be asked at once
	// One at a time: while one call finds out whether it is back, others are turned away.
	ok(t, second(w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Concurrency: 1})))
	w.ours.SetFault(memkek.Denied)
	third.SetFault(memkek.Hang)
	w.opens(t)
}

func second[T any](_ T, err error) error { return err }

func TestRewrapStopsAfterMaxFailures(t *testing.T) {
	w := newBYOKWorld(t, 60)
	bad := memkek.New("bad")
	bad.SetFault(memkek.Denied)
	ok(t, w.rules.SetDefault(any1(bad)))
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true, MaxFailures: 5, Concurrency: 2})
	if !errors.Is(err, vault.ErrRewrapIncomplete) || report.Seen == 60 || report.Failed < 5 || report.Failed > 7 {
		t.Errorf("report %+v, error %v", report, err)
	}
	w.opens(t)
}

func TestRewrapRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBYOKWorld(t, 31)
		start := time.Now()
		ok(t, second(w.Rewrap(t.Context(), vault.RewrapOptions{All: true, RateLimit: 10})))
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("31 keys at 10 a second took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		report, err := w.Rewrap(ctx, vault.RewrapOptions{All: true, RateLimit: 10})
		if !errors.Is(err, context.DeadlineExceeded) || report.Seen > 11 {
			t.Errorf("report %+v, error %v", report, err)
		}
	})
}

// manyKeys gives the vault keys of n organisations more, quickly.
func (w *byokWorld) manyKeys(t testing.TB, n int) {
	t.Helper()
	kcs := make([]vault.KeyContext, n)
	for i := range kcs {
		kcs[i] = org(1000 + i)
	}
	ok(t, w.Prepare(t.Context(), kcs...))
}

// A job that is interrupted goes on where it was, in another process too.
func TestRewrapJobGoesOn(t *testing.T) {
	w := newBYOKWorld(t, 10)
	w.manyKeys(t, 990)
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	job := vault.RewrapOptions{All: true, Job: "move-2026"}

	ctx, cancel := context.WithCancel(t.Context())
	pages := 0
	first := job
	first.Progress = func(r vault.RewrapReport) {
		if pages++; pages == 2 {
			cancel()
		}
	}
	report, err := w.Rewrap(ctx, first)
	wantErr(t, err, context.Canceled)
	if report.Seen < 500 || report.Seen >= 1000 {
		t.Fatalf("stopped after %d", report.Seen)
	}
	if _, err := w.Rewrap(t.Context(), vault.RewrapOptions{Match: match(1), Job: job.Job}); !errors.Is(err, vault.ErrInvalidOption) {
		t.Errorf("a job with another match: %v", err)
	}
	p := w.peer(t)
	var seen []int64
	job.Progress = func(r vault.RewrapReport) { seen = append(seen, r.Seen) }
	report, err = p.Rewrap(t.Context(), job)
	ok(t, err)
	if report.Moved+report.Current != report.Seen || report.Seen < 1000 || report.Seen > 1200 || seen[0] <= 200 {
		t.Errorf("report %+v; progress %v: it began anew", report, seen)
	}
	left := must(w.Store.ListSystem(t.Context(), "rewrap/", "", 10))(t)
	if len(left) > 0 {
		t.Errorf("the finished job left %v", left)
	}
	w.rules.DropAllPrevious()
	w.opens(t)
}

// Of two processes that run one job, one is told; all keys are moved all the
// same.
func TestTwoProcessesRunOneJob(t *testing.T) {
	w := newBYOKWorld(t, 10)
	w.manyKeys(t, 990)
	ok(t, w.rules.SetDefault(any1(memkek.New("new"))))
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, v := range []*vaulttest.Vault{w.peer(t), w.peer(t)} {
		wg.Go(func() { _, errs[i] = v.Rewrap(t.Context(), vault.RewrapOptions{All: true, Job: "x"}) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, vault.ErrVersionConflict) {
			t.Error(err)
		}
	}
	if errs[0] != nil && errs[1] != nil {
		t.Errorf("both gave up: %v", errs)
	}
	report, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true})
	ok(t, err)
	wantReport(t, report, vault.RewrapReport{Current: 1000})
}

func TestRewrapJobRecordThatIsNone(t *testing.T) {
	w := newBYOKWorld(t, 1)
	w.manyKeys(t, 300)
	var name string
	_, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Job: "x", Progress: func(vault.RewrapReport) {
		if recs, err := w.Store.ListSystem(context.Background(), "", "", 10); err == nil && len(recs) > 0 {
			name = recs[0].Name
		}
	}})
	ok(t, err)
	if name == "" {
		t.Fatal("the job was never noted")
	}
	for _, value := range []string{"", "{}", "null", `{"format":2}`, `{"format":1,"more":1}`, "\x00"} {
		rev := must(w.Store.PutSystem(t.Context(), storage.SystemRecord{Name: name, Value: []byte(value)}))(t)
		_, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true, Job: "x"})
		wantErr(t, err, vault.ErrStoreCorrupt)
		ok(t, w.Store.DeleteSystem(t.Context(), name, rev))
	}
}

// Reads, writes and rotations go on in two processes while all keys are moved
// back and forth.
func TestRewrapWhileInUse(t *testing.T) {
	w := newBYOKWorld(t, 12, func(c *vault.Config) {
		c.Cache = vault.CacheConfig{Size: 4, TTL: 5 * time.Millisecond, ActiveKeyTTL: time.Millisecond}
	})
	keks := []*memkek.KEK{w.ours, memkek.New("a"), memkek.New("b")}
	p := w.peer(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for _, v := range []*vaulttest.Vault{w.Vault, p} {
		for g := range 2 {
			wg.Go(func() {
				for n := g; !stop.Load(); n++ {
					i := n % 12
					if got, err := v.Decrypt(t.Context(), org(i), w.sealed[i], nil); err != nil || string(got) != fmt.Sprint("secret of ", i) {
						t.Errorf("decrypt: %v", err)
						return
					}
					sealed, err := v.Encrypt(t.Context(), org(i), []byte("x"), nil)
					if err != nil {
						t.Errorf("encrypt: %v", err)
						return
					}
					if _, err := v.Decrypt(t.Context(), org(i), sealed, nil); err != nil {
						t.Errorf("decrypt what was just encrypted: %v", err)
						return
					}
					if n%50 == 0 && n < 500 {
						if err := v.Rotate(t.Context(), org(i)); err != nil && !errors.Is(err, vault.ErrVersionConflict) {
							t.Errorf("rotate: %v", err)
							return
						}
					}
				}
			})
		}
	}
	for n := range 40 {
		c := kek.Choice{KEKs: []kek.Wrapper{keks[n%3]}, Quorum: kek.AnyOf}
		switch n % 4 {
		case 1:
			c = kek.Choice{KEKs: []kek.Wrapper{keks[n%3], keks[(n+1)%3]}, Quorum: kek.AllOf}
		case 3:
			c = kek.Choice{KEKs: []kek.Wrapper{keks[n%3], keks[(n+1)%3]}, Quorum: kek.AnyOf}
		}
		ok(t, w.rules.SetDefault(c))
		if _, err := w.Rewrap(t.Context(), vault.RewrapOptions{All: true}); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	ok(t, second(w.Rewrap(t.Context(), vault.RewrapOptions{All: true})))
	w.rules.DropAllPrevious()
	w.opens(t)
}
