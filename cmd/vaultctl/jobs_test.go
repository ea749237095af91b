package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/embedvault/vault"
)

// TestJobsForgotten: a rewrap that was killed stands in the list until it has come to
// its end, or is forgotten; then it begins anew, and nothing is lost.
func TestJobsForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "fill", "450")
	if out := w.must("vaultctl", "jobs").stdout; out != "" {
		t.Errorf("jobs: %q", out)
	}
	r := w.stopped(300, func(p *os.Process) error { return p.Kill() }, "--job", "move-1")
	if r.code != -1 {
		t.Fatalf("exit code %d of a process that was killed", r.code)
	}
	var job jobLine
	out := w.must("vaultctl", "jobs", "--json").stdout
	if err := json.Unmarshal([]byte(out), &job); err != nil || job.Kind != vault.JobRewrap || job.Name != "move-1" || job.Seen < 200 || job.Match != nil {
		t.Fatalf("jobs: %v: %s", err, out)
	}
	if out := w.must("vaultctl", "jobs").stdout; !strings.Contains(out, "move-1") || !strings.Contains(out, "--all") {
		t.Errorf("jobs: %q", out)
	}
	for args, code := range map[string]int{
		"rewrap move-2": exitFailed, "reencrypt move-1": exitFailed, "shred move-1": exitUsage, "rewrap a/b": exitUsage, "rewrap": exitUsage,
	} {
		if r := w.run("vaultctl", append([]string{"jobs", "forget"}, strings.Fields(args)...)...); r.code != code {
			t.Errorf("%s: exit code %d, want %d\n%s", args, r.code, code, r.stderr)
		}
	}
	w.must("vaultctl", "jobs", "forget", "rewrap", "move-1")
	if out := w.must("vaultctl", "jobs", "--json").stdout; out != "" {
		t.Errorf("jobs: %q", out)
	}
	var report rewrapOut
	out = w.must("vaultctl", "rewrap", "--all", "--kek", w.kek, "--previous-kek", "tink-keyset:local", "--job", "move-1", "--json").stdout
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Seen != manyKeys || report.Current < 200 || report.Moved+report.Current != manyKeys {
		t.Errorf("after it was forgotten: %v: %s", err, out)
	}
	if out := w.must("vaultctl", "jobs").stdout; out != "" {
		t.Errorf("jobs: %q", out)
	}
}
