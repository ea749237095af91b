package fieldtest

import (
	"fmt"

	"github.com/embedvault/vault"
)

// visited makes patients with visits, and returns the visits' notes by ID.
func (e *env) visited() (patients map[string]content, notes map[string]string) {
	patients, notes = map[string]content{}, map[string]string{}
	for _, id := range []string{"p1", "p2"} {
		_, patients[id] = e.created(id, "org_a")
		for i := range 2 {
			v := &Visit{ID: fmt.Sprint(id, "v", i), OrgID: "org_a", PatientID: id}
			notes[v.ID] = e.note()
			v.Note = vault.Seal(notes[v.ID])
			before := *v
			e.ok(e.db.CreateVisit(e.of("org_a"), v))
			if *v != before {
				e.errorf("the caller's struct was changed")
			}
		}
	}
	return patients, notes
}

func checkPreload(e *env) {
	patients, notes := e.visited()
	p, err := e.db.Preload(e.of("org_a"), "p2")
	e.ok(err)
	e.holds(p, patients["p2"])
	if len(p.Visits) != 2 {
		e.fatalf("%d visits, want 2", len(p.Visits))
	}
	for _, v := range p.Visits {
		e.opens(e.of("org_a"), v.Note, notes[v.ID])
	}
}

func checkJoin(e *env) {
	patients, notes := e.visited()
	vs, err := e.db.Join(e.of("org_a"))
	e.ok(err)
	if len(vs) != 4 {
		e.fatalf("%d visits, want 4", len(vs))
	}
	for _, v := range vs {
		e.opens(e.of("org_a"), v.Note, notes[v.ID])
		if v.Patient == nil || v.Patient.ID != v.PatientID {
			e.fatalf("a visit without its patient")
		}
		e.holds(v.Patient, patients[v.PatientID])
	}
}

// opensOnceSaidWhere wants a field that was read without its key to open as what it
// is, or not at all, and to open once it is said where it was.
func (e *env) opensOnceSaidWhere(f vault.Encrypted[string], column, id, want string) {
	if f.FieldState() != vault.FieldSealed {
		e.errorf("what was read is not a sealed field")
		return
	}
	ctx := vault.WithVault(e.of("org_a"), e.v.Vault)
	if got, err := f.Open(ctx); err != nil {
		e.is(err, vault.ErrNoLocation, vault.ErrInvalidLocation)
	} else if got != want {
		e.errorf("a field that was read without its key opens as something else")
	}
	if e.h.Absent[RowBinding] != "" {
		e.opens(ctx, f.AtLocation(vault.AtColumn("patients", column)), want)
		return
	}
	e.opens(ctx, f.At("patients", column, id), want)
	e.fails(ctx, f.At("patients", column, "another"), vault.ErrWrongLocation)
}

func checkScan(e *env) {
	p, c := e.created("p1", "org_a")
	card, err := e.db.Scan(e.of("org_a"), "p1")
	e.ok(err)
	if card.Name != p.Name {
		e.errorf("the columns weren't read")
	}
	e.opensOnceSaidWhere(card.Email, "email", "p1", c.email)
}

func checkPluck(e *env) {
	_, a := e.created("p1", "org_a")
	e.ok(e.db.Create(e.of("org_a"), &Patient{ID: "p2", OrgID: "org_a", Name: "x"}))
	_, b := e.created("p3", "org_a")
	for column, want := range map[string][]string{"email": {a.email, b.email}, "note": {a.note, b.note}} {
		got, err := e.db.Pluck(e.of("org_a"), column)
		e.ok(err)
		if len(got) != 3 || !got[1].IsZero() {
			e.fatalf("%d values of %s, want 3 with NULL as the second", len(got), column)
		}
		e.opensOnceSaidWhere(got[0], column, "p1", want[0])
		e.opensOnceSaidWhere(got[2], column, "p3", want[1])
	}
}

func checkRawQuery(e *env) {
	p, c := e.created("p1", "org_a")
	cards, err := e.db.RawQuery(e.of("org_a"), "SELECT name, email FROM patients ORDER BY id")
	e.ok(err)
	if len(cards) != 1 || cards[0].Name != p.Name {
		e.fatalf("%d rows, want 1", len(cards))
	}
	e.opensOnceSaidWhere(cards[0].Email, "email", "p1", c.email)
}

// checkRawExec wants a field in a statement of the application's own to be sealed in
// the place that At says, or refused.
func checkRawExec(e *env) {
	insert := e.statement("INSERT INTO visits (id, org_id, patient_id, note) VALUES (%1, %2, %3, %4)", 4)
	note := e.note()
	at := vault.At("visits", "note", "v1")
	if e.h.Absent[RowBinding] != "" {
		at = vault.AtColumn("visits", "note")
	}
	field := vault.Seal(note).AtLocation(at)
	err := e.db.RawExec(e.of("org_a"), insert, "v1", "org_a", "p1", field)
	e.hear(err)
	switch ids := e.rows("visits"); {
	case err == nil:
		sealed := vault.SealedBytes[string](e.raw("visits", "v1", "note"))
		e.opens(vault.WithVault(e.of("org_a"), e.v.Vault), sealed.AtLocation(at), note)
	case len(ids) > 0:
		e.errorf("a statement was refused, and has written")
	}
	e.refused(e.db.RawExec(e.of("org_a"), insert, "v2", "org_a", "p1", vault.Seal(e.note())), "a field that is nowhere")
	e.refused(e.db.RawExec(e.ctx, insert, "v3", "org_a", "p1", vault.Seal(e.note()).At("visits", "note", "v3")), "a field of nobody")
	for _, id := range e.rows("visits") {
		if id != "v1" {
			e.errorf("a statement that was refused has written")
		}
	}
}

// checkPrepared runs statements many times, each with its own tenant and row.
func checkPrepared(e *env) {
	db := e.db.Prepared()
	want := map[string]content{}
	org := func(i int) string { return []string{"org_a", "org_b"}[i%2] }
	for i := range 6 {
		p, c := e.person(fmt.Sprint("p", i), org(i))
		want[p.ID] = c
		e.unchanged(p, func() { e.ok(db.Create(e.of(p.OrgID), p)) })
	}
	if n := e.count(vault.FieldEncrypted); n != 18 {
		e.errorf("18 fields were written, and %d sealed", n)
	}
	for i := range 6 {
		id := fmt.Sprint("p", i)
		p, err := db.Get(e.of(org(i)), id)
		e.ok(err)
		e.holds(p, want[id])
		e.holds(e.get(id, org(i)), want[id])
	}
	p, _ := e.person("p9", "")
	e.is(db.Create(e.ctx, p), vault.ErrNoContext)
}
