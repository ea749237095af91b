package vaultpgxtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

// TestConformance runs the suite of all adapters, in pgx's default mode and in the one
// that interpolates on the client.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, m := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeSimpleProtocol} {
		t.Run(m.String(), func(t *testing.T) {
			fieldtest.Run(t, fieldtest.Harness{
				New:         func(t *testing.T, v *vault.Vault) *fieldtest.DB { return newAdapter(t, v, m) },
				Absent:      map[string]string{fieldtest.GuardPlain: "the wrapper sees arguments, and not for which column they are"},
				Placeholder: func(n int) string { return fmt.Sprintf("$%d", n) },
			})
		})
	}
}

// adapter is vaultpgx as its users have it: statements written by hand or by sqlc, and
// the table's struct.
type adapter struct {
	v        *vault.Vault
	pool     *pgxpool.Pool // not wrapped
	prepared *pgxpool.Pool
	db       vaultpgx.Conn
	log      *talker
	raw      fieldtest.Raw
	patients *vaultpgx.Table
	visits   *vaultpgx.Table
}

func newAdapter(t *testing.T, v *vault.Vault, m pgx.QueryExecMode) *fieldtest.DB {
	a := &adapter{v: v, log: &talker{}}
	dsn := database(t)
	loud := func(c *pgxpool.Config) {
		c.ConnConfig.Tracer = tracer{&tracelog.TraceLog{Logger: a.log, LogLevel: tracelog.LogLevelTrace}, a.log}
	}
	a.pool = open(t, dsn, mode(m), loud)
	a.prepared = open(t, dsn, mode(pgx.QueryExecModeCacheStatement), loud)
	db, err := sql.Open("pgx", dsn)
	noError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	a.raw = fieldtest.SQL(db, fieldtest.PostgreSQL)
	for _, s := range fieldtest.Schema(fieldtest.PostgreSQL) {
		_, err := a.pool.Exec(t.Context(), s)
		noError(t, err)
	}
	return a.on(v, a.pool).operations()
}

// on returns the adapter with another vault or another connection.
func (a adapter) on(v *vault.Vault, db vaultpgx.Conn) *adapter {
	var err error
	if a.patients, err = vaultpgx.NewTable[fieldtest.Patient](v, "patients"); err == nil {
		a.visits, err = vaultpgx.NewTable[fieldtest.Visit](v, "visits")
	}
	if err != nil {
		panic(err)
	}
	a.v, a.db = v, vaultpgx.Wrap(v, db)
	return &a
}

