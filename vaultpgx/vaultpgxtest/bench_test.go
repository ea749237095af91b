package vaultpgxtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
)

// plainPerson is the same row without encryption.
type plainPerson struct {
	ID        string  `db:"id"`
	OrgID     string  `db:"org_id"`
	Name      *string `db:"name"`
	Email     []byte  `db:"email"`
	EmailBidx []byte  `db:"email_bidx"`
	SSN       []byte  `db:"ssn"`
}

const benchRows = 1000

// BenchmarkRows compares 1,000 rows with two encrypted columns and a blind index with
// the same rows as plain bytea, through pgx both, each in its own table and in turns: the
// metric x is the ratio of the fastest turns, which other work on the machine slows
// least.
func BenchmarkRows(b *testing.B) {
	f := setup(b)
	v, err := vault.New(vault.Config{KEK: f.v.KEK, Store: f.v.Store}) // that nobody listens to
	noError(b, err)
	b.Cleanup(func() { _ = v.Close() })
	f.db = vaultpgx.Wrap(v, f.pool)
	table, err := vaultpgx.NewTable[person](v, "people")
	noError(b, err)
	_, err = f.pool.Exec(b.Context(), "CREATE TABLE plain (LIKE people INCLUDING ALL)")
	noError(b, err)
	people, plain := make([]person, benchRows), make([]plainPerson, benchRows)
	name := "A name"
	for i := range people {
		id := fmt.Sprintf("018f2f6c-0000-7000-8000-%012d", i)
		email := fmt.Sprintf("somebody.%d@example.org", i)
		people[i] = person{ID: id, OrgID: "acme", Name: &name, Email: vault.Seal(email), SSN: vault.Seal("078-05-1120")}
		plain[i] = plainPerson{ID: id, OrgID: "acme", Name: &name, Email: []byte(email), EmailBidx: fmt.Appendf(nil, "%016d", i), SSN: []byte("078-05-1120")}
	}
	noError(b, table.Prepare(f.ctx))

	insert := func(into string) string {
		return "INSERT INTO " + into + " (id, org_id, name, email, email_bidx, ssn) VALUES ($1, $2, $3, $4, $5, $6)"
	}
	columns := []string{"id", "org_id", "name", "email", "email_bidx", "ssn"}
	plainArgs := func(i int) []any {
		p := plain[i]
		return []any{p.ID, p.OrgID, p.Name, p.Email, p.EmailBidx, p.SSN}
	}
	sealedArgs := func(i int) []any {
		p, err := vaultpgx.Sealed(f.ctx, table, people[i])
		noError(b, err)
		return []any{p.ID, p.OrgID, p.Name, p.Email, p.EmailBidx, p.SSN}
	}
	one := func(db vaultpgx.Conn, into string, args func(int) []any) func() {
		return func() {
			noError(b, pgx.BeginFunc(f.ctx, db, func(tx pgx.Tx) error {
				for i := range benchRows {
					if _, err := tx.Exec(f.ctx, insert(into), args(i)...); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	batch := func(db vaultpgx.Conn, into string, args func(int) []any) func() {
		return func() {
			q := &pgx.Batch{}
			for i := range benchRows {
				q.Queue(insert(into), args(i)...)
			}
			noError(b, db.SendBatch(f.ctx, q).Close())
		}
	}
	copied := func(db vaultpgx.Conn, into string, args func(int) []any) func() {
		return func() {
			_, err := db.CopyFrom(f.ctx, pgx.Identifier{into}, columns, pgx.CopyFromSlice(benchRows, func(i int) ([]any, error) { return args(i), nil }))
			noError(b, err)
		}
	}
	empty := func() {
		_, err := f.pool.Exec(b.Context(), "TRUNCATE people, plain")
		noError(b, err)
	}
	b.Run("insert", func(b *testing.B) {
		inTurns(b, empty, one(f.pool, "plain", plainArgs), one(f.db, "people", sealedArgs))
	})
	b.Run("insert_batch", func(b *testing.B) {
		inTurns(b, empty, batch(f.pool, "plain", plainArgs), batch(f.db, "people", sealedArgs))
	})
	b.Run("insert_copy", func(b *testing.B) {
		inTurns(b, empty, copied(f.pool, "plain", plainArgs), copied(f.db, "people", sealedArgs))
	})
	empty()
	copied(f.pool, "plain", plainArgs)()
	copied(f.db, "people", sealedArgs)()
	_, err = f.pool.Exec(b.Context(), "VACUUM ANALYZE people, plain")
	noError(b, err)
	query := "SELECT id, org_id, name, email, email_bidx, ssn FROM "
	readPlain := func() { collect[plainPerson](b, f.ctx, f.pool, query+"plain") }
	b.Run("select", func(b *testing.B) {
		inTurns(b, nil, readPlain, func() { collect[person](b, f.ctx, f.db, query+"people") })
	})
	b.Run("select_bind", func(b *testing.B) {
		inTurns(b, nil, readPlain, func() {
			noError(b, table.Bind(f.ctx, collect[person](b, f.ctx, f.db, query+"people")))
		})
	})
	b.Run("select_open_all", func(b *testing.B) {
		inTurns(b, nil, readPlain, func() {
			rows := collect[person](b, f.ctx, f.db, query+"people")
			noError(b, table.Bind(f.ctx, rows))
			noError(b, vault.OpenAll(f.ctx, rows))
		})
	})
}

func collect[T any](b testing.TB, ctx context.Context, db vaultpgx.Conn, query string) []T {
	rows, _ := db.Query(ctx, query)
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	noError(b, err)
	if len(got) != benchRows {
		b.Fatalf("%d rows", len(got))
	}
	return got
}

// inTurns reports the ratio of the fastest turns.
func inTurns(b *testing.B, before, base, with func()) {
	var best [2]time.Duration
	for b.Loop() {
		for i, f := range []func(){base, with} {
			if before != nil {
				before()
			}
			start := time.Now()
			f()
			if d := time.Since(start); best[i] == 0 || d < best[i] {
				best[i] = d
			}
		}
	}
	b.ReportMetric(float64(best[1])/float64(best[0]), "x")
	b.ReportMetric(float64(best[0])/1e6, "plain-ms")
	b.ReportMetric(float64(best[1])/1e6, "sealed-ms")
}
