package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerifyEachWrapping: of an any-of key each KEK must open its own wrapping.
func TestVerifyEachWrapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dr := filepath.Join(w.dir, "dr.json")
	w.must("vaultctl", "keyset", "create", "--name", "dr", dr)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	both := []string{
		"--keyset", filepath.Join(w.dir, "root.json"), "--keyset", "dr=" + dr,
		"--kek", "tink-keyset:local", "--kek", "tink-keyset:dr", "--quorum", "any-of",
	}
	w.must("vaultctl", append([]string{"rewrap", "--all", "--previous-kek", "tink-keyset:local"}, both...)...)
	if r := w.must("vaultctl", append([]string{"verify", "--all"}, both...)...); !strings.Contains(r.stdout, "2 wrappings opened one by one") {
		t.Errorf("%s", r.stdout)
	}
	// Somebody makes another keyset in the place of the second.
	if err := os.Remove(dr); err != nil {
		t.Fatal(err)
	}
	w.must("vaultctl", "keyset", "create", "--name", "dr", dr)
	r := w.run("vaultctl", append([]string{"verify", "--all"}, both...)...)
	if r.code != exitFailed || !strings.Contains(r.stdout, "its wrapping under tink-keyset:dr: ") || strings.Contains(r.stdout, "under tink-keyset:local: ") {
		t.Errorf("exit code %d: %s", r.code, r.stdout)
	}
	w.must("vaultctl", append([]string{"rewrap", "--all", "--force"}, both...)...)
	w.must("vaultctl", append([]string{"verify", "--all"}, both...)...)
}

// TestCheckEachKEK: of several KEKs it is said which answers.
func TestCheckEachKEK(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := []string{"check", "--kek", "tink-keyset:local", "--kek", w.kek, "--quorum", "any-of"}
	for _, more := range [][]string{nil, {"organization_id=org_01"}} {
		w.must("app", "put", "a", "v1", "organization_id=org_01")
		r := w.must("vaultctl", append(both, more...)...)
		if !strings.Contains(r.stdout, "tink-keyset:local answers") || !strings.Contains(r.stdout, w.kek+" answers") {
			t.Errorf("%s", r.stdout)
		}
	}
	w.srv.Key("root").Delete()
	for _, more := range [][]string{nil, {"organization_id=org_01"}} {
		r := w.run("vaultctl", append(both, more...)...)
		if r.code != exitFailed || !strings.Contains(r.stdout, "tink-keyset:local answers") || !strings.Contains(r.stdout, w.kek+": ") {
			t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
		}
	}
}

// TestVerifyLostVersion: an object whose current version is gone from the tables is in no
// list of objects, and found from the keys' side.
func TestVerifyLostVersion(t *testing.T) {
	t.Parallel()
	for name, statements := range map[string][]string{
		"the current version": {"DELETE FROM vault_versions WHERE number = 2"},
		"the object":          {"PRAGMA foreign_keys = OFF", "DELETE FROM vault_objects"},
	} {
		w := newWorld(t)
		path := filepath.Join(w.dir, "v.sqlite")
		w.env = append(w.env, "VAULTCTL_STORE=sqlite:"+path)
		w.must("app", "put", "a", "v1", "organization_id=org_01")
		w.must("app", "put", "a", "v2", "organization_id=org_01")
		w.must("app", "put", "b", "v1", "organization_id=org_02")
		w.must("vaultctl", "verify", "--all")
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1) // for the PRAGMA
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if r := w.run("vaultctl", "verify", "--all"); r.code != exitFailed || !strings.Contains(r.stdout, "without their object") {
			t.Errorf("%s is gone: exit code %d: %s%s", name, r.code, r.stdout, r.stderr)
		}
	}
}
