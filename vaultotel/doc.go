// Package vaultotel tells OpenTelemetry what a vault does: spans of operations with
// the calls to KEKs and to the store under them, and metrics of both and of the cache.
//
//	tel, err := vaultotel.New(vaultotel.Options{TracerProvider: tp, MeterProvider: mp})
//	v, err := vault.New(vault.Config{KEK: root, Store: store, Tracer: tel.Tracer()})
//	stop, err := tel.Observe(v) // statistics of the cache
//
// # Spans
//
//	name                          kind      attributes
//	embedvault.<operation>        internal  embedvault.operation
//	embedvault.kek.<call>         client    embedvault.kek.call, .uri, .attempt, .items (of a batch)
//	embedvault.store.<Method>     client    embedvault.store.call
//
// A span of a failure has error.type and, unless the outcome is an answer (not_found,
// exists, version_conflict), the status Error with the same word as its description.
// The span of a call to a KEK is under the operation that began the load of the key:
// others may wait for the same load. A refresh in the background is under none. Spans
// of a KMS's or a database's own instrumentation come under those of the call.
//
// # Metrics
//
//	name                           unit        attributes                           what
//	embedvault.operation.duration  s           embedvault.operation, error.type     histogram, from 2 µs to 10 s
//	embedvault.kek.call.duration   s           embedvault.kek.call, error.type      histogram, from 0.1 ms to 10 s
//	embedvault.store.call.duration s           embedvault.store.call, error.type    histogram, from 10 µs to 10 s
//	embedvault.kek.calls           {call}      embedvault.kek.uri                   calls made
//	embedvault.kek.errors          {error}     embedvault.kek.uri, error.type       of these, that failed
//	embedvault.kek.call.time       s           embedvault.kek.uri                   time in calls, in all
//
// and after [Telemetry.Observe], when they are collected:
//
//	embedvault.cache.lookups       {lookup}    embedvault.cache.result: hit, miss   keys found, or loaded
//	embedvault.cache.stale         {lookup}                                         keys that served beyond their time
//	embedvault.cache.evictions     {key}                                            keys that had to go
//	embedvault.cache.keys          {key}                                            keys in the cache now
//	embedvault.kek.rejected        {call}      embedvault.kek.uri                   calls not made: the KEK has not been answering
//	embedvault.legacy.decrypts     {call}                                           calls of Config.Legacy
//	embedvault.failures            {failure}   embedvault.part: event, sweep, shred, tracer   what no caller was told of
//
// embedvault.operation is the name of a method in snake case, see
// [vault.TracedOperation]; embedvault.kek.call is wrap, unwrap, rewrap or check;
// embedvault.vault is Options.Vault, on everything, if it is set. error.type is not
// there on success; else it is the sentinel that the error matches, without its Err
// and in snake case (kek_denied, key_not_found, decrypt), or canceled,
// deadline_exceeded, store_closed, or _OTHER. What failed because its caller went away
// is canceled, and not kek_unavailable: it says nothing of the KMS.
//
// # What is never told
//
// No plaintext, associated data, key, envelope or token; no name or ID of an object,
// no label, no actor or reason; no text of an error. The hash of the key context only
// with Options.ContextHash, its pairs only with Options.ContextPairs, both on spans
// and never on metrics. The URIs of KEKs are told, on spans all of them.
//
// # How much
//
// The number of series is bounded: by the methods, the classes of errors, and
// Options.MaxKEKs for what has a KEK's URI. A customer for each KEK, 100,000 of them,
// makes no more; what comes after the first MaxKEKs is counted under _OTHER.
//
// A provider that panics harms no operation: the vault catches it and counts it, see
// [vault.Stats] and embedvault.failures.
package vaultotel
