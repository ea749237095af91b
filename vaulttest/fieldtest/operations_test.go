package fieldtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault"
)

func everything(row) bool { return true }

func byID(id string) func(row) bool { return func(r row) bool { return string(r["id"]) == id } }

// db returns the adapter's operations.
func (a *adapter) db() *DB {
	d := &DB{
		Raw:      a.c.memory,
		Logs:     a.c.logs,
		Cut:      a.c.cut,
		With:     func(v *vault.Vault) *DB { return (&adapter{v, a.c, a.bugs}).db() },
		Prepared: a.db,
		Tx:       a.tx,

		Create:      func(ctx context.Context, p *Patient) error { return a.write(ctx, patients, p, false) },
		CreateVisit: func(ctx context.Context, v *Visit) error { return a.write(ctx, visits, v, false) },
		Save:        func(ctx context.Context, p *Patient) error { return a.write(ctx, patients, p, true) },
		Upsert:      func(ctx context.Context, p *Patient) error { return a.write(ctx, patients, p, true) },
		Update:      a.update,
		UpdateMap:   a.updateMap,
		UpdateColumn: func(ctx context.Context, id, column string, value any) error {
			return a.updateMap(ctx, id, map[string]any{column: value})
		},
		DeleteLike: a.deleteLike,
		Find:       a.find,
		RawExec:    a.rawExec,
	}
	if a.bugs.keepsIndex { // of the row that is replaced
		d.Save = func(ctx context.Context, p *Patient) error {
			own := *p
			if own.Email.IsZero() {
				own.EmailBidx = []byte("an index of 16 b")
			}
			return a.write(ctx, patients, &own, true)
		}
	}
	d.CreateAll = func(ctx context.Context, ps []*Patient) error {
		for _, p := range ps {
			if err := a.write(ctx, patients, p, false); err != nil {
				return err
			}
		}
		return nil
	}
	a.reads(d)
	return d
}

// reads adds the operations that read.
func (a *adapter) reads(d *DB) {
	d.Get = func(ctx context.Context, id string) (*Patient, error) {
		rs, err := a.c.query(ctx, "patients", byID(id))
		ps, err := load[Patient](ctx, a, patients, rs, err)
		if err != nil {
			return nil, err
		}
		if len(ps) != 1 {
			return nil, errNone
		}
		return ps[0], nil
	}
	d.List = func(ctx context.Context) ([]*Patient, error) {
		rs, err := a.c.query(ctx, "patients", everything)
		return load[Patient](ctx, a, patients, rs, err)
	}
	d.Preload = func(ctx context.Context, id string) (*Patient, error) {
		p, err := d.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		rs, err := a.c.query(ctx, "visits", func(r row) bool { return string(r["patient_id"]) == id })
		p.Visits, err = load[Visit](ctx, a, visits, rs, err)
		return p, err
	}
	d.Join = func(ctx context.Context) ([]*Visit, error) {
		rs, err := a.c.query(ctx, "visits", everything)
		vs, err := load[Visit](ctx, a, visits, rs, err)
		for _, v := range vs {
			var e error
			v.Patient, e = d.Get(ctx, v.PatientID)
			err = errors.Join(err, e)
		}
		return vs, err
	}
	cards := func(rs []row) (out []Card) {
		for _, r := range rs {
			out = append(out, Card{string(r["name"]), vault.SealedBytes[string](r["email"])})
		}
		return out
	}
	d.Scan = func(ctx context.Context, id string) (Card, error) {
		rs, err := a.c.query(ctx, "patients", byID(id))
		if err != nil {
			return Card{}, err
		}
		return cards(rs)[0], nil
	}
	d.RawQuery = func(ctx context.Context, _ string) ([]Card, error) {
		rs, err := a.c.query(ctx, "patients", everything)
		return cards(rs), err
	}
	d.Pluck = func(ctx context.Context, column string) (out []vault.Encrypted[string], err error) {
		rs, err := a.c.query(ctx, "patients", everything)
		for _, r := range rs {
			out = append(out, vault.SealedBytes[string](r[column]))
		}
		return out, err
	}
}

