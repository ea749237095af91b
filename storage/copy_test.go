package storage_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/memstore"
)

var (
	copyTime = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)
	allOf    = storage.ContextFilter{All: true, AnyNamespace: true}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contextOf(t testing.TB, ns string, i int) (keyctx.KeyContext, keyctx.Hash) {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%03d", i)}.WithNamespace(ns)
	h, err := kc.Hash()
	must(t, err)
	return kc, h
}

// digest makes bytes that are always the same for the same words.
func digest(words ...any) [32]byte { return sha256.Sum256([]byte(fmt.Sprintln(words...))) }

func idOf(words ...any) (id storage.ID) {
	d := digest(words...)
	copy(id[:], d[:])
	return id
}

func bolt(t testing.TB, path string) *boltstore.Store {
	t.Helper()
	s, err := boltstore.Open(path, boltstore.Options{LockWait: 10 * time.Second})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	return s
}

func newBolt(t testing.TB) *boltstore.Store { return bolt(t, filepath.Join(t.TempDir(), "vault.db")) }

// key inserts a key, the same for the same context, purpose and version.
func insertKey(t testing.TB, s storage.Store, ns string, i int, p keyctx.Purpose, version uint32, change ...func(*storage.KeyRecord)) storage.KeyRecord {
	t.Helper()
	kc, h := contextOf(t, ns, i)
	d := digest("key", ns, i, p, version)
	r := storage.KeyRecord{
		KeyID: keyctx.KeyID(d), Context: kc, ContextHash: h, Purpose: p, Version: version, State: storage.StateActive,
		Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "mem-kek:test", Wrapped: d[:]}},
		CreatedAt: copyTime, StateChangedAt: copyTime,
	}
	for _, f := range change {
		f(&r)
	}
	must(t, s.InsertKey(t.Context(), r))
	r.Revision = 1
	return r
}

// shred makes a key a tombstone, in two updates.
func shred(t testing.TB, s storage.Store, k storage.KeyRecord) {
	t.Helper()
	k.State, k.StateBefore = storage.StateDisabled, k.State
	must(t, s.UpdateKey(t.Context(), k))
	k.Revision++
	k.State, k.StateBefore, k.Quorum, k.Wrappings = storage.StateShredded, 0, 0, nil
	k.StateChangedAt = copyTime.Add(time.Hour)
	must(t, s.UpdateKey(t.Context(), k))
}

// putVersion puts a version of an object, sealed under the context's data key.
func putVersion(t testing.TB, s storage.Store, ns string, i int, name string, n int, change ...func(*storage.ObjectRecord)) storage.ObjectRecord {
	t.Helper()
	kc, h := contextOf(t, ns, i)
	d := digest("value", ns, i, name, n)
	r := storage.ObjectRecord{
		ID: idOf("object", ns, i, name), Context: kc, ContextHash: h, Name: name, VersionID: idOf("version", ns, i, name, n),
		KeyID: keyctx.KeyID(digest("key", ns, i, keyctx.PurposeData, uint32(1))), Size: 32, Envelope: d[:],
		UpdatedAt: copyTime.Add(time.Duration(n) * time.Second), UpdatedBy: "user", Labels: map[string]string{"n": fmt.Sprint(n)},
	}
	for _, f := range change {
		f(&r)
	}
	stored, err := s.PutObject(t.Context(), r, storage.PutGuard{Keep: 4})
	must(t, err)
	stored.Envelope = r.Envelope
	return stored
}

func unique(r *storage.ObjectRecord)  { r.UniqueName = true }
func expired(r *storage.ObjectRecord) { r.ExpiresAt = copyTime.Add(-time.Hour).UnixMicro() }

