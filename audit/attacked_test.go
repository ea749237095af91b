package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
)

// Somebody who can write to the log's directory, and has neither the key nor the store,
// changes a record that checkpoints cover, takes the checkpoints out, chains the lines
// anew, and calls the file the part before. Start compares the head with the file that
// is open alone, so that nothing is said; its checkpoint then covers the forgery, and
// its head takes the place of the one that would have shown it.
func TestRewrittenAndCalledAnEarlierPart(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 21, Options{Every: 10})
	for i := range lines {
		lines[i] = strings.Replace(lines[i], "user-4", "nobody", 1)
		if strings.Contains(lines[i], `"type":"checkpoint"`) {
			lines[i] = lines[2] // an event in its place; rechain gives it its number
		}
	}
	writeLines(t, path, rechain(lines))
	if err := os.Rename(path, path+".000001"); err != nil {
		t.Fatal(err)
	}
	l := open(t, path, Options{})
	if l.ID() != id {
		t.Fatal("another log")
	}
	err := l.Start(t.Context(), k)
	closeLog(t, l)
	opts := withKey()
	opts.Head = k.head(id)
	r := verify(t, opts, path+".000001", path)
	if !errors.Is(err, ErrHead) {
		t.Errorf("Start of a log whose past was rewritten: %v, want ErrHead", err)
	}
	if r.OK() {
		t.Errorf("nothing is found in a log that was rewritten without the key: authenticated %v, %d checkpoints, %d lines after, head compared %v",
			r.Authenticated, r.Checkpoints, r.After, r.HeadCompared)
	}
}

// The same without a move: the end is cut off, filled up with forged events as far as the
// head, and a forged header begins a file that has the head's line in the part before.
func TestCutAndForgedHeader(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 21, Options{Every: 10})
	head := *k.head(id)
	old := lines[:13] // up to the checkpoint in line 13: all of it authentic
	for seq := len(old) + 1; seq <= int(head.Seq); seq++ {
		old = append(old, lines[2])
	}
	old = rechain(old)
	writeLines(t, path+".000001", old)
	s := state{log: id, part: 2, seq: head.Seq, events: 10 + head.Seq - 13, failed: 2}
	last := strings.TrimSuffix(old[len(old)-1], "\n")
	s.hash = sum(last)
	writeLines(t, path, []string{string(s.appendHeader(nil, time.Now()))})

	l := open(t, path, Options{})
	err := l.Start(t.Context(), k)
	closeLog(t, l)
	opts := withKey()
	opts.Head = k.head(id)
	r := verify(t, opts, path+".000001", path)
	if !errors.Is(err, ErrHead) {
		t.Errorf("Start: %v, want ErrHead", err)
	}
	if r.OK() {
		t.Errorf("nothing is found: events %d (21 were written), authenticated %v, after %d, head compared %v", r.Events, r.Authenticated, r.After, r.HeadCompared)
	}
}

// A forged note "cut" lets Start believe that the head is behind: the operator isn't told.
func TestForgedCutNoteSilencesStart(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 21, Options{Every: 10})
	head := *k.head(id)
	s := state{log: id, part: 1, seq: head.Seq, hash: sum(strings.TrimSuffix(lines[12], "\n"))}
	note := s.appendNote(nil, time.Now(), noteCut, fmt.Sprintf(`,"first":14,"last":%d`, head.Seq))
	writeLines(t, path, append(lines[:13:13], string(note)))
	l := open(t, path, Options{})
	if err := l.Start(t.Context(), k); !errors.Is(err, ErrHead) {
		t.Errorf("Start: %v, want ErrHead: records 14 to %d were cut off", err, head.Seq)
	}
	closeLog(t, l)
}

