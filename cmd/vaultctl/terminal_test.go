//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a process on a terminal of its own.
type terminal struct {
	t    *testing.T
	pty  *os.File
	wait func() int

	mu     sync.Mutex // guards screen
	screen bytes.Buffer
	grown  chan struct{}
}

func (w *world) onTerminal(args ...string) *terminal {
	w.t.Helper()
	c := w.command("vaultctl", args...)
	f, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 200})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	tm := &terminal{t: w.t, pty: f, grown: make(chan struct{}, 1)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(tm, f) // ends with an error when the process does
	}()
	tm.wait = func() int {
		_ = c.Wait()
		<-read
		return c.ProcessState.ExitCode()
	}
	return tm
}

// Write takes what the process writes.
func (tm *terminal) Write(b []byte) (int, error) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.screen.Write(b)
	select {
	case tm.grown <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (tm *terminal) text() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.screen.String()
}

// await waits until the screen shows a text.
func (tm *terminal) await(text string) {
	tm.t.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(tm.text(), text) {
		select {
		case <-tm.grown:
		case <-deadline:
			tm.t.Fatalf("no %q on the terminal:\n%s", text, tm.text())
		}
	}
}

func (tm *terminal) enter(line string) {
	if _, err := io.WriteString(tm.pty, line+"\n"); err != nil {
		tm.t.Fatal(err)
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "put", "secret", "value-1", "organization_id=org_01")

	for _, answer := range []string{"", "y", "yes", "organization_id=org_02"} {
		tm := w.onTerminal("shred", "organization_id=org_01")
		tm.await("destroys 1 keys for ever, and with them 1 stored versions")
		tm.await("Type organization_id=org_01 to go on: ")
		tm.enter(answer)
		if code := tm.wait(); code != exitFailed || !strings.Contains(tm.text(), "nothing was done") {
			t.Fatalf("the answer %q: exit code %d\n%s", answer, code, tm.text())
		}
		w.must("app", "get", "secret", "organization_id=org_01")
	}

	// Ctrl-C, which the terminal makes a signal of.
	tm := w.onTerminal("shred", "organization_id=org_01")
	tm.await("to go on: ")
	if _, err := io.WriteString(tm.pty, "\x03"); err != nil {
		t.Fatal(err)
	}
	if code := tm.wait(); code != exitIncomplete {
		t.Fatalf("interrupted at the prompt: exit code %d\n%s", code, tm.text())
	}
	w.must("app", "get", "secret", "organization_id=org_01")

	tm = w.onTerminal("shred", "organization_id=org_01")
	tm.await("to go on: ")
	tm.enter("organization_id=org_01")
	if code := tm.wait(); code != exitOK || !strings.Contains(tm.text(), "1 keys destroyed") {
		t.Fatalf("exit code %d\n%s", code, tm.text())
	}
	if r := w.run("app", "get", "secret", "organization_id=org_01"); r.code == 0 {
		t.Error("a shredded object is readable")
	}
}

func TestProgressBar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must("app", "fill", "450")
	tm := w.onTerminal("rewrap", "--all", "--kek", w.kek, "--previous-kek", "tink-keyset:local", "--rate", "900")
	if code := tm.wait(); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, tm.text())
	}
	// Percent, a bar, how many of how many, a rate, the time so far and the time left.
	bar := regexp.MustCompile(`rewrap +\d+% .*\((200|400)/450, \d+ it/\w+\) \[[0-9a-z]+:[0-9a-z]+\]`)
	if !bar.MatchString(tm.text()) {
		t.Errorf("no bar of the form %s:\n%s", bar, tm.text())
	}
	// And none without a terminal, or with --quiet.
	if r := w.must("vaultctl", "rewrap", "--all", "--kek", w.kek); strings.Contains(r.stdout+r.stderr, "%") {
		t.Errorf("a bar without a terminal:\n%s", r.stderr)
	}
	tm = w.onTerminal("rewrap", "--all", "--kek", w.kek, "--quiet")
	if code := tm.wait(); code != exitOK || strings.Contains(tm.text(), "%") {
		t.Errorf("exit code %d, with --quiet:\n%s", code, tm.text())
	}
}
