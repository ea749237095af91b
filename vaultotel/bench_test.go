package vaultotel_test

import (
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaultotel"
)

// BenchmarkWarm is a warm message of 64 bytes with nothing told, with metrics, and
// with spans that are not sampled, and that are (and go nowhere).
//
//	go test -run xxx -bench Warm -count 6 -benchmem .
func BenchmarkWarm(b *testing.B) {
	metrics := func(o *vaultotel.Options) {
		o.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	}
	spans := func(s sdktrace.Sampler) func(*vaultotel.Options) {
		return func(o *vaultotel.Options) { o.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(s)) }
	}
	for _, c := range []struct {
		name string
		opts []func(*vaultotel.Options)
	}{
		{"off", nil},
		{"metrics", []func(*vaultotel.Options){metrics}},
		{"metrics-unsampled", []func(*vaultotel.Options){metrics, spans(sdktrace.NeverSample())}},
		{"metrics-spans", []func(*vaultotel.Options){metrics, spans(sdktrace.AlwaysSample())}},
	} {
		scope := benchScope(b, c.opts).Scope(orgA)
		plain := make([]byte, 64)
		sealed := must(scope.Encrypt(b.Context(), plain, nil))(b)
		b.Run("encrypt/"+c.name, func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := scope.Encrypt(ctx, plain, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("decrypt/"+c.name, func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := scope.Decrypt(ctx, sealed, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchScope(b *testing.B, change []func(*vaultotel.Options)) *vault.Vault {
	cfg := vault.Config{KEK: memkek.New("bench"), Store: memstore.New()}
	if len(change) > 0 {
		var opts vaultotel.Options
		for _, f := range change {
			f(&opts)
		}
		cfg.Tracer = must(vaultotel.New(opts))(b).Tracer()
	}
	v := must(vault.New(cfg))(b)
	b.Cleanup(func() { _ = v.Close() })
	return v
}
