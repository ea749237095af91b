package vaultotel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/embedvault/vault"
)

// scope is the name of the instrumentation.
const scope = "github.com/embedvault/vault/vaultotel"

// defaultMaxKEKs lets one instrument stay within the 2,000 series that the SDK keeps
// unless told otherwise.
const defaultMaxKEKs = 1000

// Options configures a [Telemetry]. At least one provider is needed. Nothing global
// is used: for that, give otel.GetTracerProvider() and otel.GetMeterProvider().
type Options struct {
	// TracerProvider makes the spans; nil: none. Its sampler decides how many: a
	// warm Encrypt of a microsecond is a span too.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the instruments; nil: none.
	MeterProvider metric.MeterProvider

	// Vault is the attribute embedvault.vault on all spans and metrics, for programs
	// with more than one vault, each with a Telemetry of its own. Default: none.
	Vault string

	// MaxKEKs is how many KEKs' URIs there are on metrics, the first ones to be
	// called; all others are _OTHER together. Default 1,000. With more than 2,000,
	// or half of it if KEKs fail in more than one way, the SDK's own limit comes
	// first: see WithCardinalityLimit there.
	MaxKEKs int

	// ContextHash puts the first digits of the key context's hash on the spans of
	// operations, as embedvault.context_hash, as they stand in errors. Who can guess
	// a key context can compute its hash.
	ContextHash bool

	// ContextPairs puts the pairs of the key context on the spans of operations, as
	// embedvault.context.KEY. They are the identities of your customers.
	ContextPairs bool
}

// Telemetry tells OpenTelemetry of one vault. Make one with [New]. It is safe for
// concurrent use, and keeps nothing but its instruments and up to MaxKEKs URIs.
type Telemetry struct {
	opts    Options
	common  []attribute.KeyValue
	tracer  trace.Tracer // nil: no spans
	meter   metric.Meter // nil: no metrics
	metrics *instruments // nil: no metrics
	names   sync.Map     // prefix and name → *namedSpan

	mu       sync.Mutex // guards observed
	observed bool
}

// New returns a Telemetry. It makes the instruments; nothing is told before a vault
// has its Tracer. Errors name the option, or are the provider's.
func New(opts Options) (*Telemetry, error) {
	switch {
	case opts.TracerProvider == nil && opts.MeterProvider == nil:
		return nil, errors.New("vaultotel: Options: set TracerProvider, MeterProvider or both")
	case opts.MaxKEKs < 0:
		return nil, fmt.Errorf("vaultotel: Options.MaxKEKs is %d, want a positive value, or 0 for the default", opts.MaxKEKs)
	case opts.MaxKEKs == 0:
		opts.MaxKEKs = defaultMaxKEKs
	}
	t := &Telemetry{opts: opts}
	if opts.Vault != "" {
		t.common = []attribute.KeyValue{attribute.String("embedvault.vault", opts.Vault)}
	}
	if opts.TracerProvider != nil {
		t.tracer = opts.TracerProvider.Tracer(scope)
	}
	if opts.MeterProvider != nil {
		t.meter = opts.MeterProvider.Meter(scope)
		var err error
		if t.metrics, err = newInstruments(t.meter, t.common, opts.MaxKEKs); err != nil {
			return nil, fmt.Errorf("vaultotel: making an instrument: %w", err)
		}
	}
	return t, nil
}

// Tracer returns what goes into Config.Tracer of the vault.
func (t *Telemetry) Tracer() vault.Tracer {
	return vault.Tracer{Operation: t.operation, KEKCall: t.kekCall, StoreCall: t.storeCall}
}

func (t *Telemetry) operation(ctx context.Context, op vault.TracedOperation) (context.Context, func(error)) {
	ctx, span := t.startOperation(ctx, op)
	start := time.Now()
	return ctx, func(err error) {
		took, class := time.Since(start), class(err)
		finish(span, class)
		if m := t.metrics; m != nil {
			m.operations.record(ctx, took, op.Name, class)
		}
	}
}

func (t *Telemetry) kekCall(ctx context.Context, call vault.TracedKEKCall) (context.Context, func(error)) {
	ctx, span := t.startKEKCall(ctx, call)
	start := time.Now()
	return ctx, func(err error) {
		took, class := time.Since(start), class(err)
		finish(span, class)
		if m := t.metrics; m != nil {
			m.kekCalls.record(ctx, took, call.Ask, class)
			m.countKEK(ctx, call.URI, took, class)
		}
	}
}

func (t *Telemetry) storeCall(ctx context.Context, call vault.TracedStoreCall) (context.Context, func(error)) {
	ctx, span := t.startStoreCall(ctx, call)
	start := time.Now()
	return ctx, func(err error) {
		took, class := time.Since(start), class(err)
		finish(span, class)
		if m := t.metrics; m != nil {
			m.storeCalls.record(ctx, took, call.Method, class)
		}
	}
}
