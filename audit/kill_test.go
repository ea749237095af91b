//go:build !windows

package audit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// killDir tells a process started from the test binary that it is the child of a test,
// and where its log is.
const killDir = "AUDIT_TEST_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := killChild(filepath.Join(dir, "audit.log")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// slowFile writes in small pieces, so that a kill meets it in the middle of a record,
// and says so in the middle of one.
type slowFile struct {
	file
	writes int
}

func (f *slowFile) Write(b []byte) (int, error) {
	f.writes++
	for at := 0; at < len(b); at += 7 {
		end := min(at+7, len(b))
		if _, err := f.file.Write(b[at:end]); err != nil {
			return at, err
		}
		if f.writes == 5 && end > len(b)/2 && b[end-1] != '\n' { // now: there is half a record or more
			os.Stdout.WriteString("torn\n")
			select {}
		}
	}
	return len(b), nil
}

// killChild writes events until it is killed, and says which are answered.
func killChild(path string) error {
	l, err := Open(path, Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := l.Start(ctx, newKeeper()); err != nil {
		return err
	}
	if err := l.do(func() error { l.w.f = &slowFile{file: l.w.f}; return nil }); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				e := event(g*1000 + i)
				if err := l.OnEvent(ctx, e); err != nil {
					return
				}
				os.Stdout.WriteString("done " + e.Actor + "\n")
			}
		})
	}
	wg.Wait()
	return errors.New("it wasn't killed")
}

// kill -9 in the middle of a record: whatever was answered is there, the torn record is
// cut off with a note, and the log goes on. While the child lives the file is locked.
func TestKilledInTheMiddleOfARecord(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	done := map[string]bool{}
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		torn := false
		for s := bufio.NewScanner(out); s.Scan(); {
			var actor string
			if s.Text() != "torn" {
				fmt.Sscanf(s.Text(), "done %s", &actor)
				done[actor] = true
				continue
			}
			torn = true
			if _, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
				t.Errorf("opened beside another process: %v", err)
			}
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Wait(); !torn {
			t.Fatalf("round %d: %v", round, err)
		}
		if r := verify(t, withKey(), path); !r.OK() || r.Notes[len(r.Notes)-1].Kind != Unfinished {
			t.Fatalf("round %d: %+v", round, r)
		}
	}
	l := open(t, path, Options{})
	start(t, l, newKeeper())
	closeLog(t, l)
	r := verify(t, withKey(), path)
	noFindings(t, r)
	cut := 0
	for _, n := range r.Notes {
		if n.Kind == Torn {
			cut++
		}
	}
	if cut != 3 || !r.Closed {
		t.Errorf("%+v", r)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	there := map[string]bool{}
	for rec, err := range Read([]Source{{path, f}}, Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		there[rec.Actor] = true
	}
	for actor := range done {
		if !there[actor] {
			t.Errorf("%s was answered, and isn't there", actor)
		}
	}
}
