package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestNobodyToAsk: nothing is destroyed because a script ran where nobody could be
// asked, whatever is on stdin.
func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "secret", "value-1", "organization_id=org_01")
	for _, args := range [][]string{
		{"shred", "organization_id=org_01"},
		{"shred", "organization_id=org_01", "--after", "1h"},
		{"shred", "run"},
		{"disable", "organization_id=org_01"},
		{"retire", "organization_id=org_01", "--elsewhere-reencrypted"},
		{"copy", "--to", "bolt:" + filepath.Join(w.dir, "full.db")},
	} {
		if args[0] == "copy" {
			w.must("vaultctl", args...) // the first time it is empty
		}
		c := w.command("vaultctl", args...)
		c.Stdin = strings.NewReader("organization_id=org_01\ncopy\nrun\n")
		out, err := c.CombinedOutput()
		if c.ProcessState.ExitCode() != exitUsage || !strings.Contains(string(out), "--yes") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	w.must("app", "get", "secret", "organization_id=org_01")
}
