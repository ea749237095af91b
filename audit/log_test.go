package audit

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
)

// A log that nobody touched verifies, and says what is in it.
func TestLog(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 25, Options{Every: 10})
	opts := withKey()
	opts.Head = k.head(id)
	r := verify(t, opts, path)
	noFindings(t, r)
	if r.Log != id || r.First != 1 || r.Last != uint64(len(lines)) || r.Events != 25 || r.Failed != 5 || r.Files != 1 ||
		!r.Authenticated || !r.HeadCompared || !r.Closed || r.After != 0 || r.Checkpoints != 4 || len(r.Notes) != 0 || !r.OK() {
		t.Errorf("%+v", r)
	}
	if r := verify(t, VerifyOptions{}, path); r.Authenticated || !r.OK() || r.HeadCompared {
		t.Errorf("without a key: %+v", r)
	}
	for i, line := range lines {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["seq"] != float64(i+1) {
			t.Errorf("%q: %v", line, err)
		}
	}
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

// What comes before Start is covered by the first checkpoint; a log goes on after it was
// closed, and after it wasn't.
func TestLogGoesOn(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	write(t, l, 0, 3)
	start(t, l, k)
	start(t, l, k) // twice is once
	closeLog(t, l)
	if err := l.OnEvent(t.Context(), event(0)); !errors.Is(err, errClosed) {
		t.Errorf("an event after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	l = open(t, path, Options{})
	write(t, l, 3, 5)
	r := verify(t, withKey(), path)
	noFindings(t, r)
	if r.Closed || r.After != 3 || r.Events != 5 || found(r.Notes) != "opened@9" {
		t.Errorf("%+v", r)
	}
	start(t, l, k)
	closeLog(t, l)
	opts := withKey()
	opts.Head = k.head(l.ID())
	r = verify(t, opts, path)
	noFindings(t, r)
	if !r.Closed || r.After != 0 || r.Events != 5 {
		t.Errorf("%+v", r)
	}
}

// A log without a store for heads, or whose vault has no store at all, is a log.
func TestLogWithoutHeads(t *testing.T) {
	k := newKeeper()
	k.fail(vault.ErrNoStore)
	path, _, id := whole(t, k, 3, Options{})
	if r := verify(t, withKey(), path); !r.OK() || !r.Closed || k.head(id) != nil {
		t.Errorf("%+v", r)
	}
	v, err := vault.New(vault.Config{KEK: kek(), NoBackground: true})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	path = filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	if err := l.Start(t.Context(), v); !errors.Is(err, vault.ErrNoStore) {
		t.Errorf("a vault without a store: %v", err)
	}
	write(t, l, 0, 3)
	closeLog(t, l)
	if r := verify(t, VerifyOptions{}, path); !r.OK() || !r.Closed || r.Checkpoints != 0 {
		t.Errorf("%+v", r)
	}
	if r := verify(t, withKey(), path); found(r.Findings) != "unauthenticated@0" {
		t.Errorf("%v", r.Findings)
	}
}

// Checkpoints come after a time, too, and their heads are kept beside the writing.
func TestCheckpointsInTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		path := filepath.Join(dir, "audit.log")
		l := open(t, path, Options{Interval: time.Minute})
		start(t, l, k)
		first := k.head(l.ID()).Seq
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if h := k.head(l.ID()); h.Seq != first {
			t.Errorf("nothing happened, and there is checkpoint %d", h.Seq)
		}
		write(t, l, 0, 1)
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if h := k.head(l.ID()); h.Seq != first+2 {
			t.Errorf("head %d after %d", h.Seq, first)
		}
		closeLog(t, l)
	})
}

// Files follow each other: one chain, whose parts may be archived, and none of which may
// be missing in between.
func TestRotate(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{MaxSize: 2000})
	start(t, l, k)
	write(t, l, 0, 12)
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	write(t, l, 12, 14)
	closeLog(t, l)
	l = open(t, path, Options{MaxSize: 2000})
	start(t, l, k)
	closeLog(t, l)
	last, err := lastPart(path)
	if err != nil || last < 3 {
		t.Fatalf("%d parts, %v", last, err)
	}
	files := []string{path}
	for p := uint64(1); p <= last; p++ {
		files = append(files, partName(path, p))
	}
	opts := withKey()
	opts.Head = k.head(l.ID())
	r := verify(t, opts, files...)
	noFindings(t, r)
	if r.Events != 14 || r.Files != int(last)+1 || !r.Closed || !r.HeadCompared {
		t.Errorf("%+v", r)
	}
	if r := verify(t, opts, append([]string{path, partName(path, 1)}, files[3:]...)...); !strings.HasPrefix(found(r.Findings), "missing@1") {
		t.Errorf("part 2 is missing: %v", r.Findings)
	}
	if r := verify(t, opts, files[2:]...); !strings.HasPrefix(found(r.Findings), "missing_start@1") {
		t.Errorf("part 1 is missing: %v", r.Findings)
	}
	if r := verify(t, opts, files[1:]...); !strings.HasPrefix(found(r.Findings), "missing_end@") {
		t.Errorf("the last part is missing: %v", r.Findings)
	}
	opts.Tail = true
	noFindings(t, verify(t, opts, append([]string{path}, files[2:]...)...))
}

