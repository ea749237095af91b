package sqltest

import (
	"database/sql"
	"flag"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

var planRows = flag.Int("plan.rows", 100_000, "rows in each table for TestPlans")

// planned are the engines whose plans are looked at. SQLite's queries are run by
// the driver in C, where there is one: the race detector makes the other slow.
// Its plans are looked at in both.
func planned() []engine {
	return []engine{engines[0], engines[3], engines[len(engines)-1]}
}

// TestPlans fills the tables, has the store issue every query that it has, and
// looks at how the database runs each: never by reading a whole table, and a
// page never by reading more than it shows.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, e := range planned() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			dsn := e.database(t)
			db := e.open(t, dsn)
			s, err := sqlstore.New(db, e.dialect)
			noError(t, err)
			noError(t, s.Migrate(t.Context()))
			f := fill(t, db, e.dialect, *planRows)
			recording, r := e.recording(t, dsn)
			s, err = sqlstore.New(recording, e.dialect)
			noError(t, err)
			statements := f.everyQuery(t, s, r)
			if len(statements) < 30 {
				t.Errorf("only %d statements were seen", len(statements))
			}
			for _, db := range e.planners(t, db, dsn) {
				lookAt(t, e.dialect, db, statements)
			}
		})
	}
}

// planners are the pools to ask for plans.
func (e engine) planners(t *testing.T, db *sql.DB, dsn string) []*sql.DB {
	t.Helper()
	switch e.dialect {
	case sqlstore.PostgreSQL:
		return []*sql.DB{engines[1].open(t, dsn)} // it keeps no statements of its own
	case sqlstore.SQLite:
		return []*sql.DB{db, engines[4].open(t, dsn)}
	}
	return []*sql.DB{db}
}

func lookAt(t *testing.T, d sqlstore.Dialect, db *sql.DB, statements []recorded) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	noError(t, err)
	defer func() { _ = conn.Close() }()
	for _, st := range statements {
		switch d {
		case sqlstore.PostgreSQL:
			planPostgres(t, conn, st, "force_generic_plan")
			planPostgres(t, conn, st, "force_custom_plan")
		case sqlstore.MySQL:
			planMaria(t, conn, st)
		default:
			planSQLite(t, conn, st)
		}
	}
}

// everyQuery calls all methods, all kinds of lists on their first, middle and
// last pages, and returns one of each statement for each.
func (f *filled) everyQuery(t *testing.T, s storage.Store, r *recorder) (out []recorded) {
	ctx := t.Context()
	late := base.Add(time.Duration(f.n) * time.Second)
	r.take()
	for op, err := range everyMethod(ctx, t, s) {
		if err != nil && !isErr(err, storage.ErrNotFound) && !isErr(err, storage.ErrVersionConflict) && !isErr(err, storage.ErrExists) {
			t.Errorf("%s: %v", op, err)
		}
	}
	rec, err := s.GetObject(ctx, storage.ObjectRef{ID: f.ids[0]})
	noError(t, err)
	_, err = s.GetObject(ctx, storage.ObjectRef{ID: f.ids[0], Version: rec.VersionID, NoEnvelope: true})
	noError(t, err)
	_, err = s.GetObjects(ctx, f.hashes[0], []string{string(f.name(1)), string(f.name(2)), "x"}, base)
	noError(t, err)
	for _, guard := range []storage.PutGuard{{Now: base}, {Now: base, Keep: 3}, {Now: late}} {
		for _, i := range []int{1, 3, f.n - 7} {
			next := object(t, f.full[f.in(i)], string(f.name(i)), unique)
			_, err = s.PutObject(ctx, next, guard)
			noError(t, err)
		}
	}
	keys, err := s.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, Limit: 40})
	noError(t, err)
	keys.Keys = append(keys.Keys, key(t, tenant(1), 77)) // which isn't there
	for _, err := range s.(storage.KeyBatchUpdater).UpdateKeys(ctx, keys.Keys) {
		if err != nil && !isErr(err, storage.ErrNotFound) {
			t.Errorf("update keys: %v", err)
		}
	}
	noError(t, s.ReplaceEnvelope(ctx, f.ids[0], rec.VersionID, rec.KeyID, keyctx.KeyID{1}, nil))
	_, err = s.DeleteObject(ctx, storage.ObjectRef{ID: f.ids[9]}, storage.ID{})
	noError(t, err)
	_, err = s.DeleteExpired(ctx, "app", late, 60)
	noError(t, err)
	imported := object(t, f.full[0], string(f.name(2)), func(r *storage.ObjectRecord) { r.ID, r.Number = f.ids[2], 5 })
	noError(t, s.ImportVersion(ctx, imported))
	f.lists(t, s)
	seen := map[string]int{}
	// Of each statement the first and the last that were issued: the beginning
	// of a list and its end.
	all := r.take()
	last := map[string]int{}
	for i, st := range all {
		last[st.text] = i
	}
	for i, st := range all {
		if seen[st.text]++; seen[st.text] <= 2 || last[st.text] == i {
			out = append(out, st)
		}
	}
	return out
}

