//go:build !windows

package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// lifeDir tells a process that was started from the test binary what to do, and at
// which of its writes to kill itself: "rotate 3 before".
const lifeDir = "VAULT_TEST_LIFE_DIR"

// suicidal kills the process, as kill -9 does, before or after its write number at.
type suicidal struct {
	storage.Store
	at     int64
	before bool
	writes atomic.Int64
}

func (s *suicidal) write(f func() error) error {
	mine := s.writes.Add(1) == s.at
	if mine && s.before {
		die()
	}
	err := f()
	if mine {
		die()
	}
	return err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // it comes in no time
}

func (s *suicidal) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	return s.write(func() error { return s.Store.InsertKey(ctx, rec) })
}

func (s *suicidal) UpdateKey(ctx context.Context, rec storage.KeyRecord) error {
	return s.write(func() error { return s.Store.UpdateKey(ctx, rec) })
}

func (s *suicidal) ReplaceEnvelope(ctx context.Context, object, version storage.ID, oldKey, newKey keyctx.KeyID, envelope []byte) error {
	return s.write(func() error { return s.Store.ReplaceEnvelope(ctx, object, version, oldKey, newKey, envelope) })
}

func (s *suicidal) PutSystem(ctx context.Context, rec storage.SystemRecord) (revision uint64, err error) {
	err = s.write(func() error { revision, err = s.Store.PutSystem(ctx, rec); return err })
	return revision, err
}

func (s *suicidal) DeleteSystem(ctx context.Context, name string, revision uint64) error {
	return s.write(func() error { return s.Store.DeleteSystem(ctx, name, revision) })
}

// openLife opens what a life test works on.
func openLife(dir string, wrap func(storage.Store) storage.Store) (*vault.Vault, func() error, error) {
	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root.json"))
	if err != nil {
		return nil, nil, err
	}
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return nil, nil, err
	}
	v, err := vault.New(vault.Config{
		KEK: root, Store: wrap(store), NoBackground: true,
		Cache: vault.CacheConfig{TTL: time.Microsecond, ActiveKeyTTL: time.Microsecond, StaleIfUnavailable: -1}, // so that keys may be retired at once
	})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return v, func() error { return errors.Join(v.Close(), store.Close()) }, nil
}

// lifeOps is what is done, and killed, and done again.
var lifeOps = map[string]func(ctx context.Context, v *vault.Vault) error{
	"rotate": func(ctx context.Context, v *vault.Vault) error { return v.Rotate(ctx, orgA) },
	"disable": func(ctx context.Context, v *vault.Vault) error {
		return second(v.Disable(ctx, orgA))
	},
	"enable": func(ctx context.Context, v *vault.Vault) error { return second(v.Enable(ctx, orgA)) },
	"shred": func(ctx context.Context, v *vault.Vault) error {
		return second(v.Shred(ctx, orgA, vault.ShredOptions{}))
	},
	"hold": func(ctx context.Context, v *vault.Vault) error {
		return second(v.Shred(ctx, orgA, vault.ShredOptions{After: time.Hour}))
	},
	"cancel": func(ctx context.Context, v *vault.Vault) error {
		pending, err := v.PendingShreds(ctx)
		if err != nil || len(pending) == 0 {
			return err
		}
		return v.CancelShred(ctx, pending[0].ID)
	},
	"reencrypt": func(ctx context.Context, v *vault.Vault) error {
		return second(v.ReencryptObjects(ctx, vault.ReencryptOptions{Match: orgA, OldVersions: true, Job: "crash"}))
	},
	"retire": func(ctx context.Context, v *vault.Vault) error {
		return second(v.RetireKeys(ctx, vault.RetireOptions{Match: orgA, ElsewhereReencrypted: true, OlderThan: time.Millisecond}))
	},
}

func lifeChild(dir string) error {
	words := strings.Fields(os.Getenv(lifeDir + "_DO"))
	at, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return err
	}
	v, closeAll, err := openLife(dir, func(s storage.Store) storage.Store {
		return &suicidal{Store: s, at: at, before: words[2] == "before"}
	})
	if err != nil {
		return err
	}
	return errors.Join(lifeOps[words[0]](context.Background(), v), closeAll())
}

// lifeWorld is a store on disk with two versions of each key and data under the first.
type lifeWorld struct {
	dir    string
	sealed map[string][]byte
}

var lifeContexts = map[string]vault.KeyContext{"org A": orgA, "user A": userA, "org B": orgB}

