package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJSON: every command writes one JSON document to stdout, or one a line, and
// nothing else.
func TestJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "secret", "value-1", "organization_id=org_01")
	envelope := w.must("app", "encrypt", "organization_id=org_01").stdout
	file := filepath.Join(w.dir, "envelope.txt")
	if err := os.WriteFile(file, []byte(envelope), 0o600); err != nil {
		t.Fatal(err)
	}
	policy := filepath.Join(w.dir, "rules.json")
	sqlite := "sqlite:" + filepath.Join(w.dir, "copy.sqlite")
	for _, c := range []struct {
		args   string
		fields string // that it must have
	}{
		{"version", "version go"},
		{"inspect " + file, "version kind self_contained key_id size plaintext_size"},
		{"check", "ok store"},
		{"keys --all", "id context context_hash purpose version state active keks quorum created_at state_changed_at"},
		{"objects --all", "id name context version_id number key_id size created_at updated_at updated_by"},
		{"rotate organization_id=org_01", "seen rotated failed dry_run failures"},
		{"rewrap --all", "seen moved current nothing partly failed dry_run job failures"},
		{"reencrypt --all", "keys seen moved old raced failed dead dry_run job failures"},
		{"retire organization_id=org_01 --elsewhere-reencrypted --dry-run", "seen retired newest young disabled gone in_use failed objects children dry_run refused"},
		{"verify --all", "keys keys_unwrapped keys_shredded keys_disabled keys_failed objects versions versions_readable versions_shredded versions_disabled versions_gone versions_failed failures"},
		{"disable organization_id=org_01 --yes", "keys"},
		{"enable organization_id=org_01", "keys"},
		{"migrate --store " + sqlite, "migrated store"},
		{"copy --to " + sqlite, "keys objects versions keys_copied versions_copied keys_updated versions_updated bytes_copied versions_without_key extra_versions keys_missing versions_missing keys_different versions_different extra_keys extra_objects verify_only changed"},
		{"policy default --kek tink-keyset:local --policy " + policy, "file changed"},
		{"keyset rotate root.json", "uri file primary"},
		{"shred organization_id=org_01 --after 1h --yes", "format id match requested_at due_at keys"},
		{"shred list", "id match state actor requested_at due_at"},
		{"shred run --yes", "receipts"},
	} {
		r := w.must("vaultctl", append(strings.Fields(c.args), "--json")...)
		if strings.Contains(r.stdout, "value-1") || r.stdout == "" {
			t.Errorf("%s: %q", c.args, r.stdout)
		}
		for _, line := range strings.Split(strings.TrimSpace(r.stdout), "\n") {
			var doc map[string]any
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				t.Errorf("%s: %v: %s", c.args, err, line)
			}
			for _, field := range strings.Fields(c.fields) {
				if _, ok := doc[field]; !ok {
					t.Errorf("%s has no %q: %s", c.args, field, line)
				}
			}
		}
	}
}