// Killed while it begins the next file, a log goes on after the last one.
func TestKilledWhileRotating(t *testing.T) {
	for name, left := range map[string]string{"no file": "-", "an empty file": "", "half a header": `{"seq":9,"prev":"`} {
		t.Run(name, func(t *testing.T) {
			k := newKeeper()
			path, _, _ := whole(t, k, 3, Options{})
			if err := os.Rename(path, partName(path, 1)); err != nil {
				t.Fatal(err)
			}
			if left != "-" {
				writeLines(t, path, []string{left})
			}
			l := open(t, path, Options{})
			start(t, l, k)
			write(t, l, 3, 5)
			closeLog(t, l)
			opts := withKey()
			opts.Head = k.head(l.ID())
			r := verify(t, opts, path, partName(path, 1))
			noFindings(t, r)
			if r.Events != 5 || r.Files != 2 {
				t.Errorf("%+v", r)
			}
			if torn := len(r.Notes) == 1 && r.Notes[0].Kind == Torn; torn != (left != "" && left != "-") {
				t.Errorf("%v", r.Notes)
			}
		})
	}
}

// A part that can't be begun leaves the log as it is.
func TestRotateFails(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	told := make(chan error, 100)
	l := open(t, path, Options{MaxSize: 3000, OnError: func(err error) { told <- err }})
	start(t, l, k)
	writeLines(t, partName(path, 1), []string{"somebody's"})
	if err := l.Rotate(); err == nil {
		t.Fatal("another file was overwritten")
	}
	write(t, l, 0, 20)
	if len(told) == 0 || len(told) > 20 {
		t.Errorf("told %d times", len(told))
	}
	closeLog(t, l)
	r := verify(t, withKey(), path)
	noFindings(t, r)
	if r.Events != 20 {
		t.Errorf("%+v", r)
	}
}

// One file has one writer.
func TestLogIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	if second, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
		_ = second.Close()
	}
	write(t, l, 0, 2)
	closeLog(t, l)
	l = open(t, path, Options{})
	closeLog(t, l)
	noFindings(t, verify(t, VerifyOptions{}, path))
}

// Neither sink writes through a link, or into what is no file.
func TestOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("precious\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	paths := []string{dir}
	if err := os.Symlink(target, link); err == nil { // not everybody may, on Windows
		paths = append(paths, link)
	}
	for _, path := range paths {
		if l, err := Open(path, Options{}); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
			_ = l.Close()
		}
		if j, err := OpenJSONLines(path, JSONLinesOptions{}); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
			_ = j.Close()
		}
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != "precious\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Open(target, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a file that is no log: %v", err)
	}
}

func TestOptions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for _, o := range []Options{{Every: -1}, {Every: MaxUnchecked + 1}, {Interval: -1}, {Timeout: -1}} {
		if _, err := Open(path, o); err == nil {
			t.Errorf("%+v", o)
		}
	}
}

// Many goroutines share a sync, and each record has its place.
func TestGroupCommit(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	start(t, l, k)
	f := spoil(t, l)
	const goroutines, each = 32, 20
	release := f.stall()
	var wg sync.WaitGroup
	wg.Go(func() { write(t, l, 0, 1) })
	<-f.stalled
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				if err := l.OnEvent(t.Context(), event(g*each+i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// All of them wait for the write that stalls: what comes after it is one.
	for waitingFor(l) < goroutines {
		runtime.Gosched()
	}
	release()
	wg.Wait()
	f.mu.Lock()
	syncs := f.syncs
	f.mu.Unlock()
	closeLog(t, l)
	r := verify(t, withKey(), path)
	noFindings(t, r)
	if r.Events != goroutines*each+1 {
		t.Errorf("%+v", r)
	}
	if syncs > goroutines*each-(goroutines-2) { // one for the first of each goroutine
		t.Errorf("%d syncs for %d events", syncs, goroutines*each)
	}
}

func waitingFor(l *Log) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting)
}
