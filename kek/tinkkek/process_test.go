package tinkkek_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/keyctx"
)

// Some tests need other processes. Those are this test binary again, told by
// these variables what to do.
const (
	childDoes   = "TINKKEK_TEST_CHILD" // "create" or "rotate"
	childPath   = "TINKKEK_TEST_PATH"
	childDies   = "TINKKEK_TEST_DIES_AT" // a step, or ""
	childNoLink = "TINKKEK_TEST_NO_LINKS"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDoes) == "" {
		os.Exit(m.Run())
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child() error {
	if os.Getenv(childNoLink) != "" {
		tinkkek.NoLinks(nil)
	}
	if dies := os.Getenv(childDies); dies != "" {
		tinkkek.AtStep(nil, func(step string) {
			if step != dies {
				return
			}
			if self, err := os.FindProcess(os.Getpid()); err == nil && self.Kill() == nil {
				select {} // until the signal comes
			}
		})
	}
	path := os.Getenv(childPath)
	if os.Getenv(childDoes) == "rotate" {
		return tinkkek.Rotate(path)
	}
	k, err := tinkkek.LoadOrCreate(path)
	if err != nil {
		return err
	}
	b := kek.Binding{KeyID: keyctx.KeyID{7}, Purpose: keyctx.PurposeData, Version: 1}
	wrapped, err := k.Wrap(nonTestContext(), []byte(childKey), b)
	fmt.Println(hex.EncodeToString(wrapped))
	return err
}

// childKey is what children wrap.
const childKey = "32 bytes that a child process had"

func startChild(t testing.TB, does, path string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.run=^$")
	cmd.Env = append(os.Environ(), append(env, childDoes+"="+does, childPath+"="+path)...)
	cmd.Stderr = os.Stderr
	return cmd
}

func eachLinking(t *testing.T, f func(t *testing.T, env string)) {
	t.Run("links", func(t *testing.T) { f(t, childNoLink+"=") })
	t.Run("no links", func(t *testing.T) {
		tinkkek.NoLinks(t)
		f(t, childNoLink+"=1")
	})
}

func TestConcurrentLoadOrCreate(t *testing.T) {
	eachLinking(t, func(t *testing.T, _ string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "keyset.json")
		const n = 24
		var wg sync.WaitGroup
		keks, errs := make([]*tinkkek.KEK, n), make([]error, n)
		for i := range n {
			wg.Go(func() { keks[i], errs[i] = tinkkek.LoadOrCreate(path) })
		}
		wg.Wait()
		ok(t, errors.Join(errs...))
		key := secret()
		for _, k := range keks {
			wantOpens(t, keks[0], wrap(t, k, key), key)
		}
		wantFiles(t, dir, "keyset.json")
	})
}

// Another process publishes its keyset between our look for one and the moment
// in which ours is about to get its name: theirs stays, and is what we get. The
// tests around this one leave that moment to chance.
func TestKeysetPublishedMeanwhile(t *testing.T) {
	eachLinking(t, func(t *testing.T, _ string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "keyset.json")
		var theirs *tinkkek.KEK
		inside := false
		tinkkek.AtStep(t, func(step string) {
			if step != "synced" || inside {
				return
			}
			inside = true
			theirs = must(tinkkek.LoadOrCreate(path))(t)
		})
		ours := must(tinkkek.LoadOrCreate(path))(t)
		if theirs == nil {
			t.Fatal("no other keyset was made")
		}
		key := secret()
		wantOpens(t, must(tinkkek.Load(path))(t), wrap(t, theirs, key), key)
		wantOpens(t, theirs, wrap(t, ours, key), key)
		wantFiles(t, dir, "keyset.json")
	})
}

func TestProcessesLoadOrCreate(t *testing.T) {
	eachLinking(t, func(t *testing.T, env string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "keyset.json")
		const n = 6
		var wg sync.WaitGroup
		outs, errs := make([][]byte, n), make([]error, n)
		for i := range n {
			cmd := startChild(t, "create", path, env)
			wg.Go(func() { outs[i], errs[i] = cmd.Output() })
		}
		wg.Wait()
		ok(t, errors.Join(errs...))
		wantFiles(t, dir, "keyset.json")
		k := must(tinkkek.Load(path))(t)
		for _, out := range outs {
			wrapped := must(hex.DecodeString(strings.TrimSpace(string(out))))(t)
			b := kek.Binding{KeyID: keyctx.KeyID{7}, Purpose: keyctx.PurposeData, Version: 1}
			if got := must(k.Unwrap(t.Context(), wrapped, b))(t); string(got) != childKey {
				t.Error("another process had another keyset")
			}
		}
	})
}

// wantKilled runs a child that must die of its own signal.
func wantKilled(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || runtime.GOOS != "windows" && exit.Exited() {
		t.Fatalf("the child was to be killed: %v", err)
	}
}

func TestKilledWhileCreating(t *testing.T) {
	tinkkek.Impatient(t)
	for _, c := range []struct {
		step, env string
		whole     bool // a keyset is there afterwards
		empty     bool // the documented case without hard links
	}{
		{step: "opened"},
		{step: "written"},
		{step: "synced"},
		{step: "published", whole: true},
		{step: "removed", whole: true},
		{step: "synced", env: "1"},
		{step: "reserved", env: "1", empty: true},
		{step: "published", env: "1", whole: true},
	} {
		t.Run(c.step+c.env, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyset.json")
			wantKilled(t, startChild(t, "create", path, childDies+"="+c.step, childNoLink+"="+c.env))
			_, err := tinkkek.Load(path)
			switch {
			case c.whole:
				ok(t, err)
			case c.empty:
				wantError(t, err, tinkkek.ErrKeyset)
				_, err = tinkkek.LoadOrCreate(path)
				wantError(t, err, tinkkek.ErrKeyset)
				return
			default:
				wantError(t, err, fs.ErrNotExist)
			}
			k := must(tinkkek.LoadOrCreate(path))(t)
			key := secret()
			wantOpens(t, must(tinkkek.Load(path))(t), wrap(t, k, key), key)
		})
	}
}

func TestKilledWhileRotating(t *testing.T) {
	tinkkek.Impatient(t)
	for _, step := range []string{"locked", "opened", "written", "synced", "renamed"} {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyset.json")
			key := secret()
			wrapped := wrap(t, must(tinkkek.LoadOrCreate(path))(t), key)
			wantKilled(t, startChild(t, "rotate", path, childDies+"="+step))
			k := must(tinkkek.LoadOrCreate(path))(t)
			wantOpens(t, k, wrapped, key)
			wantOpens(t, k, wrap(t, k, key), key)

			wantError(t, tinkkek.Rotate(path), tinkkek.ErrLocked)
			ok(t, os.Remove(path+".lock"))
			ok(t, tinkkek.Rotate(path))
			wantOpens(t, k, wrapped, key)
		})
	}
}

func TestProcessesRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	k := must(tinkkek.LoadOrCreate(path))(t)
	var wg sync.WaitGroup
	errs := make([]error, 5)
	for i := range errs {
		cmd := startChild(t, "rotate", path)
		wg.Go(func() { errs[i] = cmd.Run() })
	}
	wg.Wait()
	ok(t, errors.Join(errs...))
	wantKeys(t, path, 1+len(errs))
	key := secret()
	wantOpens(t, k, wrap(t, must(tinkkek.Load(path))(t), key), key)
}
