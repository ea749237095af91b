package storage_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// copied returns a filled store and its copy.
func copied(t *testing.T) (dst, src *memstore.Store) {
	t.Helper()
	src, dst = newMem(t, 2, 3), memstore.New()
	_, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	must(t, err)
	return dst, src
}

func dataKey(t *testing.T, s storage.Store) storage.KeyRecord {
	t.Helper()
	_, h := contextOf(t, "app", 0)
	k, err := s.LatestKey(t.Context(), h, keyctx.PurposeData)
	must(t, err)
	return k
}

func getByName(t *testing.T, s storage.Store, name string) storage.ObjectRecord {
	t.Helper()
	_, h := contextOf(t, "app", 0)
	r, err := s.GetObject(t.Context(), storage.ObjectRef{ContextHash: h, Name: name})
	must(t, err)
	return r
}

func deleteByName(t *testing.T, s storage.Store, name string) {
	t.Helper()
	_, h := contextOf(t, "app", 0)
	_, err := s.DeleteObject(t.Context(), storage.ObjectRef{ContextHash: h, Name: name}, storage.ID{})
	must(t, err)
}

// TestCopyRefuses copies into destinations that hold something else: it says
// what, and writes nothing over it, with Update or without.
func TestCopyRefuses(t *testing.T) {
	_, h := contextOf(t, "app", 0)
	object := idOf("object", "app", 0, "unique").String()
	for name, c := range map[string]struct {
		change func(dst *memstore.Store)
		names  string // what the error says
	}{
		"another key of the context": {func(dst *memstore.Store) {
			k := dataKey(t, dst)
			must(t, dst.DeleteKey(t.Context(), k.KeyID, k.Revision))
			k.KeyID = keyctx.KeyID{1}
			must(t, dst.InsertKey(t.Context(), k))
		}, "key " + keyctx.KeyID(digest("key", "app", 0, keyctx.PurposeData, uint32(1))).Short()},
		"a key made at another time": {func(dst *memstore.Store) {
			must(t, dst.EditKey(dataKey(t, dst).KeyID, func(r *storage.KeyRecord) { r.CreatedAt = r.CreatedAt.Add(time.Second) }))
		}, "key "},
		"a key that was rewrapped later": {func(dst *memstore.Store) {
			must(t, dst.EditKey(dataKey(t, dst).KeyID, func(r *storage.KeyRecord) { r.RewrappedAt = copyTime.Add(time.Hour) }))
		}, "key "},
		"a tombstone": {func(dst *memstore.Store) {
			must(t, dst.EditKey(dataKey(t, dst).KeyID, func(r *storage.KeyRecord) { r.State, r.Wrappings, r.Quorum = storage.StateShredded, nil, 0 }))
		}, "key "},
		"an object with the name": {func(dst *memstore.Store) {
			deleteByName(t, dst, "unique")
			putVersion(t, dst, "app", 0, "unique", 7, func(r *storage.ObjectRecord) { r.ID = idOf("another") })
		}, object},
		"the unique name elsewhere": {func(dst *memstore.Store) {
			deleteByName(t, dst, "unique")
			putVersion(t, dst, "app", 1, "unique", 7, unique)
		}, object},
		"a later version": {func(dst *memstore.Store) { putVersion(t, dst, "app", 0, "unique", 9) }, object},
		"another label": {func(dst *memstore.Store) {
			r := getByName(t, dst, "unique")
			must(t, dst.EditObject(r.ID, r.VersionID, func(r *storage.ObjectRecord) { r.Labels["n"] = "x" }))
		}, object},
		"a value under a key unknown here": {func(dst *memstore.Store) {
			r := getByName(t, dst, "unique")
			must(t, dst.ReplaceEnvelope(t.Context(), r.ID, r.VersionID, r.KeyID, keyctx.KeyID{9}, []byte("other")))
		}, object},
	} {
		for _, update := range []bool{false, true} {
			dst, src := copied(t)
			c.change(dst)
			had := dump(t, dst, storage.ContextFilter{Hash: h})
			_, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{Update: update})
			if !errors.Is(err, storage.ErrCopyDiffers) || !strings.Contains(err.Error(), c.names) {
				t.Errorf("%s, update %v: got %v", name, update, err)
			}
			for _, line := range had {
				if !slices.Contains(dump(t, dst, storage.ContextFilter{Hash: h}), line) {
					t.Errorf("%s, update %v: something was overwritten", name, update)
				}
			}
			r, err := storage.Copy(t.Context(), &writeRefuser{Store: dst}, src, storage.CopyOptions{VerifyOnly: true})
			if !errors.Is(err, storage.ErrCopyDiffers) || r.KeysDifferent+r.KeysMissing+r.VersionsDifferent+r.VersionsMissing == 0 {
				t.Errorf("%s: verified %+v, %v", name, r, err)
			}
		}
	}
}