func newLifeWorld(t *testing.T) *lifeWorld {
	w := &lifeWorld{dir: t.TempDir(), sealed: map[string][]byte{}}
	w.with(t, func(v *vault.Vault) {
		for name, kc := range lifeContexts {
			w.sealed[name] = must(v.Encrypt(t.Context(), kc, []byte(name), nil))(t)
			must(v.Put(t.Context(), kc, "o", []byte("old")))(t)
			must(v.Put(t.Context(), kc, "o", []byte("new")))(t)
			ok(t, v.Rotate(t.Context(), kc))
			must(v.Put(t.Context(), kc, "p", []byte("p")))(t)
		}
	})
	return w
}

// with opens the store for f.
func (w *lifeWorld) with(t *testing.T, f func(v *vault.Vault)) {
	t.Helper()
	v, closeAll, err := openLife(w.dir, func(s storage.Store) storage.Store { return s })
	ok(t, err)
	f(v)
	ok(t, closeAll())
}

// copied is the same world in another place.
func (w *lifeWorld) copied(t *testing.T) *lifeWorld {
	c := &lifeWorld{dir: t.TempDir(), sealed: w.sealed}
	for _, name := range []string{"root.json", "vault.db"} {
		ok(t, os.WriteFile(filepath.Join(c.dir, name), must(os.ReadFile(filepath.Join(w.dir, name)))(t), 0o600))
	}
	return c
}

// reads tries to read everything of a context, and returns the first error.
func (w *lifeWorld) reads(t *testing.T, v *vault.Vault, name string, messages bool) error {
	kc := lifeContexts[name]
	if messages {
		if got, err := v.Decrypt(t.Context(), kc, w.sealed[name], nil); err != nil || string(got) != name {
			return fmt.Errorf("message: %q, %w", got, err)
		}
	}
	for object, values := range map[string][]string{"o": {"new", "old"}, "p": {"p"}} {
		i := 0
		for m, err := range v.Versions(t.Context(), kc, object) {
			ok(t, err)
			obj, err := v.Get(t.Context(), kc, object, vault.AtVersion(m.VersionID))
			if err != nil {
				return fmt.Errorf("version %d of %s: %w", m.Number, object, err)
			}
			if string(obj.Value) != values[i] {
				t.Fatalf("version %d of %s is %q", m.Number, object, obj.Value)
			}
			i++
		}
		if i != len(values) {
			t.Fatalf("%d versions of %s", i, object)
		}
	}
	return nil
}

// readable fails unless everything of these contexts can be read.
func (w *lifeWorld) readable(t *testing.T, v *vault.Vault, messages bool, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := w.reads(t, v, name, messages); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// killedAt runs an operation in a process that kills itself; false if it ended first.
func (w *lifeWorld) killedAt(t *testing.T, op string, at int, when string) bool {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), lifeDir+"="+w.dir, lifeDir+"_DO="+fmt.Sprintf("%s %d %s", op, at, when))
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	err := child.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return true
	}
	t.Fatalf("the child wasn't killed: %v\n%s", err, out.String())
	return false
}

// everyStep kills an operation before and after each of its writes; check looks at
// what is left, and goes on from there.
func everyStep(t *testing.T, world *lifeWorld, op string, check func(t *testing.T, w *lifeWorld, v *vault.Vault)) {
	for _, when := range []string{"before", "after"} {
		for at := 1; ; at++ {
			w := world.copied(t)
			killed := w.killedAt(t, op, at, when)
			w.with(t, func(v *vault.Vault) { check(t, w, v) })
			if t.Failed() {
				t.Fatalf("killed %s write %d", when, at)
			}
			if !killed {
				if at < 3 {
					t.Errorf("it was killed %d times only", at-1)
				}
				break
			}
		}
	}
}

func TestKilledDuringRotate(t *testing.T) {
	everyStep(t, newLifeWorld(t), "rotate", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org A", "user A", "org B")
		ok(t, v.Rotate(t.Context(), orgA))
		w.readable(t, v, true, "org A", "user A", "org B")
		active := 0
		for _, k := range inventory(t, v, vault.KeyFilter{Match: orgA}) {
			if len(k.Context) == 1 && k.Active {
				active++
			}
		}
		if active != 1 {
			t.Errorf("%d active keys", active)
		}
	})
}

