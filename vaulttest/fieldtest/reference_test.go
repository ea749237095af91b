package fieldtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/embedvault/vault"
)

// adapter is the reference: what an adapter does, over a database in memory.
type adapter struct {
	v    *vault.Vault
	c    *conn
	bugs bugs
}

// bugs are in how an adapter seals and reads; others are made of a [DB].
type bugs struct {
	at            func(l vault.Location, id string) vault.Location // binds elsewhere
	defaultTenant bool                                             // no key context: there is a default one
	ctxWins       bool                                             // over the row
	sealsTwice    bool
	errorIsNull   bool // what can't be sealed is stored as NULL
	errorHasValue bool
	emptyIsNull   bool
	copiesBytes   bool // of a sealed field, to wherever
	reseals       bool // what wasn't changed
	oneForAll     bool // one field in several rows is sealed once
	noIndex       bool
	keepsIndex    bool // of a column that becomes NULL
	indexLags     bool // an update of some columns leaves it out
	doesntBind    bool
	binds         vault.KeyContext // all that is read, to one tenant
	noVault       bool             // binds without it
	opens         func(s *vault.Encrypted[string]) error
	plainValue    bool // a plain value in an update is stored
	plainBox      bool // a field in an update is stored as plaintext
	ignoresEnd    bool // of ctx
	logsValues    bool
	logsFailures  bool

	sealed map[any][]byte
}

var (
	patients = parse(Patient{})
	visits   = parse(Visit{})
)

func parse(row any) *vault.FieldModel {
	m, err := vault.ParseModel(reflect.TypeOf(row), vault.ModelSpec{})
	if err != nil {
		panic(err)
	}
	return m
}

func columnOf(t reflect.Type, i int) string { return t.Field(i).Tag.Get("db") }

func (a *adapter) binding(ctx context.Context, m *vault.FieldModel, f *vault.ModelField, row reflect.Value) (vault.FieldBinding, error) {
	b, err := m.Binding(a.v, f, row)
	if a.bugs.at != nil {
		b.Location = a.bugs.at(b.Location, row.FieldByName("ID").String())
	}
	_, in := vault.KeyContextFrom(ctx)
	if a.bugs.defaultTenant && b.Context == nil && !in {
		b.Context = tenant("default")
	}
	if a.bugs.ctxWins && in {
		b.Context = nil
	}
	return b, err
}

