package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

var (
	// ErrLocked is matched when another process, or another [Log] of this one, has the
	// file open.
	ErrLocked = errors.New("the audit log is open in another process: give each process a file of its own")

	// ErrNotRegular is matched when the path is a symbolic link, a directory, a device
	// or anything else that isn't a plain file.
	ErrNotRegular = errors.New("not a regular file: name the file itself, and no link to it")
)

// file is what is written to. Tests have others than the operating system's.
type file interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Close() error
}

// osFile is a file that is always written at its end.
type osFile struct{ *os.File }

// Truncate leaves the place of writing at the end also where O_APPEND isn't to be had.
func (f osFile) Truncate(size int64) error {
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

// openAppend opens a regular file for appending; it is made, with mode 0600, if it
// isn't there. A link is not followed.
func openAppend(path string, open func(string, int, fs.FileMode) (*os.File, error), flags int) (*os.File, error) {
	before, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !before.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s", ErrNotRegular, path)
	}
	f, err := open(path, os.O_CREATE|flags, 0o600)
	if err != nil {
		return nil, err
	}
	// What was opened must be what stands there, and must be a file: in between
	// somebody could have put something else in its place.
	at, err := os.Lstat(path)
	if err == nil {
		var is fs.FileInfo
		if is, err = f.Stat(); err == nil && (!is.Mode().IsRegular() || !os.SameFile(at, is)) {
			err = fmt.Errorf("%w: %s", ErrNotRegular, path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
