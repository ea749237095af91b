package sqltest

import (
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// TestKeepUnderRace puts one object from many goroutines and two pools at once,
// each time with a limit: no more versions are left than that, and the numbers
// have no gap. Now and then it has expired, and is replaced meanwhile.
func TestKeepUnderRace(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		guard := storage.PutGuard{Now: base, Keep: 2}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 12 {
					if err := putErr(t, s, object(t, tenant(1), "a", unique), guard); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		cur, err := s.GetObject(t.Context(), storage.ObjectRef{ContextHash: hashOf(t, tenant(1)), Name: "a"})
		noError(t, err)
		page, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: cur.ID})
		noError(t, err)
		if cur.Number != 96 || len(page.Objects) != 2 || page.Objects[1].Number != 95 {
			t.Errorf("version %d is current, %d are left", cur.Number, len(page.Objects))
		}
	})
}

// TestEvictUnderRace has many contexts take over a unique name whose holder has
// expired, at once: one gets it, and nothing is left of the holder.
func TestEvictUnderRace(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		for round := range 5 {
			old := put(t, s, object(t, tenant(1000+round), "n", unique, expires(base)), storage.PutGuard{Now: base.Add(-time.Hour * 2)})
			now := base.Add(time.Duration(round) * time.Hour)
			errs := make([]error, 12)
			var wg sync.WaitGroup
			for i := range errs {
				r := object(t, tenant(100*round+i), "n", unique, expires(now.Add(time.Minute)))
				wg.Go(func() { errs[i] = putErr(t, s, r, storage.PutGuard{Now: now}) })
			}
			wg.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else if !isErr(err, storage.ErrExists) {
					t.Error(err)
				}
			}
			if won != 1 {
				t.Errorf("%d of %d got the name", won, len(errs))
			}
			if _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: old.ID}); !isErr(err, storage.ErrNotFound) {
				t.Errorf("the holder: %v", err)
			}
			_, err := s.DeleteExpired(t.Context(), "", now.Add(time.Hour), 100)
			noError(t, err)
		}
	})
}

// TestDamagedRows writes to the tables past the store: what can't be right is
// ErrCorrupt, and never "not found".
func TestDamagedRows(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		k := key(t, tenant(1), 1)
		noError(t, s.InsertKey(t.Context(), k))
		other := key(t, tenant(2), 1)
		noError(t, s.InsertKey(t.Context(), other))
		a := put(t, s, object(t, tenant(1), "a"))
		lit := func(b []byte) string { return literal(e.dialect, b) }
		canonical, err := tenant(2).AppendCanonical(nil)
		noError(t, err)
		good, err := tenant(1).AppendCanonical(nil)
		noError(t, err)
		for _, c := range []struct{ damage, repair string }{
			{"UPDATE vault_contexts SET canonical = " + lit(canonical), "UPDATE vault_contexts SET canonical = " + lit(good)},
			{"UPDATE vault_contexts SET canonical = " + lit([]byte("junk")), "UPDATE vault_contexts SET canonical = " + lit(good)},
		} {
			_, err := db.Exec(c.damage)
			noError(t, err)
			_, err = s.LatestKey(t.Context(), k.ContextHash, k.Purpose)
			wantErr(t, err, storage.ErrCorrupt)
			_, err = s.GetKey(t.Context(), k.KeyID)
			wantErr(t, err, storage.ErrCorrupt)
			_, err = s.GetObject(t.Context(), ref(a))
			wantErr(t, err, storage.ErrCorrupt)
			_, err = db.Exec(c.repair)
			noError(t, err)
		}
		for _, junk := range [][]byte{{}, {1}, {2, 1, 0, 0, 0}, {1, 1, 9, 0, 0}, {1, 1, 0, 0, 0, 0}, {1, 7, 1, 0, 1, 'x', 0, 1, 1, 0, 0}} {
			_, err := db.Exec("UPDATE vault_keys SET wrappings = " + lit(junk))
			noError(t, err)
			_, err = s.LatestKey(t.Context(), k.ContextHash, keyctx.PurposeData)
			wantErr(t, err, storage.ErrCorrupt)
		}
		_, err = db.Exec("UPDATE vault_versions SET labels = " + lit([]byte{1, 0, 9, 0}))
		noError(t, err)
		_, err = s.GetObject(t.Context(), ref(a))
		wantErr(t, err, storage.ErrCorrupt)
	})
}