func TestKilledDuringDisable(t *testing.T) {
	world := newLifeWorld(t)
	everyStep(t, world, "disable", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org B")
		ok(t, second(v.Disable(t.Context(), orgA)))
		for _, name := range []string{"org A", "user A"} {
			wantErr(t, w.reads(t, v, name, true), vault.ErrKeyDisabled)
		}
		ok(t, second(v.Enable(t.Context(), orgA)))
		w.readable(t, v, true, "org A", "user A", "org B")
	})
	world.with(t, func(v *vault.Vault) { ok(t, second(v.Disable(t.Context(), orgA))) })
	everyStep(t, world, "enable", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org B")
		ok(t, second(v.Enable(t.Context(), orgA)))
		w.readable(t, v, true, "org A", "user A", "org B")
	})
}

// Whoever comes by finishes what was begun; what was not begun is done when it is asked
// for again.
func TestKilledDuringShred(t *testing.T) {
	everyStep(t, newLifeWorld(t), "shred", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org B")
		must(v.RunShreds(t.Context()))(t)
		var receipts []vault.ShredReceipt
		for r, err := range v.ShredReceipts(t.Context()) {
			ok(t, err)
			receipts = append(receipts, r)
		}
		if len(receipts) == 0 {
			w.readable(t, v, true, "org A", "user A") // not begun
			receipts = append(receipts, must(v.Shred(t.Context(), orgA, vault.ShredOptions{}))(t))
		}
		if len(receipts) != 1 || receipts[0].Keys != 4 {
			t.Fatalf("receipts %+v", receipts)
		}
		ok(t, v.VerifyShred(t.Context(), receipts[0]))
		for _, name := range []string{"org A", "user A"} {
			wantErr(t, w.reads(t, v, name, true), vault.ErrKeyShredded)
			wantErr(t, w.reads(t, v, name, false), vault.ErrKeyShredded)
		}
		w.readable(t, v, true, "org B")
		if left := must(v.PendingShreds(t.Context()))(t); len(left) > 0 {
			t.Errorf("pending: %+v", left)
		}
	})
}

func TestKilledDuringWaitingPeriod(t *testing.T) {
	world := newLifeWorld(t)
	everyStep(t, world, "hold", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org B")
		must(v.RunShreds(t.Context()))(t)
		if len(must(v.PendingShreds(t.Context()))(t)) == 0 {
			w.readable(t, v, true, "org A", "user A")
			must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour}))(t)
		}
		for _, name := range []string{"org A", "user A"} {
			wantErr(t, w.reads(t, v, name, true), vault.ErrKeyDisabled)
		}
		ok(t, lifeOps["cancel"](t.Context(), v))
		w.readable(t, v, true, "org A", "user A", "org B")
	})
	world.with(t, func(v *vault.Vault) { ok(t, lifeOps["hold"](t.Context(), v)) })
	everyStep(t, world, "cancel", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org B")
		must(v.RunShreds(t.Context()))(t) // finishes what was cancelled, and shreds nothing
		ok(t, lifeOps["cancel"](t.Context(), v))
		w.readable(t, v, true, "org A", "user A", "org B")
	})
}

func TestKilledDuringReencryptAndRetire(t *testing.T) {
	world := newLifeWorld(t)
	everyStep(t, world, "reencrypt", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org A", "user A", "org B")
		ok(t, lifeOps["reencrypt"](t.Context(), v))
		w.readable(t, v, true, "org A", "user A", "org B")
		for _, k := range inventory(t, v, vault.KeyFilter{Match: orgA, State: vault.StateDecryptOnly, Objects: true}) {
			if k.Objects > 0 {
				t.Errorf("%d versions are under version %d", k.Objects, k.Version)
			}
		}
	})
	world.with(t, func(v *vault.Vault) { ok(t, lifeOps["reencrypt"](t.Context(), v)) })
	everyStep(t, world, "retire", func(t *testing.T, w *lifeWorld, v *vault.Vault) {
		w.readable(t, v, true, "org B")
		w.readable(t, v, false, "org A", "user A")
		ok(t, lifeOps["retire"](t.Context(), v))
		w.readable(t, v, false, "org A", "user A", "org B")
		for _, name := range []string{"org A", "user A"} {
			wantErr(t, w.reads(t, v, name, true), vault.ErrKeyShredded)
		}
		for _, k := range inventory(t, v, vault.KeyFilter{Match: orgA, State: vault.StateDecryptOnly}) {
			t.Errorf("version %d is left", k.Version)
		}
	})
}
