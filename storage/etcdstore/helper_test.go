package etcdstore_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

var (
	now   = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)
	allOf = storage.ContextFilter{All: true, AnyNamespace: true}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contextOf(t testing.TB, i int) (keyctx.KeyContext, keyctx.Hash) {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": fmt.Sprint("org_", i)}.WithNamespace("app")
	h, err := kc.Hash()
	must(t, err)
	return kc, h
}

func randomKeyID() (id keyctx.KeyID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

func object(t testing.TB, i int, name string, change ...func(*storage.ObjectRecord)) storage.ObjectRecord {
	t.Helper()
	kc, h := contextOf(t, i)
	r := storage.ObjectRecord{
		ID: storage.NewID(now), Context: kc, ContextHash: h, Name: name, VersionID: storage.NewID(now),
		KeyID: randomKeyID(), UpdatedAt: now, Envelope: []byte("sealed"),
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func key(t testing.TB, i int, version uint32) storage.KeyRecord {
	t.Helper()
	kc, h := contextOf(t, i)
	return storage.KeyRecord{
		KeyID: randomKeyID(), Context: kc, ContextHash: h, Purpose: keyctx.PurposeData, Version: version, State: storage.StateActive,
		Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "mem-kek:test", Wrapped: []byte("wrapped")}}, CreatedAt: now, StateChangedAt: now,
	}
}

func put(t testing.TB, s storage.Store, r storage.ObjectRecord, guard ...storage.PutGuard) storage.ObjectRecord {
	t.Helper()
	var g storage.PutGuard
	if len(guard) > 0 {
		g = guard[0]
	}
	stored, err := s.PutObject(t.Context(), r, g)
	must(t, err)
	stored.Envelope = r.Envelope
	return stored
}