// seal returns the columns of a row: all, or those that are set.
func (a *adapter) seal(ctx context.Context, m *vault.FieldModel, v reflect.Value, all bool) (row, error) {
	out := row{}
	for i := range v.NumField() {
		if f := v.Field(i); columnOf(v.Type(), i) != "-" && (all || !f.IsZero()) && !vault.IsFieldType(f.Type()) {
			out[columnOf(v.Type(), i)] = plainColumn(f)
		}
	}
	for _, f := range m.Fields {
		if box := m.Box(f, v); all || box.FieldState() != vault.FieldNull {
			if err := a.sealColumn(ctx, m, f, v, out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func plainColumn(f reflect.Value) []byte {
	if f.Kind() == reflect.String {
		return []byte(f.String())
	}
	return bytes.Clone(f.Bytes())
}

// sealColumn seals one field of a row, and computes its indexes.
func (a *adapter) sealColumn(ctx context.Context, m *vault.FieldModel, f *vault.ModelField, v reflect.Value, out row) error {
	b, err := a.binding(ctx, m, f, v)
	if err != nil {
		return err
	}
	box := m.Box(f, v)
	sealed, err := a.sealBox(ctx, box, b)
	switch {
	case err != nil && a.bugs.errorIsNull:
		sealed = nil
	case err != nil && a.bugs.errorHasValue:
		return fmt.Errorf("sealing %q: %w", plainOf(box), err)
	case err != nil:
		return err
	case a.bugs.emptyIsNull && plainOf(box) == "":
		sealed = nil
	}
	out[f.Name] = sealed
	for _, ix := range f.Indexes {
		index, err := b.BlindIndex(ctx, ix.Index, box)
		if err != nil && !a.bugs.errorIsNull {
			return err
		}
		if !a.bugs.noIndex && (index != nil || !a.bugs.keepsIndex) {
			out[ix.Target.Name] = index
		}
	}
	return nil
}

func (a *adapter) sealBox(ctx context.Context, box vault.FieldBox, b vault.FieldBinding) ([]byte, error) {
	s, isString := box.(*vault.Encrypted[string])
	switch {
	case a.bugs.sealsTwice:
		_, _ = box.SealField(ctx, b)
	case a.bugs.copiesBytes && isString && box.FieldState() == vault.FieldSealed:
		value, err := s.Value()
		return value.([]byte), err
	case a.bugs.reseals && isString && box.FieldState() == vault.FieldSealed:
		again := vault.Seal(plainOf(box))
		return again.SealField(ctx, b)
	case a.bugs.oneForAll && isString:
		if a.bugs.sealed[*s] == nil {
			var err error
			if a.bugs.sealed[*s], err = box.SealField(ctx, b); err != nil {
				return nil, err
			}
		}
		return a.bugs.sealed[*s], nil
	}
	return box.SealField(ctx, b)
}

// plainOf returns what a field holds, as a bug would.
func plainOf(box any) string {
	switch s := box.(type) {
	case *vault.Encrypted[string]:
		text, _ := s.Open(context.Background())
		return text
	case *vault.Encrypted[int]:
		n, _ := s.Open(context.Background())
		return fmt.Sprint(n)
	}
	return fmt.Sprint(box)
}

// load fills a struct from a row.
func (a *adapter) load(ctx context.Context, m *vault.FieldModel, r row, v reflect.Value) error {
	for i := range v.NumField() {
		value := r[columnOf(v.Type(), i)]
		switch f := v.Field(i); {
		case columnOf(v.Type(), i) == "-":
		case vault.IsFieldType(f.Type()):
			var src any
			if value != nil {
				src = value
			}
			if err := f.Addr().Interface().(vault.FieldBox).Scan(src); err != nil {
				return err
			}
		case f.Kind() == reflect.String:
			f.SetString(string(value))
		default:
			f.SetBytes(value)
		}
	}
	for _, f := range m.Fields {
		if err := a.bind(ctx, m, f, v); err != nil {
			return err
		}
	}
	return nil
}

func (a *adapter) bind(ctx context.Context, m *vault.FieldModel, f *vault.ModelField, v reflect.Value) error {
	b, err := a.binding(ctx, m, f, v)
	if err != nil || a.bugs.doesntBind {
		return err
	}
	if a.bugs.binds != nil {
		b.Context = a.bugs.binds
	}
	if a.bugs.noVault {
		b.Vault = nil
	}
	box := m.Box(f, v)
	box.BindField(ctx, b)
	if s, ok := box.(*vault.Encrypted[string]); ok && a.bugs.opens != nil && !s.IsZero() {
		return a.bugs.opens(s)
	}
	return nil
}

func load[T any](ctx context.Context, a *adapter, m *vault.FieldModel, rs []row, err error) ([]*T, error) {
	if err != nil {
		return nil, err
	}
	out := []*T{}
	for _, r := range rs {
		v := new(T)
		if err := a.load(ctx, m, r, reflect.ValueOf(v).Elem()); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// write inserts or replaces a row.
func (a *adapter) write(ctx context.Context, m *vault.FieldModel, row any, replace bool) error {
	if a.bugs.ignoresEnd {
		ctx = context.WithoutCancel(ctx)
	}
	own := reflect.New(m.Type).Elem()
	own.Set(reflect.ValueOf(row).Elem())
	r, err := a.seal(ctx, m, own, true)
	if err == nil {
		err = a.c.insert(ctx, m.Table, r, replace, a.logged(row))
	}
	if p, ok := row.(*Patient); ok && err != nil && a.bugs.logsFailures {
		a.c.log.WriteString(plainOf(&p.Email))
	}
	return err
}

// logged is what a log shows of a row.
func (a *adapter) logged(row any) any {
	if p, ok := row.(*Patient); ok && a.bugs.logsValues {
		return []byte(plainOf(&p.Note))
	}
	return row
}

// update writes the columns of a row that are set.
func (a *adapter) update(ctx context.Context, p *Patient) error {
	own := *p
	r, err := a.seal(ctx, patients, reflect.ValueOf(&own).Elem(), false)
	if err != nil {
		return err
	}
	if a.bugs.indexLags {
		delete(r, "email_bidx")
	}
	return a.c.update(ctx, "patients", p.ID, r, p)
}

// updateMap writes columns by their names.
func (a *adapter) updateMap(ctx context.Context, id string, set map[string]any) error {
	p, out := Patient{ID: id}, row{}
	v := reflect.ValueOf(&p).Elem()
	for name, value := range set {
		i := slices.IndexFunc(reflect.VisibleFields(v.Type()), func(f reflect.StructField) bool { return f.Tag.Get("db") == name })
		if i < 0 {
			return errNone
		}
		if err := a.setColumn(ctx, v, i, name, reflect.Indirect(reflect.ValueOf(value)), out); err != nil {
			return err
		}
	}
	return a.c.update(ctx, "patients", id, out, out)
}

func (a *adapter) setColumn(ctx context.Context, v reflect.Value, i int, name string, value reflect.Value, out row) error {
	field := v.Field(i)
	if !vault.IsFieldType(field.Type()) {
		field.Set(value)
		out[name] = plainColumn(field)
		return nil
	}
	box := field.Addr().Interface().(vault.FieldBox)
	if vault.IsFieldType(value.Type()) {
		field.Set(value)
	} else if err := box.SetPlain(value.Interface()); err != nil {
		return err
	}
	if a.bugs.plainBox || a.bugs.plainValue && !vault.IsFieldType(value.Type()) {
		out[name] = []byte(plainOf(box))
		return nil
	}
	f := patients.Fields[slices.IndexFunc(patients.Fields, func(f *vault.ModelField) bool { return f.Name == name })]
	return a.sealColumn(ctx, patients, f, v, out)
}

func (a *adapter) find(ctx context.Context, email string) ([]*Patient, error) {
	index, err := vault.FieldBinding{Vault: a.v}.BlindIndexQuery(ctx, EmailIndex, email)
	if err != nil {
		return nil, err
	}
	rs, err := a.c.query(ctx, "patients", func(r row) bool { return bytes.Equal(r["email_bidx"], index) })
	return load[Patient](ctx, a, patients, rs, err)
}

var errCantSearch = errors.New("reference: an encrypted column without an index can't be searched")

func (a *adapter) deleteLike(ctx context.Context, p *Patient) error {
	if !p.Note.IsZero() || !p.Weight.IsZero() {
		return errCantSearch
	}
	index, err := vault.FieldBinding{Vault: a.v}.BlindIndexQuery(ctx, EmailIndex, &p.Email)
	if err != nil {
		return err
	}
	return a.c.delete(ctx, "patients", func(r row) bool { return bytes.Equal(r["email_bidx"], index) })
}

func (a *adapter) rawExec(ctx context.Context, query string, args ...any) error {
	r := row{}
	for i, name := range []string{"id", "org_id", "patient_id", "note"} {
		if i >= len(args) {
			return errSQL
		}
		f, ok := args[i].(vault.Encrypted[string])
		if !ok {
			r[name] = fmt.Append(nil, args[i])
			continue
		}
		sealed, err := f.SealField(ctx, vault.FieldBinding{Vault: a.v})
		if err != nil {
			return err
		}
		r[name] = sealed
	}
	return a.c.insert(ctx, "visits", r, false, args)
}
