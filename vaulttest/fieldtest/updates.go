package fieldtest

import (
	"bytes"
	"context"
	"maps"
	"reflect"

	"github.com/embedvault/vault"
)

// checkSave wants a row that was read, changed and written to hold the change, and
// what was not changed to keep its bytes.
func checkSave(e *env) {
	_, c := e.created("p1", "org_a")
	email := e.raw("patients", "p1", "email")
	p := e.get("p1", "org_a")
	c.note = e.note()
	p.Note = vault.Seal(c.note)
	e.unchanged(p, func() { e.ok(e.db.Save(e.of("org_a"), p)) })
	e.holds(e.get("p1", "org_a"), c)
	if !bytes.Equal(email, e.raw("patients", "p1", "email")) {
		e.errorf("a field that wasn't changed has other bytes")
	}
}

func checkSaveUnchanged(e *env) {
	_, c := e.created("p1", "org_a")
	columns := []string{"email", "email_bidx", "note", "weight"}
	before := map[string][]byte{}
	for _, column := range columns {
		before[column] = e.raw("patients", "p1", column)
	}
	sealed := e.count(vault.FieldEncrypted)
	p := e.get("p1", "org_a")
	p.Name = "another"
	e.ok(e.db.Save(e.of("org_a"), p))
	for _, column := range columns {
		if !bytes.Equal(before[column], e.raw("patients", "p1", column)) {
			e.errorf("%s wasn't changed and has other bytes", column)
		}
	}
	if n := e.count(vault.FieldEncrypted) - sealed; n != 0 {
		e.errorf("%d fields that weren't changed were sealed", n)
	}
	got := e.get("p1", "org_a")
	if got.Name != "another" {
		e.errorf("the row wasn't saved")
	}
	e.holds(got, c)
}

// checkSaveNull wants a value that is taken away to be gone, and its index with it.
func checkSaveNull(e *env) {
	e.created("p1", "org_a")
	p := e.get("p1", "org_a")
	p.Email, p.Weight = vault.Null[string](), vault.Null[int]()
	e.ok(e.db.Save(e.of("org_a"), p))
	for _, column := range []string{"email", "email_bidx", "weight"} {
		if e.raw("patients", "p1", column) != nil {
			e.errorf("%s was set to NULL, and isn't", column)
		}
	}
}

// checkUpdate is the update by a struct that has only some columns.
func checkUpdate(e *env) {
	_, c := e.created("p1", "org_a")
	_, other := e.created("p2", "org_a")
	email := e.raw("patients", "p1", "email")
	c.note = e.note()
	set := &Patient{ID: "p1", OrgID: "org_a", Note: vault.Seal(c.note)}
	e.unchanged(set, func() { e.ok(e.db.Update(e.of("org_a"), set)) })
	e.holds(e.get("p1", "org_a"), c)
	e.holds(e.get("p2", "org_a"), other)
	if !bytes.Equal(email, e.raw("patients", "p1", "email")) {
		e.errorf("a column that wasn't in the update has other bytes")
	}
}

// updated wants an update to have been done whole, or refused and nothing changed.
func (e *env) updated(err error, before []map[string][]byte, done func()) {
	e.hear(err)
	if err == nil {
		done()
		return
	}
	rows, rawErr := e.db.Raw.Rows(e.ctx, "patients")
	e.ok(rawErr)
	if !reflect.DeepEqual(before, rows) {
		e.errorf("an update was refused, and has changed a row: %v", err)
	}
}

func (e *env) snapshot() []map[string][]byte {
	rows, err := e.db.Raw.Rows(e.ctx, "patients")
	e.ok(err)
	return rows
}

func checkUpdateMap(e *env) {
	_, old := e.created("p1", "org_a")
	_, other := e.created("p2", "org_a")
	c := content{e.email(), e.note()}
	note := vault.Seal(c.note)
	set := map[string]any{"name": "New", "note": &note, "email": vault.Seal(c.email)}
	keep, before := maps.Clone(set), e.snapshot()
	err := e.db.UpdateMap(e.of("org_a"), "p1", set)
	if !reflect.DeepEqual(keep, set) {
		e.errorf("the caller's map was changed")
	}
	e.updated(err, before, func() {
		p := e.get("p1", "org_a")
		e.holds(p, c)
		if p.Name != "New" {
			e.errorf("the column beside it wasn't written")
		}
		e.findsOnly("org_a", c.email, "p1")
		e.findsOnly("org_a", old.email)
	})
	e.holds(e.get("p2", "org_a"), other)
	e.nullByMap()
}

