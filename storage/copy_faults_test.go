package storage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
	"github.com/embedvault/vault/storage/memstore"
)

var errFault = errors.New("the cable was pulled")

// failAt has a store fail at its n-th call, and all that follow.
func failAt(s *memstore.Store, n int64) {
	var calls atomic.Int64
	s.SetFault(func(string) error {
		if calls.Add(1) >= n {
			return fmt.Errorf("%w: %w", storage.ErrUnavailable, errFault)
		}
		return nil
	})
}

// wantKeysFirst wants all data to have its key, and all keys their parents.
func wantKeysFirst(t *testing.T, s storage.Store) {
	t.Helper()
	page, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: allOf, IncludeExpired: true, Limit: 1000})
	must(t, err)
	for _, o := range page.Objects {
		if _, err := s.GetKey(t.Context(), o.KeyID); err != nil {
			t.Errorf("an object without its key: %v", err)
		}
	}
	keys, err := s.ListKeys(t.Context(), storage.KeyQuery{Contexts: allOf, Limit: 1000})
	must(t, err)
	for _, k := range keys.Keys {
		if k.ParentID.IsZero() {
			continue
		}
		if _, err := s.GetKey(t.Context(), k.ParentID); err != nil {
			t.Errorf("a key without the one that wraps it: %v", err)
		}
	}
}

// TestCopyFaults has each call to each store fail in turn, and copies again.
func TestCopyFaults(t *testing.T) {
	src := newMem(t, 3, 4)
	for _, workers := range []int{1, 4} {
		o := storage.CopyOptions{Workers: workers}
		for _, which := range []string{"dst", "src"} {
			for n := int64(1); ; n++ {
				dst := memstore.New()
				faulty := dst
				if which == "src" {
					faulty = src
				}
				failAt(faulty, n)
				r, err := storage.Copy(t.Context(), dst, src, o)
				faulty.SetFault(nil)
				if err == nil {
					if n < 30 {
						t.Errorf("%s: only %d calls", which, n)
					}
					break
				}
				if !errors.Is(err, errFault) || !errors.Is(err, storage.ErrUnavailable) {
					t.Fatalf("%s, call %d: got %v", which, n, err)
				}
				wantKeysFirst(t, dst)
				again, err := storage.Copy(t.Context(), dst, src, o)
				if err != nil {
					t.Fatalf("%s, call %d: the second copy: %v", which, n, err)
				}
				// One write may have been done without its having been read back.
				if lost := again.Versions - r.VersionsCopied - again.VersionsCopied; lost < 0 || lost > int64(workers) {
					t.Errorf("%s, call %d: copied %d and %d of %d versions", which, n, r.VersionsCopied, again.VersionsCopied, again.Versions)
				}
				wantCopy(t, dst, src)
			}
		}
	}
}

// forgetful does what it is told and says that it failed.
type forgetful struct {
	storage.Store
	calls atomic.Int64
	at    int64
}

func (s *forgetful) lose(err error) error {
	if s.calls.Add(1) == s.at && err == nil {
		return storage.ErrUnavailable
	}
	return err
}

func (s *forgetful) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	return s.lose(s.Store.InsertKey(ctx, rec))
}

func (s *forgetful) ImportVersion(ctx context.Context, rec storage.ObjectRecord) error {
	return s.lose(s.Store.ImportVersion(ctx, rec))
}

// TestCopyUnknownOutcome has each write be done and said to have failed.
func TestCopyUnknownOutcome(t *testing.T) {
	src := newMem(t, 2, 2)
	for n := int64(1); ; n++ {
		dst := &forgetful{Store: memstore.New(), at: n}
		_, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{Workers: 1})
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("write %d: got %v", n, err)
		}
		_, err = storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
		must(t, err)
		wantCopy(t, dst, src)
	}
}

// corrupting changes what is written.
type corrupting struct {
	storage.Store
	key, version bool
}

func (s *corrupting) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	if s.key && rec.State == storage.StateActive {
		rec = rec.Clone()
		rec.Wrappings[0].Wrapped[0] ^= 1
	}
	return s.Store.InsertKey(ctx, rec)
}

