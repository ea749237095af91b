package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A full disk: each event that can't be written says so, what is there of a record is
// cut off again, and with space the log goes on and says what it lacks.
func TestFullDisk(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	told := 0
	l := open(t, path, Options{OnError: func(error) { told++ }})
	start(t, l, k)
	f := spoil(t, l)
	line := int(0)
	for room := range 5 { // in the middle of a record, at both ends of it, and none at all
		write(t, l, 10*room, 10*room+1)
		line = len(readLines(t, path)[len(readLines(t, path))-1])
		f.set(func() { f.room = []int{line / 2, 1, line - 1, line, 0}[room] })
		if err := l.OnEvent(t.Context(), event(10*room+1)); !errors.Is(err, errFull) && room != 3 {
			t.Errorf("room %d: %v", room, err)
		}
		for _, line := range readLines(t, path) {
			if !strings.HasSuffix(line, "}\n") {
				t.Errorf("room %d: part of a record stands there: %q", room, line)
			}
		}
		if err := l.OnEvent(t.Context(), event(10*room+2)); err == nil {
			t.Errorf("room %d: it fits", room)
		}
		f.set(func() { f.room = -1 })
	}
	write(t, l, 90, 92)
	closeLog(t, l)
	r := verify(t, withKey(), path)
	noFindings(t, r)
	var lost []string
	for _, n := range r.Notes {
		lost = append(lost, fmt.Sprint(n.Kind, " ", strings.Fields(n.Text)[0]))
	}
	if len(lost) != 5 || lost[0] != "lost 2" {
		t.Errorf("%q", lost)
	}
	if told != 0 {
		t.Errorf("told %d times of what calls returned", told)
	}
}

// What can't be cut off at once is cut off before the next write.
func TestFullDiskThatCantBeCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	f := spoil(t, l)
	f.set(func() { f.room, f.cutErr = 20, errors.New("read-only") })
	for range 2 {
		if err := l.OnEvent(t.Context(), event(1)); err == nil {
			t.Fatal("written")
		}
	}
	f.set(func() { f.room, f.cutErr = -1, nil })
	write(t, l, 2, 4)
	closeLog(t, l)
	r := verify(t, VerifyOptions{}, path)
	noFindings(t, r)
	if r.Events != 2 {
		t.Errorf("%+v", r)
	}
}

// Several events in one write of which some fit: those are written, and only the others
// are refused.
func TestPartOfABatchFits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	f := spoil(t, l)
	var batch []*entry
	for i := range 4 {
		batch = append(batch, &entry{members: appendEvent(nil, event(i)), done: make(chan error, 1)})
	}
	f.set(func() { f.room = 1000 })
	if err := l.do(func() error { l.w.process(batch); return nil }); err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.room = -1 })
	written := 0
	for i, e := range batch {
		if err := <-e.done; err == nil {
			written++
		} else if !errors.Is(err, errFull) || i == 0 {
			t.Errorf("event %d: %v", i, err)
		}
	}
	closeLog(t, l)
	r := verify(t, VerifyOptions{}, path)
	noFindings(t, r)
	if written == 0 || written == 4 || r.Events != uint64(written) {
		t.Errorf("%d said to be written, %d are", written, r.Events)
	}
}

// A sync that fails is the error of all whose records it was to make last; a checkpoint
// that isn't known to last has no head.
func TestFailingSync(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		k := newKeeper()
		path := filepath.Join(t.TempDir(), "audit.log")
		l := open(t, path, Options{Every: 1, NoSync: noSync})
		start(t, l, k)
		f := spoil(t, l)
		head := *k.head(l.ID())
		f.set(func() { f.syncErr = errors.New("I/O error") })
		if err := l.OnEvent(t.Context(), event(0)); err == nil || !strings.Contains(err.Error(), "I/O error") {
			t.Errorf("%v", err)
		}
		if err := l.heads.flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := *k.head(l.ID()); got != head {
			t.Errorf("the head is %d", got.Seq)
		}
		f.set(func() { f.syncErr = nil })
		write(t, l, 1, 2)
		closeLog(t, l)
		noFindings(t, verify(t, withKey(), path))
	}
}

