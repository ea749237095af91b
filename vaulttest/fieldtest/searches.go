package fieldtest

import (
	"slices"
	"strings"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// findsOnly wants a search to find these rows, if the adapter can search.
func (e *env) findsOnly(org, email string, want ...string) {
	if e.db.Find == nil {
		return
	}
	ps, err := e.db.Find(e.of(org), email)
	e.ok(err)
	got := []string{}
	for _, p := range ps {
		got = append(got, p.ID)
		e.opens(e.of(org), p.Email, strings.ToLower(email))
	}
	if !slices.Equal(got, append([]string{}, want...)) {
		e.errorf("a search by blind index finds the rows %q, want %q", got, want)
	}
}

// checkFind searches by the blind index, in one tenant of two that have the value.
func checkFind(e *env) {
	_, c := e.created("p1", "org_a")
	_, other := e.created("p2", "org_a")
	p := &Patient{ID: "p3", OrgID: "org_b", Name: "x", Email: vault.Seal(c.email)}
	e.ok(e.db.Create(e.of("org_b"), p))
	e.ok(e.db.Create(e.of("org_a"), &Patient{ID: "p4", OrgID: "org_a", Name: "x"}))
	e.findsOnly("org_a", c.email, "p1")
	e.findsOnly("org_a", strings.ToUpper(c.email), "p1")
	e.findsOnly("org_b", c.email, "p3")
	e.findsOnly("org_a", other.email, "p2")
	e.findsOnly("org_a", e.email())
}

// checkFindWithoutKey wants a search that can't find anything to be an error, and not
// to find nothing.
func checkFindWithoutKey(e *env) {
	_, c := e.created("p1", "org_a")
	_, err := e.db.Find(e.of("org_unknown"), c.email)
	e.is(err, vault.ErrKeyNotFound)
	_, err = e.db.Find(e.ctx, c.email)
	e.is(err, vault.ErrNoContext)
	if n := len(e.v.Events(vault.KeyCreated)); n != 2 {
		e.errorf("%d keys were made, want 2: a search makes none", n)
	}
}

func checkFindWithAnotherVault(e *env) {
	_, c := e.created("p1", "org_a")
	db2 := e.db.With(vaulttest.New(e.t).Vault)
	_, err := db2.Find(e.of("org_a"), c.email)
	e.is(err, vault.ErrKeyNotFound)
	e.findsOnly("org_a", c.email, "p1")
}

// checkFindAfterUpdate wants the index to follow its column.
func checkFindAfterUpdate(e *env) {
	_, c := e.created("p1", "org_a")
	second := e.email()
	e.ok(e.db.Update(e.of("org_a"), &Patient{ID: "p1", OrgID: "org_a", Email: vault.Seal(second)}))
	e.findsOnly("org_a", second, "p1")
	e.findsOnly("org_a", c.email)
	p := e.get("p1", "org_a")
	third := e.email()
	p.Email = vault.Seal(third)
	e.ok(e.db.Save(e.of("org_a"), p))
	e.findsOnly("org_a", third, "p1")
	e.findsOnly("org_a", second)
}