func (a *adapter) tx(ctx context.Context, f func(context.Context, *DB) error) error {
	c := a.c.begin()
	if err := f(ctx, (&adapter{a.v, c, a.bugs}).db()); err != nil {
		return err
	}
	return c.commit()
}

// mutant is an adapter that breaks one promise.
type mutant struct {
	name     string
	caughtBy []string
	bugs     bugs
	change   func(a *adapter, d *DB)
}

func (m mutant) new(v *vault.Vault) *DB {
	a := &adapter{v, &conn{memory: newMemory()}, m.bugs}
	a.bugs.sealed = map[any][]byte{}
	d := a.db()
	if m.change != nil {
		m.change(a, d)
	}
	return d
}

var errBug = errors.New("a bug")

var mutants = []mutant{
	{"an operation is missing", ops("Harness"), bugs{}, func(_ *adapter, d *DB) { d.Pluck = nil }},
	{"the index isn't written", ops("Create Find"), bugs{noIndex: true}, nil},
	{"a field is sealed twice", ops("Create Prepared Logs"), bugs{sealsTwice: true}, nil},
	{"the caller's struct is changed", ops("Create NullAndEmpty"), bugs{}, func(_ *adapter, d *DB) {
		create := d.Create
		d.Create = func(ctx context.Context, p *Patient) error {
			err := create(ctx, p)
			p.Note = p.Note.At("patients", "note", p.ID)
			return err
		}
	}},
	{"one field in several rows is sealed once", ops("CreateAll"), bugs{oneForAll: true, at: noRow}, nil},
	{"there is a default tenant", ops("CreateWithoutContext"), bugs{defaultTenant: true}, nil},
	{"the ctx wins over the row", ops("ContextConflict"), bugs{ctxWins: true}, nil},
	{"what can't be sealed is NULL", ops("CreateWithoutContext KEKUnavailable LogsOfFailures"), bugs{errorIsNull: true}, nil},
	{"the empty string is NULL", ops("NullAndEmpty"), bugs{emptyIsNull: true}, nil},
	{"a list opens everything", ops("ListDecryptsNothing"), bugs{opens: func(s *vault.Encrypted[string]) error {
		_, _ = s.Open(context.Background())
		return nil
	}}, nil},
	{"what is read isn't bound", ops("OpenAll Create"), bugs{doesntBind: true}, nil},
	{"what is read is bound without the vault", ops("OpenAll"), bugs{noVault: true}, nil},
	{"a field that can't be opened fails the query", ops("Damaged Shredded RowSwap"), bugs{opens: func(s *vault.Encrypted[string]) error {
		_, err := s.Open(context.Background())
		return err
	}}, nil},
	{"a field that can't be opened reads as NULL", ops("Damaged Shredded RowSwap ColumnSwap TableSwap TwoVaults"), bugs{opens: func(s *vault.Encrypted[string]) error {
		if _, err := s.Open(context.Background()); err != nil {
			*s = vault.Null[string]()
		}
		return nil
	}}, nil},
	{"what is read is plaintext in memory", ops("TwoTenants"), bugs{opens: func(s *vault.Encrypted[string]) error {
		*s = vault.Seal(plainOf(s))
		return nil
	}}, nil},
	{"what wasn't changed is sealed anew", ops("Save SaveUnchanged"), bugs{reseals: true}, nil},
	{"the index of NULL stays", ops("SaveNull"), bugs{keepsIndex: true}, nil},
	{"an update lags its index", ops("FindAfterUpdate"), bugs{indexLags: true}, nil},
	{"an update writes what isn't set", ops("Update"), bugs{}, func(a *adapter, d *DB) { d.Update = d.Save }},
	{"a field in a map is stored as plaintext", ops("UpdateMap UpdateColumn"), bugs{plainBox: true}, nil},
	{"a plain value in a map is stored", ops("UpdateMapPlain UpdateColumnPlain"), bugs{plainValue: true}, nil},
	{"the caller's map is changed", ops("UpdateMap"), bugs{}, func(_ *adapter, d *DB) {
		update := d.UpdateMap
		d.UpdateMap = func(ctx context.Context, id string, set map[string]any) error {
			err := update(ctx, id, set)
			set["email_bidx"] = nil
			return err
		}
	}},
	{"an update is refused when half is done", ops("UpdateMap"), bugs{}, func(_ *adapter, d *DB) {
		d.UpdateMap = func(ctx context.Context, id string, _ map[string]any) error {
			return errors.Join(d.UpdateColumn(ctx, id, "name", "New"), errBug)
		}
	}},
	{"an upsert leaves the index", ops("Upsert"), bugs{}, func(a *adapter, d *DB) {
		d.Upsert = func(ctx context.Context, p *Patient) error {
			own := *a
			own.bugs.indexLags = true
			if own.update(ctx, p) == nil {
				return nil
			}
			return d.Create(ctx, p)
		}
	}},
	{"an example with a field is taken for NULL", ops("DeleteLike"), bugs{}, func(a *adapter, d *DB) {
		d.DeleteLike = func(ctx context.Context, _ *Patient) error {
			return a.c.delete(ctx, "patients", func(r row) bool { return r["note"] == nil })
		}
	}},
	{"sealed bytes are copied to another row", ops("CopyToAnotherRow"), bugs{copiesBytes: true}, nil},
	{"what is preloaded isn't bound", ops("Preload"), bugs{}, func(_ *adapter, d *DB) {
		preload := d.Preload
		d.Preload = func(ctx context.Context, id string) (*Patient, error) {
			p, err := preload(ctx, id)
			for _, v := range p.Visits {
				v.Note = v.Note.At("visits", "note", id)
			}
			return p, err
		}
	}},
	{"what is joined is bound to the other's row", ops("Join"), bugs{}, func(_ *adapter, d *DB) {
		join := d.Join
		d.Join = func(ctx context.Context) ([]*Visit, error) {
			vs, err := join(ctx)
			for _, v := range vs {
				v.Patient.Note = v.Patient.Note.At("patients", "note", v.ID)
			}
			return vs, err
		}
	}},
	{"a scan takes sealed bytes for plaintext", ops("Scan RawQuery Pluck"), bugs{}, func(_ *adapter, d *DB) {
		scan, query, pluck := d.Scan, d.RawQuery, d.Pluck
		d.Scan = func(ctx context.Context, id string) (Card, error) {
			c, err := scan(ctx, id)
			c.Email = vault.Seal("ciphertext")
			return c, err
		}
		d.RawQuery = func(ctx context.Context, q string) ([]Card, error) {
			cs, err := query(ctx, q)
			cs[0].Email = vault.Seal("ciphertext")
			return cs, err
		}
		d.Pluck = func(ctx context.Context, column string) ([]vault.Encrypted[string], error) {
			fs, err := pluck(ctx, column)
			fs[0] = vault.Seal("ciphertext")
			return fs, err
		}
	}},
	{"a field that is nowhere is stored", ops("RawExec"), bugs{}, func(_ *adapter, d *DB) {
		exec := d.RawExec
		d.RawExec = func(ctx context.Context, query string, args ...any) error {
			if f, ok := args[len(args)-1].(vault.Encrypted[string]); ok && f.FieldLocation().IsZero() {
				args[len(args)-1] = vault.Null[string]()
			}
			return exec(ctx, query, args...)
		}
	}},
	{"a prepared statement keeps its first ctx", ops("Prepared"), bugs{}, func(a *adapter, d *DB) {
		d.Prepared = func() *DB {
			var first context.Context
			p := a.db()
			create := p.Create
			p.Create = func(ctx context.Context, row *Patient) error {
				if first == nil {
					first = ctx
				}
				own := *row
				own.OrgID = ""
				err := create(first, &own)
				a.c.tables["patients"][row.ID]["org_id"] = []byte(row.OrgID)
				return err
			}
			return p
		}
	}},
	{"a transaction that is rolled back has written", ops("TxRollback TxRetry"), bugs{}, func(a *adapter, d *DB) {
		d.Tx = func(ctx context.Context, f func(context.Context, *DB) error) error { return f(ctx, a.db()) }
	}},
	{"a search doesn't normalise", ops("Find"), bugs{}, func(a *adapter, d *DB) {
		find := d.Find
		d.Find = func(ctx context.Context, email string) ([]*Patient, error) { return find(ctx, email+"x") }
	}},
	{"a search that can't be done finds nothing", ops("FindWithoutKey FindWithAnotherVault"), bugs{}, func(a *adapter, d *DB) {
		with := d.With
		d.Find = func(ctx context.Context, email string) ([]*Patient, error) {
			ps, _ := a.find(ctx, email)
			return ps, nil
		}
		d.With = func(v *vault.Vault) *DB {
			other := with(v)
			find := other.Find
			other.Find = func(ctx context.Context, email string) ([]*Patient, error) {
				ps, _ := find(ctx, email)
				return ps, nil
			}
			return other
		}
	}},
	{"a search makes a key", ops("FindWithoutKey"), bugs{}, func(a *adapter, d *DB) {
		d.Find = func(ctx context.Context, email string) ([]*Patient, error) {
			_, err := vault.FieldBinding{Vault: a.v}.BlindIndex(ctx, EmailIndex, email)
			return nil, err
		}
	}},
	{"a list is bound to one tenant", ops("TwoTenantsInOneList"), bugs{binds: tenant("org_a")}, nil},
	{"there is one vault in the process", ops("TwoVaults"), bugs{}, func(_ *adapter, d *DB) {
		d.With = func(*vault.Vault) *DB { return d }
	}},
	{"fields are bound to the column alone", ops("RowSwap"), bugs{at: noRow}, nil},
	{"fields aren't bound to the column", ops("ColumnSwap"), bugs{at: func(l vault.Location, id string) vault.Location { return vault.At(l.Table(), "x", id) }}, nil},
	{"fields aren't bound to the table", ops("TableSwap"), bugs{at: func(l vault.Location, id string) vault.Location { return vault.At("x", l.Column(), id) }}, nil},
	{"a log holds a value", ops("Logs LogsOfFailures"), bugs{logsValues: true}, nil},
	{"a log holds the value of a statement that failed", ops("LogsOfFailures"), bugs{logsFailures: true}, nil},
	{"the log is empty", ops("Logs"), bugs{}, func(_ *adapter, d *DB) { d.Logs = func() string { return "" } }},
	{"an error holds a value", ops("LogsOfFailures CreateWithoutContext"), bugs{errorHasValue: true}, nil},
	{"a ctx that has ended is ignored", ops("Cancelled"), bugs{ignoresEnd: true}, nil},
	{"what is written over a lost connection is lost", ops("ConnectionLoss"), bugs{}, func(_ *adapter, d *DB) {
		create := d.Create
		d.Create = func(ctx context.Context, p *Patient) error {
			if err := create(ctx, p); !errors.Is(err, errLost) {
				return err
			}
			return nil
		}
	}},
	{"it breaks down under load", ops("Concurrent"), bugs{}, func(a *adapter, d *DB) {
		create := d.Create
		d.Create = func(ctx context.Context, p *Patient) error {
			a.c.mu.Lock()
			n := len(a.c.tables["patients"])
			a.c.mu.Unlock()
			if n > 20 {
				return fmt.Errorf("%w: too many", errBug)
			}
			return create(ctx, p)
		}
	}},
}

func noRow(l vault.Location, _ string) vault.Location { return vault.AtColumn(l.Table(), l.Column()) }
