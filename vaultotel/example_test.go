package vaultotel_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaultotel"
)

func Example() {
	ctx, exported := context.Background(), tracetest.NewInMemoryExporter()
	tel, err := vaultotel.New(vaultotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(exported)),
		// MeterProvider: …
	})
	if err != nil {
		panic(err)
	}
	v, err := vault.New(vault.Config{KEK: memkek.New("root"), Store: memstore.New(), Tracer: tel.Tracer()})
	if err != nil {
		panic(err)
	}
	defer v.Close()
	stop, err := tel.Observe(v) // the cache's statistics, for the MeterProvider
	if err != nil {
		panic(err)
	}
	defer stop()

	if _, err := v.Encrypt(ctx, vault.KeyContext{"organization_id": "org_01"}, []byte("secret"), nil); err != nil {
		panic(err)
	}
	for _, span := range exported.GetSpans() {
		fmt.Println(span.Name, span.SpanKind)
	}

	// Output:
	// embedvault.store.LatestKey client
	// embedvault.kek.wrap client
	// embedvault.kek.unwrap client
	// embedvault.store.InsertKey client
	// embedvault.encrypt internal
}
