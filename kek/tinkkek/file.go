package tinkkek

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/tink-crypto/tink-go/v2/keyset"
)

// maxFile is how large a keyset file may be, in bytes: thousands of rotations.
const maxFile = 1 << 20

// Load returns the KEK of the keyset in the file path, which must exist: else
// the error matches [fs.ErrNotExist]. At most one Options is taken.
//
// The file must be a regular file that its owner alone can read and write; else
// the error matches [ErrInsecureFile] and names the command that mends it. (On
// Windows mode bits mean nothing and are not looked at: its directory must be
// protected instead.) A symbolic link is followed, since that is how secrets are
// mounted, and what it leads to must be so. A file that is empty, cut short or
// otherwise no keyset matches [ErrKeyset]; one that can't be decrypted
// [ErrEncryption].
func Load(path string, opts ...Options) (*KEK, error) {
	o, err := forFile(opts)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, options: o}
	k, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("tinkkek: load the keyset file: %w", err)
	}
	return newLocal(k, f, o), nil
}

// file is a keyset file.
type file struct {
	path    string
	options Options
}

// read reads and tests the keyset.
func (f *file) read() (*keys, error) {
	content, stamp, err := readFile(f.path)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	handle, err := parse(content, f.options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	k, err := newKeys(handle)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	k.stamp = stamp
	return k, nil
}

// write makes a new file with the keyset in it, on disk, reads it back and tests
// it. If it fails it leaves no file.
func (f *file) write(handle *keyset.Handle) (*keys, error) {
	content, err := serialize(handle, f.options)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	if err := writeNew(f.path, content); err != nil {
		return nil, err
	}
	written, err := f.readBack(handle)
	if err != nil {
		_ = os.Remove(f.path) // err is the one that tells
		return nil, fmt.Errorf("read back what was written: %w", err)
	}
	return written, nil
}

func (f *file) readBack(handle *keyset.Handle) (*keys, error) {
	want, err := newKeys(handle)
	if err != nil {
		return nil, err
	}
	got, err := f.read()
	if err != nil {
		return nil, err
	}
	if got.primary != want.primary || !maps.Equal(got.ids, want.ids) {
		return nil, fmt.Errorf("%w: it is another than was written", ErrKeyset)
	}
	return got, got.opens(want)
}

// unchanged reports whether the file is as it was. Each of ours is a new file
// that was renamed, so it differs by what os.SameFile looks at; the rest is for
// other people's editors. A file that can't be looked at has changed.
func (f *file) unchanged(stamp fs.FileInfo) bool {
	now, err := os.Stat(f.path)
	return err == nil && os.SameFile(now, stamp) && now.Size() == stamp.Size() &&
		now.ModTime().Equal(stamp.ModTime()) && now.Mode() == stamp.Mode()
}

// readFile reads a file that only its owner can read.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, err
	}
	if err := checkFile(runtime.GOOS, path, info); err != nil { // before Open, which waits at a named pipe
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if err := checkFile(runtime.GOOS, path, info); err != nil { // what was opened may be another
		return nil, nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(content) > maxFile {
		return nil, nil, fmt.Errorf("%s: %w: it is larger than %d bytes", path, ErrKeyset, maxFile)
	}
	return content, info, nil
}

// checkFile checks what kind of file it is and who can get at it.
func checkFile(goos, path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is not a regular file", path, ErrInsecureFile)
	}
	if goos == "windows" {
		return nil
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s: %w: its mode %04o lets others than its owner in; run: chmod 600 %q", path, ErrInsecureFile, perm, path)
	}
	return nil
}

// writeNew writes a file that doesn't exist and waits until it is on disk. Of a
// file that it couldn't write it leaves nothing.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	step("opened")
	_, err = f.Write(content)
	step("written")
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(path) // err is the one that tells
		return err
	}
	step("synced")
	return nil
}

// syncDir waits until the directory of path, and so a name in it, is on disk.
// Where there is no such thing it does nothing.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // a directory can't be opened there; NTFS logs its changes
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	err = dir.Sync()
	step("directory synced")
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil // some network file systems
	}
	return err
}

// step is where tests let the process die.
var step = func(string) {}
