package tinkkek

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// LoadOrCreate is [Load], and makes a new keyset if there is no file at path.
// Its directory must exist. An existing file is never overwritten, whatever is
// in it: one that can't be read is an error.
//
// The new keyset is written to a temporary file beside path, put on disk, read
// back and tested, and only then given its name, by a hard link, which fails if
// the name is taken: of many processes that do so at once all get the same
// keyset. Where the file system has no hard links the name is taken first, with
// an empty file, which is then replaced; a process that dies between the two
// leaves an empty file, which has to be removed by hand. A process that dies at
// any other time leaves no keyset or a whole one, and maybe a file
// ".<name>.<random>.tmp", which nothing ever reads and which may hold keys, so
// it should be removed.
func LoadOrCreate(path string, opts ...Options) (*KEK, error) {
	o, err := forFile(opts)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, options: o}
	k, err := f.readWhole()
	if errors.Is(err, fs.ErrNotExist) {
		if err = f.create(); err == nil || errors.Is(err, fs.ErrExist) {
			k, err = f.readWhole()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("tinkkek: load or create the keyset file: %w", err)
	}
	return newLocal(k, f, o), nil
}

// emptyFor is how long a file is waited for that is there and empty: another
// process may be about to fill it. See reserve.
var emptyFor = time.Second

// readWhole is read, and waits a little for an empty file to be filled.
func (f *file) readWhole() (*keys, error) {
	for waited := time.Duration(0); ; {
		k, err := f.read()
		if !errors.Is(err, errEmpty) || waited >= emptyFor {
			return k, err
		}
		const pause = 20 * time.Millisecond
		time.Sleep(pause)
		waited += pause
	}
}

// create makes the file with a new keyset, or fails with [fs.ErrExist] if it is
// there, then too not before its name is on disk: what is wrapped under a
// keyset must not outlive it.
func (f *file) create() error {
	handle, err := generate()
	if err != nil {
		return err
	}
	temp := f.temporary()
	if _, err := temp.write(handle); err != nil {
		return err
	}
	publishErr := publish(temp.path, f.path)
	step("published")
	if err := os.Remove(temp.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the temporary file: %w", err)
	}
	step("removed")
	if err := syncDir(f.path); err != nil {
		return fmt.Errorf("the directory: %w", err)
	}
	return publishErr
}

// temporary returns a file beside f that doesn't exist.
func (f *file) temporary() *file {
	dir, name := filepath.Split(f.path)
	return &file{
		path:    filepath.Join(dir, "."+name+"."+strings.ToLower(rand.Text()[:12])+".tmp"),
		options: f.options,
	}
}

// link is os.Link, except in tests.
var link = os.Link

// publish gives the file temp the name path, unless that exists: then the error
// matches [fs.ErrExist].
func publish(temp, path string) error {
	err := link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	// Most likely there are no hard links here. If it is something else, then
	// this fails likewise.
	return reserve(temp, path)
}

// reserve takes the name with an empty file and then replaces that.
func reserve(temp, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = f.Close()
	step("reserved")
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(path) // err is the one that tells; the empty file is ours
	}
	return err
}
