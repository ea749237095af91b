//go:build !windows

package vault_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
)

// rewrapDir tells a process that was started from the test binary to rewrap what
// is there, until it is killed.
const rewrapDir = "VAULT_TEST_REWRAP_DIR"

// openRewrap opens the store of the test under its two KEKs: new data goes under
// the new one, and with previous what is under the old one opens.
func openRewrap(dir string, previous bool) (v *vault.Vault, closeAll func() error, err error) {
	policy := kek.Choice{}
	for _, name := range []string{"old", "new"} {
		k, err := tinkkek.LoadOrCreate(filepath.Join(dir, name+".json"), tinkkek.Options{Name: name})
		if err != nil {
			return nil, nil, err
		}
		before := policy
		policy = kek.Choice{KEKs: []kek.Wrapper{k}, Quorum: kek.AnyOf}
		if name == "new" && previous {
			policy.Previous = []kek.Choice{before}
		}
	}
	store, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return nil, nil, err
	}
	v, err = vault.New(vault.Config{Store: store, Policy: kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) {
		return policy, nil
	})})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return v, func() error { return errors.Join(v.Close(), store.Close()) }, nil
}

func rewrapChild(dir string) error {
	v, closeAll, err := openRewrap(dir, true)
	if err != nil {
		return err
	}
	report, err := v.Rewrap(context.Background(), vault.RewrapOptions{All: true, Job: "crash"})
	if err != nil {
		return err
	}
	fmt.Printf("done %+v\n", report)
	return closeAll()
}

// A process is killed at random moments while it moves 1,000 keys to another KEK,
// and started again until it is done. No key is lost, and none is left behind.
func TestKilledDuringRewrap(t *testing.T) {
	dir := t.TempDir()
	const orgs = 1000
	sealed := make([][]byte, orgs)
	func() {
		old := must(tinkkek.LoadOrCreate(filepath.Join(dir, "old.json"), tinkkek.Options{Name: "old"}))(t)
		store := must(boltstore.Open(filepath.Join(dir, "vault.db")))(t)
		defer store.Close()
		v := open(t, vault.Config{KEK: old, Store: store})
		defer v.Close()
		kcs := make([]vault.KeyContext, orgs)
		for i := range kcs {
			kcs[i] = org(i)
		}
		ok(t, v.Prepare(t.Context(), kcs...))
		for i := range sealed {
			sealed[i] = must(v.Encrypt(t.Context(), org(i), fmt.Append(nil, "secret of ", i), nil))(t)
		}
	}()
	verify := func(previous bool) {
		v, closeAll, err := openRewrap(dir, previous)
		ok(t, err)
		for i := range sealed {
			if got, err := v.Decrypt(t.Context(), org(i), sealed[i], nil); err != nil || string(got) != fmt.Sprint("secret of ", i) {
				t.Fatalf("organisation %d: %q, %v", i, got, err)
			}
		}
		ok(t, closeAll())
	}
	kills, within := 0, 30*time.Millisecond
	for finished := false; !finished; {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), rewrapDir+"="+dir)
		var out strings.Builder
		child.Stdout, child.Stderr = &out, &out
		ok(t, child.Start())
		timer := time.AfterFunc(rand.N(within), func() { _ = child.Process.Kill() })
		err := child.Wait()
		timer.Stop()
		var exit *exec.ExitError
		switch {
		case err == nil:
			finished = strings.HasPrefix(out.String(), "done ")
		case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
			kills++
		default:
			t.Fatalf("the child wasn't killed: %v\n%s", err, out.String())
		}
		verify(true)
		within += within / 4 // so that it gets there
	}
	if kills == 0 {
		t.Error("it was never killed")
	}
	verify(false) // the old KEK is no longer needed
}
