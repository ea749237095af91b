package sqltest

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

var planRows = flag.Int("plan.rows", 100_000, "rows in each table for TestPlans")

// planned are the engines whose plans are looked at.
func planned() []engine {
	return []engine{engines[0], engines[3], engines[4]}
}

// TestPlans fills the tables, has the store issue every query that it has, and
// looks at how the database runs each: never by reading a whole table, and a
// page never by reading more than it shows.
func TestPlans(t *testing.T) {
	for _, e := range planned() {
		t.Run(e.name, func(t *testing.T) {
			dsn := e.database(t)
			db := e.open(t, dsn)
			s, err := sqlstore.New(db, e.dialect)
			noError(t, err)
			noError(t, s.Migrate(t.Context()))
			rows := *planRows
			if e.dialect == sqlstore.SQLite {
				rows /= 10 // it plans by rules and ANALYZE, and takes its time under the race detector
			}
			f := fill(t, db, e.dialect, rows)
			recording, r := e.recording(t, dsn)
			s, err = sqlstore.New(recording, e.dialect)
			noError(t, err)
			statements := f.everyQuery(t, s, r)
			if len(statements) < 30 {
				t.Errorf("only %d statements were seen", len(statements))
			}
			if e.dialect == sqlstore.PostgreSQL {
				db = engines[1].open(t, dsn) // it keeps no statements of its own
			}
			conn, err := db.Conn(t.Context())
			noError(t, err)
			defer func() { _ = conn.Close() }()
			for _, st := range statements {
				switch e.dialect {
				case sqlstore.PostgreSQL:
					planPostgres(t, conn, st, "force_generic_plan")
					planPostgres(t, conn, st, "force_custom_plan")
				case sqlstore.MySQL:
					planMaria(t, conn, st)
				default:
					planSQLite(t, conn, st)
				}
			}
		})
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

// explains says whether a statement has a plan.
func explains(text string) bool {
	for _, verb := range []string{"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"} {
		if strings.HasPrefix(text, verb) {
			return true
		}
	}
	return false
}

// small are tables that have one row, and reads without tables.
func small(text string) bool {
	return strings.Contains(text, "schema_version") || strings.Contains(text, "LOCK(")
}

var (
	actualRows  = regexp.MustCompile(`actual time=\S+ rows=(\d+) loops=(\d+)`)
	removedRows = regexp.MustCompile(`Rows Removed by Filter: (\d+)`)
)

// mostRows is how many rows a statement for 20 may touch in one step of its plan.
const mostRows = 3000

func planPostgres(t *testing.T, conn *sql.Conn, st recorded, mode string) {
	if !explains(st.text) || small(st.text) {
		return
	}
	ctx := context.Background()
	var lits []string
	for _, a := range st.args {
		lits = append(lits, literal(sqlstore.PostgreSQL, a.Value))
	}
	execute := "EXECUTE planned"
	if len(lits) > 0 {
		execute += "(" + strings.Join(lits, ", ") + ")"
	}
	analyze := ""
	if strings.HasPrefix(st.text, "SELECT") && !strings.HasPrefix(st.text, "SELECT count(*)") {
		analyze = "(ANALYZE)"
	}
	for _, s := range []string{"SET plan_cache_mode = " + mode, "PREPARE planned AS " + st.text} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	defer func() { _, _ = conn.ExecContext(ctx, "DEALLOCATE planned") }()
	plan := explain(t, conn, "EXPLAIN "+analyze+" "+execute)
	if strings.Contains(plan, "Seq Scan on vault_") {
		t.Errorf("%s: a sequential scan:\n%s\n%s", mode, st.text, plan)
	}
	most := 0
	for _, m := range actualRows.FindAllStringSubmatch(plan, -1) {
		rows, _ := strconv.Atoi(m[1])
		loops, _ := strconv.Atoi(m[2])
		most = max(most, rows*loops)
	}
	for _, m := range removedRows.FindAllStringSubmatch(plan, -1) {
		n, _ := strconv.Atoi(m[1])
		most = max(most, n)
	}
	if most > mostRows {
		t.Errorf("%s: %d rows were touched:\n%s\n%s", mode, most, st.text, plan)
	}
}

// explain returns all columns of all rows.
func explain(t *testing.T, conn *sql.Conn, query string, args ...any) string {
	t.Helper()
	rows, err := conn.QueryContext(context.Background(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	noError(t, err)
	var b strings.Builder
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		dest := make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		noError(t, rows.Scan(dest...))
		for i := range values {
			fmt.Fprintf(&b, "%s=%s ", columns[i], values[i].String)
		}
		b.WriteString("\n")
	}
	noError(t, rows.Err())
	return b.String()
}

func values(st recorded) (out []any) {
	for _, a := range st.args {
		out = append(out, a.Value)
	}
	return out
}

// planMaria wants each table to be read by a key, and no list to be sorted.
func planMaria(t *testing.T, conn *sql.Conn, st recorded) {
	if !explains(st.text) || small(st.text) || strings.HasPrefix(st.text, "INSERT") {
		return
	}
	plan := explain(t, conn, "EXPLAIN "+st.text, values(st)...)
	for line := range strings.Lines(plan) {
		full := strings.Contains(line, "type=ALL") || strings.Contains(line, "type=index ") && !strings.Contains(line, "possible_keys=PRIMARY")
		sorted := strings.Contains(line, "filesort")
		if full && !strings.Contains(line, "table=<") || sorted {
			t.Errorf("a table is read as a whole, or sorted:\n%s\n%s", st.text, plan)
			return
		}
	}
}

// planSQLite wants each table to be searched, and no list to be sorted.
func planSQLite(t *testing.T, conn *sql.Conn, st recorded) {
	if !explains(st.text) || small(st.text) {
		return
	}
	plan := explain(t, conn, "EXPLAIN QUERY PLAN "+st.text, values(st)...)
	for line := range strings.Lines(plan) {
		_, detail, _ := strings.Cut(line, "detail=")
		scan := strings.HasPrefix(detail, "SCAN ") && !strings.HasPrefix(detail, "SCAN d ") && !strings.HasPrefix(detail, "SCAN n ") && !strings.Contains(detail, "CONSTANT ROW")
		sorted := strings.Contains(detail, "TEMP B-TREE")
		if scan || sorted {
			t.Errorf("a table is scanned, or sorted:\n%s\n%s", st.text, plan)
			return
		}
	}
}
