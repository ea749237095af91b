package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault/kek"
)

// newRules makes a file with rules.
func (w *world) newRules() string {
	w.t.Helper()
	rules := filepath.Join(w.dir, "rules.json")
	w.must("vaultctl", "policy", "default", "--policy", rules, "--kek", "tink-keyset:local")
	return rules
}

// TestPolicyEditsAtTheSameTime: no edit that ended well is lost.
func TestPolicyEditsAtTheSameTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules := w.newRules()
	var codes [8]int
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			codes[i] = w.run("vaultctl", "policy", "set", fmt.Sprintf("organization_id=org_%d", i), "--policy", rules, "--kek", w.kek).code
		})
	}
	wg.Wait()
	data, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	for i, code := range codes {
		if code != 0 || !strings.Contains(string(data), fmt.Sprintf(`"org_%d"`, i)) {
			t.Errorf("policy set organization_id=org_%d: exit code %d, and the file is\n%s", i, code, data)
		}
	}
	if files, _ := filepath.Glob(rules + ".lock"); len(files) > 0 {
		t.Error("the lock is left")
	}
}

// TestPolicyLocked: two edits are one after the other, and what has no heed of the lock
// is not overwritten.
func TestPolicyLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules := w.newRules()
	f, err := lockPolicy(t.Context(), rules)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockPolicy(ended, rules); !errors.Is(err, context.Canceled) {
		t.Errorf("another edit gets the lock as well: %v", err)
	}
	const other = "{\"somebody\": \"else\"}"
	if err := os.WriteFile(rules, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := kek.NewRules(kek.Choice{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.write(r); !errors.Is(err, errPolicyChanged) {
		t.Errorf("%v", err)
	}
	if data, err := os.ReadFile(rules); err != nil || string(data) != other {
		t.Errorf("%q, %v", data, err)
	}
	if err := f.unlock(); err != nil {
		t.Error(err)
	}
}

// TestPolicyFileStaysTheApplications: an edit follows links and keeps the mode: the
// application reads the same file, as another user.
func TestPolicyFileStaysTheApplications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rules, link := w.newRules(), filepath.Join(w.dir, "link.json")
	mode := os.FileMode(0o644)
	if runtime.GOOS == "windows" {
		mode = 0o666
	}
	if err := os.Chmod(rules, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(rules, link); err != nil {
		t.Fatal(err)
	}
	w.must("vaultctl", "policy", "set", "organization_id=org_01", "--policy", link, "--kek", w.kek)
	if data, err := os.ReadFile(rules); err != nil || !strings.Contains(string(data), "org_01") {
		t.Errorf("the link was replaced: %v", err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if info, err := os.Stat(rules); err != nil || info.Mode().Perm() != mode {
		t.Errorf("mode %v after the change, %v before", info.Mode(), mode)
	}
}
