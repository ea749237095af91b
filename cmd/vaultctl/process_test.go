package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// world is what a test that drives the real program works in: a directory with a bbolt
// store and a keyset, and a HashiCorp Vault.
type world struct {
	t   *testing.T
	dir string
	srv *hashivaulttest.Server
	kek string
	env []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), srv: hashivaulttest.New(t)}
	w.kek = newTransitKey(w.srv, "root")
	w.env = append(os.Environ(), "VAULTCTL_STORE=bolt:"+filepath.Join(w.dir, "vault.db"), "VAULTCTL_KEYSET="+filepath.Join(w.dir, "root.json"),
		"VAULT_ADDR="+w.srv.URL(), "VAULT_TOKEN="+w.srv.CreateToken(0, "operator"))
	w.must("vaultctl", "keyset", "create", filepath.Join(w.dir, "root.json"))
	return w
}

// command is a program of TestMain's as a process of its own.
func (w *world) command(name string, args ...string) *exec.Cmd {
	path, err := exec.LookPath(name) // testscript.Main has put it there
	if err != nil {
		w.t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env, c.Dir = w.env, w.dir
	return c
}

// result is how a process ended.
type result struct {
	code           int
	stdout, stderr string
}

func (w *world) run(name string, args ...string) result {
	w.t.Helper()
	c := w.command(name, args...)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		w.t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func (w *world) must(name string, args ...string) result {
	w.t.Helper()
	r := w.run(name, args...)
	if r.code != 0 {
		w.t.Fatalf("%s %v: exit code %d\n%s%s", name, args, r.code, r.stdout, r.stderr)
	}
	return r
}

// keysUnder returns how many keys are wrapped under the keyset, and under the Vault.
func (w *world) keysUnder() (keyset, vault int) {
	w.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(w.must("vaultctl", "keys", "--all", "--json").stdout), "\n") {
		var k keyLine
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			w.t.Fatal(err)
		}
		if strings.HasPrefix(k.KEKs[0], "hashivault:") {
			vault++
		} else {
			keyset++
		}
	}
	return keyset, vault
}

const manyKeys = 450 // more than two pages of a pass

// stopped runs a rewrap to the Vault and does stop once the Vault has been asked
// to wrap so many keys. Those are not answered before the process has ended, or has
// said that it stops.
func (w *world) stopped(after int, stop func(*os.Process) error, args ...string) result {
	w.t.Helper()
	return w.stoppedAt(after, stop, append([]string{"rewrap", "--all", "--kek", w.kek, "--previous-kek", "tink-keyset:local"}, args...)...)
}

// stoppedAt is the same for any command.
func (w *world) stoppedAt(after int, stop func(*os.Process) error, args ...string) result {
	w.t.Helper()
	c := w.command("vaultctl", args...)
	var out bytes.Buffer
	errOut := &awaited{text: "stopping at the next safe place", seen: make(chan struct{})}
	c.Stdout, c.Stderr = &out, errOut
	var once sync.Once
	w.srv.ResetLog()
	started, ended := make(chan struct{}), make(chan struct{})
	w.srv.Rewrite(func(call hashivaulttest.Entry, status int, body []byte) (int, []byte) {
		if call.Path == "transit/encrypt/root" && w.srv.Calls("encrypt") >= after {
			once.Do(func() {
				<-started
				if err := stop(c.Process); err != nil {
					w.t.Error(err)
				}
			})
			select {
			case <-errOut.seen:
			case <-ended:
			}
		}
		return status, body
	})
	defer w.srv.Rewrite(nil)
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	close(started)
	_ = c.Wait() // how it ended is in the exit code
	close(ended)
	return result{c.ProcessState.ExitCode(), out.String(), errOut.buf.String()}
}

// awaited is a buffer that tells when it holds a text.
type awaited struct {
	text string
	seen chan struct{}
	told bool
	buf  bytes.Buffer
}

func (b *awaited) Write(p []byte) (int, error) {
	b.buf.Write(p)
	if !b.told && strings.Contains(b.buf.String(), b.text) {
		b.told = true
		close(b.seen)
	}
	return len(p), nil
}