// TestCopyBesideOthers copies into a store with other contexts' records: they
// stay as they are.
func TestCopyBesideOthers(t *testing.T) {
	src, dst := newMem(t, 2, 2), memstore.New()
	insertKey(t, dst, "other", 1, keyctx.PurposeData, 1)
	putVersion(t, dst, "other", 1, "n0000", 0)
	other := storage.ContextFilter{All: true, Namespace: "other"}
	had := dump(t, dst, other)
	_, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	must(t, err)
	r, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{VerifyOnly: true})
	if err != nil || r.ExtraKeys != 1 || r.ExtraObjects != 1 || !slices.Equal(had, dump(t, dst, other)) {
		t.Errorf("verified %+v, %v", r, err)
	}
}

// TestCopyFollows changes the source after a copy in all the ways in which a
// vault does, and copies again.
func TestCopyFollows(t *testing.T) {
	dst, src := copied(t)
	k := dataKey(t, src)
	k.State, k.StateChangedAt = storage.StateDecryptOnly, copyTime.Add(time.Hour)
	must(t, src.UpdateKey(t.Context(), k))
	next := insertKey(t, src, "app", 0, keyctx.PurposeData, 2)
	old := getByName(t, src, "unique")
	must(t, src.ReplaceEnvelope(t.Context(), old.ID, old.VersionID, old.KeyID, next.KeyID, []byte("again")))
	putVersion(t, src, "app", 0, "new", 0)
	deleteByName(t, src, "was")
	for v := 10; v < 15; v++ { // Keep removes what the copy has
		putVersion(t, src, "app", 0, "n0002", v)
	}
	_, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	if !errors.Is(err, storage.ErrCopyDiffers) {
		t.Errorf("without Update: got %v", err)
	}
	r, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{Update: true})
	if err != nil || r.KeysCopied > 1 || r.KeysUpdated != 1 || r.VersionsUpdated != 1 || r.VersionsCopied == 0 || r.ExtraVersions == 0 {
		t.Errorf("copied %+v, %v", r, err)
	}
	if got := getByName(t, dst, "unique"); !got.Same(getByName(t, src, "unique")) {
		t.Error("the envelope was not replaced")
	}
	if got := dataKey(t, dst); got.KeyID != next.KeyID {
		t.Error("the new key is not there")
	}
	r, err = storage.Copy(t.Context(), dst, src, storage.CopyOptions{Update: true})
	if err != nil || r.Changed() {
		t.Errorf("again: %+v, %v", r, err)
	}
	r, err = storage.Copy(t.Context(), dst, src, storage.CopyOptions{VerifyOnly: true})
	if err != nil || r.ExtraObjects != 1 || r.ExtraVersions == 0 {
		t.Errorf("verified %+v, %v", r, err)
	}
	// The wrong way round: the older store must not come over the newer one.
	if _, err := storage.Copy(t.Context(), src, dst, storage.CopyOptions{Update: true}); !errors.Is(err, storage.ErrCopyDiffers) {
		t.Errorf("backwards: got %v", err)
	}
}

// TestCopyVersionWithoutKey copies what can't be read in the source either.
func TestCopyVersionWithoutKey(t *testing.T) {
	src, dst := memstore.New(), memstore.New()
	putVersion(t, src, "app", 0, "lost", 0)
	r, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	if err != nil || r.VersionsWithoutKey != 1 {
		t.Errorf("copied %+v, %v", r, err)
	}
	wantCopy(t, dst, src)
}

// TestCopyParentsInACircle copies a damaged source.
func TestCopyParentsInACircle(t *testing.T) {
	src := memstore.New()
	a := insertKey(t, src, "app", 0, keyctx.PurposeData, 1)
	b := insertKey(t, src, "app", 1, keyctx.PurposeData, 1, func(r *storage.KeyRecord) { r.ParentID = a.KeyID })
	must(t, src.EditKey(a.KeyID, func(r *storage.KeyRecord) { r.ParentID = b.KeyID }))
	if _, err := storage.Copy(t.Context(), memstore.New(), src, storage.CopyOptions{}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}