// fill puts everything into a store that a copy must carry over.
func fill(t testing.TB, s storage.Store, contexts, names, versions int) {
	t.Helper()
	for i := range contexts {
		for _, ns := range []string{"", "app"} {
			insertKey(t, s, ns, i, keyctx.PurposeData, 1)
			if i%3 == 0 {
				shred(t, s, insertKey(t, s, ns, i, keyctx.PurposeIndex, 1))
			}
			for n := range names {
				name := fmt.Sprintf("n%04d", n)
				for v := range 1 + n%versions {
					putVersion(t, s, ns, i, name, v)
				}
			}
		}
	}
	parent := insertKey(t, s, "app", 0, keyctx.PurposeWrapping, 1)
	for i := range contexts {
		insertKey(t, s, "child", i, keyctx.PurposeData, 1, func(r *storage.KeyRecord) { r.ParentID = parent.KeyID })
	}
	putVersion(t, s, "app", 0, "unique", 0, unique)
	putVersion(t, s, "app", 0, "gone", 0)
	putVersion(t, s, "app", 0, "gone", 1, expired)
	putVersion(t, s, "app", 0, "was", 0, expired)
	putVersion(t, s, "app", 0, "was", 1)
	putVersion(t, s, "app", 0, "large", 0, func(r *storage.ObjectRecord) { r.Envelope = make([]byte, 300_000) })
	_, err := s.PutSystem(t.Context(), storage.SystemRecord{Name: "job/rewrap", Value: []byte("cursor")})
	must(t, err)
}

// dump is all that a store holds of a filter, in lines, system records aside.
func dump(t testing.TB, s storage.Store, f storage.ContextFilter) (lines []string) {
	t.Helper()
	ctx := t.Context()
	for q := (storage.KeyQuery{Contexts: f}); ; {
		page, err := s.ListKeys(ctx, q)
		must(t, err)
		for _, k := range page.Keys {
			k.Revision = 0
			b, err := storage.AppendKeyRecord(nil, k)
			must(t, err)
			lines = append(lines, fmt.Sprintf("key %x", b))
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	for q := (storage.ObjectQuery{Contexts: f, IncludeExpired: true}); ; {
		page, err := s.ListObjects(ctx, q)
		must(t, err)
		for _, o := range page.Objects {
			lines = append(lines, dumpObject(t, s, o.ID)...)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return lines
		}
	}
}

func dumpObject(t testing.TB, s storage.Store, id storage.ID) (lines []string) {
	t.Helper()
	page, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: id, IncludeExpired: true, WithEnvelope: true, Ascending: true})
	must(t, err)
	for _, v := range page.Objects {
		b, err := storage.AppendObjectRecord(nil, v)
		must(t, err)
		lines = append(lines, fmt.Sprintf("version %x", sha256.Sum256(b)))
	}
	return lines
}

func wantCopy(t testing.TB, dst, src storage.Store) {
	t.Helper()
	got, want := dump(t, dst, allOf), dump(t, src, allOf)
	if !slices.Equal(got, want) {
		t.Errorf("the copy has %d records, the source %d, and they are not the same", len(got), len(want))
	}
}

// systemRecords are the names of a store's.
func systemRecords(t testing.TB, s storage.Store) (names []string) {
	t.Helper()
	rs, err := s.ListSystem(t.Context(), "", "", 0)
	must(t, err)
	for _, r := range rs {
		names = append(names, r.Name)
	}
	return names
}

// TestCopy copies from bbolt to memory and on to bbolt, 5,000 objects with up to
// four versions and everything else that a store can hold.
func TestCopy(t *testing.T) {
	names := 250
	if testing.Short() {
		names = 10
	}
	first, second, third := newMem(t, 10, names), memstore.New(), newBolt(t)
	before := dump(t, first, allOf)
	src := &writeRefuser{Store: first}
	var last storage.CopyReport
	pages := 0
	r, err := storage.Copy(t.Context(), second, src, storage.CopyOptions{Progress: func(r storage.CopyReport) {
		if r.Versions < last.Versions || r.Keys < last.Keys {
			t.Errorf("progress goes back: %+v after %+v", r, last)
		}
		last = r
		pages++
	}})
	must(t, err)
	if last != r || pages < 2 || r.Objects != int64(20*names+4) || r.KeysCopied != r.Keys || r.VersionsCopied != r.Versions || r.VersionsWithoutKey != 0 {
		t.Errorf("after %d pages %+v, at last %+v", pages, last, r)
	}
	wantCopy(t, second, first)
	if !testing.Short() {
		r, err = storage.Copy(t.Context(), third, second, storage.CopyOptions{Workers: 64})
		must(t, err)
		wantCopy(t, third, first)
		r, err = storage.Copy(t.Context(), third, first, storage.CopyOptions{VerifyOnly: true})
		if err != nil || r.Changed() || r.ExtraKeys+r.ExtraObjects+r.ExtraVersions > 0 {
			t.Errorf("verified: %+v, %v", r, err)
		}
	}
	// Again: nothing is written.
	r, err = storage.Copy(t.Context(), &writeRefuser{Store: second}, src, storage.CopyOptions{})
	if err != nil || r.Changed() {
		t.Errorf("the second copy: %+v, %v", r, err)
	}
	if !slices.Equal(before, dump(t, first, allOf)) {
		t.Error("the source has changed")
	}
	if got := systemRecords(t, second); len(got) > 0 {
		t.Errorf("system records were copied or made: %v", got)
	}
	// The unique name is still one, and the expired object swept.
	kc, h := contextOf(t, "app", 1)
	_, err = second.PutObject(t.Context(), storage.ObjectRecord{
		ID: idOf(1), VersionID: idOf(2), Context: kc, ContextHash: h, Name: "unique", KeyID: keyctx.KeyID{1}, UniqueName: true,
	}, storage.PutGuard{})
	if !errors.Is(err, storage.ErrExists) {
		t.Errorf("a unique name: got %v", err)
	}
	if swept, err := second.DeleteExpired(t.Context(), "app", copyTime, 0); err != nil || len(swept) != 1 {
		t.Errorf("swept %d, %v", len(swept), err)
	}
}

