package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

const (
	crashWorkers = 6
	crashNames   = 7 // of each worker
	crashKeep    = 3
)

// crashValue is what a version's envelope must be: so half a write, or one
// that was mixed up, shows.
func crashValue(version storage.ID) []byte {
	var b []byte
	n := 1 + int(version[15])*40 // up to three pages
	for i := range n/32 + 1 {
		sum := sha256.Sum256(append(version[:], byte(i), byte(i>>8)))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// childPuts puts from several goroutines until it is killed, and prints each
// version that was acknowledged.
func childPuts(path string) {
	s, err := boltstore.Open(path, boltstore.Options{LockWait: 10 * time.Second})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex // guards out
	cs := benchTenants(crashWorkers)
	for w := range crashWorkers {
		go func() {
			for i := 0; ; i++ {
				r := benchRecord(cs[w], i%crashNames, nil)
				r.Envelope, r.UpdatedAt = crashValue(r.VersionID), time.Now()
				_, err := s.PutObject(context.Background(), r, storage.PutGuard{Keep: crashKeep})
				mu.Lock()
				if err != nil {
					fmt.Fprintln(out, "error:", err)
				} else {
					fmt.Fprintln(out, w, i%crashNames, r.VersionID)
				}
				_ = out.Flush()
				mu.Unlock()
			}
		}()
	}
	time.Sleep(time.Minute) // the parent kills it
}

// TestKilled kills a process that puts, again and again, and looks each time
// whether all that was acknowledged is there, and nothing half-written.
func TestKilled(t *testing.T) {
	t.Parallel()
	rounds := 50
	if testing.Short() {
		rounds = 5
	}
	path := newPath(t)
	acked := map[string]storage.ID{} // by object, the last version
	for round := range rounds {
		child, out := startChild(t, "put", path)
		first, err := out.ReadString('\n')
		if err != nil {
			t.Fatalf("round %d: the child says nothing: %v", round, err)
		}
		time.AfterFunc(time.Duration(rand.IntN(40_000))*time.Microsecond, func() { _ = child.Process.Kill() })
		rest, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // killed: that is an error
		lines := strings.SplitAfter(first+string(rest), "\n")
		for _, line := range lines[:len(lines)-1] { // the last one is cut short
			var w, name int
			var id string
			if _, err := fmt.Sscan(line, &w, &name, &id); err != nil {
				t.Fatalf("round %d: the child says %q", round, line)
			}
			version, err := storage.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			acked[fmt.Sprint(w, "/", name)] = version
		}
		checkAfterCrash(t, path, acked)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d objects", len(acked))
}

func checkAfterCrash(t *testing.T, path string, acked map[string]storage.ID) {
	t.Helper()
	checkPages(t, path)
	s, err := boltstore.Open(path, boltstore.Options{LockWait: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cs := benchTenants(crashWorkers)
	for object, version := range acked {
		var w, name int
		if _, err := fmt.Sscanf(object, "%d/%d", &w, &name); err != nil {
			t.Fatal(err)
		}
		r, err := s.GetObject(t.Context(), storage.ObjectRef{ContextHash: cs[w].hash, Name: benchName(name), Version: version})
		if err != nil || !bytes.Equal(r.Envelope, crashValue(version)) {
			t.Errorf("%s: an acknowledged version is gone or wrong: %v", object, err)
			continue
		}
		// A put may have been committed whose acknowledgement was not printed any
		// more. What is current now is what the next round has to leave in place.
		cur, err := s.GetObject(t.Context(), storage.ObjectRef{ID: r.ID})
		if err != nil || cur.Number > r.Number+1 {
			t.Errorf("%s: version %d is current, %d was acknowledged: %v", object, cur.Number, r.Number, err)
		}
		acked[object] = cur.VersionID
	}
	checkWhole(t, s, len(acked))
}

// checkWhole wants all that finds objects to find the same ones, whole.
func checkWhole(t *testing.T, s *boltstore.Store, atLeast int) {
	t.Helper()
	list := func(order storage.Order) map[storage.ID]storage.ObjectRecord {
		page, err := s.ListObjects(t.Context(), storage.ObjectQuery{Contexts: storage.ContextFilter{All: true}, Order: order, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		all := map[storage.ID]storage.ObjectRecord{}
		for _, r := range page.Objects {
			all[r.ID] = r
		}
		return all
	}
	named, timed := list(storage.OrderByName), list(storage.OrderByUpdated)
	if len(named) < atLeast || len(named) != len(timed) {
		t.Errorf("%d objects by name, %d by time, at least %d were put", len(named), len(timed), atLeast)
	}
	versionsUnder := map[keyctx.KeyID]int64{}
	for id, r := range named {
		if !r.Same(timed[id]) {
			t.Errorf("an object differs by name and by time")
		}
		versions, err := s.ListVersions(t.Context(), storage.VersionQuery{Object: id, WithEnvelope: true})
		if err != nil || len(versions.Objects) == 0 || len(versions.Objects) > crashKeep {
			t.Fatalf("%d versions, %v", len(versions.Objects), err)
		}
		for i, v := range versions.Objects {
			versionsUnder[v.KeyID]++
			if v.Number != r.Number-uint64(i) || !bytes.Equal(v.Envelope, crashValue(v.VersionID)) {
				t.Errorf("version %d of %d is wrong", v.Number, r.Number)
			}
			if _, err := s.GetObject(t.Context(), storage.ObjectRef{ID: id, Version: v.VersionID}); err != nil {
				t.Errorf("version %d of %d: %v", v.Number, r.Number, err)
			}
		}
	}
	for id, want := range versionsUnder {
		if n, err := s.CountByKey(t.Context(), id); n != want || err != nil {
			t.Errorf("%d versions under a key, %d are there, %v", n, want, err)
		}
	}
}

// checkPages has bbolt check the file.
func checkPages(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
