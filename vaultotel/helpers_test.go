package vaultotel_test

import (
	"context"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultotel"
	"github.com/embedvault/vault/vaulttest"
)

var (
	orgA = vault.KeyContext{"organization_id": "org_01"}
	orgB = vault.KeyContext{"organization_id": "org_02"}
)

// world is a vault that is told of, and what has been told.
type world struct {
	*vaulttest.Vault
	tel    *vaultotel.Telemetry
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
}

// newTelemetry returns one with the real SDK behind it.
func newTelemetry(t testing.TB, change ...func(*vaultotel.Options)) (*vaultotel.Telemetry, *tracetest.InMemoryExporter, *sdkmetric.ManualReader) {
	t.Helper()
	spans, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	opts := vaultotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	}
	for _, f := range change {
		f(&opts)
	}
	tel, err := vaultotel.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return tel, spans, reader
}

func newWorld(t testing.TB, opts func(*vaultotel.Options), config ...func(*vault.Config)) *world {
	t.Helper()
	if opts == nil {
		opts = func(*vaultotel.Options) {}
	}
	tel, spans, reader := newTelemetry(t, opts)
	config = append(config, func(c *vault.Config) { c.Tracer = tel.Tracer() })
	w := &world{Vault: vaulttest.New(t, config...), tel: tel, spans: spans, reader: reader}
	stop, err := tel.Observe(w.Vault.Vault)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stop() })
	return w
}

// collect returns the metrics by name.
func collect(t testing.TB, reader *sdkmetric.ManualReader) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]metricdata.Metrics)
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// count is the value of a counter's series, or of how many values a histogram's has;
// -1 if there is no such series. attrs are keys and values, all of them.
func count(t testing.TB, metrics map[string]metricdata.Metrics, name string, attrs ...string) int64 {
	t.Helper()
	want := setOf(attrs)
	switch data := metrics[name].Data.(type) {
	case metricdata.Sum[int64]:
		if i := slices.IndexFunc(data.DataPoints, func(p metricdata.DataPoint[int64]) bool { return p.Attributes.Equals(&want) }); i >= 0 {
			return data.DataPoints[i].Value
		}
	case metricdata.Histogram[float64]:
		if i := slices.IndexFunc(data.DataPoints, func(p metricdata.HistogramDataPoint[float64]) bool { return p.Attributes.Equals(&want) }); i >= 0 {
			return int64(data.DataPoints[i].Count)
		}
	}
	return -1
}

func setOf(attrs []string) attribute.Set {
	var kvs []attribute.KeyValue
	for pair := range slices.Chunk(attrs, 2) {
		kvs = append(kvs, attribute.String(pair[0], pair[1]))
	}
	return attribute.NewSet(kvs...)
}

// value is a span's attribute, "" if it has none.
func value(s tracetest.SpanStub, key attribute.Key) string {
	for _, kv := range s.Attributes {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}
