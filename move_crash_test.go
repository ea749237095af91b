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
	"syscall"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/boltstore"
)

// moveDir tells a process that was started from the test binary to move keys, and at
// which of its writes to kill itself: "in together 3 before".
const moveDir = "VAULT_TEST_MOVE_DIR"

// suicidalBatches is suicidal, with batches of keys: in the middle of one it has
// written the half of it.
type suicidalBatches struct {
	*suicidal
	half bool
}

func (s *suicidalBatches) UpdateKeys(ctx context.Context, recs []storage.KeyRecord) (results []error) {
	batches := s.Store.(storage.KeyBatchUpdater)
	if s.half && s.writes.Load()+1 == s.at {
		batches.UpdateKeys(ctx, recs[:(len(recs)+1)/2])
		die()
	}
	_ = s.write(func() error { results = batches.UpdateKeys(ctx, recs); return nil })
	return results
}

// moveContexts are users of two organisations, whose keys are moved, and the
// organisations, whose keys stay.
func moveContexts() map[string]vault.KeyContext {
	kcs := map[string]vault.KeyContext{"A": orgA, "B": orgB}
	for i := range 6 {
		kcs[fmt.Sprint("A", i)] = userOf(orgA, i)
		kcs[fmt.Sprint("B", i)] = userOf(orgB, i)
	}
	return kcs
}

// openMove opens what a move test works on: "out" has users' keys under the KEK, "in"
// under their organisations'; "strictly" does without what was before.
func openMove(dir, to string, strictly bool, wrap func(storage.Store) storage.Store) (*vault.Vault, func() error, error) {
	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root.json"))
	if err != nil {
		return nil, nil, err
	}
	under, err := kek.Under(kek.Fixed(root), "organization_id")
	if err != nil {
		return nil, nil, err
	}
	policy := map[string]kek.Policy{"in": under.MovingIn(), "out": under.MovingOut()}[to]
	if strictly {
		policy = map[string]kek.Policy{"in": under, "out": kek.Fixed(root)}[to]
	}
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return nil, nil, err
	}
	v, err := vault.New(vault.Config{Policy: policy, Store: wrap(store), NoBackground: true})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return v, func() error { return errors.Join(v.Close(), store.Close()) }, nil
}

func moveChild(dir string) error {
	words := strings.Fields(os.Getenv(moveDir + "_DO"))
	at, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return err
	}
	v, closeAll, err := openMove(dir, words[0], false, func(s storage.Store) storage.Store {
		one := &suicidal{Store: s, at: at, before: words[3] == "before"}
		if words[1] == "singly" {
			return one
		}
		return &suicidalBatches{one, words[3] == "half"}
	})
	if err != nil {
		return err
	}
	_, err = v.Rewrap(context.Background(), vault.RewrapOptions{All: true, Job: "move"})
	return errors.Join(err, closeAll())
}

// moveWorld is a store on disk, and a message of each context.
type moveWorld struct {
	dir    string
	sealed map[string][]byte
}

// newMoveWorld makes a world with all users' keys where to is not.
func newMoveWorld(t *testing.T, to string) *moveWorld {
	w := &moveWorld{dir: t.TempDir(), sealed: map[string][]byte{}}
	from := map[string]string{"in": "out", "out": "in"}[to]
	w.with(t, from, true, func(v *vault.Vault) {
		for name, kc := range moveContexts() {
			w.sealed[name] = must(v.Encrypt(t.Context(), kc, []byte(name), nil))(t)
		}
	})
	return w
}

func (w *moveWorld) with(t *testing.T, to string, strictly bool, f func(v *vault.Vault)) {
	t.Helper()
	v, closeAll, err := openMove(w.dir, to, strictly, func(s storage.Store) storage.Store { return s })
	ok(t, err)
	f(v)
	ok(t, closeAll())
}

func (w *moveWorld) copied(t *testing.T) *moveWorld {
	c := &moveWorld{dir: t.TempDir(), sealed: w.sealed}
	for _, name := range []string{"root.json", "vault.db"} {
		ok(t, os.WriteFile(filepath.Join(c.dir, name), must(os.ReadFile(filepath.Join(w.dir, name)))(t), 0o600))
	}
	return c
}

// opens fails unless every message opens under a policy.
func (w *moveWorld) opens(t *testing.T, to string, strictly bool) {
	t.Helper()
	w.with(t, to, strictly, func(v *vault.Vault) {
		for name, kc := range moveContexts() {
			if got, err := v.Decrypt(t.Context(), kc, w.sealed[name], nil); err != nil || string(got) != name {
				t.Fatalf("%s under %q: %q, %v", name, to, got, err)
			}
		}
	})
}

// killed runs a move in a process that kills itself; false if it ended first.
func (w *moveWorld) killed(t *testing.T, do string) bool {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), moveDir+"="+w.dir, moveDir+"_DO="+do)
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

// A process is killed before, after and in the middle of each of its writes while it
// moves keys from a KEK under parents, and back, one by one and many together. What is
// half moved can be read by who expects either; the next call moves the rest, and
// then nobody needs what was before.
func TestKilledDuringMoves(t *testing.T) {
	for _, to := range []string{"in", "out"} {
		world := newMoveWorld(t, to)
		for how, least := range map[string]int{"singly before": 3, "singly after": 3, "together before": 1, "together after": 1, "together half": 1} {
			t.Run(to+" "+how, func(t *testing.T) {
				together, when, _ := strings.Cut(how, " ")
				kills := 0
				for at := 1; ; at++ {
					w := world.copied(t)
					killed := w.killed(t, fmt.Sprintf("%s %s %d %s", to, together, at, when))
					w.opens(t, "in", false)
					w.opens(t, "out", false)
					w.with(t, to, false, func(v *vault.Vault) {
						must(v.Rewrap(t.Context(), vault.RewrapOptions{All: true, Job: "move"}))(t)
						r := must(v.Rewrap(t.Context(), vault.RewrapOptions{All: true}))(t)
						if r.Current != r.Seen || r.Seen < 14 {
							t.Errorf("killed at write %d: at last %+v", at, r)
						}
						if jobs := must(v.Jobs(t.Context()))(t); len(jobs) > 0 {
							t.Errorf("jobs %+v", jobs)
						}
					})
					w.opens(t, to, true)
					if t.Failed() || !killed {
						break
					}
					kills++
				}
				if kills < least {
					t.Errorf("it was killed %d times only", kills)
				}
			})
		}
	}
}
