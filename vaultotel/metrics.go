package vaultotel

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// The boundaries of the histograms, in seconds. A warm operation takes a microsecond
// or two, a call to a KMS milliseconds, and Config.KEKCalls.Timeout is 5 s.
var (
	operationBounds = []float64{2e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	kekBounds       = []float64{1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	storeBounds     = []float64{1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
)

// instruments are what is counted as it happens.
type instruments struct {
	operations, kekCalls, storeCalls *durations

	calls, errors metric.Int64Counter
	time          metric.Float64Counter
	common        []attribute.KeyValue
	keks          *labels
}

func newInstruments(m metric.Meter, common []attribute.KeyValue, maxKEKs int) (*instruments, error) {
	i := &instruments{common: common, keks: &labels{max: maxKEKs, known: make(map[string]bool)}}
	errs := make([]error, 6)
	i.operations, errs[0] = newDurations(m, "embedvault.operation.duration", "Duration of operations of the vault.", operationBounds, keyOperation, common)
	i.kekCalls, errs[1] = newDurations(m, "embedvault.kek.call.duration", "Duration of calls to KEKs.", kekBounds, keyKEKCall, common)
	i.storeCalls, errs[2] = newDurations(m, "embedvault.store.call.duration", "Duration of calls to the store.", storeBounds, keyStoreCall, common)
	i.calls, errs[3] = m.Int64Counter("embedvault.kek.calls", metric.WithUnit("{call}"), metric.WithDescription("Calls to KEKs."))
	i.errors, errs[4] = m.Int64Counter("embedvault.kek.errors", metric.WithUnit("{error}"), metric.WithDescription("Calls to KEKs that failed."))
	i.time, errs[5] = m.Float64Counter("embedvault.kek.call.time", metric.WithUnit("s"), metric.WithDescription("Time spent in calls to KEKs."))
	return i, errors.Join(errs...)
}

// countKEK counts a call under its KEK's URI, or under _OTHER.
func (i *instruments) countKEK(ctx context.Context, uri string, took time.Duration, class string) {
	label := keyKEKURI.String(i.keks.label(uri))
	attrs := metric.WithAttributeSet(set(i.common, label))
	i.calls.Add(ctx, 1, attrs)
	i.time.Add(ctx, took.Seconds(), attrs)
	if class != "" {
		i.errors.Add(ctx, 1, metric.WithAttributeSet(set(i.common, label, keyErrorType.String(class))))
	}
}

func set(common []attribute.KeyValue, attrs ...attribute.KeyValue) attribute.Set {
	return attribute.NewSet(append(attrs, common...)...)
}

// durations is a histogram by name and class, both of which are few.
type durations struct {
	histogram metric.Float64Histogram
	key       attribute.Key
	common    []attribute.KeyValue
	attrs     sync.Map // nameAndClass → []metric.RecordOption, so that a warm call makes none
}

type nameAndClass struct{ name, class string }

func newDurations(m metric.Meter, name, what string, bounds []float64, key attribute.Key, common []attribute.KeyValue) (*durations, error) {
	h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
	return &durations{histogram: h, key: key, common: common}, err
}

func (d *durations) record(ctx context.Context, took time.Duration, name, class string) {
	by := nameAndClass{name, class}
	attrs, ok := d.attrs.Load(by)
	if !ok {
		kvs := []attribute.KeyValue{d.key.String(name)}
		if class != "" {
			kvs = append(kvs, keyErrorType.String(class))
		}
		attrs, _ = d.attrs.LoadOrStore(by, []metric.RecordOption{metric.WithAttributeSet(set(d.common, kvs...))})
	}
	d.histogram.Record(ctx, took.Seconds(), attrs.([]metric.RecordOption)...)
}

// labels are the KEKs' URIs that are on metrics: the first ones.
type labels struct {
	max   int
	mu    sync.RWMutex // guards known
	known map[string]bool
}

// label returns the URI, or _OTHER if there are too many.
func (l *labels) label(uri string) string {
	l.mu.RLock()
	known, full := l.known[uri], len(l.known) >= l.max
	l.mu.RUnlock()
	if known || full {
		return labelOf(uri, known)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known[uri] && len(l.known) < l.max {
		l.known[uri] = true
	}
	return labelOf(uri, l.known[uri])
}

func labelOf(uri string, known bool) string {
	if known {
		return uri
	}
	return other
}