// resumption returns the command after "go on with: ", as words.
func resumption(t *testing.T, text string) []string {
	t.Helper()
	_, line, ok := strings.Cut(text, "go on with: vaultctl ")
	if !ok {
		t.Fatalf("it doesn't say how to go on:\n%s", text)
	}
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

func TestInterruptedAndResumed(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGINT": os.Interrupt, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.must("app", "fill", "450")
			r := w.stopped(300, func(p *os.Process) error { return p.Signal(signal) }, "--json")
			if r.code != exitIncomplete {
				t.Fatalf("exit code %d, want %d\n%s", r.code, exitIncomplete, r.stderr)
			}
			var e struct {
				Error    string `json:"error"`
				ExitCode int    `json:"exit_code"`
			}
			lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.ExitCode != exitIncomplete {
				t.Fatalf("the last line of stderr: %v: %s", err, r.stderr)
			}
			again := resumption(t, e.Error)
			keyset, vault := w.keysUnder()
			if keyset == 0 || vault < 200 {
				t.Fatalf("%d keys are as they were and %d are moved: it wasn't stopped in the middle", keyset, vault)
			}
			w.checkResumed(again, vault)
		})
	}
}

func TestKilledAndResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "fill", "450")
	r := w.stopped(300, func(p *os.Process) error { return p.Kill() })
	if r.code != -1 {
		t.Fatalf("exit code %d of a process that was killed", r.code)
	}
	_, vault := w.keysUnder()
	w.checkResumed(append(resumption(t, r.stderr), "--json"), vault)
}

// checkResumed goes on with a rewrap, and checks that it did not begin anew and moved
// what was left.
func (w *world) checkResumed(args []string, moved int) {
	w.t.Helper()
	w.srv.ResetLog()
	var report rewrapOut
	if err := json.Unmarshal([]byte(w.must("vaultctl", args...).stdout), &report); err != nil {
		w.t.Fatal(err)
	}
	if report.Seen != manyKeys || report.Moved+report.Current != manyKeys || report.Failed != 0 {
		w.t.Errorf("all in all %d keys were seen, %d moved, %d current, %d failed", report.Seen, report.Moved, report.Current, report.Failed)
	}
	// What was moved in a page that was finished is not looked at again, and in the
	// other only looked at.
	if got, want := w.srv.Calls("encrypt"), manyKeys-moved; got != want {
		w.t.Errorf("%d keys were wrapped after it went on, want the %d that were left", got, want)
	}
	if report.Current >= manyKeys-200 {
		w.t.Errorf("%d keys were found moved already: it began anew", report.Current)
	}
	if keyset, vault := w.keysUnder(); keyset != 0 || vault != manyKeys {
		w.t.Errorf("%d keys under the keyset and %d under the Vault, want all under the Vault", keyset, vault)
	}
	w.must("vaultctl", "verify", "--all", "--kek", w.kek)
}

// TestRotateInterruptedAndResumed: a rotation that goes on rotates what was left, and no
// key twice.
func TestRotateInterruptedAndResumed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "fill", "50")
	w.must("vaultctl", "rewrap", "--all", "--kek", w.kek, "--previous-kek", "tink-keyset:local")
	r := w.stoppedAt(20, func(p *os.Process) error { return p.Signal(os.Interrupt) }, "rotate", "region=eu", "--within", "--kek", w.kek)
	if r.code != exitIncomplete {
		t.Fatalf("exit code %d\n%s", r.code, r.stderr)
	}
	w.must("vaultctl", resumption(t, r.stderr)...)
	if out := w.must("vaultctl", "keys", "--all", "--json").stdout; strings.Count(out, `"version":2`) != 50 || strings.Contains(out, `"version":3`) {
		t.Errorf("not each of 50 keys was rotated once:\n%s", out)
	}
}

func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), env: os.Environ()}
	c := w.command("stubborn")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewReader(out)
	for _, want := range []string{"ready\n", "interrupted\n"} {
		if line, err := lines.ReadString('\n'); err != nil || line != want {
			t.Fatalf("%q, %v; want %q", line, err, want)
		}
		if err := c.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitIncomplete {
		t.Errorf("exit code %d, want %d", code, exitIncomplete)
	}
}

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

// runHere runs vaultctl in this process.
func runHere(t *testing.T, getenv func(string) string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	a := newApp(strings.NewReader(""), &o, &e, getenv)
	code = a.run(context.Background(), args)
	return code, o.String(), e.String()
}
