// Package storage defines what the vault stores, and what a database driver
// must promise. The packages below it are drivers; any other type that
// implements [Store] and passes
// [github.com/embedvault/vault/storage/storagetest] serves as well.
//
// Nothing here is secret: keys are stored wrapped and values sealed. Nothing
// here is authenticated either, except where a record's sealed bytes prove it;
// the packages above treat every record as written by an enemy.
package storage

import (
	"context"
	"errors"
	"time"

	"github.com/embedvault/vault/keyctx"
)

var (
	// ErrNotFound is matched when the record asked for isn't there, and this is
	// certain.
	ErrNotFound = errors.New("not found")

	// ErrExists is matched when a record that must be new is already there.
	ErrExists = errors.New("already exists")

	// ErrVersionConflict is matched when a guard doesn't hold: the record has
	// another revision, or the object another current version.
	ErrVersionConflict = errors.New("version conflict")

	// ErrUnavailable is matched when the database can't be reached or lost the
	// connection. Whether a write was done is then not known.
	ErrUnavailable = errors.New("store unavailable")

	// ErrCorrupt is matched when a stored record can't be read.
	ErrCorrupt = errors.New("stored record corrupt")

	// ErrTooLarge is matched when a record is larger than the database takes.
	ErrTooLarge = errors.New("too large for the store")

	// ErrInvalidCursor is matched when a cursor was not made by this kind of
	// store for this query.
	ErrInvalidCursor = errors.New("invalid cursor")

	// ErrClosed is matched by calls on a store that was closed.
	ErrClosed = errors.New("store closed")
)

// Store is a database of wrapped keys, objects and the vault's own small
// records. The three interfaces don't grow: what later versions of the vault
// want beside them is an interface of its own, which a driver may have or not.
//
// What holds for every method of the three interfaces:
//
//   - It is safe for concurrent use, by many goroutines and, where the database
//     allows it, by many processes. Guards (insert if absent, compare and swap,
//     [PutGuard]) are atomic across all of them.
//   - A write that was acknowledged with a nil error survives a kill -9 of the
//     process. A reader never sees half a write.
//   - It returns when ctx ends, with an error that matches the context's, save
//     that a write already being committed may finish first and report truly.
//     A ctx that ended before the call writes nothing.
//   - Errors match the sentinels of this package where they apply, and wrap the
//     database's own error. A failure to reach the database is never reported as
//     ErrNotFound: the vault makes a new key after that and nothing else.
//   - It keeps no slice or map that it was given, changes none, and returns none
//     that it keeps. Nil and empty are the same: either may come back as nil.
//   - Times are UTC with microseconds: what is finer is cut off on writing (see
//     [TruncateTime]).
//   - A record that its Validate method refuses is refused, and nothing is
//     written. Every record within those limits is taken, byte for byte, unless
//     it is too large for the database: [ErrTooLarge].
//   - Pages are read whole: no transaction, rows or lock is held once the call
//     has returned. A cursor is opaque, of at most 1 KiB, and good for the same
//     query only, also in another process and with another Limit or Now; a store
//     refuses one it didn't make with [ErrInvalidCursor]. A page is full unless
//     it is the last, and only the last has no Next. Limit ≤ 0 means 100, and
//     more than 1000 means 1000. A page costs the same wherever in the list it
//     is.
//   - Rows that are added or removed between two pages are shown or not; all
//     others are shown exactly once.
type Store interface {
	KeyStore
	ObjectStore
	SystemStore

	// Ping makes a round trip to the database.
	Ping(ctx context.Context) error
}

// TxTeller is implemented by stores whose calls depend on a transaction of the
// application's in ctx (see WithTx of the SQL drivers). InTx says whether ctx
// carries one for this store. What such a call meets (its transaction's locks, a
// pool without a connection left) says nothing about calls that carry none, so
// that the vault shares no work between the two. A store that wraps another one
// hands it on.
type TxTeller interface {
	InTx(ctx context.Context) bool
}

// KeyStore stores context keys, wrapped.
type KeyStore interface {
	// GetKey returns the record with this key ID, or ErrNotFound.
	GetKey(ctx context.Context, id keyctx.KeyID) (KeyRecord, error)

	// LatestKey returns the record with the highest version of the key of this
	// context and purpose, whatever its state, or ErrNotFound. It must see every
	// InsertKey that was acknowledged before: it never reads from a replica.
	LatestKey(ctx context.Context, context keyctx.Hash, purpose keyctx.Purpose) (KeyRecord, error)

	// InsertKey adds a record if there is none with the same context hash,
	// purpose and version, and none with the same key ID; else ErrExists. The
	// record's Revision is ignored; it is stored with revision 1. It takes part
	// in no transaction of the caller's (see WithTx of the SQL drivers): a key
	// must outlive the rollback of the data that was sealed under it.
	InsertKey(ctx context.Context, rec KeyRecord) error

	// UpdateKey replaces the record with rec.KeyID if it is at rec.Revision,
	// and raises its revision by one; else ErrVersionConflict, or ErrNotFound
	// if there is none. The key ID, context, purpose, version and creation time
	// never change: a driver may ignore or refuse them if different. Everything
	// else may, the parent included. Like InsertKey it takes part in no
	// transaction of the caller's.
	UpdateKey(ctx context.Context, rec KeyRecord) error

	// DeleteKey removes the record if it is at that revision; else
	// ErrVersionConflict, or ErrNotFound if there is none.
	DeleteKey(ctx context.Context, id keyctx.KeyID, revision uint64) error

	// ListKeys returns a page of records, ordered by (context hash, purpose,
	// version). With Purpose or State a page may cost as much as all the records
	// it skips; ParentID alone selects as fast as Contexts does.
	ListKeys(ctx context.Context, q KeyQuery) (KeyPage, error)
}

