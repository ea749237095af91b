// Package memstore is a store in memory, for tests. It keeps every promise of
// [storage.Store] except that of outliving its process, and it can be told to
// fail.
//
// It is built to be plainly right, not fast: lists look at every record.
package memstore

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// driver is the name in this store's cursors.
const driver = "memstore"

// Store is a store in memory. It is safe for concurrent use. Make one with
// [New].
type Store struct {
	mu       sync.Mutex
	keys     map[keyctx.KeyID]*key
	uses     map[use][]*key // by version, lowest first
	objects  map[place]*object
	ids      map[storage.ID]*object
	unique   map[uniqueName]*object
	system   map[string]storage.SystemRecord
	revision uint64 // the last that a system record was given

	hooks sync.Mutex // guards what is below
	fault func(op string) error
	calls map[string]int
}

var _ storage.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		keys:    map[keyctx.KeyID]*key{},
		uses:    map[use][]*key{},
		objects: map[place]*object{},
		ids:     map[storage.ID]*object{},
		unique:  map[uniqueName]*object{},
		system:  map[string]storage.SystemRecord{},
		calls:   map[string]int{},
	}
}

// SetFault has fault called before each operation with the name of the method,
// such as "InsertKey". If it returns an error, the operation does nothing and
// fails with that error. It may block, to imitate a slow database, and it may
// call the store; other operations go on meanwhile. nil ends it.
func (s *Store) SetFault(fault func(op string) error) {
	s.hooks.Lock()
	defer s.hooks.Unlock()
	s.fault = fault
}

// Calls returns how often the method op was called, failed calls included;
// with op "" how often any was.
func (s *Store) Calls(op string) int {
	s.hooks.Lock()
	defer s.hooks.Unlock()
	if op != "" {
		return s.calls[op]
	}
	n := 0
	for c := range maps.Values(s.calls) {
		n += c
	}
	return n
}

// ResetCalls sets all counts to zero.
func (s *Store) ResetCalls() {
	s.hooks.Lock()
	defer s.hooks.Unlock()
	clear(s.calls)
}

// EditKey changes a stored key record in place and unchecked: what someone can
// do who writes to the database. What found it before still finds it.
func (s *Store) EditKey(id keyctx.KeyID, edit func(*storage.KeyRecord)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[id]
	if !ok {
		return fmt.Errorf("memstore: edit key %s: %w", id.Short(), storage.ErrNotFound)
	}
	edit(&k.KeyRecord)
	return nil
}

// EditObject changes a stored version of an object in place and unchecked, as
// EditKey does with a key record; the zero version is the current one.
func (s *Store) EditObject(object, version storage.ID, edit func(*storage.ObjectRecord)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.ids[object].version(version)
	if rec == nil {
		return fmt.Errorf("memstore: edit object %s: %w", object, storage.ErrNotFound)
	}
	edit(rec)
	return nil
}

// begin starts the operation op: it counts it, asks the hook and looks at ctx.
func (s *Store) begin(ctx context.Context, op string) error {
	s.hooks.Lock()
	s.calls[op]++
	fault := s.fault
	s.hooks.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: %s: %w", op, err)
	}
	if fault == nil {
		return nil
	}
	if err := fault(op); err != nil {
		return fmt.Errorf("memstore: %s: %w", op, err)
	}
	if err := ctx.Err(); err != nil { // it may have taken a while
		return fmt.Errorf("memstore: %s: %w", op, err)
	}
	return nil
}

// Ping implements [storage.Store].
func (s *Store) Ping(ctx context.Context) error { return s.begin(ctx, "Ping") }
