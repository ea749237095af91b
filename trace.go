package vault

import (
	"context"
	"errors"

	"github.com/embedvault/vault/internal/tracestore"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

// Tracer is told when operations, calls to KEKs and calls to the store begin and
// end, for traces and metrics. Module vaultotel makes one for OpenTelemetry. The
// zero Tracer is off, and costs a comparison with nil; so does each func that is nil.
//
// Each func is called on the goroutine of what begins. The ctx that it returns is
// what goes on below, so that calls to KEKs and stores, and spans of their drivers,
// can be put under their operation; it must be derived from the one that it was
// given, and nil means that one. The func that it returns is called once, at the
// end, with the outcome, perhaps on another goroutine; it may be nil.
//
// They must be safe for concurrent use, return at once, and not call the vault. A
// panic of theirs is caught and counted in Stats, and harms no operation.
//
// They are told no plaintext, key, associated data, object name, label, actor or
// reason. The text of an error names objects, though, and a driver's may say
// anything: tell of an error by what it matches, and not by its text.
type Tracer struct {
	// Operation is told of each call of a method of Vault and Scope whose key context
	// is valid, of each page of a List or Versions, of each context of a Prepare, and of
	// Sweep and RunShreds in the background; not of ShredReceipts and ShreddedKeys.
	Operation func(context.Context, TracedOperation) (context.Context, func(error))

	// KEKCall is told of each call that is made to a KEK. Its ctx has the values of
	// the operation's that began the load of the key: others may wait for the same
	// load. A refresh in the background belongs to no operation. A call may outlive
	// its operation. Its error has exactly one class: see [github.com/embedvault/vault/kek.Class].
	KEKCall func(context.Context, TracedKEKCall) (context.Context, func(error))

	// StoreCall is told of each call of a method of Config.Store.
	StoreCall func(context.Context, TracedStoreCall) (context.Context, func(error))
}

// TracedOperation is what a [Tracer] is told of an operation.
type TracedOperation struct {
	// Name is the method's in snake case: "encrypt", "get_many". What differs from a
	// method in nothing but the form of its arguments has that one's name:
	// EncryptString is "encrypt".
	Name string

	// ContextHash is the key context's; zero where there is none, or more than one.
	ContextHash ContextHash

	// Context is the key context, without its namespace, or nil likewise. Its values
	// are the identities of your customers. It must not be kept or changed.
	Context KeyContext
}

// TracedKEKCall is what a [Tracer] is told of a call to a KEK.
type TracedKEKCall = keyring.KEKCall

// TracedStoreCall is what a [Tracer] is told of a call to the store.
type TracedStoreCall struct {
	Method string // of storage.Store, or of an optional interface: "GetKey"
}

// errPanic is the outcome of an operation that a driver's panic has ended.
var errPanic = errors.New("panic")

// traced is an operation that the tracer was told of, or none.
type traced struct{ done func(error) }

// trace tells the tracer that an operation begins, and replaces ctx. c may be nil.
//
//	defer v.trace(&ctx, "get", &c).end(&err)
func (v *Vault) trace(ctx *context.Context, name string, c *keyring.Context) traced {
	if v.cfg.Tracer.Operation == nil {
		return traced{}
	}
	return v.traceOperation(ctx, name, c)
}

func (v *Vault) traceOperation(ctx *context.Context, name string, c *keyring.Context) traced {
	op := TracedOperation{Name: name}
	if c != nil {
		op.ContextHash, op.Context = c.Hash, c.Pairs
	}
	var t traced
	*ctx, t.done = begun(v, *ctx, v.cfg.Tracer.Operation, op)
	return t
}

// end is to be deferred, with the operation's result.
func (t traced) end(err *error) {
	if t.done == nil {
		return
	}
	if p := recover(); p != nil {
		t.done(errPanic)
		panic(p)
	}
	t.done(*err)
}

// begun calls a func of the tracer. What it returns is never nil, and what the
// latter calls of the tracer's doesn't panic.
func begun[T any](v *Vault, ctx context.Context, begin func(context.Context, T) (context.Context, func(error)), what T) (inner context.Context, done func(error)) {
	defer func() {
		if recover() != nil {
			v.tracerPanics.Add(1)
			inner, done = ctx, func(error) {}
		}
	}()
	inner, end := begin(ctx, what)
	if inner == nil {
		inner = ctx
	}
	return inner, func(err error) {
		defer func() {
			if recover() != nil {
				v.tracerPanics.Add(1)
			}
		}()
		if end != nil {
			end(err)
		}
	}
}

// traceKEKs is what the keyring is to tell of calls to KEKs, nil if nothing.
func (v *Vault) traceKEKs() func(context.Context, keyring.KEKCall) (context.Context, func(error)) {
	if v.cfg.Tracer.KEKCall == nil {
		return nil
	}
	return func(ctx context.Context, call keyring.KEKCall) (context.Context, func(error)) {
		return begun(v, ctx, v.cfg.Tracer.KEKCall, call)
	}
}

// traceStore returns the store with its calls told to the tracer.
func (v *Vault) traceStore(s storage.Store) storage.Store {
	if s == nil || v.cfg.Tracer.StoreCall == nil {
		return s
	}
	return tracestore.Wrap(s, func(ctx context.Context, method string) (context.Context, func(error)) {
		return begun(v, ctx, v.cfg.Tracer.StoreCall, TracedStoreCall{Method: method})
	})
}
