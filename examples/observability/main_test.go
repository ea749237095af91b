package main

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// deltas plays the story in a bubble, where time passes only while everybody waits,
// and returns what moved in each part, with what was printed.
func deltas(t *testing.T) (parts []numbers, printed string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, err := newFleet(ttl)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := f.close(); err != nil {
				t.Error(err)
			}
		}()
		before := numbers{}
		var out strings.Builder
		err = f.story(t.Context(), &out, func() (string, error) {
			page := httptest.NewRecorder()
			f.metrics.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			after, err := parse(page.Body.String())
			parts = append(parts, after.since(before))
			before = after
			return page.Body.String(), err
		})
		if err != nil {
			t.Fatal(err)
		}
		printed = out.String()
	})
	return parts, printed
}

// One KMS outage and one revocation, in the numbers that an operator has.
func TestTheStoryInItsNumbers(t *testing.T) {
	parts, printed := deltas(t)
	if len(parts) != 4 {
		t.Fatalf("the story has %d parts", len(parts))
	}
	const (
		done   = operations + `_count{embedvault_operation="encrypt"}`
		failed = operations + `_count{embedvault_operation="encrypt",error_type="kek_denied"}`
		hit    = lookups + `{embedvault_cache_result="hit"}`
		miss   = lookups + `{embedvault_cache_result="miss"}`
		down   = kekErrors + `{embedvault_kek_uri="mem:acme",error_type="kek_unavailable"}`
		denied = kekErrors + `{embedvault_kek_uri="mem:globex",error_type="kek_denied"}`
	)
	for i, want := range []numbers{
		// Each key is made: wrapped, and unwrapped to check it.
		{done: 100, failed: 0, hit: 198, miss: 2, stale: 0, calls + uri("acme"): 2, calls + uri("globex"): 2, down: 0, denied: 0},
		// Acme's key is tried three times, and then left for a while: all its requests
		// are served stale. Globex's is renewed.
		{done: 100, failed: 0, hit: 198, miss: 2, stale: 100, calls + uri("acme"): 3, calls + uri("globex"): 1, down: 3, denied: 0},
		{done: 100, failed: 0, hit: 198, miss: 2, stale: 0, calls + uri("acme"): 1, calls + uri("globex"): 1, down: 0, denied: 0},
		// Every one of globex's requests asks, and is refused.
		{done: 50, failed: 50, hit: 99, miss: 51, stale: 0, calls + uri("acme"): 1, calls + uri("globex"): 50, down: 0, denied: 50},
	} {
		for series, x := range want {
			if parts[i][series] != x {
				t.Errorf("part %d: %s grew by %v, want %v", i+1, series, parts[i][series], x)
			}
		}
	}
	checkLatency(t, parts)
	for _, want := range []string{
		"acme: 50 requests served, 0 denied; globex: 0 requests served, 50 denied",
		`embedvault_kek_errors_total{embedvault_kek_uri="mem:acme",error_type="kek_unavailable"}`,
		"found in the cache: 99.0 %; a call to acme's KMS takes 20.0 ms; a call to globex's KMS takes 5.0 ms",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("it doesn't print %q:\n%s", want, printed)
		}
	}
	for _, secret := range []string{"sk_live", "organization_id"} {
		if strings.Contains(printed, secret) {
			t.Errorf("it prints %q", secret)
		}
	}
}

// checkLatency checks the times. In the bubble nothing takes time but the KMSs.
func checkLatency(t *testing.T, parts []numbers) {
	t.Helper()
	if got := parts[0].within(0.5); got != "2e-06" {
		t.Errorf("half of the operations take up to %s s", got)
	}
	for _, name := range []string{"acme", "globex"} {
		want := map[string]float64{"acme": 0.02, "globex": 0.005}[name]
		if got := parts[2][kekTime+uri(name)]; got < want-1e-6 || got > want+1e-6 {
			t.Errorf("one call to %s's KMS takes %v s, want %v", name, got, want)
		}
	}
}

// interrupter interrupts the program when it says that it serves on.
type interrupter struct {
	strings.Builder
	interrupt func()
}

func (w *interrupter) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "serving http://127.0.0.1:") {
		w.interrupt()
	}
	return w.Builder.Write(p)
}

// The real program, with its HTTP server, in real time, in which no number is exact.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := interrupter{interrupt: cancel}
	if err := run(ctx, &out, "127.0.0.1:0", 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"metrics at http://127.0.0.1:", "== acme's KMS is down", "acme: 50 requests served, 0 denied; globex: 0 requests served, 50 denied"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it doesn't print %q:\n%s", want, out.String())
		}
	}
}

// With -serve it goes on until it is interrupted, and its page is Prometheus' text
// form.
func TestServeGoesOnUntilInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := newFleet(ttl)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := f.close(); err != nil {
				t.Error(err)
			}
		}()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.traffic(ctx, nil) }()
		if err := sleep(t.Context(), ttl); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		page := httptest.NewRecorder()
		f.metrics.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if kind := page.Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
			t.Errorf("the page is of type %s", kind)
		}
		for _, want := range []string{"# TYPE embedvault_operation_duration_seconds histogram", "# TYPE embedvault_kek_calls_total counter", "# TYPE embedvault_cache_keys gauge"} {
			if !strings.Contains(page.Body.String(), want) {
				t.Errorf("the page lacks %q", want)
			}
		}
	})
}

// The queries of docs/OBSERVABILITY.md ask for series that the page has.
func TestDocumentedQueries(t *testing.T) {
	doc, err := os.ReadFile("../../docs/OBSERVABILITY.md")
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`\bembedvault_[a-z_]+_(total|count|bucket)\b`).FindAllString(string(doc), -1)
	if len(asked) < 8 {
		t.Fatalf("the document asks for %q", asked)
	}
	parts, _ := deltas(t)
	for _, name := range asked {
		found := slices.ContainsFunc(slices.Collect(maps.Keys(parts[3])), func(series string) bool {
			return series == name || strings.HasPrefix(series, name+"{")
		})
		if !found {
			t.Errorf("nothing is called %s", name)
		}
	}
}
