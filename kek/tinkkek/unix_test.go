//go:build !windows

package tinkkek_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/embedvault/vault/kek/tinkkek"
)

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	key := secret()
	wrapped := wrap(t, must(tinkkek.LoadOrCreate(path))(t), key)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777, 0o440} {
		ok(t, os.Chmod(path, mode))
		_, err := tinkkek.Load(path)
		wantError(t, err, tinkkek.ErrInsecureFile)
		_, err = tinkkek.LoadOrCreate(path)
		wantError(t, err, tinkkek.ErrInsecureFile)
		wantError(t, tinkkek.Rotate(path), tinkkek.ErrInsecureFile)
	}
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		ok(t, os.Chmod(path, mode))
		wantOpens(t, must(tinkkek.Load(path))(t), wrapped, key)
	}
	ok(t, os.Chmod(path, 0o666))
	info := must(os.Stat(path))(t)
	ok(t, tinkkek.CheckFile("windows", path, info))
	wantError(t, tinkkek.CheckFile("linux", path, info), tinkkek.ErrInsecureFile)
}

// No user but root can read a file of mode 0. In no case is it made anew.
func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	key := secret()
	wrapped := wrap(t, must(tinkkek.LoadOrCreate(path))(t), key)
	ok(t, os.Chmod(path, 0))
	k, err := tinkkek.LoadOrCreate(path)
	if os.Geteuid() == 0 {
		ok(t, err)
		wantOpens(t, k, wrapped, key)
	} else {
		wantError(t, err, fs.ErrPermission)
	}
	ok(t, os.Chmod(path, 0o600))
	wantOpens(t, must(tinkkek.Load(path))(t), wrapped, key)
}

func TestSymbolicLinks(t *testing.T) {
	dir := t.TempDir()
	path, name := filepath.Join(dir, "keyset.json"), filepath.Join(dir, "link.json")
	if err := os.Symlink("keyset.json", name); err != nil {
		t.Fatal(err)
	}
	_, err := tinkkek.LoadOrCreate(name) // leads nowhere
	wantError(t, err, fs.ErrNotExist)
	wantFiles(t, dir, "link.json")

	key := secret()
	wrapped := wrap(t, must(tinkkek.LoadOrCreate(path))(t), key)
	linked := must(tinkkek.LoadOrCreate(name))(t)
	wantOpens(t, linked, wrapped, key)
	wantError(t, tinkkek.Rotate(name), tinkkek.ErrInsecureFile)
	ok(t, tinkkek.Rotate(path))
	wantOpens(t, linked, wrap(t, must(tinkkek.Load(path))(t), key), key)

	ok(t, os.Chmod(path, 0o644))
	_, err = tinkkek.Load(name)
	wantError(t, err, tinkkek.ErrInsecureFile)
}
