package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
)

var testKey = vault.NewAuditKey(vault.KeyID{1, 2, 3}, [32]byte{4, 5, 6})

// keeper is a vault as a log sees it.
type keeper struct {
	mu    sync.Mutex
	key   *vault.AuditKey
	heads map[vault.ID]vault.AuditHead
	err   error
	kept  int
}

func newKeeper() *keeper { return &keeper{key: testKey, heads: map[vault.ID]vault.AuditHead{}} }

func (k *keeper) AuditKey(context.Context) (*vault.AuditKey, error) { return k.key, nil }

func (k *keeper) AuditHead(_ context.Context, log vault.ID) (vault.AuditHead, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.heads[log]
	if !ok {
		return h, vault.ErrNotFound
	}
	return h, nil
}

func (k *keeper) KeepAuditHead(_ context.Context, h vault.AuditHead) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	if now, ok := k.heads[h.Log]; ok && (now.Seq > h.Seq || now.Seq == h.Seq && now.Hash != h.Hash) {
		return vault.ErrVersionConflict
	}
	k.heads[h.Log] = h
	k.kept++
	return nil
}

func (k *keeper) head(log vault.ID) *vault.AuditHead {
	k.mu.Lock()
	defer k.mu.Unlock()
	h, ok := k.heads[log]
	if !ok {
		return nil
	}
	return &h
}

func (k *keeper) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func open(t testing.TB, path string, opts Options) *Log {
	t.Helper()
	l, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func start(t testing.TB, l *Log, k Keeper) {
	t.Helper()
	if err := l.Start(t.Context(), k); err != nil {
		t.Fatal(err)
	}
}

// event is the i-th event of a test.
func event(i int) vault.Event {
	e := vault.Event{
		Name: vault.DataRead, Time: time.Date(2026, 11, 25, 10, 0, i%60, 1000*i, time.UTC), Actor: fmt.Sprintf("user-%d", i),
		Reason: "ticket", ContextHash: vault.ContextHash{byte(i), 9}, KeyID: vault.KeyID{7}, Object: "stripe/api-key",
		Duration: time.Millisecond,
	}
	if i%5 == 4 {
		e.Err = fmt.Errorf("vault: get: %w", vault.ErrDecrypt)
	}
	return e
}

func write(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.OnEvent(t.Context(), event(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// whole writes a log of n events that was started and closed, and returns its lines.
func whole(t testing.TB, k *keeper, n int, opts Options) (path string, lines []string, id vault.ID) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, opts)
	start(t, l, k)
	write(t, l, 0, n)
	closeLog(t, l)
	return path, readLines(t, path), l.ID()
}

func readLines(t testing.TB, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(b)))
}

func writeLines(t testing.TB, path string, lines []string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func verify(t testing.TB, opts VerifyOptions, paths ...string) Report {
	t.Helper()
	r, err := VerifyFiles(t.Context(), paths, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func verifyText(t testing.TB, text string, opts VerifyOptions) Report {
	t.Helper()
	r, err := Verify(t.Context(), []Source{{"log", strings.NewReader(text)}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func withKey() VerifyOptions { return VerifyOptions{Keys: []*vault.AuditKey{testKey}} }

// found writes findings as kind@line.
func found(list []Finding) string {
	var b []string
	for _, f := range list {
		b = append(b, fmt.Sprintf("%s@%d", f.Kind, f.Line))
	}
	return strings.Join(b, " ")
}

func noFindings(t testing.TB, r Report) {
	t.Helper()
	for _, f := range r.Findings {
		t.Error(f)
	}
}

// faulty is a file with faults.
type faulty struct {
	file
	mu       sync.Mutex
	room     int           // bytes until the disk is full; negative: no end
	writeErr error         // of every write, which writes nothing
	syncErr  error         // of every sync
	hang     chan struct{} // if set, writes wait for it
	stalled  chan struct{} // has room for one: a write waits
	syncs    int
	cutErr   error
}

var errFull = errors.New("no space left on device")

func (f *faulty) Write(b []byte) (int, error) {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		select {
		case f.stalled <- struct{}{}:
		default:
		}
		<-hang
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writeErr != nil {
		return 0, f.writeErr
	}
	if f.room >= 0 && len(b) > f.room {
		n, err := f.file.Write(b[:f.room])
		f.room -= n
		return n, errors.Join(errFull, err)
	}
	if f.room >= 0 {
		f.room -= len(b)
	}
	return f.file.Write(b)
}

func (f *faulty) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs++
	if f.syncErr != nil {
		return f.syncErr
	}
	return f.file.Sync()
}

func (f *faulty) Truncate(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cutErr != nil {
		return f.cutErr
	}
	return f.file.Truncate(n)
}

func (f *faulty) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// stall lets writes hang until release is called.
func (f *faulty) stall() (release func()) {
	gate := make(chan struct{})
	f.set(func() { f.hang = gate })
	return func() {
		f.set(func() { f.hang = nil })
		close(gate)
	}
}

// spoil puts a faulty file under a log.
func spoil(t testing.TB, l *Log) *faulty {
	t.Helper()
	f := &faulty{room: -1, stalled: make(chan struct{}, 1)}
	if err := l.do(func() error { f.file, l.w.f = l.w.f, f; return nil }); err != nil {
		t.Fatal(err)
	}
	return f
}