// newMem is a store in memory, filled. (bbolt syncs each of thousands of puts.)
func newMem(t testing.TB, contexts, names int) *memstore.Store {
	s := memstore.New()
	fill(t, s, contexts, names, 4)
	return s
}

// writeRefuser is a store that must not be written.
type writeRefuser struct{ storage.Store }

var errWritten = errors.New("written to")

func (s *writeRefuser) InsertKey(context.Context, storage.KeyRecord) error { return errWritten }
func (s *writeRefuser) UpdateKey(context.Context, storage.KeyRecord) error { return errWritten }
func (s *writeRefuser) DeleteKey(context.Context, keyctx.KeyID, uint64) error {
	return errWritten
}
func (s *writeRefuser) PutObject(context.Context, storage.ObjectRecord, storage.PutGuard) (storage.ObjectRecord, error) {
	return storage.ObjectRecord{}, errWritten
}
func (s *writeRefuser) DeleteObject(context.Context, storage.ObjectRef, storage.ID) (storage.ObjectRecord, error) {
	return storage.ObjectRecord{}, errWritten
}
func (s *writeRefuser) DeleteExpired(context.Context, string, time.Time, int) ([]storage.ObjectRecord, error) {
	return nil, errWritten
}
func (s *writeRefuser) ReplaceEnvelope(context.Context, storage.ID, storage.ID, keyctx.KeyID, keyctx.KeyID, []byte) error {
	return errWritten
}
func (s *writeRefuser) ImportVersion(context.Context, storage.ObjectRecord) error { return errWritten }
func (s *writeRefuser) PutSystem(context.Context, storage.SystemRecord) (uint64, error) {
	return 0, errWritten
}
func (s *writeRefuser) DeleteSystem(context.Context, string, uint64) error { return errWritten }

// TestCopySelected copies one namespace, with the keys that its keys are
// wrapped by.
func TestCopySelected(t *testing.T) {
	src, dst := newMem(t, 3, 3), memstore.New()
	f := storage.ContextFilter{All: true, Namespace: "child"}
	r, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{Contexts: f})
	must(t, err)
	if !slices.Equal(dump(t, dst, f), dump(t, src, f)) || r.Keys != 3 || r.KeysCopied != 4 || r.Objects != 0 {
		t.Errorf("copied %+v", r)
	}
	f = storage.ContextFilter{Match: keyctx.KeyContext{"organization_id": "org_001"}, AnyNamespace: true}
	_, err = storage.Copy(t.Context(), dst, src, storage.CopyOptions{Contexts: f})
	must(t, err)
	if !slices.Equal(dump(t, dst, f), dump(t, src, f)) || len(dump(t, dst, allOf)) == len(dump(t, src, allOf)) {
		t.Error("not what was selected")
	}
	for name, o := range map[string]storage.CopyOptions{
		"half a filter":   {Contexts: storage.ContextFilter{Namespace: "app"}},
		"too many":        {Workers: 1000},
		"less than none":  {Workers: -1},
		"update, verify":  {Update: true, VerifyOnly: true},
		"a bad namespace": {Contexts: storage.ContextFilter{All: true, Namespace: strings.Repeat("n", 5000)}},
	} {
		if _, err := storage.Copy(t.Context(), dst, src, o); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