// ObjectStore stores objects: named values with versions.
//
// An object's current version is the one with the highest number. An object
// whose current version has expired (ExpiresAt ≠ 0 and ≤ the call's Now) reads
// as absent everywhere, versions and all; a put replaces it by a new object, in
// the same atomic write. To calls with no Now (ReplaceEnvelope, CountByKey,
// ListByKey, ImportVersion) it is there until it is removed; with the zero Now
// nothing has expired.
type ObjectStore interface {
	// PutObject adds a version to the object that has rec.Name in rec's context,
	// or creates the object if there is none. The guard holds in the same atomic
	// write. Of rec, ID is used only if the object is created, CreatedAt is set by
	// the driver to rec.UpdatedAt then, and Number is ignored: the driver gives
	// 1, or one more than the current version's. UniqueName is true from the
	// first version that asked for it on. It returns the record as stored,
	// without the Envelope.
	//
	// Errors: ErrExists (guard; a unique name that another context's object
	// holds, unless that has expired: then the put removes it; a version ID that
	// the object has, or the ID of another object), ErrVersionConflict (guard),
	// ErrTooLarge. Nothing is written then.
	PutObject(ctx context.Context, rec ObjectRecord, guard PutGuard) (ObjectRecord, error)

	// GetObject returns one version of one object, or ErrNotFound.
	GetObject(ctx context.Context, ref ObjectRef) (ObjectRecord, error)

	// GetObjects returns the current versions of the objects with these names in
	// this context, with their envelopes, those that are there, each once, in any
	// order. More than [MaxNames] names are refused.
	GetObjects(ctx context.Context, context keyctx.Hash, names []string, now time.Time) ([]ObjectRecord, error)

	// DeleteObject removes the object and all its versions, and returns its
	// current version's record without the Envelope. ref.Version must be zero;
	// ifVersion, if not zero, must be the current version's ID, else
	// ErrVersionConflict. No such object: ErrNotFound.
	DeleteObject(ctx context.Context, ref ObjectRef, ifVersion ID) (ObjectRecord, error)

	// ListObjects returns a page of the current versions' records. A NamePrefix
	// with OrderByUpdated may cost as much as all the rows it skips.
	ListObjects(ctx context.Context, q ObjectQuery) (ObjectPage, error)

	// ListVersions returns a page of one object's versions, by number, the newest
	// first unless q says otherwise. A version that has expired is left out
	// unless q says otherwise. If the object isn't there the page is empty.
	ListVersions(ctx context.Context, q VersionQuery) (ObjectPage, error)

	// DeleteExpired removes up to limit objects of this namespace that have
	// expired at now, and returns their current versions' records, without
	// envelopes. It trusts the rows. limit is as in a page's Limit. What was
	// removed before an error is returned with the error, unless it was removed in
	// a transaction of the caller's.
	DeleteExpired(ctx context.Context, namespace string, now time.Time, limit int) ([]ObjectRecord, error)

	// ReplaceEnvelope replaces the sealed value of one version, current or not,
	// if it is sealed under the key oldKey, and sets its KeyID to newKey.
	// Nothing else changes. Else ErrVersionConflict, or ErrNotFound if there is
	// no such version.
	ReplaceEnvelope(ctx context.Context, object, version ID, oldKey, newKey keyctx.KeyID, envelope []byte) error

	// CountByKey returns how many stored versions, current or not, expired or
	// not, are sealed under the key.
	CountByKey(ctx context.Context, id keyctx.KeyID) (int64, error)

	// ListByKey returns a page of the versions, current or not, expired or not,
	// that are sealed under the key, without envelopes, ordered by (object ID,
	// number).
	ListByKey(ctx context.Context, q ByKeyQuery) (ObjectPage, error)

	// ImportVersion adds a version exactly as rec says, number, IDs and times
	// included: how a store is copied or restored. Versions of one object are
	// imported in the order of their numbers, which may start anywhere and have
	// gaps. If the very same is already there it does nothing. If something else
	// is, ErrExists: the object ID with another name or context, another object
	// with that name (or holding it as a unique one), or the number or version ID
	// with other contents. A number that isn't there and is lower than the
	// current version's: ErrVersionConflict.
	ImportVersion(ctx context.Context, rec ObjectRecord) error
}

// SystemStore stores small records of the vault's own: cursors of long jobs,
// pending destructions. Names are 1 to 512 bytes of printable ASCII, values at
// most 64 KiB.
type SystemStore interface {
	// GetSystem returns a record, or ErrNotFound.
	GetSystem(ctx context.Context, name string) (SystemRecord, error)

	// PutSystem creates the record if rec.Revision is 0 (ErrExists if it is
	// there), or replaces the one at that revision (else ErrVersionConflict, or
	// ErrNotFound if there is none). It returns the new revision, never 0.
	PutSystem(ctx context.Context, rec SystemRecord) (revision uint64, err error)

	// DeleteSystem removes the record if it is at that revision; else
	// ErrVersionConflict, or ErrNotFound if there is none.
	DeleteSystem(ctx context.Context, name string, revision uint64) error

	// ListSystem returns up to limit records whose names start with prefix and
	// come after the name after, in the order of their names' bytes. limit is as
	// in a page's Limit.
	ListSystem(ctx context.Context, prefix, after string, limit int) ([]SystemRecord, error)
}
