package vaultotel_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaultotel"
)

// byOrg gives each organisation its own KEK.
func byOrg(keks map[string]kek.Wrapper) kek.Policy {
	return kek.PolicyFunc(func(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
		w, found := keks[kc["organization_id"]]
		if !found {
			return kek.Choice{}, kek.ErrPolicy
		}
		return kek.Choice{KEKs: []kek.Wrapper{w}, Quorum: kek.AnyOf}, nil
	})
}

// What happens is counted, exactly: by operation and outcome, by KEK, by class.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := memkek.New("one"), memkek.New("two")
		w := newWorld(t, nil, func(c *vault.Config) {
			c.Policy = byOrg(map[string]kek.Wrapper{"org_01": one, "org_02": two})
		})
		one.SetLatency(20 * time.Millisecond)
		two.SetFault(memkek.Denied)
		for range 3 {
			must(w.Encrypt(t.Context(), orgA, nil, nil))(t)
			_, err := w.Encrypt(t.Context(), orgB, nil, nil)
			if err == nil {
				t.Fatal("what is denied is encrypted")
			}
		}
		m := collect(t, w.reader)
		for _, want := range []struct {
			n     int64
			name  string
			attrs []string
		}{
			{3, "embedvault.operation.duration", []string{"embedvault.operation", "encrypt"}},
			{3, "embedvault.operation.duration", []string{"embedvault.operation", "encrypt", "error.type", "kek_denied"}},
			{3, "embedvault.kek.call.duration", []string{"embedvault.kek.call", "wrap", "error.type", "kek_denied"}},
			{1, "embedvault.kek.call.duration", []string{"embedvault.kek.call", "wrap"}},
			{1, "embedvault.kek.call.duration", []string{"embedvault.kek.call", "unwrap"}},
			{2, "embedvault.kek.calls", []string{"embedvault.kek.uri", "mem:one"}},
			{3, "embedvault.kek.calls", []string{"embedvault.kek.uri", "mem:two"}},
			{3, "embedvault.kek.errors", []string{"embedvault.kek.uri", "mem:two", "error.type", "kek_denied"}},
			{-1, "embedvault.kek.errors", []string{"embedvault.kek.uri", "mem:one", "error.type", "kek_denied"}},
			{4, "embedvault.store.call.duration", []string{"embedvault.store.call", "LatestKey", "error.type", "not_found"}},
			{1, "embedvault.store.call.duration", []string{"embedvault.store.call", "InsertKey"}},
			{2, "embedvault.cache.lookups", []string{"embedvault.cache.result", "hit"}},
			{4, "embedvault.cache.lookups", []string{"embedvault.cache.result", "miss"}},
			{1, "embedvault.cache.keys", nil},
			{0, "embedvault.cache.evictions", nil},
			{0, "embedvault.cache.stale", nil},
			{0, "embedvault.legacy.decrypts", nil},
			{0, "embedvault.failures", []string{"embedvault.part", "event"}},
			{0, "embedvault.failures", []string{"embedvault.part", "tracer"}},
		} {
			if got := count(t, m, want.name, want.attrs...); got != want.n {
				t.Errorf("%s %v is %d, want %d", want.name, want.attrs, got, want.n)
			}
		}
		checkTimes(t, m)
	})
}

// checkTimes checks the durations of TestMetrics, in whose bubble only calls to the
// KEK of the latency take any time: two of 20 ms.
func checkTimes(t *testing.T, m map[string]metricdata.Metrics) {
	t.Helper()
	for _, p := range m["embedvault.kek.call.duration"].Data.(metricdata.Histogram[float64]).DataPoints {
		want := setOf([]string{"embedvault.kek.call", "wrap"})
		if p.Attributes.Equals(&want) && math.Abs(p.Sum-0.02) > 1e-9 {
			t.Errorf("a wrap that takes 20 ms is told to take %v s", p.Sum)
		}
	}
	for _, p := range m["embedvault.kek.call.time"].Data.(metricdata.Sum[float64]).DataPoints {
		want := setOf([]string{"embedvault.kek.uri", "mem:one"})
		if p.Attributes.Equals(&want) && math.Abs(p.Value-0.04) > 1e-9 {
			t.Errorf("two calls of 20 ms take %v s", p.Value)
		}
	}
	for name, unit := range map[string]string{"embedvault.operation.duration": "s", "embedvault.kek.calls": "{call}", "embedvault.cache.keys": "{key}"} {
		if m[name].Unit != unit || m[name].Description == "" {
			t.Errorf("%s has the unit %q and the description %q", name, m[name].Unit, m[name].Description)
		}
	}
}

