package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaultotel"
)

// The customers.
var (
	acme   = vault.KeyContext{"organization_id": "acme"}
	globex = vault.KeyContext{"organization_id": "globex"}
)

// fleet is a vault with two customers, each with a KEK of its own, and its numbers.
type fleet struct {
	keks    map[string]*memkek.KEK // by organization_id
	vault   *vault.Vault
	metrics http.Handler
	ttl     time.Duration
	closers []func() error
}

func newFleet(ttl time.Duration) (f *fleet, err error) {
	f = &fleet{ttl: ttl, keks: map[string]*memkek.KEK{"acme": memkek.New("acme"), "globex": memkek.New("globex")}}
	f.keks["acme"].SetLatency(20 * time.Millisecond) // a KMS is not next door
	f.keks["globex"].SetLatency(5 * time.Millisecond)

	registry := prometheus.NewRegistry()
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))
	f.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	f.closers = append(f.closers, func() error { return provider.Shutdown(context.Background()) })

	tel, err := vaultotel.New(vaultotel.Options{MeterProvider: provider})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.vault, err = vault.New(vault.Config{
		Policy: kek.PolicyFunc(f.choose),
		Store:  memstore.New(),
		Cache:  vault.CacheConfig{TTL: ttl, ActiveKeyTTL: ttl, StaleIfUnavailable: time.Minute},
		Tracer: tel.Tracer(),

		// Keys are otherwise renewed ahead of time, beside the traffic: then who waits
		// for what is no longer told by a handful of numbers.
		NoBackground: true,
	})
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.closers = append(f.closers, f.vault.Close)
	stop, err := tel.Observe(f.vault)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.closers = append(f.closers, stop)
	return f, nil
}

// choose is the application's own table of its customers' keys.
func (f *fleet) choose(_ context.Context, kc vault.KeyContext) (kek.Choice, error) {
	k, found := f.keks[kc["organization_id"]]
	if !found {
		return kek.Choice{}, kek.ErrPolicy
	}
	return kek.Choice{KEKs: []kek.Wrapper{k}, Quorum: kek.AnyOf}, nil
}

func (f *fleet) close() error {
	var errs []error
	for i := len(f.closers) - 1; i >= 0; i-- {
		errs = append(errs, f.closers[i]())
	}
	return errors.Join(errs...)
}
