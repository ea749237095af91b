// Package boltstore is a store in one file, on bbolt: the embedded default. It
// needs nothing but a disk, and suits one process on one machine.
//
// One process at a time has the file open for writing; another one gets
// [ErrLocked]. Every write is synced to the disk before it is acknowledged.
// Writes of concurrent callers share one sync, and a lone writer never waits
// for company. Readers don't block each other or the writer.
//
// The file only grows: space that is freed is used again, but not given back.
// Put it on a local disk; file locks and memory maps over a network don't hold
// what they promise.
package boltstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/embedvault/vault/storage"
)

// driver is the name in this store's cursors and errors.
const driver = "boltstore"

var (
	// ErrLocked is matched by Open when another process (or this one, earlier)
	// has the file open. It also matches [storage.ErrUnavailable].
	ErrLocked = errors.New("database file is in use by another process")

	// ErrNewerSchema is matched by Open when the file was written by a later
	// version of this package.
	ErrNewerSchema = errors.New("database has a newer schema")

	// ErrForeign is matched by Open when the file is a bbolt database, but not
	// one of this package. It isn't touched.
	ErrForeign = errors.New("not a vault database")

	// ErrReadOnly is matched by writes to a store that was opened read-only.
	ErrReadOnly = errors.New("store is read-only")
)

// Options are what can be chosen on opening.
type Options struct {
	// LockWait is how long Open waits for another process to close the file.
	// 0 means 1 s, less than 0 not at all.
	LockWait time.Duration

	// Mode is the mode of the file if it is created; 0 means 0600.
	Mode os.FileMode

	// ReadOnly opens an existing file for reading. Several processes may do so
	// at a time, but not while one has it open for writing.
	ReadOnly bool
}

// Store is a store in one file. It is safe for concurrent use. Make one with
// [Open].
//
// What is in the file, bucket by bucket (‖ is concatenation, integers are big
// endian, records are in the form of package storage's codec):
//
//	vault     "schema" → u32 version of all this
//	objects   context hash (32) ‖ name → current version
//	history   object ID (16) ‖ u64 number → older version
//	keys      context hash (32) ‖ u8 purpose ‖ u32 version → key record
//	system    name → u8 0x31 ‖ u64 revision ‖ value
//	index     see below
//	journal   "journal" → changes to index that are not in it yet
//
// A Get by name is one lookup in objects. What else finds things is in index,
// told apart by the first byte:
//
//	'i' ‖ object ID                                   → key in objects
//	'v' ‖ object ID ‖ version ID                      → u64 number, of a version in history
//	'u' ‖ context hash ‖ i64 updated at ‖ object ID   → name
//	'k' ‖ key ID ‖ object ID ‖ u64 number             → nothing; every version
//	'e' ‖ part namespace ‖ i64 expires at ‖ object ID → nothing; current versions that expire
//	'n' ‖ part namespace ‖ name                       → object ID, of a unique name
//	'c' ‖ pair token (16) ‖ context hash              → nothing; contexts that have objects
//	'K' ‖ key ID                                      → key in keys
//	'P' ‖ parent ID ‖ key in keys                     → nothing; keys that have a parent
//	'C' ‖ pair token (16) ‖ context hash              → nothing; contexts that have keys
//
// part is u16 length ‖ bytes, an i64 has its sign bit turned so that its bytes
// sort as it does, and a pair token is the start of a hash of one pair of a
// context, its namespace counting as a pair whether it has one or not: what is
// found through it is checked again.
//
// Each page that a transaction changes costs it about as much as the next,
// however little of it is changed, and entries of the index lie all over the
// place. So small transactions append their changes of the index to the
// journal, one value of at most 16 KiB, and the transaction that would make it
// longer moves them all to the index. Whoever reads the index reads the
// journal over it: see index.go.
type Store struct {
	db       *bbolt.DB
	file     *os.File // the one that db has open
	path     string
	readOnly bool
	decoder  storage.Decoder
	queue    queue

	// broken is set when bbolt panicked where it may have kept a lock: then
	// nothing more is asked of it.
	broken atomic.Bool
	closed atomic.Bool

	closing  sync.Once
	closeErr error

	// journalLimit is maxJournal; tests change it.
	journalLimit int
}

var _ storage.Store = (*Store)(nil)

// Path returns the path that the store was opened with.
func (s *Store) Path() string { return s.path }

// Close waits for the operations that are under way and closes the file. It is
// idempotent. What is called after it fails with [storage.ErrClosed].
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		if s.broken.Load() {
			s.closeErr = abandon(s.file)
		} else {
			s.closeErr = s.db.Close()
		}
		if s.closeErr != nil {
			s.closeErr = fmt.Errorf("boltstore: close %s: %w", s.path, s.closeErr)
		}
	})
	return s.closeErr
}

// Ping implements [storage.Store].
func (s *Store) Ping(ctx context.Context) error {
	return s.view(ctx, "ping", func(t *tx) error {
		if v := t.bucket(bucketVault).Get(schemaKey); len(v) != 4 || binary.BigEndian.Uint32(v) != schemaVersion {
			return fmt.Errorf("%w: the schema version is gone", storage.ErrCorrupt)
		}
		return nil
	})
}
