package storagetest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// base is the time at which the checks take place.
var base = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

// tick makes times that all differ.
var tick atomic.Int64

func later() time.Time { return base.Add(time.Duration(tick.Add(1)) * time.Microsecond) }

// tenant returns the i-th context, in a namespace if ns is not "".
func tenant(ns string, i int, more ...string) keyctx.KeyContext {
	kc := keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%02d", i)}
	for j := 0; j+1 < len(more); j += 2 {
		kc[more[j]] = more[j+1]
	}
	return kc.WithNamespace(ns)
}

func hashOf(kc keyctx.KeyContext) keyctx.Hash {
	h, err := kc.Hash()
	if err != nil {
		panic(err) // a mistake in the suite
	}
	return h
}

func randomKeyID() (id keyctx.KeyID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// keyOf is the key under which a context's objects are sealed, if nothing else
// is said.
func keyOf(h keyctx.Hash) keyctx.KeyID { return keyctx.KeyID(h) }

// object returns a record to put.
func object(kc keyctx.KeyContext, name string, change ...func(*storage.ObjectRecord)) storage.ObjectRecord {
	now := later()
	h := hashOf(kc)
	r := storage.ObjectRecord{
		ID: storage.NewID(now), Context: kc.Clone(), ContextHash: h, Name: name,
		VersionID: storage.NewID(now), KeyID: keyOf(h), Size: 42,
		UpdatedAt: now, Envelope: randomBytes(48),
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

// expires makes a record expire at that time.
func expires(at time.Time) func(*storage.ObjectRecord) {
	return func(r *storage.ObjectRecord) { r.ExpiresAt = at.UnixMicro() }
}

func unique(r *storage.ObjectRecord) { r.UniqueName = true }

func sealedUnder(id keyctx.KeyID) func(*storage.ObjectRecord) {
	return func(r *storage.ObjectRecord) { r.KeyID = id }
}

// key returns a key record to insert.
func key(kc keyctx.KeyContext, purpose keyctx.Purpose, version uint32, change ...func(*storage.KeyRecord)) storage.KeyRecord {
	now := later()
	r := storage.KeyRecord{
		KeyID: randomKeyID(), Context: kc.Clone(), ContextHash: hashOf(kc),
		Purpose: purpose, Version: version, State: storage.StateActive,
		Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "mem-kek:test", Wrapped: randomBytes(60)}},
		CreatedAt: now, StateChangedAt: now, Revision: 1,
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

// put puts a record, and returns it as it should then be stored.
func (e *env) put(r storage.ObjectRecord, guard ...storage.PutGuard) storage.ObjectRecord {
	return e.putOn(e.s, r, guard...)
}

func (e *env) putOn(s storage.Store, r storage.ObjectRecord, guard ...storage.PutGuard) storage.ObjectRecord {
	var g storage.PutGuard
	if len(guard) > 0 {
		g = guard[0]
	}
	got, err := s.PutObject(e.ctx, r, g)
	e.ok(err)
	if got.Envelope != nil {
		e.errorf("PutObject returns the envelope")
	}
	want := r
	want.ID, want.CreatedAt, want.Number, want.UniqueName = got.ID, got.CreatedAt, got.Number, got.UniqueName
	e.sameMeta(got, want)
	got.Envelope = bytes.Clone(r.Envelope)
	return got
}

func (e *env) insert(r storage.KeyRecord) storage.KeyRecord {
	e.ok(e.s.InsertKey(e.ctx, r))
	r.Revision = 1
	return r
}

func (e *env) getKey(id keyctx.KeyID) storage.KeyRecord {
	r, err := e.s.GetKey(e.ctx, id)
	e.ok(err)
	return r
}

// get returns the current version by its object's ID.
func (e *env) get(id storage.ID) storage.ObjectRecord {
	r, err := e.s.GetObject(e.ctx, storage.ObjectRef{ID: id, Now: base})
	e.ok(err)
	return r
}

func byName(r storage.ObjectRecord) storage.ObjectRef {
	return storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name, Now: base}
}

// wantObject wants the record under ref, envelope and all.
func (e *env) wantObject(ref storage.ObjectRef, want storage.ObjectRecord) {
	got, err := e.s.GetObject(e.ctx, ref)
	e.ok(err)
	e.same(got, want)
}

// wantNoObject wants ErrNotFound for ref.
func (e *env) wantNoObject(ref storage.ObjectRef) {
	_, err := e.s.GetObject(e.ctx, ref)
	e.is(err, storage.ErrNotFound)
}

func (e *env) same(got, want storage.ObjectRecord) {
	if !got.Same(want) {
		e.errorf("got  %s\nwant %s", describe(got), describe(want))
	}
	for _, t := range []time.Time{got.CreatedAt, got.UpdatedAt} {
		if t.Location() != time.UTC || t.Nanosecond()%1000 != 0 {
			e.errorf("got a time that is not UTC in microseconds: %v", t)
		}
	}
}

// sameMeta is same without the envelope.
func (e *env) sameMeta(got, want storage.ObjectRecord) {
	if got.Envelope != nil {
		e.errorf("got an envelope where there should be none")
	}
	got.Envelope, want.Envelope = nil, nil
	e.same(got, want)
}

func describe(r storage.ObjectRecord) string {
	if len(r.Envelope) > 32 {
		r.Envelope = r.Envelope[:32]
	}
	return fmt.Sprintf("%+v", r)
}

func (e *env) sameKey(got, want storage.KeyRecord) {
	times := func(r *storage.KeyRecord) {
		for _, t := range []*time.Time{&r.CreatedAt, &r.StateChangedAt, &r.RewrappedAt} {
			*t = storage.TruncateTime(*t)
		}
	}
	for _, t := range []time.Time{got.CreatedAt, got.StateChangedAt, got.RewrappedAt} {
		if t.Location() != time.UTC || t.Nanosecond()%1000 != 0 {
			e.errorf("got a time that is not UTC in microseconds: %v", t)
		}
	}
	times(&got)
	times(&want)
	ok := got.KeyID == want.KeyID && maps.Equal(got.Context, want.Context) && got.ContextHash == want.ContextHash &&
		got.Purpose == want.Purpose && got.Version == want.Version && got.State == want.State &&
		got.StateBefore == want.StateBefore && got.Quorum == want.Quorum && got.ParentID == want.ParentID &&
		got.CreatedAt.Equal(want.CreatedAt) && got.StateChangedAt.Equal(want.StateChangedAt) &&
		got.RewrappedAt.Equal(want.RewrappedAt) && got.Revision == want.Revision &&
		sameWrappings(got.Wrappings, want.Wrappings) &&
		slices.EqualFunc(got.Previous, want.Previous, func(a, b storage.PreviousWrapping) bool {
			return a.Quorum == b.Quorum && a.Until.UnixMicro() == b.Until.UnixMicro() && sameWrappings(a.Wrappings, b.Wrappings)
		})
	if !ok {
		e.errorf("got  key %+.300v\nwant key %+.300v", got, want)
	}
}

func sameWrappings(a, b []keyctx.Wrapping) bool {
	return slices.EqualFunc(a, b, func(a, b keyctx.Wrapping) bool {
		return a.URI == b.URI && bytes.Equal(a.Wrapped, b.Wrapped)
	})
}

// namePosition is how a list by name orders records.
func namePosition(r storage.ObjectRecord) string { return string(r.ContextHash[:]) + r.Name }

// updatedPosition is how a list by time orders records.
func updatedPosition(r storage.ObjectRecord) string {
	b := binary.BigEndian.AppendUint64(r.ContextHash[:], uint64(r.UpdatedAt.UnixMicro())^1<<63)
	return string(append(b, r.ID[:]...))
}

func versionPosition(r storage.ObjectRecord) string {
	return string(binary.BigEndian.AppendUint64(nil, r.Number))
}

func byKeyPosition(r storage.ObjectRecord) string {
	return string(binary.BigEndian.AppendUint64(r.ID[:], r.Number))
}

func keyPosition(r storage.KeyRecord) string {
	b := append(r.ContextHash[:], byte(r.Purpose))
	return string(binary.BigEndian.AppendUint32(b, r.Version))
}