func (f *filled) lists(t *testing.T, s storage.Store) {
	ctx := t.Context()
	filters := []storage.ContextFilter{
		{Hash: f.hashes[0]}, {All: true, AnyNamespace: true}, {All: true, Namespace: "app"}, {All: true},
		{Match: tenant(0)}, {Match: keyctx.KeyContext{"env": "prod"}}, {Match: keyctx.KeyContext{"env": "prod"}, AnyNamespace: true},
		{Match: keyctx.KeyContext{"env": "prod", "organization_id": "org_000002"}},
	}
	middle := func(page func(cursor string) (string, error)) {
		cursor := ""
		for range 4 {
			next, err := page(cursor)
			noError(t, err)
			if cursor = next; cursor == "" {
				return
			}
		}
	}
	for _, c := range filters {
		for _, down := range []bool{false, true} {
			for _, q := range []storage.ObjectQuery{
				{}, {NamePrefix: "object/"}, {Order: storage.OrderByUpdated}, {Order: storage.OrderByUpdated, UpdatedAfter: base.Add(-time.Hour)},
			} {
				q.Contexts, q.Descending, q.Limit, q.Now = c, down, 20, base
				middle(func(cursor string) (string, error) {
					q.Cursor = cursor
					page, err := s.ListObjects(ctx, q)
					return page.Next, err
				})
			}
		}
		for _, parent := range []keyctx.KeyID{{}, keyctx.KeyID(f.hashes[1])} {
			middle(func(cursor string) (string, error) {
				page, err := s.ListKeys(ctx, storage.KeyQuery{Contexts: c, ParentID: parent, Cursor: cursor, Limit: 20})
				return page.Next, err
			})
		}
	}
	for _, up := range []bool{false, true} {
		middle(func(cursor string) (string, error) {
			page, err := s.ListVersions(ctx, storage.VersionQuery{Object: f.ids[0], Ascending: up, Cursor: cursor, Limit: 20, Now: base})
			return page.Next, err
		})
	}
	middle(func(cursor string) (string, error) {
		page, err := s.ListByKey(ctx, storage.ByKeyQuery{KeyID: keyctx.KeyID(f.hashes[0]), Cursor: cursor, Limit: 20})
		return page.Next, err
	})
	f.ends(t, s)
	_, err := s.ListSystem(ctx, "job/", "job/0050000", 20)
	noError(t, err)
}

// ends reads the last pages of long lists, whose statements look like those of
// other pages, and in which everything comes before them.
func (f *filled) ends(t *testing.T, s storage.Store) {
	ctx := t.Context()
	end := func(page func(cursor string, limit int) (string, error)) {
		cursor := ""
		for {
			next, err := page(cursor, 1000)
			noError(t, err)
			if next == "" {
				break
			}
			cursor = next
		}
		_, err := page(cursor, 20)
		noError(t, err)
	}
	end(func(cursor string, limit int) (string, error) {
		page, err := s.ListObjects(ctx, storage.ObjectQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, Now: base, Cursor: cursor, Limit: limit})
		return page.Next, err
	})
	end(func(cursor string, limit int) (string, error) {
		page, err := s.ListObjects(ctx, storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, Order: storage.OrderByUpdated, Now: base, Cursor: cursor, Limit: limit})
		return page.Next, err
	})
	end(func(cursor string, limit int) (string, error) {
		page, err := s.ListKeys(ctx, storage.KeyQuery{Contexts: storage.ContextFilter{All: true, AnyNamespace: true}, Cursor: cursor, Limit: limit})
		return page.Next, err
	})
	end(func(cursor string, limit int) (string, error) {
		page, err := s.ListByKey(ctx, storage.ByKeyQuery{KeyID: keyctx.KeyID(f.hashes[0]), Cursor: cursor, Limit: limit})
		return page.Next, err
	})
	end(func(cursor string, limit int) (string, error) {
		page, err := s.ListVersions(ctx, storage.VersionQuery{Object: f.ids[0], Now: base, Cursor: cursor, Limit: limit})
		return page.Next, err
	})
}
