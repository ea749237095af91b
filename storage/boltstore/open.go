package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/embedvault/vault/storage"
)

// schemaVersion is the version of what [Store] describes.
const schemaVersion = 1

var schemaKey = []byte("schema")

const (
	defaultLockWait = time.Second
	defaultMode     = 0o600

	minMapSize int64 = 4 << 30
	growBy           = 1 << 20 // bytes by which the file grows, each with a sync
)

// Open opens the store in the file at path, and creates it if it isn't there.
// Its directory must be. At most one Options may be given.
//
// Errors: [ErrLocked], [ErrNewerSchema], [ErrForeign]; [storage.ErrCorrupt] if
// the file is damaged or no database at all. All of them name the path, and
// leave the file as it is.
func Open(path string, opts ...Options) (*Store, error) {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		return nil, fmt.Errorf("boltstore: open %s: at most one Options can be given, got %d", path, len(opts))
	}
	_, statErr := os.Stat(path)
	s, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	if err := s.prepare(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	if errors.Is(statErr, os.ErrNotExist) {
		syncDir(path)
	}
	return s, nil
}

// open opens the file. bbolt trusts what it reads: with a damaged file it may
// panic, or touch memory beyond the file's end.
func open(path string, o Options) (s *Store, err error) {
	s = &Store{path: path, readOnly: o.ReadOnly, journalLimit: maxJournal}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if s.file != nil {
				_ = abandon(s.file)
			}
			s, err = nil, damaged(p)
		}
	}()
	opts := &bbolt.Options{
		Timeout:         lockWaitOf(o),
		ReadOnly:        o.ReadOnly,
		NoStatistics:    true, // they cost every read a lock
		OpenFile:        s.openFile,
		InitialMmapSize: mapSize(path),
	}
	s.db, err = bbolt.Open(path, modeOf(o), opts)
	if errors.Is(err, syscall.ENOMEM) { // as under a limit of address space
		s.file, opts.InitialMmapSize = nil, 0
		s.db, err = bbolt.Open(path, modeOf(o), opts)
	}
	if err != nil {
		return nil, openError(err)
	}
	s.db.AllocSize = growBy
	return s, nil
}

// mapSize is how much address space the file is given at first. When it
// outgrows that, the writer has to wait until nobody reads, and whoever wants
// to read has to wait for the writer: all of them for a backup, if one runs.
// Address space costs nothing, where there is plenty; on Windows the file
// would be made as large.
func mapSize(path string) int {
	if strconv.IntSize < 64 || runtime.GOOS == "windows" {
		return 0
	}
	size := minMapSize
	if info, err := os.Stat(path); err == nil {
		size = max(size, 2*info.Size())
	}
	return int(size)
}

// openFile remembers the file, so that it can be closed where bbolt fails to.
func (s *Store) openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if s.file == nil {
		s.file = f
	}
	return f, err
}

func modeOf(o Options) os.FileMode {
	if o.Mode == 0 {
		return defaultMode
	}
	return o.Mode
}

func lockWaitOf(o Options) time.Duration {
	switch {
	case o.LockWait == 0:
		return defaultLockWait
	case o.LockWait < 0:
		return 1 // bbolt takes 0 for ever
	}
	return o.LockWait
}

// openError says what bbolt.Open's error means. What the operating system
// says (no such directory, no permission, a directory) is passed on.
func openError(err error) error {
	var pathErr *os.PathError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrLocked, storage.ErrUnavailable)
	case errors.As(err, &pathErr):
		return err
	}
	return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
}

// prepare checks that the file is a vault's and whole, and makes the buckets
// if it is new.
func (s *Store) prepare() error {
	var fresh bool
	err := s.guarded(func(btx *bbolt.Tx) (err error) {
		if err := s.checkSize(btx); err != nil {
			return err
		}
		fresh, err = checkSchema(btx)
		return err
	})
	switch {
	case err != nil:
		return err
	case fresh && s.readOnly:
		return fmt.Errorf("%w: it is empty", ErrForeign)
	case fresh:
		return s.create()
	}
	return nil
}

// checkSize finds a file that was cut short: reading beyond its end is not an
// error but a fault.
func (s *Store) checkSize(btx *bbolt.Tx) error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < btx.Size() {
		return fmt.Errorf("%w: the file has %d bytes, %d are in use", storage.ErrCorrupt, info.Size(), btx.Size())
	}
	return nil
}

// checkSchema reports whether the database is empty, and fails if it is
// anything but empty or one of ours.
func checkSchema(btx *bbolt.Tx) (fresh bool, err error) {
	vault := btx.Bucket(bucketNames[bucketVault])
	if vault == nil {
		if name, _ := btx.Cursor().First(); name != nil {
			return false, ErrForeign
		}
		return true, nil
	}
	v := vault.Get(schemaKey)
	if len(v) != 4 {
		return false, fmt.Errorf("%w: it has no schema version", ErrForeign)
	}
	switch n := binary.BigEndian.Uint32(v); {
	case n > schemaVersion:
		return false, fmt.Errorf("%w: %d, this program knows up to %d", ErrNewerSchema, n, schemaVersion)
	case n != schemaVersion:
		return false, fmt.Errorf("%w: schema version %d", storage.ErrCorrupt, n)
	}
	for _, name := range bucketNames {
		if btx.Bucket(name) == nil {
			return false, fmt.Errorf("%w: the bucket %s is missing", storage.ErrCorrupt, name)
		}
	}
	return false, nil
}

func (s *Store) create() error {
	return s.db.Update(func(btx *bbolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := btx.CreateBucket(name); err != nil {
				return err
			}
		}
		version := binary.BigEndian.AppendUint32(nil, schemaVersion)
		return btx.Bucket(bucketNames[bucketVault]).Put(schemaKey, version)
	})
}

// syncDir makes the new file's name durable. Where directories can't be
// synced, the file system has to see to it.
func syncDir(path string) {
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