// An outage in its own numbers: what is served stale, what fails, what is not even
// tried.
func TestMetricsOfAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, func(c *vault.Config) {
			c.NoBackground = true // each call does its own work: exact numbers
			c.Cache = vault.CacheConfig{TTL: time.Minute, ActiveKeyTTL: time.Minute, StaleIfUnavailable: time.Hour}
		})
		must(w.Encrypt(t.Context(), orgA, nil, nil))(t)
		w.KEK.SetFault(memkek.Unavailable)
		time.Sleep(2 * time.Minute)
		must(w.Encrypt(t.Context(), orgA, nil, nil))(t)
		m := collect(t, w.reader)
		if n := count(t, m, "embedvault.cache.stale"); n != 1 {
			t.Errorf("%d are stale, want 1", n)
		}
		// The load was tried three times.
		if n := count(t, m, "embedvault.kek.errors", "embedvault.kek.uri", "mem:test", "error.type", "kek_unavailable"); n != 3 {
			t.Errorf("%d calls failed, want 3", n)
		}
		if n := count(t, m, "embedvault.operation.duration", "embedvault.operation", "encrypt"); n != 2 {
			t.Errorf("%d operations were done, want 2", n)
		}
		if n := count(t, m, "embedvault.kek.rejected", "embedvault.kek.uri", "mem:test"); n != -1 {
			t.Errorf("%d calls were rejected", n)
		}
		for i := range 6 { // 16 calls without an answer, and the KEK is not asked for a while
			_, _ = w.Encrypt(t.Context(), vault.KeyContext{"organization_id": fmt.Sprint(i)}, nil, nil)
		}
		m = collect(t, w.reader)
		if n := count(t, m, "embedvault.kek.rejected", "embedvault.kek.uri", "mem:test"); n < 1 {
			t.Errorf("%d calls were rejected", n)
		}
	})
}

// 100,000 KEKs make no more series than MaxKEKs, and one for all the others, in which
// nothing is lost; nor do the statistics.
func TestManyKEKsMakeFewSeries(t *testing.T) {
	tel, spans, reader := newTelemetry(t, func(o *vaultotel.Options) { o.TracerProvider = nil })
	tracer := tel.Tracer()
	const keks = 100_000
	for i := range keks {
		_, done := tracer.KEKCall(t.Context(), vault.TracedKEKCall{URI: fmt.Sprintf("mem:%d", i), Ask: "unwrap", Items: 1, Attempt: 1})
		done(vault.ErrKEKDenied)
	}
	m := collect(t, reader)
	for _, name := range []string{"embedvault.kek.calls", "embedvault.kek.errors"} {
		points, sum := m[name].Data.(metricdata.Sum[int64]).DataPoints, int64(0)
		for _, p := range points {
			sum += p.Value
			for _, kv := range p.Attributes.ToSlice() {
				if kv.Key == "otel.metric.overflow" {
					t.Errorf("%s: the SDK's own limit was reached", name)
				}
			}
		}
		if len(points) != 1001 || sum != keks {
			t.Errorf("%s has %d series, of %d in all; want 1001 of %d", name, len(points), sum, keks)
		}
	}
	if n := count(t, m, "embedvault.kek.calls", "embedvault.kek.uri", "_OTHER"); n != keks-1000 {
		t.Errorf("%d are counted together, want %d", n, keks-1000)
	}
	if n := count(t, m, "embedvault.kek.calls", "embedvault.kek.uri", "mem:0"); n != 1 {
		t.Errorf("the first KEK has %d calls", n)
	}
	if n := count(t, m, "embedvault.kek.call.duration", "embedvault.kek.call", "unwrap", "error.type", "kek_denied"); n != keks {
		t.Errorf("the histogram has %d values, want %d", n, keks)
	}
	if len(spans.GetSpans()) != 0 {
		t.Error("there are spans without a TracerProvider")
	}
}

// MaxKEKs is what it says, and a KEK that has a series keeps it.
func TestMaxKEKs(t *testing.T) {
	tel, _, reader := newTelemetry(t, func(o *vaultotel.Options) { o.MaxKEKs = 2 })
	tracer := tel.Tracer()
	for _, uri := range []string{"a:1", "a:2", "a:3", "a:1", "a:4", "a:2"} {
		_, done := tracer.KEKCall(t.Context(), vault.TracedKEKCall{URI: uri, Ask: "wrap", Items: 1, Attempt: 1})
		done(nil)
	}
	m := collect(t, reader)
	for uri, want := range map[string]int64{"a:1": 2, "a:2": 2, "a:3": -1, "a:4": -1, "_OTHER": 2} {
		if n := count(t, m, "embedvault.kek.calls", "embedvault.kek.uri", uri); n != want {
			t.Errorf("%s has %d calls, want %d", uri, n, want)
		}
	}
}

