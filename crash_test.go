//go:build !windows

package vault_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
)

// crashDir tells a process that was started from the test binary that it is the
// child of TestCrash, and where to write.
const crashDir = "VAULT_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(rewrapDir); dir != "" {
		if err := rewrapChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(lifeDir); dir != "" {
		if err := lifeChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(moveDir); dir != "" {
		if err := moveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashChild(dir, os.Getenv(crashDir+"_ROUND")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// openCrash opens what the child writes to.
func openCrash(dir string) (*vault.Vault, func() error, error) {
	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root-keyset.json"))
	if err != nil {
		return nil, nil, err
	}
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return nil, nil, err
	}
	v, err := vault.New(vault.Config{KEK: root, Store: store, Cache: vault.CacheConfig{Size: 2}})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return v, func() error { return errors.Join(v.Close(), store.Close()) }, nil
}

var crashContexts = []vault.KeyContext{orgA, orgB, userA}

// crashKey is where an object is: its context's number, and its name, which
// begins with the number of the one writer that writes it.
type crashKey struct {
	context int
	name    string
}

// crashValue is the value that the write with this sequence number puts: up to
// 9 KiB, which say whose they are all along.
func crashValue(seq string) []byte {
	n := 0
	for _, c := range seq {
		n = n*31 + int(c)
	}
	return []byte(strings.Repeat(seq+"|", 1+n%700))
}

const crashWriters = 4

// crashChild puts and deletes until it is killed. Before each write it says what
// it begins, and after it what was done. It says so by one system call, so that
// what was said isn't lost with the process.
func crashChild(dir, round string) error {
	v, _, err := openCrash(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	errs := make(chan error, crashWriters)
	for g := range crashWriters {
		go func() {
			for i := 0; ; i++ {
				if err := crashWrite(ctx, v, g, fmt.Sprint(round, "-", g, "-", i)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

func crashWrite(ctx context.Context, v *vault.Vault, g int, seq string) error {
	key := crashKey{rand.IntN(len(crashContexts)), fmt.Sprint(g, "/", rand.IntN(5))}
	kc := crashContexts[key.context]
	say := func(what, id string) {
		fmt.Fprintf(os.Stdout, "%s %d %d %s %s %s\n", what, g, key.context, key.name, seq, id)
	}
	switch n := rand.IntN(40); n {
	case 0, 1:
		say("begin-delete", "-")
		if err := v.Delete(ctx, kc, key.name); err != nil && !errors.Is(err, vault.ErrNotFound) {
			return err
		}
		say("deleted", "-")
	case 2:
		if err := v.Rotate(ctx, kc); err != nil && !errors.Is(err, vault.ErrKeyNotFound) {
			return err
		}
	default:
		say("begin-put", "-")
		meta, err := v.Put(ctx, kc, key.name, crashValue(seq))
		if err != nil {
			return err
		}
		say("put", meta.VersionID.String())
	}
	return nil
}

// crashWorld is what the parent knows.
type crashWorld struct {
	t    *testing.T
	dir  string
	acks int

	want     map[crashKey]string            // sequence number of the last acknowledged put
	versions map[crashKey]map[string]string // version ID → sequence number, of acknowledged puts since the last delete
	pending  [crashWriters]*crashPending    // begun, not acknowledged
}

type crashPending struct {
	key    crashKey
	seq    string
	delete bool
}

func newCrashWorld(t *testing.T, dir string) *crashWorld {
	return &crashWorld{t: t, dir: dir, want: map[crashKey]string{}, versions: map[crashKey]map[string]string{}}
}

// heard notes what the child said.
func (w *crashWorld) heard(line string) {
	f := strings.Fields(line)
	var g, c int
	if _, err := fmt.Sscan(f[1], &g); err != nil {
		w.t.Fatalf("the child said %q", line)
	}
	if _, err := fmt.Sscan(f[2], &c); err != nil {
		w.t.Fatalf("the child said %q", line)
	}
	key, seq, id := crashKey{c, f[3]}, f[4], f[5]
	switch f[0] {
	case "begin-put", "begin-delete":
		w.pending[g] = &crashPending{key, seq, f[0] == "begin-delete"}
		return
	case "put":
		w.want[key] = seq
		if w.versions[key] == nil {
			w.versions[key] = map[string]string{}
		}
		w.versions[key][id] = seq
		w.acks++
	case "deleted":
		delete(w.want, key)
		delete(w.versions, key)
	}
	w.pending[g] = nil
}

// round starts a child and kills it: at a moment after acks acknowledged puts,
// or, if that is 0, at a moment after its start.
func (w *crashWorld) round(name string, acks int) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+w.dir, crashDir+"_ROUND="+name)
	out, err := child.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	var stderr strings.Builder
	child.Stderr = &stderr
	if err := child.Start(); err != nil {
		w.t.Fatal(err)
	}
	var once sync.Once
	kill := func(within time.Duration) {
		once.Do(func() {
			time.AfterFunc(rand.N(within), func() { _ = child.Process.Kill() })
		})
	}
	if acks == 0 {
		kill(60 * time.Millisecond)
	}
	start := w.acks
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // what has no end wasn't said
			break
		}
		w.heard(line)
		if acks > 0 && w.acks-start >= acks {
			kill(3 * time.Millisecond)
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.t.Fatalf("the child wasn't killed: %v\n%s", err, stderr.String())
	}
}

// verify opens what the child left, as a new process would.
func (w *crashWorld) verify() {
	t := w.t
	v, closeAll, err := openCrash(w.dir)
	if err != nil {
		t.Fatalf("after the crash: %v", err)
	}
	defer func() {
		if err := closeAll(); err != nil {
			t.Fatal(err)
		}
	}()
	for _, p := range w.pending {
		if p != nil {
			w.settle(v, *p)
		}
	}
	w.pending = [crashWriters]*crashPending{}
	for i, kc := range crashContexts {
		var got, want []string
		for m, err := range v.List(t.Context(), kc, vault.ListOptions{Limit: 7}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Name)
		}
		for key, seq := range w.want {
			if key.context == i {
				want = append(want, key.name)
				w.readsBack(v, key, seq)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("context %d lists %q, acknowledged are %q", i, got, want)
		}
	}
}

// settle finds out whether a write that was begun and not acknowledged was done:
// both are right, and nothing in between.
func (w *crashWorld) settle(v *vault.Vault, p crashPending) {
	obj, err := v.Get(w.t.Context(), crashContexts[p.key.context], p.key.name)
	switch {
	case errors.Is(err, vault.ErrNotFound):
		if p.delete || w.want[p.key] == "" {
			delete(w.want, p.key)
			delete(w.versions, p.key)
			return
		}
		w.t.Fatalf("%v, acknowledged as %s, is gone", p.key, w.want[p.key])
	case err != nil:
		w.t.Fatalf("%v: %v", p.key, err)
	case string(obj.Value) == string(crashValue(p.seq)) && !p.delete:
		w.want[p.key] = p.seq
	}
}

// readsBack reads an object, and every version of it that was acknowledged.
func (w *crashWorld) readsBack(v *vault.Vault, key crashKey, seq string) {
	t, kc := w.t, crashContexts[key.context]
	obj, err := v.Get(t.Context(), kc, key.name)
	if err != nil || string(obj.Value) != string(crashValue(seq)) {
		t.Fatalf("%v, acknowledged as %s: %.40q, %v", key, seq, obj.Value, err)
	}
	listed := map[string]bool{}
	number := obj.Number
	for m, err := range v.Versions(t.Context(), kc, key.name) {
		if err != nil || m.Number != number {
			t.Fatalf("%v: version %d where %d should be, %v", key, m.Number, number, err)
		}
		number--
		listed[m.VersionID.String()] = true
		at, err := v.Get(t.Context(), kc, key.name, vault.AtVersion(m.VersionID))
		if err != nil || int64(len(at.Value)) != m.Size {
			t.Fatalf("%v: version %d: %v", key, m.Number, err)
		}
		if seq, ok := w.versions[key][m.VersionID.String()]; ok && string(at.Value) != string(crashValue(seq)) {
			t.Fatalf("%v: version %d: %.40q", key, m.Number, at.Value)
		}
	}
	if number != 0 {
		t.Fatalf("%v: %d versions are missing", key, number)
	}
	for id, seq := range w.versions[key] {
		if !listed[id] {
			t.Fatalf("%v: the version acknowledged as %s is gone", key, seq)
		}
	}
}

// A process is killed at random points during 10,000 puts, in 50 rounds and
// more: every acknowledged write reads back, and nothing half-written shows.
func TestKilledDuringPuts(t *testing.T) {
	w := newCrashWorld(t, t.TempDir())
	rounds := 0
	for ; rounds < 50 || w.acks < 10_000; rounds++ {
		w.round(fmt.Sprint(rounds), 100+rand.IntN(220))
		w.verify()
	}
	t.Logf("%d rounds, %d acknowledged puts, %d objects", rounds, w.acks, len(w.want))
}

// The same from the very first moments on, when the keyset and the database are
// made.
func TestKilledAtTheStart(t *testing.T) {
	for range 5 {
		w := newCrashWorld(t, t.TempDir())
		for i := range 4 {
			w.round(fmt.Sprint("s", i), 0)
			w.verify()
		}
	}
}
