package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// errSharing is ERROR_SHARING_VIOLATION.
const errSharing = syscall.Errno(32)

// openPlain opens a file for appending that others may write to, too.
func openPlain(path string) (*os.File, error) {
	return openAppend(path, os.OpenFile, os.O_WRONLY|os.O_APPEND)
}

// openLocked opens a file for appending that nobody else may open for writing. New: it
// must not be there. O_APPEND isn't used: a file opened so can't be cut.
func openLocked(path string, isNew bool) (*os.File, error) {
	how := uint32(syscall.OPEN_ALWAYS)
	if isNew {
		how = syscall.CREATE_NEW
	}
	f, err := openAppend(path, func(path string, _ int, _ fs.FileMode) (*os.File, error) {
		name, err := syscall.UTF16PtrFromString(path)
		if err != nil {
			return nil, err
		}
		h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE,
			syscall.FILE_SHARE_READ|syscall.FILE_SHARE_DELETE, nil, how,
			syscall.FILE_ATTRIBUTE_NORMAL|syscall.FILE_FLAG_OPEN_REPARSE_POINT, 0)
		if errors.Is(err, errSharing) {
			return nil, fmt.Errorf("%w: %s", ErrLocked, path)
		}
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(h), path), nil
	}, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncDir does nothing: directories can't be synced here.
func syncDir(string) error { return nil }
