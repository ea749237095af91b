package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/embedvault/vault/storage"
)

// The buckets.
const (
	bucketVault = iota
	bucketObjects
	bucketHistory
	bucketKeys
	bucketSystem
	bucketIndex
	bucketJournal
	bucketCount
)

var bucketNames = [bucketCount][]byte{
	[]byte("vault"), []byte("objects"), []byte("history"), []byte("keys"), []byte("system"), []byte("index"), []byte("journal"),
}

// tx is a transaction: of bbolt's, with the buckets it has opened and the
// changes of the index that it sees or makes. A reading one is used by one
// goroutine; a writing one runs several operations, one after the other.
type tx struct {
	*bbolt.Tx
	s       *Store
	buckets [bucketCount]*bbolt.Bucket
	journal []byte             // as stored; nil: not looked at yet
	changes map[string]*change // of the index, by this transaction
	wrote   bool               // since it was last reset
}

func (t *tx) bucket(i int) *bbolt.Bucket {
	if t.buckets[i] == nil {
		t.buckets[i] = t.Bucket(bucketNames[i])
	}
	return t.buckets[i]
}

// get returns the value, valid until the transaction ends and not to be
// changed, or nil.
func (t *tx) get(bucket int, key []byte) []byte { return t.bucket(bucket).Get(key) }

// put keeps value, not key.
func (t *tx) put(bucket int, key, value []byte) error {
	t.wrote = true
	return boltError(t.bucket(bucket).Put(key, value))
}

func (t *tx) del(bucket int, key []byte) error {
	t.wrote = true
	return boltError(t.bucket(bucket).Delete(key))
}

// hasPrefix reports whether the bucket has a key that starts with prefix.
func (t *tx) hasPrefix(bucket int, prefix []byte) bool {
	k, _ := t.bucket(bucket).Cursor().Seek(prefix)
	return k != nil && bytes.HasPrefix(k, prefix)
}

// view runs fn in a reading transaction. op is for the error.
func (s *Store) view(ctx context.Context, op string, fn func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("boltstore: %s: %w", op, err)
	}
	err := s.guarded(func(btx *bbolt.Tx) error {
		return fn(&tx{Tx: btx, s: s})
	})
	if err != nil {
		return fmt.Errorf("boltstore: %s: %w", op, err)
	}
	return nil
}

// guarded runs fn in a reading transaction. What bbolt panics about, or the
// memory map faults on, is a damaged file and becomes an error.
func (s *Store) guarded(fn func(*bbolt.Tx) error) (err error) {
	if err := s.usable(); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var btx *bbolt.Tx
	defer func() {
		if p := recover(); p != nil {
			err = damaged(p)
			if btx == nil {
				s.broken.Store(true) // it panicked in Begin, which holds a lock
			}
		}
		if btx != nil {
			_ = btx.Rollback() // ends a reading transaction; fails only if it has ended
		}
	}()
	btx, err = s.db.Begin(false)
	if err != nil {
		return boltError(err)
	}
	return fn(btx)
}

func (s *Store) usable() error {
	switch {
	case s.closed.Load():
		return storage.ErrClosed
	case s.broken.Load():
		return fmt.Errorf("%w: the file has to be opened anew", storage.ErrCorrupt)
	}
	return nil
}

// damaged turns a panic of bbolt's into an error.
func damaged(p any) error {
	if err, ok := p.(error); ok {
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %v", storage.ErrCorrupt, p)
}

// boltError gives bbolt's errors the class they have here. Others stay as they
// are.
func boltError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return fmt.Errorf("%w: %w", storage.ErrClosed, err)
	case errors.Is(err, berrors.ErrDatabaseReadOnly):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, berrors.ErrKeyTooLarge), errors.Is(err, berrors.ErrValueTooLarge):
		return fmt.Errorf("%w: %w", storage.ErrTooLarge, err)
	}
	return err
}
