package tinkkek_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// nonTestContext is for code outside of a test.
func nonTestContext() context.Context { return context.Background() }

// wantKeys checks how many keys are in a keyset file in the clear.
func wantKeys(t testing.TB, path string, want int) {
	t.Helper()
	f := must(os.Open(path))(t)
	defer f.Close()
	if got := must(insecurecleartextkeyset.Read(keyset.NewJSONReader(f)))(t).Len(); got != want {
		t.Errorf("the keyset has %d keys, want %d", got, want)
	}
}

func TestRotate(t *testing.T) {
	for name, o := range map[string]tinkkek.Options{"clear": {}, "encrypted": {Encryption: newAEAD(t)}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "keyset.json")
			k := must(tinkkek.LoadOrCreate(path, o))(t)
			version := must(k.Check(t.Context()))(t).PrimaryVersion
			key := secret()
			var all [][]byte
			for range 4 {
				all = append(all, wrap(t, k, key))
				ok(t, tinkkek.Rotate(path, o))
				status := must(k.Check(t.Context()))(t)
				if status.PrimaryVersion == version || !status.Usable {
					t.Errorf("after rotation: %+v", status)
				}
				version = status.PrimaryVersion
			}
			fresh := must(tinkkek.Load(path, o))(t)
			for _, wrapped := range all {
				wantOpens(t, k, wrapped, key)
				wantOpens(t, fresh, wrapped, key)
			}
			wantFiles(t, dir, "keyset.json")
			if info := must(os.Stat(path))(t); info.Mode().Perm()&0o077 != 0 {
				t.Errorf("mode %v", info.Mode())
			}
		})
	}
}

// A process that knows nothing of the rotation reads what another wrapped after
// it, and wraps with the new key itself.
func TestRotatedByAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	k := must(tinkkek.LoadOrCreate(path))(t)
	key := secret()
	before := wrap(t, k, key)
	ok(t, tinkkek.Rotate(path))
	after := wrap(t, must(tinkkek.Load(path))(t), key)
	wantOpens(t, k, after, key)

	prefix := func(wrapped []byte) string { return string(wrapped[:6]) } // format and Tink's key ID
	if prefix(before) == prefix(after) {
		t.Fatal("rotation made no other primary key")
	}
	if got := prefix(wrap(t, k, key)); got != prefix(after) {
		t.Error("it still wraps with the old key")
	}
	rewrapped := must(k.Rewrap(t.Context(), before, binding(t)))(t)
	if prefix(rewrapped) != prefix(after) {
		t.Error("it rewraps with the old key")
	}
	wantOpens(t, k, rewrapped, key)

	// One that has seen nothing since wraps with the new key at once.
	late := must(tinkkek.Load(path))(t)
	ok(t, tinkkek.Rotate(path))
	if got := prefix(wrap(t, late, key)); got == prefix(after) {
		t.Error("it wraps with the key before the last")
	}
}

func TestConcurrentRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	k := must(tinkkek.LoadOrCreate(path))(t)
	key := secret()
	const n = 6
	var wg sync.WaitGroup
	errs, wraps := make([]error, n), make([][]byte, n)
	for i := range n {
		wg.Go(func() {
			err := tinkkek.Rotate(path)
			if err == nil { // under whatever is primary just now
				wraps[i], err = k.Wrap(t.Context(), key, binding(t))
			}
			errs[i] = err
		})
	}
	wg.Wait()
	ok(t, errors.Join(errs...))
	wantKeys(t, path, 1+n)
	fresh := must(tinkkek.Load(path))(t)
	for _, wrapped := range wraps {
		wantOpens(t, fresh, wrapped, key)
	}
}

// A name counts only when it is on disk, and nothing is given a name before it
// is there itself.
func TestOrderOfSteps(t *testing.T) {
	var steps []string
	tinkkek.AtStep(t, func(step string) { steps = append(steps, step) })
	want := func(want ...string) {
		t.Helper()
		if runtime.GOOS == "windows" {
			want = want[:len(want)-1]
		}
		if fmt.Sprint(steps) != fmt.Sprint(want) {
			t.Errorf("steps %q, want %q", steps, want)
		}
		steps = nil
	}
	path := filepath.Join(t.TempDir(), "keyset.json")
	must(tinkkek.LoadOrCreate(path))(t)
	want("opened", "written", "synced", "published", "removed", "directory synced")
	ok(t, tinkkek.Rotate(path))
	want("locked", "opened", "written", "synced", "renamed", "directory synced")
}

// Someone edits the file without taking the lock, just before it is replaced.
func TestRotateWhileChanged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "keyset.json")
	must(tinkkek.LoadOrCreate(path))(t)
	other := jsonOf(t, newHandle(t))
	tinkkek.AtStep(t, func(step string) {
		if step == "synced" {
			ok(t, os.WriteFile(path, append(other, '\n'), 0o600))
		}
	})
	wantError(t, tinkkek.Rotate(path), tinkkek.ErrLocked)
	if string(must(os.ReadFile(path))(t)) != string(other)+"\n" {
		t.Error("the other's change was lost")
	}
	wantFiles(t, dir, "keyset.json")
}

func TestUnwrapUnderRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	k := must(tinkkek.LoadOrCreate(path))(t)
	peer := must(tinkkek.Load(path))(t)
	key := secret()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				wrapped, err := k.Wrap(t.Context(), key, binding(t))
				if err == nil {
					_, err = peer.Unwrap(t.Context(), wrapped, binding(t))
				}
				if err != nil {
					t.Errorf("while it is rotated: %v", err)
					return
				}
			}
		})
	}
	for range 5 {
		ok(t, tinkkek.Rotate(path))
	}
	close(stop)
	wg.Wait()
}

// What another keyset wrapped tells so, unless it might be of a key without a prefix.
func TestVersionOfAReplacedKeyset(t *testing.T) {
	dir := t.TempDir()
	was := must(tinkkek.LoadOrCreate(filepath.Join(dir, "was.json")))(t)
	lost := wrap(t, was, secret())
	id := must(was.Check(t.Context()))(t).PrimaryVersion
	k := must(tinkkek.LoadOrCreate(filepath.Join(dir, "new.json")))(t)
	if got := k.WrappedVersion(lost); got != id || got == must(k.Check(t.Context()))(t).PrimaryVersion {
		t.Errorf("version %q, want %q", got, id)
	}
	for _, none := range [][]byte{nil, {1}, lost[:6], append([]byte{2}, lost[1:]...), append([]byte{1, 2}, lost[2:]...)} {
		if got := k.WrappedVersion(none); got != "" {
			t.Errorf("%d bytes that are no wrapping are of version %q", len(none), got)
		}
	}

	m := keyset.NewManager()
	template := aead.AES256CTRHMACSHA256KeyTemplate()
	ok(t, m.SetPrimary(must(m.Add(template))(t)))
	template.OutputPrefixType = 3 // RAW
	must(m.Add(template))(t)
	mixed := must(tinkkek.New(must(m.Handle())(t), tinkkek.Options{}))(t)
	if got := mixed.WrappedVersion(lost); got != "" {
		t.Errorf("version %q, which may be a key's without a prefix", got)
	}
	if got := mixed.WrappedVersion(wrap(t, mixed, secret())); got != must(mixed.Check(t.Context()))(t).PrimaryVersion {
		t.Errorf("version %q of its own", got)
	}
}
