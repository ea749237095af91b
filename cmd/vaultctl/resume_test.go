package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

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

// TestResumeCommandsAreValid: what is said to go on with is taken as it stands.
func TestResumeCommandsAreValid(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"--older-than":  {"rotate", "--all", "--older-than", "1ns"},
		"--made-before": {"rotate", "--all", "--made-before", "2106-01-02T15:04:05Z"},
		"--":            {"rotate", "--within", "--", "region=eu"},
	} {
		w := newWorld(t)
		w.env = append(w.env, "VAULTCTL_KEK="+w.kek)
		w.must("app", "fill", "50")
		before := len(w.keys())
		r := w.stoppedAt(20, func(p *os.Process) error { return p.Signal(os.Interrupt) }, args...)
		if r.code != exitIncomplete {
			t.Fatalf("%s: exit code %d\n%s", name, r.code, r.stderr)
		}
		_, said, _ := strings.Cut(r.stderr, "interrupted; ")
		w.must("vaultctl", resumption(t, said)...)
		if keys := len(w.keys()); keys != 2*before {
			t.Errorf("%s: %d keys of %d contexts: not each was rotated once", name, keys, before)
		}
	}
}

func TestAgain(t *testing.T) {
	a := testApp(t, nil)
	a.args = []string{"rewrap", "--job", "x", "--reason", "a b", "--", "region=eu west"}
	if got, want := a.again("--job", "new one"), "vaultctl rewrap --reason 'a b' --job 'new one' -- 'region=eu west'"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := a.again("", ""), "vaultctl rewrap --job x --reason 'a b' -- 'region=eu west'"; got != want {
		t.Errorf("%s, want %s", got, want)
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