// What can't be configured says which option.
func TestNewRefuses(t *testing.T) {
	mp := metricnoop.NewMeterProvider()
	for want, opts := range map[string]vaultotel.Options{
		"TracerProvider": {},
		"MaxKEKs":        {MeterProvider: mp, MaxKEKs: -1},
	} {
		if tel, err := vaultotel.New(opts); err == nil || tel != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gives %v, %v", opts, tel, err)
		}
	}
}

// One vault at a time is observed, and after stop another may be.
func TestObserve(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.tel.Observe(w.Vault.Vault); err == nil {
		t.Error("a second vault is observed: its statistics would be added to the first's")
	}
	if _, err := w.tel.Observe(nil); err == nil {
		t.Error("no vault is observed")
	}
	tel, _, reader := newTelemetry(t)
	stop := must(tel.Observe(w.Vault.Vault))(t)
	if n := count(t, collect(t, reader), "embedvault.cache.keys"); n != 0 {
		t.Errorf("%d keys are cached", n)
	}
	ok(t, stop())
	ok(t, stop())
	if n := count(t, collect(t, reader), "embedvault.cache.keys"); n != -1 {
		t.Errorf("after stop it is observed: %d", n)
	}
	stop = must(tel.Observe(w.Vault.Vault))(t)
	ok(t, w.Close())
	if n := count(t, collect(t, reader), "embedvault.cache.keys"); n != 0 {
		t.Errorf("a closed vault has %d keys cached", n)
	}
	ok(t, stop())
	none, _, _ := newTelemetry(t, func(o *vaultotel.Options) { o.MeterProvider = nil })
	ok(t, must(none.Observe(w.Vault.Vault))(t)())
}

// panicking is a provider whose tracer panics.
type panicking struct{ trace.TracerProvider }

func (panicking) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return panickingTracer{tracenoop.NewTracerProvider().Tracer("")}
}

type panickingTracer struct{ trace.Tracer }

func (panickingTracer) Start(context.Context, string, ...trace.SpanStartOption) (context.Context, trace.Span) {
	panic("a tracer")
}

// A provider that panics harms no operation, and is counted.
func TestAPanicHarmsNothing(t *testing.T) {
	tel, err := vaultotel.New(vaultotel.Options{TracerProvider: panicking{tracenoop.NewTracerProvider()}})
	ok(t, err)
	v, err := vault.New(vault.Config{KEK: memkek.New("k"), Store: memstore.New(), Tracer: tel.Tracer()})
	ok(t, err)
	t.Cleanup(func() { _ = v.Close() })
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	if plain := must(v.Decrypt(t.Context(), orgA, sealed, nil))(t); string(plain) != "x" {
		t.Errorf("Decrypt gives %q", plain)
	}
	// Encrypt, LatestKey, wrap, unwrap, InsertKey; Decrypt.
	if n := v.Stats().TracerPanics; n != 6 {
		t.Errorf("%d panics are counted, want 6", n)
	}
}

// Every metric, and no other, is in the tables of docs/OBSERVABILITY.md and of the
// package's documentation.
func TestDocumentsNameEveryMetric(t *testing.T) {
	made := make(map[string]bool)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.KEK.SetFault(memkek.Unavailable)
		for range 7 { // of three calls each, until the KEK is not asked any more
			_, _ = w.Encrypt(t.Context(), orgA, nil, nil)
		}
		for name := range collect(t, w.reader) {
			made[name] = true
		}
	})
	for path, row := range map[string]string{
		"doc.go":                   `(?m)^//\t(embedvault\.[a-z.]+) .*$`,
		"../docs/OBSERVABILITY.md": "(?m)^\\| `(embedvault\\.[a-z.]+)` \\|",
	} {
		text, err := os.ReadFile(path)
		ok(t, err)
		named := make(map[string]bool)
		for _, m := range regexp.MustCompile(row).FindAllStringSubmatch(string(text), -1) {
			if !strings.HasSuffix(m[1], ".") { // a span, with what is about to be named
				named[m[1]] = true
			}
		}
		if !maps.Equal(named, made) {
			t.Errorf("%s names %v; there are %v", path, slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(made)))
		}
	}
}
