package vaultgorm

import (
	"reflect"
	"slices"

	"github.com/embedvault/vault"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// buildSet seals what an UPDATE stores.
func (p *plugin) buildSet(stmt *gorm.Statement, c *clause.Clause) bool {
	set, ok := c.Expression.(clause.Set)
	m := p.modelOf(stmt)
	if !ok || stmt.Error != nil {
		return stmt.Error == nil
	}
	for _, a := range set {
		if err := p.checkAssigned(stmt, m, "update", a.Column.Name, a.Value); err != nil {
			return stmt.AddError(err) == nil
		}
	}
	if !m.encrypts() {
		return true
	}
	if m.err != nil {
		return stmt.AddError(m.err) == nil
	}
	u := updater{sealer: p.sealer(stmt, m, "update"), stmt: stmt, set: set}
	sealed, err := u.seal()
	if err != nil {
		return stmt.AddError(err) == nil
	}
	c.Expression = sealed
	return true
}

// updater seals the assignments of an UPDATE.
type updater struct {
	*sealer
	stmt   *gorm.Statement
	set    clause.Set
	row    reflect.Value // a copy of the row, as far as it is known, with what is assigned
	before reflect.Value // the statement's model before the update
	known  bool          // which row it is
	place  map[string]int

	owner []clause.Expression // whose row it must be
}

func (u *updater) seal() (clause.Set, error) {
	u.place = map[string]int{}
	concerned := false
	for i, a := range u.set {
		name := u.m.column(a.Column.Name)
		if _, twice := u.place[name]; twice && u.m.fields[name] != nil {
			return nil, u.refuse(name, gorm.ErrInvalidField, "it is set twice, perhaps by its name and by that of the Go field: set it once")
		}
		u.place[name] = i
		concerned = concerned || u.m.fields[name] != nil || u.m.indexes[name] != nil || u.m.needs(name)
	}
	if !concerned {
		return u.set, nil
	}
	u.findRow()
	for _, step := range []func() error{u.assignPlain, u.assignBoxes, u.checkParts} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return u.build()
}

// rowOf returns a copy of a statement's model, as it is before GORM puts the values of
// the update into it; nothing if it isn't one row.
func (m *model) rowOf(v reflect.Value) reflect.Value {
	row, ok := m.Row(v)
	if !ok {
		return reflect.Value{}
	}
	return m.ownRow(row)
}

// findRow takes the row from the statement's model, if that has its whole primary key.
func (u *updater) findRow() {
	v, _ := u.stmt.Settings.Load(rowSetting)
	u.before, _ = v.(reflect.Value)
	u.row = u.m.ownRow(u.before)
	u.known = u.before.IsValid() && len(u.m.Key) > 0
	for _, k := range u.m.Key {
		v, err := u.row.FieldByIndexErr(k.Field.Index)
		u.known = u.known && err == nil && !v.IsZero()
	}
	// A struct of values may say whose row it is without changing that.
	if dest, ok := u.m.Row(reflect.ValueOf(u.stmt.Dest)); ok {
		u.takeContext(dest)
	}
}

func (u *updater) takeContext(dest reflect.Value) {
	for _, c := range u.m.Context {
		given, err := dest.FieldByIndexErr(c.Field.Field.Index)
		if err != nil || given.IsZero() {
			continue
		}
		if have := fieldOf(u.row, c.Field); have.IsZero() {
			have.Set(given)
		}
	}
}

// assignPlain takes up columns that encrypted ones depend on.
func (u *updater) assignPlain() error {
	before := u.m.ownRow(u.before)
	for name, i := range u.place {
		if !u.m.needs(name) || u.m.fields[name] != nil {
			continue
		}
		value := u.set[i].Value
		next := u.m.ownRow(u.row)
		if !u.sealer.set(next, name, value) {
			return u.refuse(name, ErrKeyChanged, "give the value itself and no SQL expression")
		}
		if u.m.context[name] && !u.all() {
			// A struct says whose row it is, and perhaps not whose it was: it must be
			// so already, or the fields that stay would be lost.
			u.owner = append(u.owner, clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: name}, Value: value})
		}
		if !u.changes(name, before, next) {
			continue
		}
		if u.m.keys[name] && u.m.bound {
			return u.refuse(name, ErrKeyChanged, "make a new row with the new key: open the fields of the old one and seal them there")
		}
		if u.m.context[name] && !u.all() {
			if _, isStruct := u.m.structOf(u.stmt.Dest); !isStruct {
				return u.refuse(name, ErrKeyChanged, "set all encrypted fields in the same update")
			}
		}
		u.row = next
	}
	return nil
}

