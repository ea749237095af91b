package vaultsqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultsql"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

type (
	patient = fieldtest.Patient
	visit   = fieldtest.Visit
)

// app is an application on database/sql and sqlx, as the suite wants one.
type app struct {
	e        engine
	v        *vault.Vault
	patients *vaultsql.Model[patient]
	visits   *vaultsql.Model[visit]

	// arguments: fields are given to statements as they are, each with its place, and
	// not rows that the model has sealed.
	arguments bool

	db       *sqlx.DB // wrapped, with a tap above and one below
	q        sqlx.ExtContext
	prepared *statements // nil: nothing is prepared
	raw      *sql.DB
	above    *tap
	below    *tap
	bare     driver.Connector
}

func newApp(t testing.TB, e engine, v *vault.Vault, arguments bool) *app {
	a := &app{e: e, arguments: arguments, above: &tap{name: "above"}, below: &tap{name: "below"}, bare: e.connector(t)}
	a.raw = open(t, a.bare)
	a.raw.SetMaxOpenConns(1)
	e.migrate(t, a.raw)
	return a.with(t, v)
}

// with returns the application with a vault, on the same database.
func (a *app) with(t testing.TB, v *vault.Vault) *app {
	own := *a
	own.v = v
	own.patients = must(vaultsql.NewModel[patient](v, "patients"))(t)
	own.visits = must(vaultsql.NewModel[visit](v, "visits"))(t)
	own.db = sqlx.NewDb(open(t, a.above.on(vaultsql.Wrap(a.below.on(a.bare), v))), a.e.bind)
	own.q = own.db
	return &own
}

// statements are what was prepared, by query.
type statements struct {
	mu sync.Mutex // guards by
	by map[string]*sqlx.Stmt
}

func (a *app) statement(ctx context.Context, query string) (*sqlx.Stmt, error) {
	a.prepared.mu.Lock()
	defer a.prepared.mu.Unlock()
	if s := a.prepared.by[query]; s != nil {
		return s, nil
	}
	s, err := a.db.PreparexContext(ctx, query)
	if err == nil {
		a.prepared.by[query] = s
	}
	return s, err
}

