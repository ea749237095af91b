package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
)

// underOrganizations runs f with the vault of an application that has kek.Under.
func (w *world) underOrganizations(f func(v *vault.Vault)) {
	w.t.Helper()
	k, err := tinkkek.Load(filepath.Join(w.dir, "root.json"), tinkkek.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	policy, err := kek.Under(kek.Fixed(k), "organization_id")
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := boltstore.Open(filepath.Join(w.dir, "vault.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	v, err := vault.New(vault.Config{Policy: policy, Store: s, NoBackground: true})
	if err != nil {
		w.t.Fatal(err)
	}
	defer v.Close()
	f(v)
}

var userContext = vault.KeyContext{"organization_id": "org_01", "user_id": "usr_01"}

func (w *world) putUnder(value string) {
	w.t.Helper()
	w.underOrganizations(func(v *vault.Vault) {
		if _, err := v.Put(context.Background(), userContext, "a", []byte(value)); err != nil {
			w.t.Errorf("the application can't write: %v", err)
		}
	})
}

// TestUnderParents: vaultctl knows the application's parents by --under, and rotates
// them first: nothing that is made after a leak is under what may have leaked.
func TestUnderParents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putUnder("v1")
	w.env = append(w.env, "VAULTCTL_UNDER=organization_id")
	w.must("vaultctl", "verify", "--all")
	w.must("vaultctl", "check", "organization_id=org_01", "user_id=usr_01")
	r := w.must("vaultctl", "rotate", "organization_id=org_01", "--within")
	if !strings.Contains(r.stdout, "2 keys, 2 rotated") {
		t.Errorf("%s", r.stdout)
	}
	newest := ""
	for _, k := range w.keys() {
		if k.Purpose == "wrapping" && k.Version == 2 {
			newest = k.ID
		}
	}
	for _, k := range w.keys() {
		if k.Purpose == "data" && k.Version == 2 && (newest == "" || k.Parent != newest) {
			t.Errorf("the new key of the user is under %q, want the new key of the organisation, %q", k.Parent, newest)
		}
	}
	w.putUnder("v2")
	w.must("vaultctl", "verify", "--all")
	w.must("vaultctl", "rewrap", "--all")
	w.must("vaultctl", "reencrypt", "organization_id=org_01", "--old-versions")
	w.must("vaultctl", "verify", "--all")
}

// TestWithoutUnder: without --under nothing is written that the application with
// kek.Under can't read, and it is said what is missing.
func TestWithoutUnder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.putUnder("v1")
	before := w.must("vaultctl", "keys", "--all", "--json").stdout
	for _, line := range []string{"verify --all", "rotate organization_id=org_01 user_id=usr_01", "rewrap organization_id=org_01 user_id=usr_01"} {
		if r := w.run("vaultctl", strings.Fields(line)...); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "give --under") {
			t.Errorf("vaultctl %s: exit code %d: %s%s", line, r.code, r.stdout, r.stderr)
		}
	}
	if after := w.must("vaultctl", "keys", "--all", "--json").stdout; after != before {
		t.Errorf("keys were changed:\n%s\nwere:\n%s", after, before)
	}
	// The organisation's own keys are under the KEK, and rotate: of the others none.
	if r := w.run("vaultctl", "rotate", "organization_id=org_01", "--within"); r.code != exitIncomplete || !strings.Contains(r.stdout, "give --under") {
		t.Errorf("exit code %d: %s", r.code, r.stdout)
	}
	w.putUnder("v2")
}

// TestMovingUnder: keys are brought under parents, and out again.
func TestMovingUnder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "a", "v1", "organization_id=org_01", "user_id=usr_01")
	under := []string{"--all", "--under", "organization_id"}
	if r := w.run("vaultctl", append([]string{"rewrap"}, under...)...); r.code != exitIncomplete || !strings.Contains(r.stdout, "give --under-moving in") {
		t.Errorf("exit code %d: %s", r.code, r.stdout)
	}
	w.must("vaultctl", append([]string{"rewrap", "--under-moving", "in"}, under...)...)
	w.must("vaultctl", append([]string{"verify"}, under...)...)
	w.putUnder("v2")
	w.must("vaultctl", append([]string{"rewrap", "--under-moving", "out"}, under...)...)
	w.must("vaultctl", "verify", "--all")
}

func TestUnderRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	for _, line := range []string{"--under ,", "--under vault:scope", "--under-moving in", "--under organization_id --under-moving away"} {
		if r := w.run("vaultctl", append([]string{"verify", "--all"}, strings.Fields(line)...)...); r.code != exitUsage {
			t.Errorf("%s: exit code %d: %s", line, r.code, r.stderr)
		}
	}
}