// nullByMap wants a NULL in a map to be NULL, or refused.
func (e *env) nullByMap() {
	before := e.snapshot()
	err := e.db.UpdateMap(e.of("org_a"), "p1", map[string]any{"note": vault.Null[string]()})
	e.updated(err, before, func() {
		if e.raw("patients", "p1", "note") != nil {
			e.errorf("a NULL in a map is not NULL in the database")
		}
	})
}

// checkUpdateMapPlain is the mistake that stores plaintext without an error.
func checkUpdateMapPlain(e *env) {
	e.plainUpdate(func(ctx context.Context, value any) error {
		return e.db.UpdateMap(ctx, "p1", map[string]any{"note": value})
	})
}

func checkUpdateColumn(e *env) {
	_, old := e.created("p1", "org_a")
	c := content{old.email, e.note()}
	before := e.snapshot()
	e.updated(e.db.UpdateColumn(e.of("org_a"), "p1", "note", vault.Seal(c.note)), before, func() {
		e.holds(e.get("p1", "org_a"), c)
	})
	email := e.email()
	before = e.snapshot()
	e.updated(e.db.UpdateColumn(e.of("org_a"), "p1", "email", vault.Seal(email)), before, func() {
		e.opens(e.of("org_a"), e.get("p1", "org_a").Email, email)
		e.findsOnly("org_a", email, "p1")
		e.findsOnly("org_a", old.email)
	})
}

func checkUpdateColumnPlain(e *env) {
	e.plainUpdate(func(ctx context.Context, value any) error {
		return e.db.UpdateColumn(ctx, "p1", "note", value)
	})
}

// plainUpdate wants a plain value for an encrypted column to be sealed or refused.
// That it is stored is seen when the check ends.
func (e *env) plainUpdate(update func(ctx context.Context, value any) error) {
	e.created("p1", "org_a")
	for _, as := range []func(s string) any{
		func(s string) any { return s },
		func(s string) any { return []byte(s) },
		func(s string) any { return &s },
	} {
		c, before := e.note(), e.snapshot()
		e.updated(update(e.of("org_a"), as(c)), before, func() {
			e.opens(e.of("org_a"), e.get("p1", "org_a").Note, c)
		})
	}
}

func checkUpsert(e *env) {
	p, c := e.person("p1", "org_a")
	e.unchanged(p, func() { e.ok(e.db.Upsert(e.of("org_a"), p)) })
	e.holds(e.get("p1", "org_a"), c)
	old := c.email
	p, c = e.person("p1", "org_a")
	e.unchanged(p, func() { e.ok(e.db.Upsert(e.of("org_a"), p)) })
	e.wantRows("p1")
	e.holds(e.get("p1", "org_a"), c)
	e.findsOnly("org_a", c.email, "p1")
	e.findsOnly("org_a", old)
}

// checkDeleteLike wants an example with a field that isn't sealed not to be taken for
// one with NULL: that would delete the rows that have no value.
func checkDeleteLike(e *env) {
	_, c := e.created("p1", "org_a")
	e.created("p2", "org_a")
	none := &Patient{ID: "p3", OrgID: "org_a", Name: "x"}
	e.ok(e.db.Create(e.of("org_a"), none))
	for _, example := range []*Patient{
		{OrgID: "org_a", Email: vault.Seal(c.email)},
		{OrgID: "org_a", Note: vault.Seal(c.note)},
	} {
		e.unchanged(example, func() { e.hear(e.db.DeleteLike(e.of("org_a"), example)) })
	}
	for _, id := range e.rows("patients") {
		if id == "p3" {
			e.wantOthers()
			return
		}
	}
	e.errorf("the row whose fields are NULL was deleted")
}

func (e *env) wantOthers() {
	for _, id := range e.rows("patients") {
		if id == "p2" {
			return
		}
	}
	e.errorf("a row that isn't like the example was deleted")
}

// checkCopyToAnotherRow wants a field that was read in one row and written to another
// to open there, and not to leave its tenant.
func checkCopyToAnotherRow(e *env) {
	_, c := e.created("p1", "org_a")
	from := e.get("p1", "org_a")
	p := &Patient{ID: "p2", OrgID: "org_a", Name: "x", Note: from.Note}
	e.unchanged(p, func() { e.ok(e.db.Create(e.of("org_a"), p)) })
	e.opens(e.of("org_a"), e.get("p2", "org_a").Note, c.note)
	e.opens(e.of("org_a"), e.get("p1", "org_a").Note, c.note)
	p = &Patient{ID: "p3", OrgID: "org_b", Name: "x", Note: from.Note}
	e.is(e.db.Create(e.of("org_b"), p), vault.ErrWrongContext, vault.ErrContextConflict)
	e.wantRows("p1", "p2")
}
