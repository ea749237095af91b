package fieldtest

import (
	"bytes"
	"fmt"

	"github.com/embedvault/vault"
)

// checkCreate wants a row to be stored sealed, each field once, and read again.
func checkCreate(e *env) {
	p, c := e.created("p1", "org_a")
	if n := e.count(vault.FieldEncrypted); n != 3 {
		e.errorf("three fields were written, and %d sealed", n)
	}
	if got, err := p.Email.Open(e.ctx); err != nil || got != c.email {
		e.errorf("the caller's field isn't usable after it was written")
	}
	e.holds(e.get("p1", "org_a"), c)
	if len(e.raw("patients", "p1", "email_bidx")) != vaultIndexSize {
		e.errorf("the blind index wasn't written")
	}
}

const vaultIndexSize = 16

// checkCreateAll wants each of many rows to be sealed for itself.
func checkCreateAll(e *env) {
	var ps []*Patient
	var cs []content
	var before []Patient
	for i := range 25 {
		p, c := e.person(fmt.Sprintf("p%02d", i), "org_a")
		ps, cs, before = append(ps, p), append(cs, c), append(before, *p)
	}
	ps[7].Note, ps[8].Note = ps[9].Note, ps[9].Note // one value in three rows
	cs[7].note, cs[8].note = cs[9].note, cs[9].note
	before[7], before[8] = *ps[7], *ps[8]
	e.ok(e.db.CreateAll(e.of("org_a"), ps))
	for i, p := range ps {
		e.same(before[i], *p)
		e.holds(e.get(p.ID, "org_a"), cs[i])
	}
	if bytes.Equal(e.raw("patients", "p07", "note"), e.raw("patients", "p08", "note")) {
		e.errorf("one value in two rows has the same sealed bytes")
	}
}

// checkWithoutContext wants no row to be written for nobody.
func checkWithoutContext(e *env) {
	p, _ := e.person("p1", "")
	e.is(e.db.Create(e.ctx, p), vault.ErrNoContext)
	e.wantRows()
	if e.h.Absent[RowContext] != "" {
		return
	}
	p, _ = e.person("p2", "org_a") // the row says whose it is
	e.ok(e.db.Create(e.ctx, p))
	e.wantRows("p2")
}

func checkContextConflict(e *env) {
	p, _ := e.person("p1", "org_a")
	e.is(e.db.Create(e.of("org_b"), p), vault.ErrContextConflict)
	e.wantRows()
}

// checkNullAndEmpty wants NULL to stay NULL, and the empty string to be a value.
func checkNullAndEmpty(e *env) {
	p := &Patient{ID: "p1", OrgID: "org_a", Name: "x", Note: vault.Seal("")}
	e.unchanged(p, func() { e.ok(e.db.Create(e.of("org_a"), p)) })
	for _, column := range []string{"email", "email_bidx", "weight"} {
		if e.raw("patients", "p1", column) != nil {
			e.errorf("%s was unset, and is not NULL", column)
		}
	}
	if len(e.raw("patients", "p1", "note")) == 0 {
		e.errorf("the empty string wasn't sealed")
	}
	got := e.get("p1", "org_a")
	if !got.Email.IsZero() || !got.Weight.IsZero() || got.Note.IsZero() {
		e.errorf("NULL was read as a value, or a value as NULL")
	}
	e.fails(e.of("org_a"), got.Email, vault.ErrNull)
	e.opens(e.of("org_a"), got.Note, "")
}

// list reads all patients; the ctx has the tenant where rows don't say it.
func (e *env) list(org string) []*Patient {
	ctx := e.ctx
	if e.h.Absent[RowContext] != "" {
		ctx = e.of(org)
	}
	ps, err := e.db.List(ctx)
	e.ok(err)
	return ps
}

func checkListDecryptsNothing(e *env) {
	for i := range 5 {
		e.created(fmt.Sprint("p", i), "org_a")
	}
	before := e.count(vault.FieldDecrypted)
	if ps := e.list("org_a"); len(ps) != 5 || ps[0].Email.FieldState() != vault.FieldSealed {
		e.errorf("%d rows, want 5 that are sealed", len(ps))
	}
	if n := e.count(vault.FieldDecrypted) - before; n != 0 {
		e.errorf("a list decrypted %d fields", n)
	}
}

// checkOpenAll wants what was read to be openable all at once, without anything else.
func checkOpenAll(e *env) {
	want := map[string]content{}
	for i := range 6 {
		id := fmt.Sprint("p", i)
		_, want[id] = e.created(id, []string{"org_a", "org_b"}[i%2])
	}
	ps := e.list("")
	e.ok(vault.OpenAll(e.ctx, ps))
	before := e.count(vault.FieldDecrypted)
	for _, p := range ps {
		e.holds(p, want[p.ID])
	}
	if n := e.count(vault.FieldDecrypted) - before; n != 0 || len(ps) != 6 {
		e.errorf("%d fields were decrypted again, %d rows of 6", n, len(ps))
	}
}

// checkDamaged wants a row with a damaged field to load, and the others to open.
func checkDamaged(e *env) {
	_, c := e.created("p1", "org_a")
	whole := e.raw("patients", "p1", "email")
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	for name, value := range map[string][]byte{
		"flipped": flipped, "cut": whole[:len(whole)-1], "short": whole[:10], "empty": {}, "foreign": []byte("no envelope at all"),
	} {
		e.spoil("patients", "p1", "email", value)
		if e.raw("patients", "p1", "email") == nil {
			continue // a driver that writes no bytes as NULL
		}
		p := e.get("p1", "org_a")
		if _, err := p.Email.Open(e.of("org_a")); err == nil {
			e.errorf("a damaged field (%s) was opened", name)
		} else {
			e.is(err, vault.ErrDecrypt, vault.ErrMalformed)
		}
		e.opens(e.of("org_a"), p.Note, c.note)
	}
}
