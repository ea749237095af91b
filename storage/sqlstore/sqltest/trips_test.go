package sqltest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// TestRoundTripsPostgres counts round trips on the wire: one for each get and
// each put, whatever the put has to do.
func TestRoundTripsPostgres(t *testing.T) {
	t.Parallel()
	dsn := postgresDatabase(t)
	db, trips := countingPool(t, dsn)
	s, err := sqlstore.New(db, sqlstore.PostgreSQL)
	noError(t, err)
	noError(t, s.Migrate(t.Context()))
	// The driver prepares a statement the first time.
	warm := put(t, s, object(t, tenant(0), "warm", unique))
	for _, r := range []storage.ObjectRef{ref(warm), {ID: warm.ID}, {ID: warm.ID, Version: warm.VersionID}} {
		_, err := s.GetObject(t.Context(), r)
		noError(t, err)
	}
	keys := []storage.KeyRecord{key(t, tenant(0), 1), key(t, tenant(0), 2), key(t, tenant(0), 3)}
	for i := range keys {
		noError(t, s.InsertKey(t.Context(), keys[i]))
		keys[i].Revision = 1
	}
	together := func() error {
		err := errors.Join(s.UpdateKeys(t.Context(), keys)...)
		for i := range keys {
			keys[i].Revision++
		}
		return err
	}
	noError(t, together())
	_, err = s.GetObjects(t.Context(), warm.ContextHash, []string{"warm"}, base)
	noError(t, err)
	var old storage.ObjectRecord
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"the first object of a new context", func() error { return putErr(t, s, object(t, tenant(1), "a", unique), storage.PutGuard{Now: base}) }, nil},
		{"a version more", func() error { return putErr(t, s, object(t, tenant(1), "a"), storage.PutGuard{Now: base}) }, nil},
		{"a version more, and the others removed", func() error { return putErr(t, s, object(t, tenant(1), "a"), storage.PutGuard{Now: base, Keep: 1}) }, nil},
		{"if absent, and it is there", func() error {
			return putErr(t, s, object(t, tenant(1), "a"), storage.PutGuard{Now: base, IfAbsent: true})
		}, storage.ErrExists},
		{"if version, and it is another", func() error {
			return putErr(t, s, object(t, tenant(1), "a"), storage.PutGuard{Now: base, IfVersion: storage.NewID(base)})
		}, storage.ErrVersionConflict},
		{"a unique name that is held", func() error { return putErr(t, s, object(t, tenant(2), "a", unique), storage.PutGuard{Now: base}) }, storage.ErrExists},
		{"one that will expire", func() error {
			old = object(t, tenant(1), "e", expires(base.Add(time.Second)))
			return putErr(t, s, old, storage.PutGuard{Now: base})
		}, nil},
		{"one that has expired is replaced", func() error {
			return putErr(t, s, object(t, tenant(1), "e"), storage.PutGuard{Now: base.Add(time.Hour)})
		}, nil},
		{"many keys together", together, nil},
		{"get by name", func() error { _, err := s.GetObject(t.Context(), ref(warm)); return err }, nil},
		{"get by ID", func() error { _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: warm.ID}); return err }, nil},
		{"get a version", func() error {
			_, err := s.GetObject(t.Context(), storage.ObjectRef{ID: warm.ID, Version: warm.VersionID})
			return err
		}, nil},
		{"get what isn't there", func() error { _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: old.ID}); return err }, storage.ErrNotFound},
		{"get many", func() error {
			_, err := s.GetObjects(t.Context(), warm.ContextHash, []string{"warm", "x", "y"}, base)
			return err
		}, nil},
		{"insert a key of a new context", func() error { return s.InsertKey(t.Context(), key(t, tenant(3), 1)) }, nil},
	} {
		before := trips.Load()
		err := c.do()
		if c.want == nil {
			noError(t, err)
		} else {
			wantErr(t, err, c.want)
		}
		if n := trips.Load() - before; n != 1 {
			t.Errorf("%s: %d round trips, want 1", c.name, n)
		}
	}
}

func putErr(t testing.TB, s storage.Store, r storage.ObjectRecord, g storage.PutGuard) error {
	t.Helper()
	_, err := s.PutObject(t.Context(), r, g)
	return err
}

// aside says whether a statement isn't counted: it begins or ends a transaction,
// or is the preparation of one that is.
func aside(text string) bool {
	for _, verb := range []string{"PREPARE", "BEGIN", "SET TRANSACTION", "START TRANSACTION", "COMMIT"} {
		if strings.HasPrefix(text, verb) {
			return true
		}
	}
	return false
}

// TestStatements counts what the package's comment says about the other engines.
func TestStatements(t *testing.T) {
	where(t, byHand, func(t *testing.T, e engine) {
		dsn := e.database(t)
		db, r := e.recording(t, dsn)
		s, err := sqlstore.New(db, e.dialect)
		noError(t, err)
		noError(t, s.Migrate(t.Context()))
		count := func(what string, want int, f func()) {
			t.Helper()
			r.take()
			f()
			var list []string
			for _, st := range r.take() {
				if !aside(st.text) {
					list = append(list, usual(st.text))
				}
			}
			if len(list) != want {
				t.Errorf("%s: %d statements, want %d: %q", what, len(list), want, list)
			}
		}
		a := object(t, tenant(1), "a")
		count("the first of a context", 5, func() { put(t, s, a) })
		count("another of the context", 3, func() { put(t, s, object(t, tenant(1), "b")) })
		count("a version", 3, func() { put(t, s, object(t, tenant(1), "a")) })
		count("a unique name", 4, func() { put(t, s, object(t, tenant(1), "c", unique)) })
		count("trimmed", 5, func() { put(t, s, object(t, tenant(1), "a"), storage.PutGuard{Keep: 1}) })
		count("get", 1, func() { has(t, s, a) })
		keys := []storage.KeyRecord{key(t, tenant(1), 1), key(t, tenant(1), 2), key(t, tenant(1), 3)}
		for i := range keys {
			noError(t, s.InsertKey(t.Context(), keys[i]))
			keys[i].Revision = 1
		}
		keys[1].Revision = 9
		count("three keys together, one of which lost a race", 4, func() { s.UpdateKeys(t.Context(), keys) })
	})
}
