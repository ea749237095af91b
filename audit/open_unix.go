//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// openPlain opens a file for appending that others may write to, too.
func openPlain(path string) (*os.File, error) {
	return openAppend(path, openNoFollow, os.O_WRONLY|os.O_APPEND)
}

func openNoFollow(path string, flags int, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(path, flags|syscall.O_NOFOLLOW, mode)
}

// openLocked opens a file for appending that nobody else may open so. New: it must not
// be there.
func openLocked(path string, isNew bool) (*os.File, error) {
	flags := os.O_RDWR | os.O_APPEND
	if isNew {
		flags |= os.O_EXCL
	}
	f, err := openAppend(path, openNoFollow, flags)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s", ErrLocked, path)
	}
	if err == nil {
		// Between open and lock the other process may have moved it away, to begin
		// another.
		err = stillThere(f, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func stillThere(f *os.File, path string) error {
	is, err := f.Stat()
	if err != nil {
		return err
	}
	if at, err := os.Lstat(path); err != nil || !os.SameFile(at, is) {
		return fmt.Errorf("%w: %s", ErrLocked, path)
	}
	return nil
}

// syncDir makes it last that a file was made, or renamed, in the path's directory.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
