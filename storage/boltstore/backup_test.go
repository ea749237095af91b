package boltstore_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/embedvault/vault/storage"
)

func TestBackup(t *testing.T) {
	s := open(t, newPath(t))
	cs := benchTenants(3)
	put := func(i int) {
		if _, err := s.PutObject(t.Context(), benchRecord(cs[i%3], i, []byte("sealed")), storage.PutGuard{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		put(i)
	}
	path := newPath(t)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 100
	w := writerFunc(func(b []byte) (int, error) {
		if roomToGrow { // the store is used meanwhile
			put(n)
		}
		n++
		return f.Write(b)
	})
	if err := s.Backup(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n == 100 {
		t.Fatal("nothing was put during the backup")
	}
	copied := open(t, path)
	page, err := copied.ListObjects(t.Context(), storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, Order: storage.OrderByUpdated, Limit: 1000})
	if err != nil || len(page.Objects) != 100 {
		t.Errorf("the backup has %d objects, %v", len(page.Objects), err)
	}
	if _, err := copied.PutObject(t.Context(), benchRecord(cs[0], 0, nil), storage.PutGuard{}); err != nil {
		t.Error(err)
	}

	failure := errors.New("disk full")
	if err := s.Backup(t.Context(), writerFunc(func([]byte) (int, error) { return 0, failure })); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.Backup(ctx, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil })); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	put(n)
}

// roomToGrow is set where the memory map has room for what is put during a
// backup.
const roomToGrow = strconv.IntSize == 64 && runtime.GOOS != "windows"

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
