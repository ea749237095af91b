package etcdstore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
)

// many puts n versions of an object, each under a key of its own.
func many(t *testing.T, s storage.Store, name string, n int) (all []storage.ObjectRecord) {
	t.Helper()
	for i := range n {
		all = append(all, put(t, s, object(t, 1, name, func(r *storage.ObjectRecord) {
			if i%5 == 0 {
				r.Envelope = make([]byte, 5000)
			}
		})))
	}
	return all
}

// wantLeft wants those versions to be there, and no trace of the others. It
// asks for some of them, those on both sides of the limits among them.
func wantLeft(t *testing.T, s storage.Store, all []storage.ObjectRecord, from int) {
	t.Helper()
	for i, r := range all {
		if i > 1 && i < len(all)-2 && (i < from-2 || i > from+1) && i%10 != 0 {
			continue
		}
		want := int64(0)
		if i >= from {
			want = 1
		}
		if n, err := s.CountByKey(t.Context(), r.KeyID); err != nil || n != want {
			t.Errorf("version %d of %d: %d under its key, want %d, %v", r.Number, len(all), n, want, err)
		}
		page, err := s.ListByKey(t.Context(), storage.ByKeyQuery{KeyID: r.KeyID})
		if err != nil || int64(len(page.Objects)) != want {
			t.Errorf("version %d: %d listed under its key, want %d, %v", r.Number, len(page.Objects), want, err)
		}
		_, err = s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID, Version: r.VersionID})
		if (err == nil) != (want == 1) || err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("version %d: %v", r.Number, err)
		}
		if want == 0 {
			err := s.ReplaceEnvelope(t.Context(), r.ID, r.VersionID, r.KeyID, keyctx.KeyID{1}, nil)
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("replacing the envelope of version %d: %v", r.Number, err)
			}
		}
	}
	for _, up := range []bool{false, true} {
		page, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: all[0].ID, Ascending: up, Limit: 1000})
		if err != nil || len(page.Objects) != len(all)-from {
			t.Errorf("%d versions are listed, want %d, %v", len(page.Objects), len(all)-from, err)
		}
	}
}

// TestKeepBeyondATransaction removes more versions at a time than etcd takes
// operations in a transaction.
func TestKeepBeyondATransaction(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{1, 130} {
		s := newStore(t, connectShared(t), etcdstore.Options{})
		all := many(t, s, "a", 150)
		other := many(t, s, "b", 3)
		all = append(all, put(t, s, object(t, 1, "a"), storage.PutGuard{Keep: keep}))
		wantLeft(t, s, all, len(all)-keep)
		wantLeft(t, s, other, 0)
		must(t, s.Audit(t.Context(), false))
	}
}

// TestDeleteBeyondATransaction deletes, replaces and sweeps objects with more
// versions than etcd takes operations.
func TestDeleteBeyondATransaction(t *testing.T) {
	t.Parallel()
	s := newStore(t, connectShared(t), etcdstore.Options{})
	gone := func(r *storage.ObjectRecord) { r.ExpiresAt, r.UniqueName = now.UnixMicro(), true }
	a := many(t, s, "a", 150)
	_, err := s.DeleteObject(t.Context(), storage.ObjectRef{ID: a[0].ID}, storage.ID{})
	must(t, err)
	wantLeft(t, s, a, len(a))

	b := append(many(t, s, "b", 150), put(t, s, object(t, 1, "b", gone)))
	put(t, s, object(t, 1, "b"), storage.PutGuard{Now: now})
	wantLeft(t, s, b, len(b))

	c := append(many(t, s, "c", 150), put(t, s, object(t, 1, "c", gone)))
	put(t, s, object(t, 2, "c", func(r *storage.ObjectRecord) { r.UniqueName = true }), storage.PutGuard{Now: now})
	wantLeft(t, s, c, len(c))

	d := append(many(t, s, "d", 150), put(t, s, object(t, 1, "d", gone)))
	swept, err := s.DeleteExpired(t.Context(), "app", now, 0)
	if err != nil || len(swept) != 1 || swept[0].ID != d[0].ID {
		t.Errorf("swept %v, %v", swept, err)
	}
	wantLeft(t, s, d, len(d))
	must(t, s.Audit(t.Context(), false))
}