func (s *corrupting) ImportVersion(ctx context.Context, rec storage.ObjectRecord) error {
	if s.version {
		rec = rec.Clone()
		rec.Envelope[len(rec.Envelope)-1] ^= 1
	}
	return s.Store.ImportVersion(ctx, rec)
}

// TestCopyReadsBack copies into stores that lose a bit on the way.
func TestCopyReadsBack(t *testing.T) {
	src := newMem(t, 2, 2)
	for _, dst := range []*corrupting{{Store: memstore.New(), key: true}, {Store: memstore.New(), version: true}} {
		r, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{Workers: 1})
		if !errors.Is(err, storage.ErrCopyDiffers) || dst.version && r.VersionsCopied > 0 || dst.key && r.VersionsCopied+r.Keys > r.Keys {
			t.Errorf("copied %+v, %v", r, err)
		}
	}
}

func TestCopyCancelled(t *testing.T) {
	src, dst := newMem(t, 3, 4), memstore.New()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := storage.Copy(ctx, dst, src, storage.CopyOptions{Progress: func(storage.CopyReport) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_, err = storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	must(t, err)
	wantCopy(t, dst, src)
}

// The test binary runs itself as the process that copies: from and to which
// file is in the environment.
const copyEnv = "STORAGE_TEST_COPY"

func TestMain(m *testing.M) {
	if paths := os.Getenv(copyEnv); paths != "" {
		src, dst, _ := strings.Cut(paths, "|")
		if err := childCopies(src, dst); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func childCopies(srcPath, dstPath string) error {
	src, err := boltstore.Open(srcPath, boltstore.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := boltstore.Open(dstPath, boltstore.Options{LockWait: 10 * time.Second})
	if err != nil {
		return err
	}
	defer dst.Close()
	fmt.Println("begins")
	_, err = storage.Copy(context.Background(), dst, src, storage.CopyOptions{Workers: 4})
	if err == nil {
		fmt.Println("done")
	}
	return err
}

// TestCopyKilled kills the process that copies, again and again, until it gets
// to the end.
func TestCopyKilled(t *testing.T) {
	dir := t.TempDir()
	srcPath, dstPath := filepath.Join(dir, "src.db"), filepath.Join(dir, "dst.db")
	src := bolt(t, srcPath)
	_, err := storage.Copy(t.Context(), src, newMem(t, 4, 25), storage.CopyOptions{Workers: 64})
	must(t, err)
	want := dump(t, src, allOf)
	must(t, src.Close())
	kills := 0
	for done := false; !done; {
		if kills > 500 {
			t.Fatal("it doesn't get to the end")
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), copyEnv+"="+srcPath+"|"+dstPath)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			switch line := lines.Text(); {
			case line == "begins":
				// Each one is given more time, so that there is an end.
				wait := time.Duration(rand.IntN(5+3*kills)) * time.Millisecond
				time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
			case line == "done":
				done = true
			default:
				t.Fatal(line)
			}
		}
		_ = cmd.Wait() // killed: that is an error
		kills++
		dst := bolt(t, dstPath)
		wantKeysFirst(t, dst)
		must(t, dst.Close())
	}
	t.Logf("killed %d times", kills-1)
	if kills < 3 {
		t.Error("it was never killed in the middle")
	}
	dst := bolt(t, dstPath)
	if got := dump(t, dst, allOf); len(got) != len(want) {
		t.Errorf("the copy has %d records, the source %d", len(got), len(want))
	}
	wantCopy(t, dst, bolt(t, srcPath))
}

// TestCopyNewKeyMeanwhile has a key and an object made between the copy of the
// keys and that of the objects.
func TestCopyNewKeyMeanwhile(t *testing.T) {
	src, dst := newMem(t, 2, 2), memstore.New()
	added := false
	src.SetFault(func(op string) error {
		if op == "ListObjects" && !added {
			added = true
			insertKey(t, src, "app", 77, keyctx.PurposeData, 1)
			putVersion(t, src, "app", 77, "late", 0)
		}
		return nil
	})
	_, err := storage.Copy(t.Context(), dst, src, storage.CopyOptions{})
	must(t, err)
	wantKeysFirst(t, dst)
	wantCopy(t, dst, src)
}