// named runs a statement with the fields of a struct, or of a map, as its arguments.
func (a *app) named(ctx context.Context, query string, row any) (int64, error) {
	if a.prepared == nil {
		res, err := sqlx.NamedExecContext(ctx, a.q, query, row)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}
	q, args, err := sqlx.Named(query, row)
	if err != nil {
		return 0, err
	}
	s, err := a.statement(ctx, a.db.Rebind(q))
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// find reads rows into a slice of structs.
func (a *app) find(ctx context.Context, dst any, query string, args ...any) error {
	query = a.db.Rebind(query)
	if a.prepared == nil {
		return sqlx.SelectContext(ctx, a.q, dst, query, args...)
	}
	s, err := a.statement(ctx, query)
	if err != nil {
		return err
	}
	return s.SelectContext(ctx, dst, args...)
}

// patient returns what is written of a patient.
func (a *app) patient(ctx context.Context, p *patient) (patient, error) {
	if !a.arguments {
		return a.patients.Seal(ctx, p)
	}
	row := *p
	err := errors.Join(
		locate(ctx, &row.Email, a.patients.At("email", p.ID)),
		locate(ctx, &row.Note, a.patients.At("note", p.ID)),
		locate(ctx, &row.Weight, a.patients.At("weight", p.ID)))
	if err != nil || p.Email.FieldState() == vault.FieldSealed { // as it was read, with its index
		return row, err
	}
	row.EmailBidx, err = vault.FieldBinding{Vault: a.v}.BlindIndex(ctx, fieldtest.EmailIndex, p.Email)
	return row, err
}

// locate says where a field goes. One that was read elsewhere is opened, and sealed
// anew.
func locate[T any](ctx context.Context, f *vault.Encrypted[T], at vault.Location) error {
	if f.FieldState() == vault.FieldSealed && f.FieldLocation() != at {
		value, err := f.Open(ctx)
		if err != nil {
			return err
		}
		*f = vault.Seal(value)
	}
	if f.FieldState() == vault.FieldPending {
		*f = f.AtLocation(at)
	}
	return nil
}

const columns = "id, org_id, name, email, email_bidx, note, weight"

const insert = "INSERT INTO patients (" + columns + ") VALUES (:id, :org_id, :name, :email, :email_bidx, :note, :weight)"

// assignments returns "a = :a, b = :b".
func assignments(names ...string) string {
	for i, n := range names {
		names[i] = n + " = :" + n
	}
	return strings.Join(names, ", ")
}

func (a *app) create(ctx context.Context, p *patient) error {
	row, err := a.patient(ctx, p)
	if err == nil {
		_, err = a.named(ctx, insert, row)
	}
	return err
}

func (a *app) createAll(ctx context.Context, ps []*patient) error {
	rows := []patient{}
	for _, p := range ps {
		row, err := a.patient(ctx, p)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	_, err := sqlx.NamedExecContext(ctx, a.q, insert, rows)
	return err
}

func (a *app) createVisit(ctx context.Context, v *visit) error {
	row := *v
	row.Note = v.Note.AtLocation(a.visits.At("note", v.ID))
	if !a.arguments {
		var err error
		if row, err = a.visits.Seal(ctx, v); err != nil {
			return err
		}
	}
	_, err := a.named(ctx, "INSERT INTO visits (id, org_id, patient_id, note) VALUES (:id, :org_id, :patient_id, :note)", row)
	return err
}

func (a *app) save(ctx context.Context, p *patient) error {
	row, err := a.patient(ctx, p)
	if err == nil {
		if row.Email.IsZero() {
			row.EmailBidx = nil
		}
		_, err = a.named(ctx, "UPDATE patients SET "+assignments("org_id", "name", "email", "email_bidx", "note", "weight")+" WHERE id = :id", row)
	}
	return err
}

func (a *app) upsert(ctx context.Context, p *patient) error {
	row, err := a.patient(ctx, p)
	if err != nil {
		return err
	}
	clause, set := " ON CONFLICT (id) DO UPDATE SET ", []string{}
	from := "excluded.%[1]s"
	if a.e.dialect == fieldtest.MySQL {
		clause, from = " ON DUPLICATE KEY UPDATE ", "VALUES(%[1]s)"
	}
	for _, c := range []string{"name", "email", "email_bidx", "note", "weight"} {
		set = append(set, fmt.Sprintf("%[1]s = "+from, c))
	}
	_, err = a.named(ctx, insert+clause+strings.Join(set, ", "), row)
	return err
}

// set are the columns of a patient that aren't zero.
func set(p *patient) (names []string) {
	for name, isSet := range map[string]bool{
		"name": p.Name != "", "email": !p.Email.IsZero(), "email_bidx": !p.Email.IsZero(), "note": !p.Note.IsZero(), "weight": !p.Weight.IsZero(),
	} {
		if isSet {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (a *app) update(ctx context.Context, p *patient) error {
	row, err := a.patient(ctx, p)
	if err == nil {
		_, err = a.named(ctx, "UPDATE patients SET "+assignments(set(p)...)+" WHERE id = :id", row)
	}
	return err
}

// updateMap puts a map's fields in their places.
func (a *app) updateMap(ctx context.Context, id string, values map[string]any) error {
	row := maps.Clone(values)
	row["id"] = id
	names := slices.Sorted(maps.Keys(values))
	for name, value := range values {
		if p, ok := value.(*vault.Encrypted[string]); ok {
			value = *p
		}
		f, ok := value.(vault.Encrypted[string])
		if !ok {
			continue
		}
		row[name] = f.AtLocation(a.patients.At(name, id))
		if name == "email" {
			index, err := vault.FieldBinding{Vault: a.v}.BlindIndex(ctx, fieldtest.EmailIndex, f)
			if err != nil {
				return err
			}
			row["email_bidx"] = index
			names = append(names, "email_bidx")
		}
	}
	_, err := a.named(ctx, "UPDATE patients SET "+assignments(names...)+" WHERE id = :id", row)
	return err
}

func (a *app) deleteLike(ctx context.Context, p *patient) error {
	where := strings.ReplaceAll(assignments(slices.DeleteFunc(set(p), func(n string) bool { return n == "email_bidx" })...), ", ", " AND ")
	row := *p
	row.Email, row.Note = p.Email.At("patients", "email", "x"), p.Note.At("patients", "note", "x")
	_, err := a.named(ctx, "DELETE FROM patients WHERE org_id = :org_id AND "+where, row)
	return err
}

func (a *app) rows(ctx context.Context, query string, args ...any) ([]*patient, error) {
	ps := []*patient{}
	if err := a.find(ctx, &ps, "SELECT "+columns+" FROM patients "+query, args...); err != nil {
		return nil, err
	}
	a.patients.Bind(ctx, ps...)
	return ps, nil
}

func (a *app) get(ctx context.Context, id string) (*patient, error) {
	ps, err := a.rows(ctx, "WHERE id = ?", id)
	if err == nil && len(ps) != 1 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return nil, err
	}
	return ps[0], nil
}

func (a *app) search(ctx context.Context, email string) ([]*patient, error) {
	index, err := a.patients.Index(ctx, "email_bidx", email)
	if err != nil {
		return nil, err
	}
	return a.rows(ctx, "WHERE email_bidx = ? ORDER BY id", index)
}

func (a *app) preload(ctx context.Context, id string) (*patient, error) {
	p, err := a.get(ctx, id)
	if err != nil {
		return nil, err
	}
	err = a.find(ctx, &p.Visits, "SELECT id, org_id, patient_id, note FROM visits WHERE patient_id = ? ORDER BY id", id)
	a.visits.Bind(ctx, p.Visits...)
	return p, err
}

func (a *app) join(ctx context.Context) ([]*visit, error) {
	both := []struct {
		V visit   `db:"v"`
		P patient `db:"p"`
	}{}
	query := `SELECT v.id "v.id", v.org_id "v.org_id", v.patient_id "v.patient_id", v.note "v.note", ` +
		`p.id "p.id", p.org_id "p.org_id", p.name "p.name", p.email "p.email", p.note "p.note", p.weight "p.weight" ` +
		`FROM visits v JOIN patients p ON p.id = v.patient_id ORDER BY v.id`
	if a.e.dialect == fieldtest.MySQL {
		query = strings.ReplaceAll(query, `"`, "`")
	}
	if err := a.find(ctx, &both, query); err != nil {
		return nil, err
	}
	out := []*visit{}
	for i := range both {
		a.visits.Bind(ctx, &both[i].V)
		a.patients.Bind(ctx, &both[i].P)
		both[i].V.Patient = &both[i].P
		out = append(out, &both[i].V)
	}
	return out, nil
}

func (a *app) tx(ctx context.Context, t testing.TB, f func(ctx context.Context, db *fieldtest.DB) error) error {
	tx, err := a.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	inside := *a
	inside.q = tx
	if err := f(ctx, inside.suite(t)); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// suite returns the application's operations.
func (a *app) suite(t testing.TB) *fieldtest.DB {
	return &fieldtest.DB{
		Raw:  fieldtest.SQL(a.raw, a.e.dialect),
		With: func(v *vault.Vault) *fieldtest.DB { return a.with(t, v).suite(t) },
		Logs: func() string { return a.above.logs() + a.below.logs() },
		Cut: func() {
			if err := a.e.kill(t.Context(), a.raw); err != nil {
				t.Error(err)
			}
			if a.e.dialect == fieldtest.SQLite {
				a.below.cut.Add(1)
			}
		},
		Prepared: func() *fieldtest.DB {
			own := *a
			own.prepared = &statements{by: map[string]*sqlx.Stmt{}}
			return own.suite(t)
		},
		Tx: func(ctx context.Context, f func(context.Context, *fieldtest.DB) error) error { return a.tx(ctx, t, f) },

		Create: a.create, CreateAll: a.createAll, CreateVisit: a.createVisit,
		Get: a.get, Find: a.search, Save: a.save, Update: a.update, Upsert: a.upsert,
		List:      func(ctx context.Context) ([]*patient, error) { return a.rows(ctx, "ORDER BY id") },
		UpdateMap: a.updateMap,
		UpdateColumn: func(ctx context.Context, id, column string, value any) error {
			return a.updateMap(ctx, id, map[string]any{column: value})
		},
		DeleteLike: a.deleteLike, Preload: a.preload, Join: a.join,
		Scan: func(ctx context.Context, id string) (fieldtest.Card, error) {
			cards := []fieldtest.Card{}
			if err := a.find(ctx, &cards, "SELECT name, email FROM patients WHERE id = ?", id); err != nil {
				return fieldtest.Card{}, err
			}
			return cards[0], nil
		},
		Pluck: func(ctx context.Context, column string) ([]vault.Encrypted[string], error) {
			fs := []vault.Encrypted[string]{}
			return fs, a.find(ctx, &fs, "SELECT "+column+" FROM patients ORDER BY id")
		},
		RawQuery: func(ctx context.Context, query string) ([]fieldtest.Card, error) {
			cards := []fieldtest.Card{}
			return cards, a.find(ctx, &cards, query)
		},
		RawExec: func(ctx context.Context, query string, args ...any) error {
			_, err := a.q.ExecContext(ctx, query, args...)
			return err
		},
	}
}