// A key context may have a pair "error_class". What Open looks for to count failures is
// then in a record of what was done.
func TestPairNamedErrorClass(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	start(t, l, k)
	e := event(0)
	e.Context = vault.KeyContext{"a": "b", "error_class": "x"}
	if err := e.Context.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := l.OnEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	noFindings(t, verify(t, withKey(), path))
	if l, err := Open(path, Options{}); err != nil {
		t.Errorf("a log that nobody touched can't be opened again: %v", err)
	} else {
		_ = l.Close()
	}
}

// The same where the process was killed before the next checkpoint: the log can be opened,
// goes on with the wrong count, and is said to be tampered with for ever.
func TestPairNamedErrorClassAfterAKill(t *testing.T) {
	k := newKeeper()
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	start(t, l, k)
	e := event(0)
	e.Context = vault.KeyContext{"a": "b", "error_class": "x"}
	if err := l.OnEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	killed := readLines(t, path)
	closeLog(t, l)
	writeLines(t, path, killed)
	k.heads = map[vault.ID]vault.AuditHead{}
	l = open(t, path, Options{})
	start(t, l, k)
	closeLog(t, l)
	noFindings(t, verify(t, withKey(), path))
}

// What a database writer puts as the head must not make the numbers run over.
func TestHeadAtTheEndOfNumbers(t *testing.T) {
	for _, seq := range []uint64{math.MaxUint64, math.MaxUint64 - 2} {
		k := newKeeper()
		path, _, id := whole(t, k, 3, Options{})
		k.heads[id] = vault.AuditHead{Log: id, Seq: seq, Hash: [32]byte{1}}
		l := open(t, path, Options{})
		_ = l.Start(t.Context(), k)
		for i := range 5 {
			_ = l.OnEvent(t.Context(), event(i))
		}
		_ = l.Close()
		if l, err := Open(path, Options{}); err != nil {
			t.Errorf("head %d: the log can't be opened any more: %.120v", seq, err)
		} else {
			_ = l.Close()
		}
		for _, f := range verify(t, withKey(), path).Findings {
			if f.Kind == Inserted || f.Kind == Reordered || f.Kind == Duplicated {
				t.Errorf("head %d: what the log itself wrote is said to be %s: %s", seq, f.Kind, f)
				break
			}
		}
	}
}

// A failed Rotate leaves the file where it was.
func TestRotateWithAFailingSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	write(t, l, 0, 2)
	f := spoil(t, l)
	f.set(func() { f.syncErr = errors.New("i/o error") })
	if err := l.Rotate(); err == nil {
		t.Fatal("no error")
	}
	f.set(func() { f.syncErr = nil })
	write(t, l, 2, 3)
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the log's file is gone after a Rotate that failed: %v", err)
	}
	// Another process starts: it must be refused.
	other, err := Open(path, Options{})
	if err != nil {
		return
	}
	t.Errorf("two processes write one log: both are %s (%v)", l.ID(), l.ID() == other.ID())
	write(t, other, 3, 5)
	write(t, l, 5, 6)
	closeLog(t, l)
	closeLog(t, other)
	for _, f := range verify(t, VerifyOptions{}, path, path+".000001").Findings {
		t.Errorf("said to be tampered with: %s", f)
	}
}

// logrotate, or a hand, moves the file of a log that is in use; another process begins
// "the next part" of a log that is still written.
func TestPartThatIsStillWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	write(t, l, 0, 2)
	if err := os.Rename(path, path+".000001"); err != nil {
		t.Fatal(err)
	}
	other, err := Open(path, Options{})
	if err != nil {
		return
	}
	write(t, l, 2, 4)
	write(t, other, 4, 6)
	closeLog(t, l)
	closeLog(t, other)
	if l.ID() == other.ID() {
		t.Error("the other process goes on with a log whose last part is locked and in use")
		for _, f := range verify(t, VerifyOptions{}, path, path+".000001").Findings {
			t.Errorf("said to be tampered with: %s", f)
		}
	}
}