// A disk that hangs: events fail after the timeout, and at once when too many wait; what
// was waiting is written when it answers.
func TestSlowDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "audit.log")
		l := open(t, path, Options{Timeout: 3 * time.Second, Interval: time.Hour})
		f := spoil(t, l)
		release := f.stall()
		begin := time.Now()
		if err := l.OnEvent(t.Context(), event(0)); !errors.Is(err, ErrSlow) || time.Since(begin) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		l.mu.Lock()
		l.size = maxWaiting + 1
		l.mu.Unlock()
		begin = time.Now()
		if err := l.OnEvent(t.Context(), event(1)); !errors.Is(err, ErrSlow) || time.Since(begin) != 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		l.mu.Lock()
		l.size = 0
		l.mu.Unlock()
		release()
		synctest.Wait()
		write(t, l, 2, 3)
		closeLog(t, l)
		r := verify(t, VerifyOptions{}, path)
		noFindings(t, r)
		if r.Events != 2 || found(r.Notes) != "lost@3" {
			t.Errorf("%+v", r)
		}
	})
}

// Close doesn't wait for ever either.
func TestCloseOfASlowDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := open(t, filepath.Join(dir, "audit.log"), Options{Timeout: 3 * time.Second})
		f := spoil(t, l)
		release := f.stall()
		if err := l.Close(); !errors.Is(err, ErrSlow) {
			t.Errorf("%v", err)
		}
		release()
		<-l.ended
	})
}

// A torn record, cut at each of its bytes: it is cut off, the log says so, and goes on.
func TestTornAtEachByte(t *testing.T) {
	k := newKeeper()
	path, lines, _ := whole(t, k, 4, Options{})
	lines = lines[:4]
	last := lines[3]
	for cut := 1; cut < len(last); cut++ {
		writeLines(t, path, append(lines[:3:3], last[:cut]))
		r := verify(t, VerifyOptions{}, path)
		noFindings(t, r)
		if found(r.Notes) != "unfinished@4" {
			t.Fatalf("cut at %d: %v", cut, r.Notes)
		}
		if cut%17 != 0 && cut != 1 && cut != len(last)-1 {
			continue // opening costs a sync
		}
		l := open(t, path, Options{})
		write(t, l, 4, 5)
		closeLog(t, l)
		r = verify(t, VerifyOptions{}, path)
		noFindings(t, r)
		if r.Events != 2 || len(r.Notes) != 2 || r.Notes[0].Kind != Torn || !strings.Contains(r.Notes[0].Text, fmt.Sprintf(" %d bytes", cut)) {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
	}
}

// After a power failure there may be zeros.
func TestTornIntoZeros(t *testing.T) {
	k := newKeeper()
	path, lines, _ := whole(t, k, 4, Options{})
	writeLines(t, path, append(lines[:5:5], strings.Repeat("\x00", 300_000)))
	l := open(t, path, Options{})
	closeLog(t, l)
	r := verify(t, VerifyOptions{}, path)
	noFindings(t, r)
	if len(r.Notes) != 2 || r.Notes[0].Kind != Torn {
		t.Errorf("%+v", r)
	}
}

// Nothing is written behind a broken chain: the file is evidence.
func TestDamagedIsLeftAlone(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 4, Options{})
	bad := append([]string{}, lines...)
	bad[3] = strings.Replace(bad[3], "user-1", "user-2", 1)
	writeLines(t, path, bad)
	if l, err := Open(path, Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
		_ = l.Close()
	}
	if got := strings.Join(readLines(t, path), ""); got != strings.Join(bad, "") {
		t.Error("it was changed")
	}
	// As the error says.
	if err := os.Rename(path, path+".evidence"); err != nil {
		t.Fatal(err)
	}
	l := open(t, path, Options{})
	start(t, l, k)
	closeLog(t, l)
	if l.ID() == id {
		t.Error("the new log is the old one")
	}
	noFindings(t, verify(t, withKey(), path))
}

// A store that fails fails no event and no checkpoint; its head is kept later.
func TestHeadsAreKeptLater(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		path := filepath.Join(dir, "audit.log")
		var told []error
		l := open(t, path, Options{OnError: func(err error) { told = append(told, err) }})
		k.fail(errors.New("the database is down"))
		if err := l.Start(t.Context(), k); err == nil {
			t.Error("Start says nothing")
		}
		write(t, l, 0, 1)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(told) == 0 || k.head(l.ID()) != nil {
			t.Errorf("told %d times", len(told))
		}
		k.fail(nil)
		write(t, l, 1, 2)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if k.head(l.ID()) == nil {
			t.Error("no head is kept")
		}
		closeLog(t, l)
		if h := k.head(l.ID()); h.Seq != uint64(len(readLines(t, path))) {
			t.Errorf("head %d", h.Seq)
		}
	})
}
