package vaultsqltest

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultsql"
	"github.com/embedvault/vault/vaulttest"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

// benchRow is a row with two encrypted columns and a blind index; plainRow the same as
// bytes.
type benchRow struct {
	ID        string                  `db:"id"`
	Email     vault.Encrypted[string] `db:"email" vault:"index:email_bidx,email@1"`
	EmailBidx []byte                  `db:"email_bidx"`
	Note      vault.Encrypted[string] `db:"note"`
}

type plainRow struct {
	ID        string `db:"id"`
	Email     []byte `db:"email"`
	EmailBidx []byte `db:"email_bidx"`
	Note      []byte `db:"note"`
}

const benchRows = 1000

// bench is a table of each sort, on one database: one through the layer, one without.
type bench struct {
	sealed, plain *sqlx.DB
	model         *vaultsql.Model[benchRow]
	rows          []benchRow
	plainRows     []plainRow
	single        bool // statements of one row each
}

func newBench(b *testing.B, e engine, single bool) *bench {
	bare := e.connector(b)
	// As it is in an application that doesn't watch each field: no event is kept.
	v := must(vault.New(vault.Config{KEK: vaulttest.New(b).KEK, Store: vaulttest.New(b).Store}))(b)
	b.Cleanup(func() { _ = v.Close() })
	x := &bench{
		sealed: sqlx.NewDb(open(b, vaultsql.Wrap(bare, v)), e.bind), plain: sqlx.NewDb(open(b, bare), e.bind),
		model: must(vaultsql.NewModel[benchRow](v, "sealed_rows"))(b), single: single,
	}
	key, bytes := "TEXT", "BYTEA"
	switch e.dialect {
	case fieldtest.MySQL:
		key, bytes = "VARCHAR(64)", "VARBINARY(400)"
	case fieldtest.SQLite:
		bytes = "BLOB"
	}
	for _, name := range []string{"sealed_rows", "plain_rows"} {
		must(x.plain.Exec("CREATE TABLE " + name + " (id " + key + " PRIMARY KEY, email " + bytes + ", email_bidx " + bytes + ", note " + bytes + ")"))(b)
		must(x.plain.Exec("CREATE INDEX " + name + "_email ON " + name + " (email_bidx)"))(b)
	}
	for i := range benchRows {
		id, email, note := fmt.Sprintf("%08d", i), fmt.Sprintf("someone.number%d@example.org", i), strings.Repeat("note ", 20)
		x.rows = append(x.rows, benchRow{ID: id, Email: vault.Seal(email), Note: vault.Seal(note)})
		index := make([]byte, 16)
		_, _ = rand.Read(index)
		x.plainRows = append(x.plainRows, plainRow{id, []byte(email), index, []byte(note)})
	}
	return x
}

const benchInsert = " (id, email, email_bidx, note) VALUES (:id, :email, :email_bidx, :note)"

// insert writes rows in one transaction: each with a statement, or 100 with one.
func insert1000[T any](b *testing.B, ctx context.Context, db *sqlx.DB, table string, rows []T, single bool) {
	tx := must(db.BeginTxx(ctx, nil))(b)
	for i := 0; i < len(rows); i += 100 {
		if !single {
			must(tx.NamedExecContext(ctx, "INSERT INTO "+table+benchInsert, rows[i:i+100]))(b)
			continue
		}
		for _, r := range rows[i : i+100] {
			must(tx.NamedExecContext(ctx, "INSERT INTO "+table+benchInsert, r))(b)
		}
	}
	noError(b, tx.Commit())
}

func (x *bench) clean(b *testing.B) {
	must(x.plain.Exec("DELETE FROM sealed_rows"))(b)
	must(x.plain.Exec("DELETE FROM plain_rows"))(b)
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// BenchmarkRatio writes and reads 1,000 rows with two encrypted columns and one blind
// index, beside the same rows as plain bytes, in turn, and reports the ratios.
func BenchmarkRatio(b *testing.B) {
	for _, e := range engines {
		for _, single := range []bool{true, false} {
			name := e.name + "/100-a-statement"
			if single {
				name = e.name + "/1-a-statement"
			}
			b.Run(name, func(b *testing.B) { benchRatio(b, newBench(b, e, single)) })
		}
	}
}

func benchRatio(b *testing.B, x *bench) {
	ctx := vault.WithKeyContext(b.Context(), org)
	var plainInsert, sealedInsert, plainSelect, sealedSelect, opened time.Duration
	must(x.model.SealAll(ctx, x.rows[:1]))(b) // the keys
	for b.Loop() {
		x.clean(b)
		plainInsert += took(func() { insert1000(b, ctx, x.plain, "plain_rows", x.plainRows, x.single) })
		sealedInsert += took(func() {
			insert1000(b, ctx, x.sealed, "sealed_rows", must(x.model.SealAll(ctx, x.rows))(b), x.single)
		})
		for range 5 {
			plainSelect += took(func() {
				var rows []plainRow
				noError(b, x.plain.SelectContext(ctx, &rows, "SELECT id, email, email_bidx, note FROM plain_rows"))
			})
			read := func() (rows []benchRow) {
				noError(b, x.sealed.SelectContext(ctx, &rows, "SELECT id, email, email_bidx, note FROM sealed_rows"))
				x.model.BindAll(ctx, rows)
				return rows
			}
			sealedSelect += took(func() { read() })
			opened += took(func() { noError(b, vault.OpenAll(ctx, read())) })
		}
	}
	b.ReportMetric(float64(sealedInsert)/float64(plainInsert), "×insert")
	b.ReportMetric(float64(sealedSelect)/float64(plainSelect), "×select")
	b.ReportMetric(float64(opened)/float64(plainSelect), "×open-all")
	b.ReportMetric(float64(plainInsert.Microseconds())/float64(b.N), "µs-plain-insert")
	b.ReportMetric(float64(plainSelect.Microseconds())/float64(5*b.N), "µs-plain-select")
}