// A kill in the middle of a record after such a failed Rotate leaves a log that Open goes
// on with, as rotate's comment promises.
func TestFailedRotateThenKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	write(t, l, 0, 2)
	f := spoil(t, l)
	f.set(func() { f.syncErr = errors.New("i/o error") })
	if err := l.Rotate(); err == nil {
		t.Fatal("no error")
	}
	f.set(func() { f.syncErr = nil })
	write(t, l, 2, 3)
	_ = l.Close()
	for _, p := range []string{path, path + ".000001"} { // killed in the middle of its last line
		if b, err := os.ReadFile(p); err == nil {
			if err := os.WriteFile(p, b[:len(b)-20], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	l, err := Open(path, Options{})
	if err != nil {
		t.Fatalf("the log can't be opened again: %v", err)
	}
	_ = l.Close()
}

// disk is a file as a kernel keeps it: what a failed sync didn't write is marked clean,
// and never written (fsync on Linux).
type disk struct {
	file
	image   []byte // what survives a power failure
	size    int
	pending map[int][]byte
	fail    bool
}

func (d *disk) Write(b []byte) (int, error) {
	d.pending[d.size] = append([]byte(nil), b...)
	d.size += len(b)
	return d.file.Write(b)
}

func (d *disk) Sync() error {
	if d.fail {
		d.fail, d.pending = false, map[int][]byte{}
		return errors.New("input/output error")
	}
	d.image = d.image[:min(len(d.image), d.size)]
	for at, b := range d.pending {
		if n := at + len(b); n > len(d.image) {
			d.image = append(d.image, make([]byte, n-len(d.image))...)
		}
		copy(d.image[at:], b)
	}
	d.pending = map[int][]byte{}
	return nil
}

// Truncate comes to the disk with the next sync.
func (d *disk) Truncate(size int64) error {
	d.size = int(size)
	for at, b := range d.pending {
		if at >= d.size {
			delete(d.pending, at)
		} else if n := d.size - at; n < len(b) {
			d.pending[at] = b[:n]
		}
	}
	return d.file.Truncate(size)
}

// After a sync that failed the next one that succeeds says nothing of what was lost: an
// event that is said to last doesn't, and the log is damaged.
func TestSyncFailsOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	l := open(t, path, Options{})
	write(t, l, 0, 1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{image: b, size: len(b), pending: map[int][]byte{}}
	if err := l.do(func() error { d.file, l.w.f = l.w.f, d; return nil }); err != nil {
		t.Fatal(err)
	}
	d.fail = true
	if err := l.OnEvent(t.Context(), event(1)); err == nil {
		t.Fatal("no error")
	}
	second := l.OnEvent(t.Context(), event(2))
	_ = l.do(func() error { return os.WriteFile(filepath.Join(dir, "crashed.log"), d.image, 0o600) })
	closeLog(t, l)
	if second != nil {
		return
	}
	found := false
	f, err := os.Open(filepath.Join(dir, "crashed.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r, err := range Read([]Source{{"crashed.log", f}}, Filter{}) {
		found = found || err == nil && r.Actor == "user-2"
	}
	if !found {
		t.Error("an event that OnEvent said lasts is gone after a power failure")
	}
	if l, err := Open(filepath.Join(dir, "crashed.log"), Options{}); err != nil {
		t.Errorf("and the log can't be opened: %.100v", err)
	} else {
		_ = l.Close()
	}
}

// A Start that timed out has found that records are missing; the next one says so.
func TestHeadErrorIsLostInATimeout(t *testing.T) {
	k := newKeeper()
	path, lines, _ := whole(t, k, 21, Options{Every: 10})
	writeLines(t, path, lines[:13])
	synctest.Test(t, func(t *testing.T) {
		l := open(t, path, Options{Timeout: 50 * time.Millisecond, Interval: time.Hour})
		f := spoil(t, l)
		release := f.stall()
		go func() { _ = l.OnEvent(context.Background(), event(0)) }()
		synctest.Wait()
		if err := l.Start(t.Context(), k); !errors.Is(err, ErrSlow) { // with -race: its func still runs
			t.Fatalf("Start: %v", err)
		}
		release()
		synctest.Wait()
		if err := l.Start(t.Context(), k); !errors.Is(err, ErrHead) {
			t.Errorf("Start, called again as its comment says: %v; nobody was ever told ErrHead", err)
		}
		closeLog(t, l)
	})
}

// Close that is called twice doesn't say that the log is closed while it isn't.
func TestSecondCloseSaysItIsClosed(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "audit.log"), Options{Timeout: 50 * time.Millisecond})
	f := spoil(t, l)
	release := f.stall()
	defer release()
	if err := l.Close(); !errors.Is(err, ErrSlow) {
		t.Fatalf("%v", err)
	}
	if err := l.Close(); err == nil {
		t.Error("the second Close says nothing, and the file is still being written")
	}
}

func sum(line string) [32]byte { return sha256.Sum256([]byte(line)) }

// panicky is an error of some driver's.
type panicky struct{}

func (panicky) Error() string { return "x" }
func (panicky) Is(error) bool { panic("Is") }

// An error whose Is panics takes its event with it.
func TestErrorWhoseIsPanics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	e := event(0)
	e.Err = fmt.Errorf("vault: get: %w", panicky{})
	func() {
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("OnEvent panics (%v), and the event isn't in the log", p)
			}
		}()
		if err := l.OnEvent(t.Context(), e); err != nil {
			t.Error(err)
		}
	}()
}

