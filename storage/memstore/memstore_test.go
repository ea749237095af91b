package memstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, storagetest.Harness{
		New:          func(*testing.T) storage.Store { return memstore.New() },
		CursorDriver: "memstore",
	})
}

var (
	now = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)
	kc  = keyctx.KeyContext{"organization_id": "org_01"}
)

func record(t *testing.T) storage.ObjectRecord {
	t.Helper()
	h, err := kc.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return storage.ObjectRecord{
		ID: storage.NewID(now), Context: kc, ContextHash: h, Name: "n",
		VersionID: storage.NewID(now), KeyID: keyctx.KeyID{1}, UpdatedAt: now,
	}
}

func TestFaults(t *testing.T) {
	s := memstore.New()
	r := record(t)
	failure := errors.New("the disk is on fire")
	s.SetFault(func(op string) error {
		if op == "PutObject" {
			return failure
		}
		return nil
	})
	if _, err := s.PutObject(t.Context(), r, storage.PutGuard{}); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("a put that failed left something: %v", err)
	}
	s.SetFault(nil)
	if _, err := s.PutObject(t.Context(), r, storage.PutGuard{}); err != nil {
		t.Error(err)
	}
	if n := s.Calls("PutObject"); n != 2 {
		t.Errorf("PutObject was called %d times, want 2", n)
	}
	if n := s.Calls(""); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	s.ResetCalls()
	if n := s.Calls(""); n != 0 {
		t.Errorf("%d calls, want 0", n)
	}
}

// TestSlowFault has the hook block and use the store itself, while others go on.
func TestSlowFault(t *testing.T) {
	s := memstore.New()
	r := record(t)
	blocked, release := make(chan struct{}), make(chan struct{})
	s.SetFault(func(op string) error {
		if op == "PutObject" {
			close(blocked)
			<-release
			return s.Ping(t.Context())
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := s.PutObject(ctx, r, storage.PutGuard{})
		done <- err
	}()
	<-blocked
	if _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID}); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	cancel()
	close(release)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a put whose ctx ended while it was held up: %v", err)
	}
}

func TestEdit(t *testing.T) {
	s := memstore.New()
	r := record(t)
	if _, err := s.PutObject(t.Context(), r, storage.PutGuard{}); err != nil {
		t.Fatal(err)
	}
	k := storage.KeyRecord{KeyID: keyctx.KeyID{1}, Context: kc, ContextHash: r.ContextHash, Purpose: keyctx.PurposeData, Version: 1, State: storage.StateShredded}
	if err := s.InsertKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := s.EditKey(k.KeyID, func(r *storage.KeyRecord) { r.KeyID, r.ContextHash = keyctx.KeyID{9}, keyctx.Hash{9} }); err != nil {
		t.Error(err)
	}
	got, err := s.GetKey(t.Context(), k.KeyID)
	if err != nil || got.KeyID != (keyctx.KeyID{9}) {
		t.Errorf("got key %s, %v", got.KeyID.Short(), err)
	}
	if err := s.DeleteKey(t.Context(), k.KeyID, 1); err != nil {
		t.Error(err)
	}
	if _, err := s.LatestKey(t.Context(), r.ContextHash, keyctx.PurposeData); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("an edited key can't be deleted: %v", err)
	}
	if err := s.EditObject(r.ID, r.VersionID, func(r *storage.ObjectRecord) { r.Name = "another" }); err != nil {
		t.Error(err)
	}
	o, err := s.DeleteObject(t.Context(), storage.ObjectRef{ContextHash: r.ContextHash, Name: "n"}, storage.ID{})
	if err != nil || o.Name != "another" {
		t.Errorf("got %q, %v", o.Name, err)
	}
	nothing := storage.NewID(now)
	for _, err := range []error{
		s.EditKey(k.KeyID, func(*storage.KeyRecord) { t.Error("called") }),
		s.EditObject(nothing, storage.ID{}, func(*storage.ObjectRecord) { t.Error("called") }),
		s.EditObject(r.ID, nothing, func(*storage.ObjectRecord) { t.Error("called") }),
	} {
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	}
}