// TestKilledBeforeDebrisIsCleared has the process die between the two steps:
// what is gone is gone at once, and the rest goes with the next write or sweep.
func TestKilledBeforeDebrisIsCleared(t *testing.T) {
	s := newStore(t, connectShared(t), etcdstore.Options{})
	all := many(t, s, "a", 60)
	last := object(t, 1, "a")
	must(t, s.PutUncleared(t.Context(), last, storage.PutGuard{Keep: 3}))
	last.ID, last.Number = all[0].ID, 61
	all = append(all, last)
	must(t, s.Audit(t.Context(), true))
	if err := s.Audit(t.Context(), false); err == nil {
		t.Fatal("there is no debris to test with")
	}
	wantLeft(t, s, all, 58)
	late := all[10]
	if err := s.ImportVersion(t.Context(), late); !errors.Is(err, storage.ErrVersionConflict) {
		t.Errorf("importing what is gone: %v", err)
	}
	must(t, s.Audit(t.Context(), false)) // that was a write that met it

	must(t, s.PutUncleared(t.Context(), object(t, 1, "b"), storage.PutGuard{}))
	b := many(t, s, "b", 40)
	must(t, s.PutUncleared(t.Context(), object(t, 1, "b"), storage.PutGuard{Keep: 1}))
	_, err := s.PutObject(t.Context(), object(t, 1, "b", func(r *storage.ObjectRecord) { r.VersionID = b[5].VersionID }), storage.PutGuard{})
	must(t, err) // the version ID is free again
	must(t, s.Audit(t.Context(), false))

	c := many(t, s, "c", 40)
	must(t, s.DeleteUncleared(t.Context(), c[0].ID))
	wantLeft(t, s, c, len(c))
	must(t, s.ImportVersion(t.Context(), c[0])) // the same IDs again
	wantLeft(t, s, c[:1], 0)
	must(t, s.Audit(t.Context(), false))

	f := many(t, s, "f", 40)
	must(t, s.PutUncleared(t.Context(), object(t, 1, "f"), storage.PutGuard{Keep: 2}))
	must(t, s.ReplaceEnvelope(t.Context(), f[39].ID, f[39].VersionID, f[39].KeyID, keyctx.KeyID{1}, []byte("again")))
	must(t, s.Audit(t.Context(), false))

	g := many(t, s, "g", 40)
	must(t, s.PutUncleared(t.Context(), object(t, 1, "g"), storage.PutGuard{Keep: 2}))
	_, err = s.DeleteObject(t.Context(), storage.ObjectRef{ID: g[0].ID}, storage.ID{})
	must(t, err)
	must(t, s.Audit(t.Context(), false))

	d := many(t, s, "d", 40)
	must(t, s.DeleteUncleared(t.Context(), d[0].ID))
	_, err = s.DeleteExpired(t.Context(), "", now, 1)
	must(t, err)
	must(t, s.Audit(t.Context(), false))
	wantLeft(t, s, d, len(d))
}

// TestMostInATransaction has puts that remove as much as one transaction may,
// in contexts with as many pairs as there can be.
func TestMostInATransaction(t *testing.T) {
	t.Parallel()
	s := newStore(t, connectShared(t), etcdstore.Options{})
	full := func(i int) (keyctx.KeyContext, keyctx.Hash) {
		kc := keyctx.KeyContext{keyctx.ReservedNamespace: "app", keyctx.ReservedScope: keyctx.ScopeGlobal, keyctx.ReservedIndex: "2", keyctx.ReservedSystem: "s"}
		for n := range keyctx.MaxPairs {
			kc[fmt.Sprint("pair", n)] = fmt.Sprint(i)
		}
		h, err := kc.Hash()
		must(t, err)
		return kc, h
	}
	in := func(i int, unique bool) storage.ObjectRecord {
		return object(t, i, "a", func(r *storage.ObjectRecord) {
			r.Context, r.ContextHash = full(i)
			r.UniqueName, r.ExpiresAt, r.Envelope = unique, now.UnixMicro(), make([]byte, 5000)
		})
	}
	versions := func(i int, unique bool) (last storage.ObjectRecord) {
		for range etcdstore.MaxAtOnce {
			last = put(t, s, in(i, unique))
		}
		return last
	}
	guard := storage.PutGuard{Now: now}

	versions(1, true) // holds the name, and goes with the first put to a context
	put(t, s, in(2, true), guard)
	must(t, s.Audit(t.Context(), false))

	again := in(3, true) // of two that go, one has the same ID
	again.ID = versions(3, false).ID
	put(t, s, again, guard)
	must(t, s.Audit(t.Context(), false))

	for range etcdstore.MaxAtOnce - 1 { // its own older versions go, and the holder
		put(t, s, in(3, true))
	}
	lasting := in(4, false)
	lasting.ExpiresAt = 0
	for range etcdstore.MaxAtOnce {
		lasting.VersionID = storage.NewID(now)
		put(t, s, lasting)
	}
	last := in(4, true)
	guard.Keep = 1
	put(t, s, last, guard)
	page, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, IncludeExpired: true})
	if err != nil || len(page.Objects) != 1 || page.Objects[0].VersionID != last.VersionID {
		t.Errorf("%d objects are left, %v", len(page.Objects), err)
	}
	must(t, s.Audit(t.Context(), false))
}
