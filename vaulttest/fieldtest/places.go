package fieldtest

import (
	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// checkTwoTenants wants each tenant's rows to open for that tenant alone.
func checkTwoTenants(e *env) {
	_, ca := e.created("p1", "org_a")
	_, cb := e.created("p2", "org_b")
	a := e.get("p1", "org_a")
	e.holds(a, ca)
	e.holds(e.get("p2", "org_b"), cb)
	e.fails(e.of("org_b"), a.Email, vault.ErrContextConflict, vault.ErrWrongContext)
	if b, err := e.db.Get(e.of("org_a"), "p2"); err == nil && b != nil {
		e.fails(e.of("org_a"), b.Email, vault.ErrContextConflict, vault.ErrWrongContext)
		e.fails(e.of("org_a"), b.Note, vault.ErrContextConflict, vault.ErrWrongContext)
	} else {
		e.hear(err)
	}
	// A value of one tenant in the other's row.
	e.swap("patients", "p1", "note", "patients", "p2", "note")
	e.fails(e.of("org_a"), e.get("p1", "org_a").Note, vault.ErrWrongContext)
	e.fails(e.of("org_b"), e.get("p2", "org_b").Note, vault.ErrWrongContext)
}

func checkTwoTenantsInOneList(e *env) {
	want := map[string]content{}
	_, want["p1"] = e.created("p1", "org_a")
	_, want["p2"] = e.created("p2", "org_b")
	_, want["p3"] = e.created("p3", "org_a")
	ps := e.list("")
	if len(ps) != 3 {
		e.fatalf("%d rows, want 3", len(ps))
	}
	for _, p := range ps {
		e.holds(p, want[p.ID])
		e.opens(e.ctx, p.Note, want[p.ID].note) // nothing is taken from the ctx
	}
}

// checkTwoVaults wants two vaults in one process, on one database, to be apart.
func checkTwoVaults(e *env) {
	other := vaulttest.New(e.t, func(c *vault.Config) { c.Namespace = "other" })
	db2 := e.db.With(other.Vault)
	_, c1 := e.created("p1", "org_a")
	p2, c2 := e.person("p2", "org_a")
	e.ok(db2.Create(e.of("org_a"), p2))
	e.holds(e.get("p1", "org_a"), c1)
	got, err := db2.Get(e.of("org_a"), "p2")
	e.ok(err)
	e.holds(got, c2)
	got, err = db2.Get(e.of("org_a"), "p1")
	e.ok(err)
	e.fails(e.of("org_a"), got.Note, vault.ErrKeyNotFound, vault.ErrWrongContext)
	e.fails(e.of("org_a"), e.get("p2", "org_a").Note, vault.ErrKeyNotFound, vault.ErrWrongContext)
}

// checkRowSwap wants values that were exchanged between rows not to open.
func checkRowSwap(e *env) {
	_, c1 := e.created("p1", "org_a")
	_, c2 := e.created("p2", "org_a")
	e.swap("patients", "p1", "note", "patients", "p2", "note")
	p1, p2 := e.get("p1", "org_a"), e.get("p2", "org_a")
	e.fails(e.of("org_a"), p1.Note, vault.ErrWrongLocation)
	e.fails(e.of("org_a"), p2.Note, vault.ErrWrongLocation)
	e.opens(e.of("org_a"), p1.Email, c1.email)
	e.opens(e.of("org_a"), p2.Email, c2.email)
	if e.db.List != nil {
		for _, p := range e.list("org_a") {
			e.fails(e.of("org_a"), p.Note, vault.ErrWrongLocation)
		}
	}
	e.swap("patients", "p1", "note", "patients", "p2", "note")
	e.holds(e.get("p1", "org_a"), c1)
}

func checkColumnSwap(e *env) {
	_, c := e.created("p1", "org_a")
	e.swap("patients", "p1", "note", "patients", "p1", "email")
	p := e.get("p1", "org_a")
	e.fails(e.of("org_a"), p.Note, vault.ErrWrongLocation)
	e.fails(e.of("org_a"), p.Email, vault.ErrWrongLocation)
	e.swap("patients", "p1", "note", "patients", "p1", "email")
	e.holds(e.get("p1", "org_a"), c)
}

// checkTableSwap exchanges values of columns of one name, in rows of one ID.
func checkTableSwap(e *env) {
	e.created("x1", "org_a")
	e.ok(e.db.CreateVisit(e.of("org_a"), &Visit{ID: "x1", OrgID: "org_a", PatientID: "x1", Note: vault.Seal(e.note())}))
	e.swap("patients", "x1", "note", "visits", "x1", "note")
	e.fails(e.of("org_a"), e.get("x1", "org_a").Note, vault.ErrWrongLocation)
}

// checkShredded wants a shredded tenant's rows to load, and only that tenant's fields
// to be lost.
func checkShredded(e *env) {
	e.created("p1", "org_a")
	_, cb := e.created("p2", "org_b")
	e.ok(e.db.Create(e.of("org_a"), &Patient{ID: "p3", OrgID: "org_a", Name: "x"}))
	if _, err := e.v.Shred(e.ctx, tenant("org_a"), vault.ShredOptions{Reason: "fieldtest"}); err != nil {
		e.fatalf("shred: %v", err)
	}
	p := e.get("p1", "org_a")
	if p.Name == "" {
		e.errorf("a shredded tenant's row has lost its other columns")
	}
	e.fails(e.of("org_a"), p.Email, vault.ErrKeyShredded)
	e.fails(e.of("org_a"), p.Note, vault.ErrKeyShredded)
	e.fails(e.of("org_a"), e.get("p3", "org_a").Email, vault.ErrNull)
	e.holds(e.get("p2", "org_b"), cb)
	if e.db.List != nil {
		if ps := e.list("org_a"); len(ps) != 3 {
			e.errorf("%d of 3 rows load after a tenant was shredded", len(ps))
		}
	}
}