// changes reports whether a column is, or may be, another one after the update.
func (u *updater) changes(name string, before, next reflect.Value) bool {
	f := u.m.schema.FieldsByDBName[name]
	old, zero := f.ValueOf(u.ctx, before)
	now, _ := f.ValueOf(u.ctx, next)
	return zero || !reflect.DeepEqual(old, now)
}

// all reports whether every encrypted field is set.
func (u *updater) all() bool {
	return !slices.ContainsFunc(u.m.Fields, func(f *vault.ModelField) bool {
		_, ok := u.place[f.Name]
		return !ok
	})
}

// assignBoxes takes up the encrypted columns, and the columns of indexes.
func (u *updater) assignBoxes() error {
	for name, i := range u.place {
		if f := u.m.fields[name]; f != nil {
			if err := u.setBox(f, u.row, u.set[i].Value); err != nil {
				return err
			}
			null := u.m.Box(f, u.row).FieldState() == vault.FieldNull
			if !f.BindColumn && !u.known && !null {
				return u.refuse(name, ErrRowUnknown, "say which with Model(&row) and its primary key set, one at a time; or tag the field bind:column")
			}
		}
		if _, isStruct := u.m.structOf(u.stmt.Dest); u.m.indexes[name] != nil && !isStruct {
			return u.refuse(name, ErrIndexColumn, "update the encrypted column instead")
		}
	}
	return nil
}

// structOf reports whether GORM takes the values of an update from a struct: what it
// has for indexes is passed over then, as it may be what was read.
func (*model) structOf(dest any) (reflect.Value, bool) {
	v := reflect.ValueOf(dest)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v, v.Kind() == reflect.Struct
}

// checkParts makes sure that compound indexes can follow the columns they are over.
func (u *updater) checkParts() error {
	for name := range u.place {
		for _, f := range u.m.parts[name] {
			if _, set := u.place[f.Name]; set {
				continue
			}
			box := u.m.Box(f, u.row)
			if !u.known || box == nil || box.FieldState() == vault.FieldNull {
				return u.refuse(name, ErrIndexColumn, "a compound index is over it and "+f.Field.Name+": load the row and update it through Model(&row), or set "+f.Field.Name+" too")
			}
		}
	}
	return nil
}

// build returns the assignments as they are stored. Those of indexes come last.
func (u *updater) build() (clause.Set, error) {
	var out clause.Set
	for _, a := range u.set {
		if u.m.indexes[u.m.column(a.Column.Name)] == nil {
			out = append(out, a)
		}
	}
	restrict, writes := false, false
	var last clause.Set
	for _, f := range u.m.Fields {
		at := slices.IndexFunc(out, func(a clause.Assignment) bool { return u.m.column(a.Column.Name) == f.Name })
		if at < 0 && !u.follows(f) {
			continue
		}
		if at < 0 {
			indexes, err := u.indexes(f, u.row)
			if err != nil {
				return nil, err
			}
			last = append(last, assignments(f, indexes, true)...)
			restrict, writes = true, true
			continue
		}
		sealed, indexes, err := u.sealer.seal(f, u.row)
		if err != nil {
			return nil, err
		}
		out[at].Value = sealed
		last = append(last, assignments(f, indexes, false)...)
		restrict = restrict || sealed != nil && !f.BindColumn
		writes = writes || sealed != nil
	}
	if restrict && !u.ofOneRow() {
		u.condition(u.key()...)
	}
	if restrict {
		u.condition(u.sameBytes()...)
	}
	if writes {
		u.owner = append(u.owner, u.owners()...)
	}
	u.condition(u.owner...)
	return append(out, last...), nil
}

// follows reports whether an index of a field changes though the field doesn't.
func (u *updater) follows(f *vault.ModelField) bool {
	for name := range u.place {
		if slices.Contains(u.m.parts[name], f) {
			return true
		}
	}
	return false
}

func assignments(f *vault.ModelField, indexes []any, compoundOnly bool) (out clause.Set) {
	for i, ix := range f.Indexes {
		if !compoundOnly || len(ix.And) > 0 {
			out = append(out, clause.Assignment{Column: clause.Column{Name: ix.Target.Name}, Value: indexes[i]})
		}
	}
	return out
}
