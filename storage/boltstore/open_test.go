package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// startChild starts this test binary as another process and returns its output.
func startChild(t *testing.T, what, path string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+what, pathEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewReader(out)
}

// wantOpenError wants Open to fail with want, and to name the path.
func wantOpenError(t *testing.T, path string, want error, opts ...boltstore.Options) {
	t.Helper()
	s, err := boltstore.Open(path, opts...)
	if err == nil {
		_ = s.Close()
		t.Fatalf("it opened, want %v", want)
	}
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if !strings.Contains(err.Error(), path) {
		t.Errorf("the error doesn't name the path: %v", err)
	}
}

func TestAnotherProcessHasIt(t *testing.T) {
	path := newPath(t)
	child, out := startChild(t, "hold", path)
	if line, err := out.ReadString('\n'); line != "open\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	for _, o := range []boltstore.Options{{LockWait: -1}, {LockWait: 50 * time.Millisecond}, {LockWait: -1, ReadOnly: true}} {
		start := time.Now()
		wantOpenError(t, path, boltstore.ErrLocked, o)
		wantOpenError(t, path, storage.ErrUnavailable, o)
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("it took %v to say so", d)
		}
	}
	// Whoever waits gets it when the other one lets go, however it does.
	time.AfterFunc(100*time.Millisecond, func() { _ = child.Process.Kill() })
	s := open(t, path, boltstore.Options{LockWait: 30 * time.Second})
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	wantOpenError(t, path, boltstore.ErrLocked, boltstore.Options{LockWait: -1}) // by this process itself
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	wantOpenError(t, filepath.Join(dir, "no", "such", "dir.db"), fs.ErrNotExist)
	wantOpenError(t, filepath.Join(dir, "absent.db"), fs.ErrNotExist, boltstore.Options{ReadOnly: true})
	if _, err := boltstore.Open(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := boltstore.Open(filepath.Join(dir, "a.db"), boltstore.Options{}, boltstore.Options{}); err == nil {
		t.Error("two Options were taken")
	}
	for name, content := range map[string][]byte{
		"one byte":  {0},
		"text":      []byte("not a database\n"),
		"long text": bytes.Repeat([]byte("not a database\n"), 10_000),
		"zeros":     make([]byte, 1<<16),
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		wantOpenError(t, path, storage.ErrCorrupt)
		if left, err := os.ReadFile(path); err != nil || !bytes.Equal(left, content) {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
	}
}

func TestEmptyFileIsNew(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// editRaw changes the file with bbolt alone.
func editRaw(t *testing.T, path string, edit func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(edit); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestForeignDatabase(t *testing.T) {
	path := newPath(t)
	editRaw(t, path, func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("somebody else's")); return err })
	wantOpenError(t, path, boltstore.ErrForeign)
	editRaw(t, path, func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("vault")) != nil || tx.Bucket([]byte("somebody else's")) == nil {
			t.Error("the database was changed")
		}
		_, err := tx.CreateBucket([]byte("vault")) // and one with a bucket of that name
		return err
	})
	wantOpenError(t, path, boltstore.ErrForeign)

	empty := newPath(t)
	editRaw(t, empty, func(*bbolt.Tx) error { return nil })
	wantOpenError(t, empty, boltstore.ErrForeign, boltstore.Options{ReadOnly: true})
	open(t, empty)
}

func TestSchema(t *testing.T) {
	path := newPath(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[uint32]error{2: boltstore.ErrNewerSchema, 1 << 31: boltstore.ErrNewerSchema, 0: storage.ErrCorrupt} {
		editRaw(t, path, func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("vault")).Put([]byte("schema"), binary.BigEndian.AppendUint32(nil, version))
		})
		wantOpenError(t, path, want)
		wantOpenError(t, path, want, boltstore.Options{ReadOnly: true})
	}
	editRaw(t, path, func(tx *bbolt.Tx) error {
		if err := tx.Bucket([]byte("vault")).Put([]byte("schema"), []byte{0, 0, 0, 1}); err != nil {
			return err
		}
		return tx.DeleteBucket([]byte("history"))
	})
	wantOpenError(t, path, storage.ErrCorrupt)
}

func TestReadOnly(t *testing.T) {
	path := newPath(t)
	c := benchTenants(1)[0]
	s := open(t, path)
	put, err := s.PutObject(t.Context(), benchRecord(c, 1, []byte("sealed")), storage.PutGuard{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := open(t, path, boltstore.Options{ReadOnly: true}), open(t, path, boltstore.Options{ReadOnly: true})
	for _, s := range []*boltstore.Store{a, b} {
		for _, ref := range []storage.ObjectRef{{ContextHash: c.hash, Name: put.Name}, {ID: put.ID}} {
			if got, err := s.GetObject(t.Context(), ref); err != nil || got.VersionID != put.VersionID {
				t.Errorf("got %v, %v", got, err)
			}
		}
		if _, err := s.PutObject(t.Context(), benchRecord(c, 2, nil), storage.PutGuard{}); !errors.Is(err, boltstore.ErrReadOnly) {
			t.Errorf("put: %v", err)
		}
	}
	wantOpenError(t, path, boltstore.ErrLocked, boltstore.Options{LockWait: -1})
}

func TestClosed(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	c := benchTenants(1)[0]
	// Close while others are at work: each gets its answer or ErrClosed.
	errs := make(chan error)
	for i := range 16 {
		go func() {
			for {
				_, err := s.PutObject(context.Background(), benchRecord(c, i, nil), storage.PutGuard{})
				if err == nil {
					_, err = s.GetObject(context.Background(), storage.ObjectRef{ContextHash: c.hash, Name: benchName(i)})
				}
				if err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	time.Sleep(30 * time.Millisecond)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 16 {
		if err := <-errs; !errors.Is(err, storage.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	for name, err := range map[string]error{
		"ping":   s.Ping(t.Context()),
		"system": s.DeleteSystem(t.Context(), "x", 1),
		"backup": s.Backup(t.Context(), &bytes.Buffer{}),
	} {
		if !errors.Is(err, storage.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}}); !errors.Is(err, storage.ErrClosed) {
		t.Error(err)
	}
	open(t, path) // the lock is free
}
