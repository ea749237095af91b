package manytest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage"
)

var manyContexts = flag.Int("many.contexts", 400, "how many key contexts TestManyContexts makes keys for")

// madeContexts is what a process says of its contexts.
type madeContexts struct{ Wraps, Unwraps uint64 }

// makeContexts makes the keys of an eighth of the contexts, and then of the next
// process's eighth, whose keys are being made or are there.
func (j job) makeContexts(store storage.Store, in io.Reader, out io.Writer) error {
	key, err := tinkkek.LoadOrCreate(filepath.Join(j.Dir, "keyset.json"))
	if err != nil {
		return err
	}
	v, err := vault.New(vault.Config{KEK: key, Store: store, Namespace: namespace})
	if err != nil {
		return err
	}
	defer func() { _ = v.Close() }()
	if _, err := in.Read(make([]byte, 1)); err != nil { // all at once
		return err
	}
	for _, part := range []int{j.Slot, (j.Slot + 1) % processes} {
		var kcs []vault.KeyContext
		for i := part * j.Contexts / processes; i < (part+1)*j.Contexts/processes; i++ {
			kcs = append(kcs, vault.KeyContext{"organization_id": fmt.Sprintf("many_%06d", i)})
		}
		if err := v.Prepare(context.Background(), kcs...); err != nil {
			return err
		}
	}
	var made madeContexts
	for _, k := range v.Stats().KEKs {
		made.Wraps += k.Wraps
		made.Unwraps += k.Unwraps
	}
	return json.NewEncoder(out).Encode(made)
}

// TestManyContexts has processes make the keys of very many contexts at the same
// time, each context wanted by two of them. Each gets one key, and the KMS is
// asked no more often than for the keys and the loads. With -v it says how long it
// took.
func TestManyContexts(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		n := *manyContexts
		db, dir := e.database(t), t.TempDir()
		if _, err := tinkkek.LoadOrCreate(filepath.Join(dir, "keyset.json")); err != nil {
			t.Fatal(err)
		}
		store, closeStore, err := e.open(db.target) // makes the tables
		must(t, err)
		defer func() { must(t, closeStore()) }()
		var running [processes]*exec.Cmd
		var begin [processes]io.WriteCloser
		var said, failed [processes]bytes.Buffer
		for i := range running {
			j, err := json.Marshal(job{Engine: e.name, Target: db.target, Dir: dir, Slot: i, Contexts: n})
			must(t, err)
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env = append(os.Environ(), childEnv+"="+string(j))
			c.Stdout, c.Stderr = &said[i], &failed[i]
			begin[i], err = c.StdinPipe()
			must(t, err)
			must(t, c.Start())
			running[i] = c
		}
		start := time.Now()
		for _, w := range begin {
			_, err := w.Write([]byte("\n"))
			must(t, err)
		}
		var sum madeContexts
		for i, c := range running {
			if err := c.Wait(); err != nil {
				t.Fatalf("process %d: %v: %s", i, err, failed[i].Bytes())
			}
			var made madeContexts
			must(t, json.Unmarshal(said[i].Bytes(), &made))
			sum.Wraps += made.Wraps
			sum.Unwraps += made.Unwraps
		}
		took := time.Since(start)
		t.Logf("%s: %d contexts in %v: %.0f keys a second; %d wraps, %d unwraps", e.name, n, took, float64(n)/took.Seconds(), sum.Wraps, sum.Unwraps)
		// A wrap and its check for each key made, one unwrap for each key that
		// another had made.
		if sum.Wraps < uint64(n) || sum.Wraps > 2*uint64(n) || sum.Unwraps > 3*uint64(n)+sum.Wraps {
			t.Errorf("%d wraps and %d unwraps for %d contexts", sum.Wraps, sum.Unwraps, n)
		}
		keysOfEach(t, store, n)
	})
}

// keysOfEach finds that there are n contexts with one key each.
func keysOfEach(t *testing.T, store storage.Store, n int) {
	t.Helper()
	found := 0
	q := storage.KeyQuery{Contexts: storage.ContextFilter{All: true, Namespace: namespace}, Limit: 1000}
	for {
		page, err := store.ListKeys(t.Context(), q)
		must(t, err)
		for _, k := range page.Keys {
			if found++; k.Version != 1 {
				t.Errorf("context %s has version %d of its key", k.ContextHash, k.Version)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if found != n {
		t.Errorf("%d keys, want %d", found, n)
	}
}
