package pgxtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

var base = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

var now = storage.PutGuard{Now: base}

func tenant(i int) keyctx.KeyContext {
	return keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%06d", i)}
}

func hashOf(t testing.TB, kc keyctx.KeyContext) keyctx.Hash {
	t.Helper()
	h, err := kc.Hash()
	noError(t, err)
	return h
}

// object returns a record to put, sealed under a key of its context's.
func object(t testing.TB, kc keyctx.KeyContext, name string, change ...func(*storage.ObjectRecord)) storage.ObjectRecord {
	t.Helper()
	h := hashOf(t, kc)
	r := storage.ObjectRecord{ID: storage.NewID(base), Context: kc, ContextHash: h, Name: name, VersionID: storage.NewID(base),
		KeyID: keyctx.KeyID(h), Size: 3, UpdatedAt: base, Envelope: []byte("sealed"), Number: 1, CreatedAt: base}
	for _, f := range change {
		f(&r)
	}
	return r
}

func expires(at time.Time) func(*storage.ObjectRecord) {
	return func(r *storage.ObjectRecord) { r.ExpiresAt = at.UnixMicro() }
}

func unique(r *storage.ObjectRecord) { r.UniqueName = true }

func key(t testing.TB, kc keyctx.KeyContext, version uint32) storage.KeyRecord {
	t.Helper()
	r := storage.KeyRecord{Context: kc, ContextHash: hashOf(t, kc), Purpose: keyctx.PurposeData, Version: version, State: storage.StateActive,
		Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "mem:test", Wrapped: make([]byte, 60)}}, CreatedAt: base, StateChangedAt: base}
	_, _ = rand.Read(r.KeyID[:]) // never fails
	return r
}

func ref(r storage.ObjectRecord) storage.ObjectRef {
	return storage.ObjectRef{ContextHash: r.ContextHash, Name: r.Name, Now: base}
}

// put puts and returns the record as stored.
func put(t testing.TB, s storage.Store, r storage.ObjectRecord) storage.ObjectRecord {
	t.Helper()
	got, err := s.PutObject(t.Context(), r, now)
	noError(t, err)
	return got
}

// has reports whether the object is there.
func has(t testing.TB, s storage.Store, r storage.ObjectRecord) bool {
	t.Helper()
	_, err := s.GetObject(t.Context(), ref(r))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}
