package tinkkek

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Rotate adds a new key to the keyset in the file path and makes it the primary
// one. Older keys stay, so that everything wrapped is still read. KEKs of that
// file, in this process and in others, wrap with the new key from their next
// Wrap on, and read what others wrapped with it.
//
// What was wrapped with older keys stays so until it is rewrapped. At most one
// Options is taken, and it must be what the file was made with.
//
// The new keyset is written beside the old one, put on disk, read back and
// tested, and then renamed over it, so that there is a whole keyset at path at
// any time. Rotations of one file take turns by a lock file, path + ".lock",
// and wait for each other up to five seconds. A process that dies in the middle
// leaves the lock file behind; then the error matches [ErrLocked] and names the
// file, which may be removed once no rotation is running, and beside it maybe a
// temporary file, as with [LoadOrCreate].
//
// The errors are otherwise those of [Load]. A path that is a symbolic link
// matches [ErrInsecureFile]: renaming would replace the link and not the keyset.
func Rotate(path string, opts ...Options) error {
	o, err := forFile(opts)
	if err != nil {
		return err
	}
	f := &file{path: path, options: o}
	if err := f.rotate(); err != nil {
		return fmt.Errorf("tinkkek: rotate the keyset file: %w", err)
	}
	return nil
}

func (f *file) rotate() (err error) {
	info, err := os.Lstat(f.path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s: %w: it is a symbolic link; rotate the file that it leads to", f.path, ErrInsecureFile)
	}
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	old, err := f.read()
	if err != nil {
		return err
	}
	handle, err := addPrimary(old.handle)
	if err != nil {
		return err
	}
	temp := f.temporary()
	rotated, err := temp.write(handle)
	if err != nil {
		return err
	}
	if err := f.replace(temp, old, rotated); err != nil {
		_ = os.Remove(temp.path) // err is the one that tells
		return err
	}
	step("renamed")
	if err := syncDir(f.path); err != nil {
		return fmt.Errorf("the directory: %w", err)
	}
	return nil
}

// replace renames temp to f if it opens what the old keyset encrypts, and f is
// still the old one.
func (f *file) replace(temp *file, old, rotated *keys) error {
	if err := rotated.opens(old); err != nil {
		return fmt.Errorf("the new keyset: %w", err)
	}
	if !f.unchanged(old.stamp) {
		return fmt.Errorf("%s: %w: it was changed meanwhile by someone who doesn't take the lock", f.path, ErrLocked)
	}
	return os.Rename(temp.path, f.path)
}

// lockFor is how long a lock is waited for.
var lockFor = 5 * time.Second

// lock takes the file's lock. It is a file that exists, for want of a lock that
// all systems and all network file systems have.
func (f *file) lock() (unlock func() error, err error) {
	path := f.path + ".lock"
	for waited := time.Duration(0); ; {
		lock, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			step("locked")
			_ = lock.Close() // nothing was written to it; that it is there is all
			return func() error { return os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if waited >= lockFor {
			return nil, fmt.Errorf("%w: %s is there; if no rotation is running, one has died, and the file may be removed", ErrLocked, path)
		}
		const pause = 20 * time.Millisecond
		time.Sleep(pause)
		waited += pause
	}
}
