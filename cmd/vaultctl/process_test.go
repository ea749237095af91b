package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// world is what a test that drives the real program works in: a directory with a bbolt
// store and a keyset, and a HashiCorp Vault.
type world struct {
	t   *testing.T
	dir string
	srv *hashivaulttest.Server
	kek string
	env []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), srv: hashivaulttest.New(t)}
	w.kek = newTransitKey(w.srv, "root")
	w.env = append(os.Environ(), "VAULTCTL_STORE=bolt:"+filepath.Join(w.dir, "vault.db"), "VAULTCTL_KEYSET="+filepath.Join(w.dir, "root.json"),
		"VAULT_ADDR="+w.srv.URL(), "VAULT_TOKEN="+w.srv.CreateToken(0, "operator"))
	w.must("vaultctl", "keyset", "create", filepath.Join(w.dir, "root.json"))
	return w
}

// command is a program of TestMain's as a process of its own.
func (w *world) command(name string, args ...string) *exec.Cmd {
	path, err := exec.LookPath(name) // testscript.Main has put it there
	if err != nil {
		w.t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env, c.Dir = w.env, w.dir
	return c
}

// result is how a process ended.
type result struct {
	code           int
	stdout, stderr string
}

func (w *world) run(name string, args ...string) result {
	w.t.Helper()
	c := w.command(name, args...)
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		w.t.Fatal(err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func (w *world) must(name string, args ...string) result {
	w.t.Helper()
	r := w.run(name, args...)
	if r.code != 0 {
		w.t.Fatalf("%s %v: exit code %d\n%s%s", name, args, r.code, r.stdout, r.stderr)
	}
	return r
}

// runHere runs vaultctl in this process.
func runHere(t *testing.T, getenv func(string) string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	a := newApp(strings.NewReader(""), &o, &e, getenv)
	code = a.run(context.Background(), args)
	return code, o.String(), e.String()
}