func (a *adapter) operations() *fieldtest.DB {
	return &fieldtest.DB{
		Raw:      a.raw,
		With:     func(v *vault.Vault) *fieldtest.DB { return a.on(v, a.pool).operations() },
		Prepared: func() *fieldtest.DB { return a.on(a.v, a.prepared).operations() },
		Logs: func() string {
			a.log.mu.Lock()
			defer a.log.mu.Unlock()
			return strings.Join(a.log.lines, "\n")
		},
		Cut: func() {
			_, _ = a.prepared.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'")
		},
		Tx: func(ctx context.Context, f func(context.Context, *fieldtest.DB) error) error {
			return pgx.BeginFunc(ctx, a.db, func(tx pgx.Tx) error {
				in := *a
				in.db = tx // wrapped already
				return f(ctx, in.operations())
			})
		},
		Create: func(ctx context.Context, p *fieldtest.Patient) error { return a.write(ctx, insertPatient, p) },
		Upsert: func(ctx context.Context, p *fieldtest.Patient) error {
			return a.write(ctx, insertPatient+" ON CONFLICT (id) DO UPDATE SET org_id = $2, name = $3, email = $4, email_bidx = $5, note = $6, weight = $7", p)
		},
		Save: func(ctx context.Context, p *fieldtest.Patient) error {
			return a.write(ctx, "UPDATE patients SET org_id = $2, name = $3, email = $4, email_bidx = $5, note = $6, weight = $7 WHERE id = $1", p)
		},
		CreateAll:   a.createAll,
		CreateVisit: a.createVisit,
		Get: func(ctx context.Context, id string) (*fieldtest.Patient, error) {
			return one(a.query(ctx, selectPatient+"WHERE id = $1", id))
		},
		List: func(ctx context.Context) ([]*fieldtest.Patient, error) {
			return a.query(ctx, selectPatient+"ORDER BY id")
		},
		Find: func(ctx context.Context, email string) ([]*fieldtest.Patient, error) {
			kc, _ := vault.KeyContextFrom(ctx)
			return a.query(ctx, selectPatient+"WHERE org_id = $1 AND email_bidx = $2 ORDER BY id", kc["organization_id"], vaultpgx.Lookup(fieldtest.EmailIndex, email))
		},
		Update: a.update,
		UpdateMap: func(ctx context.Context, id string, set map[string]any) error {
			return a.set(ctx, id, set)
		},
		UpdateColumn: func(ctx context.Context, id, column string, value any) error {
			return a.set(ctx, id, map[string]any{column: value})
		},
		DeleteLike: a.deleteLike,
		Preload:    a.preload,
		Join:       a.join,
		Scan: func(ctx context.Context, id string) (c fieldtest.Card, err error) {
			err = a.db.QueryRow(ctx, "SELECT name, email FROM patients WHERE id = $1", id).Scan(&c.Name, &c.Email)
			return c, err
		},
		Pluck: func(ctx context.Context, column string) ([]vault.Encrypted[string], error) {
			rows, _ := a.db.Query(ctx, "SELECT "+column+" FROM patients ORDER BY id")
			return pgx.CollectRows(rows, pgx.RowTo[vault.Encrypted[string]])
		},
		RawQuery: func(ctx context.Context, query string) ([]fieldtest.Card, error) {
			rows, _ := a.db.Query(ctx, query)
			return pgx.CollectRows(rows, pgx.RowToStructByName[fieldtest.Card])
		},
		RawExec: func(ctx context.Context, query string, args ...any) error {
			_, err := a.db.Exec(ctx, query, args...)
			return err
		},
	}
}

const (
	insertPatient = "INSERT INTO patients (id, org_id, name, email, email_bidx, note, weight) VALUES ($1, $2, $3, $4, $5, $6, $7)"
	selectPatient = "SELECT id, org_id, name, email, email_bidx, note, weight FROM patients "
)

func (a *adapter) write(ctx context.Context, query string, p *fieldtest.Patient) error {
	s, err := vaultpgx.Sealed(ctx, a.patients, *p)
	if err != nil {
		return err
	}
	_, err = a.db.Exec(ctx, query, s.ID, s.OrgID, s.Name, s.Email, s.EmailBidx, s.Note, s.Weight)
	return err
}

func (a *adapter) createAll(ctx context.Context, ps []*fieldtest.Patient) error {
	rows := make([]fieldtest.Patient, len(ps))
	for i, p := range ps {
		rows[i] = *p
	}
	rows, err := vaultpgx.SealedRows(ctx, a.patients, rows)
	if err != nil {
		return err
	}
	_, err = a.db.CopyFrom(ctx, pgx.Identifier{"patients"}, []string{"id", "org_id", "name", "email", "email_bidx", "note", "weight"},
		pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			s := rows[i]
			return []any{s.ID, s.OrgID, s.Name, s.Email, s.EmailBidx, s.Note, s.Weight}, nil
		}))
	return err
}

func (a *adapter) createVisit(ctx context.Context, v *fieldtest.Visit) error {
	s, err := vaultpgx.Sealed(ctx, a.visits, *v)
	if err != nil {
		return err
	}
	_, err = a.db.Exec(ctx, "INSERT INTO visits (id, org_id, patient_id, note) VALUES ($1, $2, $3, $4)", s.ID, s.OrgID, s.PatientID, s.Note)
	return err
}

// query reads patients.
func (a *adapter) query(ctx context.Context, query string, args ...any) ([]*fieldtest.Patient, error) {
	rows, _ := a.db.Query(ctx, query, args...)
	ps, err := pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[fieldtest.Patient])
	if err == nil {
		err = a.patients.Bind(ctx, ps)
	}
	return ps, err
}