// Tee gives each event to all sinks, also if one fails.
func TestTeeOfASinkThatPanics(t *testing.T) {
	got := 0
	tee := Tee(
		func(context.Context, vault.Event) error { panic("a sink") },
		func(context.Context, vault.Event) error { got++; return nil },
	)
	func() {
		defer func() { _ = recover() }()
		_ = tee(t.Context(), event(0))
	}()
	if got != 1 {
		t.Error("the second sink wasn't given the event")
	}
}

// What the log takes, Verify takes.
func TestEventWithoutAName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, Options{})
	if err := l.OnEvent(t.Context(), vault.Event{Actor: "a"}); err != nil {
		return
	}
	closeLog(t, l)
	noFindings(t, verify(t, VerifyOptions{}, path))
}

// The KMS is down when the process starts, so that Start fails, as docs/OPERATIONS.md
// allows for; more than MaxUnchecked events come until it succeeds. Nobody has touched the
// log, and it is said to be unauthentic for ever.
func TestKMSDownAtStart(t *testing.T) {
	k := newKeeper()
	path, _, id := whole(t, k, 3, Options{})
	l := open(t, path, Options{NoSync: true})
	write(t, l, 0, MaxUnchecked+1)
	start(t, l, k)
	closeLog(t, l)
	opts := withKey()
	opts.Head = k.head(id)
	noFindings(t, verify(t, opts, path))
}

