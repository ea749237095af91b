package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingMatches: after a slip in a pair or in the namespace not all is well.
func TestNothingMatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	for _, line := range []string{
		"verify --all --namespace biling", "verify organization_id=org_O1",
		"rewrap --all --namespace biling", "rewrap organization_id=org_O1 --dry-run",
		"rotate --all --namespace biling", "rotate organization_id=org_O1 --within", "rotate organization_id=org_O1",
		"reencrypt organization_id=org_O1", "retire organization_id=org_O1 --elsewhere-reencrypted --yes",
		"disable organization_id=org_O1 --yes", "enable organization_id=org_O1",
		"shred organization_id=org_O1 --yes --receipt r.json", "shred organization_id=org_O1 --yes --after 30d",
	} {
		r := w.run("vaultctl", strings.Fields(line)...)
		if r.code != exitFailed || !strings.Contains(r.stderr, "nothing matches") {
			t.Errorf("vaultctl %s: exit code %d: %s%s", line, r.code, r.stdout, r.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "r.json")); err == nil {
		t.Error("a receipt of nothing was written")
	}
	// What is already so is no slip.
	for _, line := range []string{"disable organization_id=org_01 --yes", "disable organization_id=org_01 --yes", "enable organization_id=org_01", "enable organization_id=org_01"} {
		w.must("vaultctl", strings.Fields(line)...)
	}
}

// TestReceiptAfterAKill: a kill between making the receipt's file and writing it leaves
// an empty one, and the same command does it again.
func TestReceiptAfterAKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "fill", "3")
	file := filepath.Join(w.dir, "r.json")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.must("vaultctl", "shred", "region=eu", "--yes", "--receipt", "r.json")
	w.must("vaultctl", "shred", "verify", "r.json")
	if r := w.run("vaultctl", "shred", "region=eu", "--yes", "--receipt", "r.json"); r.code != exitFailed {
		t.Errorf("a receipt was overwritten: exit code %d", r.code)
	}
}
