package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// keys returns what "keys --all" lists.
func (w *world) keys() (keys []keyLine) {
	w.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(w.must("vaultctl", "keys", "--all", "--json").stdout), "\n") {
		var k keyLine
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, k)
	}
	return keys
}

// TestRotateUnderAnotherKEK: no key is rotated under KEKs that aren't the application's,
// which would then neither read nor write.
func TestRotateUnderAnotherKEK(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other, dr := filepath.Join(w.dir, "other.json"), filepath.Join(w.dir, "dr.json")
	w.must("vaultctl", "keyset", "create", other)
	w.must("vaultctl", "keyset", "create", "--name", "dr", dr)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	w.must("app", "put", "a", "v1", "organization_id=org_02")
	root := filepath.Join(w.dir, "root.json")
	for name, args := range map[string][]string{
		"a keyset of the same name": {"organization_id=org_01", "--keyset", other},
		"all under it":              {"--all", "--keyset", other},
		"another KEK":               {"--all", "--keyset", "dr=" + dr, "--kek", "tink-keyset:dr"},
		"another KEK, and the application's as an earlier one": {
			"organization_id=org_02", "--keyset", root, "--keyset", "dr=" + dr, "--kek", "tink-keyset:dr", "--previous-kek", "tink-keyset:local",
		},
	} {
		if r := w.run("vaultctl", append([]string{"rotate"}, args...)...); r.code == 0 {
			t.Errorf("%s: exit code 0: %s", name, r.stdout)
		}
	}
	for _, k := range w.keys() {
		if k.Version != 1 {
			t.Errorf("a new version was made: %v", k)
		}
	}
	w.must("app", "put", "b", "v2", "organization_id=org_01")
	w.must("app", "put", "b", "v2", "organization_id=org_02")

	// After a rewrap it is the KEK.
	both := []string{"--all", "--keyset", root, "--keyset", "dr=" + dr, "--kek", "tink-keyset:dr", "--previous-kek", "tink-keyset:local"}
	w.must("vaultctl", append([]string{"rewrap"}, both...)...)
	w.must("vaultctl", append([]string{"rotate"}, both...)...)
}

// TestRotateOfAClockAhead: keys that are dated later than now are rotated too.
func TestRotateOfAClockAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	w.must("app", "put", "a", "v1", "organization_id=org_01", "user_id=usr_01")
	w.must("app", "age", "-30s")
	w.must("vaultctl", "rotate", "organization_id=org_01", "--within", "--reason", "INC-42")
	if keys := w.keys(); len(keys) != 4 {
		t.Errorf("not each of two keys was rotated once: %v", keys)
	}
	// Also by a run that goes on.
	w.must("app", "put", "a", "v1", "organization_id=org_02")
	w.must("app", "age", "-30s")
	w.must("vaultctl", "rotate", "organization_id=org_02", "--within", "--began", "2006-01-02T15:04:05Z")
	if keys := w.keys(); len(keys) != 6 {
		t.Errorf("the third key was not rotated: %v", keys)
	}
}

// TestRotateWhatIsShredded: no new key is made for whom all was destroyed.
func TestRotateWhatIsShredded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	w.must("vaultctl", "shred", "organization_id=org_01", "--yes")
	if r := w.run("vaultctl", "rotate", "organization_id=org_01"); r.code != exitFailed {
		t.Errorf("exit code %d: %s", r.code, r.stdout)
	}
	w.must("vaultctl", "rotate", "--all")
	if keys := w.keys(); len(keys) != 1 {
		t.Errorf("%v", keys)
	}
}