// Several processes may append to one file. One is killed in the middle of a record;
// the next event of the other is said to be written, and can't be read.
func TestJSONLinesOfTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.log")
	j, err := OpenJSONLines(path, JSONLinesOptions{Sync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.OnEvent(t.Context(), event(0)); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteString(`{"time":"2026-11-25T10:0`); err != nil { // its disk was full, or it was killed
		t.Fatal(err)
	}
	_ = other.Close()
	if err := j.OnEvent(t.Context(), event(1)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for r, err := range Read([]Source{{"events.log", f}}, Filter{}) {
		if err == nil && r.Actor == "user-1" {
			n++
		}
	}
	if n != 1 {
		t.Error("an event that OnEvent said is written can't be read")
	}
}

// slowKeeper's store ignores the end of ctx, as some drivers do.
type slowKeeper struct {
	*keeper
	hang chan struct{}
}

func (k slowKeeper) KeepAuditHead(ctx context.Context, h vault.AuditHead) error {
	if h.Seq > 2 {
		<-k.hang
	}
	return k.keeper.KeepAuditHead(ctx, h)
}

// Close has a timeout; a store that hangs in KeepAuditHead must not hold it for ever.
func TestCloseWithAHangingStore(t *testing.T) {
	k := slowKeeper{newKeeper(), make(chan struct{})}
	l, err := Open(filepath.Join(t.TempDir(), "audit.log"), Options{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start(t, l, k)
	write(t, l, 0, 1)
	done := make(chan error, 1)
	go func() { done <- l.Close() }()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		t.Error("Close hangs, with a Timeout of 50 ms")
	}
	close(k.hang)
}

// Start looks for the head's line in whatever has the log's name by then, not in the file
// that is open: the real one is shown to it for that moment.
func TestTheRealFileIsShownToStart(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 21, Options{Every: 10})
	forged := append([]string{}, lines...)
	for i := range forged {
		if forged[i] = strings.Replace(forged[i], "user-4", "nobody", 1); strings.Contains(forged[i], `"type":"checkpoint"`) {
			forged[i] = lines[2]
		}
	}
	writeLines(t, path, rechain(forged))
	l := open(t, path, Options{})
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	writeLines(t, path, lines)
	err := l.Start(t.Context(), k)
	if e := os.Rename(path+".aside", path); e != nil {
		t.Fatal(e)
	}
	closeLog(t, l)
	opts := withKey()
	opts.Head = k.head(id)
	if r := verify(t, opts, path); !errors.Is(err, ErrHead) && r.OK() {
		t.Errorf("Start: %v, and nothing is found in a log that was rewritten without the key", err)
	}
}

// panickyKeeper's store panics, as a driver may.
type panickyKeeper struct{ *keeper }

func (k panickyKeeper) KeepAuditHead(ctx context.Context, h vault.AuditHead) error {
	if h.Seq > 2 {
		panic("the driver")
	}
	return k.keeper.KeepAuditHead(ctx, h)
}

// A store that panics must not take the process down with it: the sweep and the
// shreddings in the background see to that, and the log doesn't. Nor does it for OnError.
func TestStoreThatPanics(t *testing.T) {
	if path := os.Getenv("AUDIT_TEST_PANIC"); path != "" { // the process that goes down
		l, err := Open(path, Options{Interval: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		start(t, l, panickyKeeper{newKeeper()})
		write(t, l, 0, 1)
		time.Sleep(200 * time.Millisecond)
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^TestStoreThatPanics$")
	c.Env = append(os.Environ(), "AUDIT_TEST_PANIC="+filepath.Join(t.TempDir(), "audit.log"))
	if out, err := c.CombinedOutput(); err != nil {
		line, _, _ := strings.Cut(string(out), "\n")
		t.Errorf("the process went down: %v: %s", err, line)
	}
}

// The real lines are shown to Start in the very file that is open, and taken away again.
func TestRealLinesShownInPlace(t *testing.T) {
	k := newKeeper()
	path, lines, id := whole(t, k, 21, Options{Every: 10})
	forged := append([]string{}, lines...)
	for i := range forged {
		if forged[i] = strings.Replace(forged[i], "user-4", "nobody", 1); strings.Contains(forged[i], `"type":"checkpoint"`) {
			forged[i] = lines[2]
		}
	}
	forged = rechain(forged)
	writeLines(t, path, forged)
	l := open(t, path, Options{})
	behind := readLines(t, path)[len(forged):]
	writeLines(t, path, lines)
	err := l.Start(t.Context(), k)
	behind = append(behind, readLines(t, path)[len(lines):]...)
	writeLines(t, path, append(forged, behind...))
	closeLog(t, l)
	opts := withKey()
	opts.Head = k.head(id)
	r := verify(t, opts, path)
	if !errors.Is(err, ErrHead) {
		t.Errorf("Start: %v; Verify finds %v", err, r.Findings)
	}
}
