package vaultotel

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/embedvault/vault"
)

// Observe has v's statistics collected with the metrics, until stop is called: the
// cache's hits, misses and size, and what else the package's table names. They are
// read when they are collected, which walks the cache: every few seconds, not
// milliseconds. v is kept until then; stop it before the vault is closed or after, as
// is convenient. A Telemetry observes one vault at a time. Without a MeterProvider
// there is nothing to do, and stop does nothing. It may be called more than once.
func (t *Telemetry) Observe(v *vault.Vault) (stop func() error, err error) {
	if v == nil {
		return nil, errors.New("vaultotel: Observe: the vault is nil")
	}
	if t.meter == nil {
		return func() error { return nil }, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.observed {
		return nil, errors.New("vaultotel: Observe: a vault is already observed; make a Telemetry for each vault, or stop the other first")
	}
	o, err := newObserver(t, v)
	if err != nil {
		return nil, fmt.Errorf("vaultotel: making an instrument: %w", err)
	}
	registration, err := t.meter.RegisterCallback(o.collect, o.instruments()...)
	if err != nil {
		return nil, fmt.Errorf("vaultotel: Observe: %w", err)
	}
	t.observed = true
	return sync.OnceValue(func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.observed = false
		return registration.Unregister()
	}), nil
}

// observer tells the statistics of a vault.
type observer struct {
	t *Telemetry
	v *vault.Vault

	lookups, stale, evictions, rejected, legacy, failures metric.Int64ObservableCounter
	keys                                                  metric.Int64ObservableUpDownCounter
}

func newObserver(t *Telemetry, v *vault.Vault) (*observer, error) {
	o := &observer{t: t, v: v}
	var errs []error
	counter := func(name, unit, what string) metric.Int64ObservableCounter {
		c, err := t.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
		errs = append(errs, err)
		return c
	}
	o.lookups = counter("embedvault.cache.lookups", "{lookup}", "Keys found in the cache, or loaded.")
	o.stale = counter("embedvault.cache.stale", "{lookup}", "Keys that served beyond their time, because the KMS or the store was not answering.")
	o.evictions = counter("embedvault.cache.evictions", "{key}", "Keys that had to go because the cache was full.")
	o.rejected = counter("embedvault.kek.rejected", "{call}", "Calls that were not made, because the KEK has not been answering.")
	o.legacy = counter("embedvault.legacy.decrypts", "{call}", "Calls of Config.Legacy.")
	o.failures = counter("embedvault.failures", "{failure}", "Failures that no caller was told of.")
	keys, err := t.meter.Int64ObservableUpDownCounter("embedvault.cache.keys", metric.WithUnit("{key}"), metric.WithDescription("Keys in the cache."))
	o.keys = keys
	return o, errors.Join(append(errs, err)...)
}

func (o *observer) instruments() []metric.Observable {
	return []metric.Observable{o.lookups, o.stale, o.evictions, o.rejected, o.legacy, o.failures, o.keys}
}

func (o *observer) collect(_ context.Context, to metric.Observer) error {
	s := o.v.Stats()
	tell := func(c metric.Int64Observable, n uint64, attrs ...attribute.KeyValue) {
		to.ObserveInt64(c, int64(n), metric.WithAttributeSet(set(o.t.common, attrs...)))
	}
	tell(o.lookups, s.CacheHits, keyResult.String("hit"))
	tell(o.lookups, s.CacheMisses, keyResult.String("miss"))
	tell(o.stale, s.CacheStale)
	tell(o.evictions, s.CacheEvictions)
	tell(o.keys, uint64(s.CachedKeys))
	tell(o.legacy, s.LegacyDecrypts)
	tell(o.failures, s.EventErrors, keyPart.String("event"))
	tell(o.failures, s.SweepErrors, keyPart.String("sweep"))
	tell(o.failures, s.ShredErrors, keyPart.String("shred"))
	tell(o.failures, s.TracerPanics, keyPart.String("tracer"))
	for label, n := range o.rejections(s) {
		tell(o.rejected, n, keyKEKURI.String(label))
	}
	return nil
}

// rejections sums the calls that were not made by what their KEK is called on
// metrics.
func (o *observer) rejections(s vault.Stats) map[string]uint64 {
	byLabel := make(map[string]uint64)
	for uri, k := range s.KEKs {
		if k.Rejected > 0 {
			byLabel[o.t.metrics.keks.label(uri)] += k.Rejected
		}
	}
	return byLabel
}
