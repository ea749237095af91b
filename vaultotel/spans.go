package vaultotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/embedvault/vault"
)

// The keys of attributes. error.type is of OpenTelemetry's semantic conventions; they
// have no names for the rest.
const (
	keyOperation  = attribute.Key("embedvault.operation")
	keyKEKCall    = attribute.Key("embedvault.kek.call")
	keyKEKURI     = attribute.Key("embedvault.kek.uri")
	keyKEKAttempt = attribute.Key("embedvault.kek.attempt")
	keyKEKItems   = attribute.Key("embedvault.kek.items")
	keyStoreCall  = attribute.Key("embedvault.store.call")
	keyResult     = attribute.Key("embedvault.cache.result")
	keyPart       = attribute.Key("embedvault.part")
	keyHash       = attribute.Key("embedvault.context_hash")
	keyErrorType  = attribute.Key("error.type")

	pairPrefix = "embedvault.context."
)

func (t *Telemetry) startOperation(ctx context.Context, op vault.TracedOperation) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	named := t.named("embedvault.", op.Name, trace.SpanKindInternal, keyOperation)
	ctx, span := t.tracer.Start(ctx, named.name, named.opts...)
	if !span.IsRecording() {
		return ctx, span
	}
	if t.opts.ContextHash && op.ContextHash != (vault.ContextHash{}) {
		span.SetAttributes(keyHash.String(op.ContextHash.Short()))
	}
	if t.opts.ContextPairs {
		for k, v := range op.Context {
			span.SetAttributes(attribute.String(pairPrefix+k, v))
		}
	}
	return ctx, span
}

func (t *Telemetry) startKEKCall(ctx context.Context, call vault.TracedKEKCall) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	named := t.named("embedvault.kek.", call.Ask, trace.SpanKindClient, keyKEKCall)
	ctx, span := t.tracer.Start(ctx, named.name, named.opts...)
	span.SetAttributes(keyKEKURI.String(call.URI), keyKEKAttempt.Int(call.Attempt))
	if call.Items > 1 {
		span.SetAttributes(keyKEKItems.Int(call.Items))
	}
	return ctx, span
}

func (t *Telemetry) startStoreCall(ctx context.Context, call vault.TracedStoreCall) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	named := t.named("embedvault.store.", call.Method, trace.SpanKindClient, keyStoreCall)
	return t.tracer.Start(ctx, named.name, named.opts...)
}

// namedSpan is what the spans of one name have in common, so that a warm call makes
// none of it.
type namedSpan struct {
	name string
	opts []trace.SpanStartOption
}

// named returns it for one of the few names of operations, methods and calls.
func (t *Telemetry) named(prefix, name string, kind trace.SpanKind, key attribute.Key) *namedSpan {
	by := [2]string{prefix, name}
	if n, found := t.names.Load(by); found {
		return n.(*namedSpan)
	}
	attrs := append([]attribute.KeyValue{key.String(name)}, t.common...)
	n, _ := t.names.LoadOrStore(by, &namedSpan{prefix + name, []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(attrs...)}})
	return n.(*namedSpan)
}

// finish ends a span with its outcome. It is told the class and not the error, whose
// text names objects.
func finish(span trace.Span, class string) {
	if span == nil {
		return
	}
	if class != "" {
		span.SetAttributes(keyErrorType.String(class))
	}
	if class != "" && !answers[class] {
		span.SetStatus(codes.Error, class)
	}
	span.End()
}
