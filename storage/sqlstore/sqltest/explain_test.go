package sqltest

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/embedvault/vault/storage/sqlstore"
)

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
