package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnknownCommands: a slip in a command's name is an error and no help page.
func TestUnknownCommands(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"nosuch", "policy drop-prevoius organization_id=org_01 --yes", "policy nosuch --nonsense", "policy --nonsense", "keyset rotaet root.json", "shred cancle 1",
		"keyset rotaet root.json --name x",
	} {
		code, out, errOut := runHere(t, func(string) string { return "" }, strings.Fields(line)...)
		if code != exitUsage || out != "" || errOut == "" {
			t.Errorf("vaultctl %s: exit code %d, stdout %q, stderr %q", line, code, out, errOut)
		}
	}
	for _, line := range []string{"policy", "keyset", "policy --help", ""} {
		if code, out, _ := runHere(t, func(string) string { return "" }, strings.Fields(line)...); code != exitOK || !strings.Contains(out, "Usage:") {
			t.Errorf("vaultctl %s: exit code %d, %q", line, code, out)
		}
	}
}

// TestUsageErrorsAsJSON: with --json also what is wrong with the command line is JSON.
func TestUsageErrorsAsJSON(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"--json nosuch", "keys --nonsense --json", "keys --max-key-age x --all --json", "shred cancel --json", "policy nosuch --json=true", "rotate --json",
	} {
		code, _, errOut := runHere(t, func(string) string { return "" }, strings.Fields(line)...)
		var e struct {
			Error    string `json:"error"`
			ExitCode int    `json:"exit_code"`
		}
		if err := json.Unmarshal([]byte(errOut), &e); err != nil || e.Error == "" || e.ExitCode != exitUsage || code != exitUsage {
			t.Errorf("vaultctl %s: exit code %d, %v: %s", line, code, err, errOut)
		}
	}
}

// TestMigrateMakesNoFile: of a store without tables, and to print, no file is made.
func TestMigrateMakesNoFile(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"bolt", "sqlite"} {
		file := filepath.Join(t.TempDir(), "typo.db")
		code, out, errOut := runHere(t, func(string) string { return "" }, "migrate", "--print", "--store", scheme+":"+file)
		if want := scheme == "sqlite"; (code == exitOK) != want {
			t.Errorf("%s: exit code %d: %s%s", scheme, code, out, errOut)
		}
		if _, err := os.Lstat(file); err == nil {
			t.Errorf("%s: migrate --print made the file", scheme)
		}
	}
	file := filepath.Join(t.TempDir(), "typo.db")
	if code, _, _ := runHere(t, func(string) string { return "" }, "migrate", "--store", "bolt:"+file); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("migrate made a file of a store without tables")
	}
}

// TestCopyOntoItself: a copy onto the file that it comes from is refused.
func TestCopyOntoItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "a", "v1", "organization_id=org_01")
	for _, to := range []string{"bolt:vault.db", "bolt:./vault.db", "bolt:" + filepath.Join(w.dir, "vault.db")} {
		if r := w.run("vaultctl", "copy", "--yes", "--to", to); r.code != exitUsage || !strings.Contains(r.stderr, "the store to copy to is") {
			t.Errorf("%s: exit code %d: %s", to, r.code, r.stderr)
		}
	}
}
