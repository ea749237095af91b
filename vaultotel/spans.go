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
	keyHash       = attribute.Key("embedvault.context.hash")
	keyErrorType  = attribute.Key("error.type")

	pairPrefix = "embedvault.context."
)

func (t *Telemetry) startOperation(ctx context.Context, op vault.TracedOperation) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	ctx, span := t.start(ctx, "embedvault."+op.Name, trace.SpanKindInternal, keyOperation.String(op.Name))
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
	attrs := []attribute.KeyValue{keyKEKCall.String(call.Ask), keyKEKURI.String(call.URI), keyKEKAttempt.Int(call.Attempt)}
	if call.Items > 1 {
		attrs = append(attrs, keyKEKItems.Int(call.Items))
	}
	return t.start(ctx, "embedvault.kek."+call.Ask, trace.SpanKindClient, attrs...)
}

func (t *Telemetry) startStoreCall(ctx context.Context, call vault.TracedStoreCall) (context.Context, trace.Span) {
	if t.tracer == nil {
		return ctx, nil
	}
	return t.start(ctx, "embedvault.store."+call.Method, trace.SpanKindClient, keyStoreCall.String(call.Method))
}

func (t *Telemetry) start(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...), trace.WithAttributes(t.common...))
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