func one(ps []*fieldtest.Patient, err error) (*fieldtest.Patient, error) {
	if err == nil && len(ps) != 1 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return nil, err
	}
	return ps[0], nil
}

// update is a statement for the columns that are set, each field in its place.
func (a *adapter) update(ctx context.Context, p *fieldtest.Patient) error {
	set := map[string]any{}
	if p.Name != "" {
		set["name"] = p.Name
	}
	if !p.Email.IsZero() {
		set["email"] = p.Email
	}
	if !p.Note.IsZero() {
		set["note"] = p.Note
	}
	if !p.Weight.IsZero() {
		set["weight"] = p.Weight
	}
	return a.set(ctx, p.ID, set)
}

func (a *adapter) set(ctx context.Context, id string, set map[string]any) error {
	args := pgx.NamedArgs{"id": id}
	var columns []string
	for column, value := range set {
		columns = append(columns, column+" = @"+column)
		switch v := value.(type) {
		case vault.Encrypted[string]:
			args[column] = v.At("patients", column, id)
		case *vault.Encrypted[string]:
			args[column] = v.At("patients", column, id)
		case vault.Encrypted[int]:
			args[column] = v.At("patients", column, id)
		default:
			args[column] = v
		}
		if column == "email" {
			columns = append(columns, "email_bidx = @email_bidx")
			args["email_bidx"] = vaultpgx.IndexOf(fieldtest.EmailIndex, value)
		}
	}
	slices.Sort(columns)
	_, err := a.db.Exec(ctx, "UPDATE patients SET "+strings.Join(columns, ", ")+" WHERE id = @id", args)
	return err
}

// deleteLike compares what has an index with that, and else the field itself, to which
// nothing is equal.
func (a *adapter) deleteLike(ctx context.Context, p *fieldtest.Patient) error {
	where, args := "org_id = $1", []any{p.OrgID}
	add := func(column string, v any) {
		args = append(args, v)
		where += fmt.Sprintf(" AND %s = $%d", column, len(args))
	}
	if !p.Email.IsZero() {
		add("email_bidx", vaultpgx.Lookup(fieldtest.EmailIndex, p.Email))
	}
	if !p.Note.IsZero() {
		add("note", p.Note) // it has no place, and is refused
	}
	_, err := a.db.Exec(ctx, "DELETE FROM patients WHERE "+where, args...)
	return err
}

func (a *adapter) preload(ctx context.Context, id string) (*fieldtest.Patient, error) {
	p, err := one(a.query(ctx, selectPatient+"WHERE id = $1", id))
	if err != nil {
		return nil, err
	}
	rows, _ := a.db.Query(ctx, "SELECT id, org_id, patient_id, note FROM visits WHERE patient_id = $1 ORDER BY id", id)
	p.Visits, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[fieldtest.Visit])
	return p, errors.Join(err, a.visits.Bind(ctx, p.Visits))
}

// visitWithPatient is what sqlc generates for sqlc.embed.
type visitWithPatient struct {
	Visit   fieldtest.Visit
	Patient fieldtest.Patient
}

func (a *adapter) join(ctx context.Context) (out []*fieldtest.Visit, err error) {
	rows, _ := a.db.Query(ctx, `SELECT v.id, v.org_id, v.patient_id, v.note, p.id, p.org_id, p.name, p.email, p.email_bidx, p.note, p.weight
		FROM visits v JOIN patients p ON p.id = v.patient_id ORDER BY v.id`)
	var r visitWithPatient
	v, p := &r.Visit, &r.Patient
	_, err = pgx.ForEachRow(rows, []any{&v.ID, &v.OrgID, &v.PatientID, &v.Note, &p.ID, &p.OrgID, &p.Name, &p.Email, &p.EmailBidx, &p.Note, &p.Weight}, func() error {
		row := r
		if err := errors.Join(a.visits.Bind(ctx, &row), a.patients.Bind(ctx, &row)); err != nil {
			return err
		}
		row.Visit.Patient = &row.Patient
		out = append(out, &row.Visit)
		return nil
	})
	return out, err
}
