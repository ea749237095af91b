package storage

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/embedvault/vault/keyctx"
)

// State is the state of a context key. The zero value is invalid.
type State uint8

// The states. The numbers are part of the format.
const (
	StateActive      State = 1 // encrypts and decrypts, if it has the highest version
	StateDecryptOnly State = 2 // superseded by a higher version
	StateDisabled    State = 3 // does neither until it is enabled again
	StateShredded    State = 4 // a tombstone: its wrappings are gone
)

// Valid reports whether s is one of the states above.
func (s State) Valid() bool { return s >= StateActive && s <= StateShredded }

func (s State) String() string {
	switch s {
	case StateActive:
		return "active"
	case StateDecryptOnly:
		return "decrypt-only"
	case StateDisabled:
		return "disabled"
	case StateShredded:
		return "shredded"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// KeyRecord is a context key as it is stored: wrapped, with what is needed to
// find and judge it. Which version is the active one is decided by the version
// numbers: the highest. State says the rest.
type KeyRecord struct {
	KeyID       keyctx.KeyID
	Context     keyctx.KeyContext // full, reserved pairs and all
	ContextHash keyctx.Hash       // of Context
	Purpose     keyctx.Purpose
	Version     uint32 // from 1
	State       State

	// StateBefore is what a disabled key was, for when it is enabled again;
	// else zero.
	StateBefore State

	// Quorum and Wrappings are how the key is wrapped now. A shredded key has
	// no wrappings.
	Quorum    keyctx.Quorum
	Wrappings []keyctx.Wrapping

	// Previous are earlier wrappings that a rewrap left in place, newest first.
	Previous []PreviousWrapping

	// ParentID is the ID of the context key that wraps this one; zero if KEKs
	// do.
	ParentID keyctx.KeyID

	CreatedAt      time.Time
	StateChangedAt time.Time // when it became what State says
	RewrappedAt    time.Time // zero: never

	// Revision is raised by every update: what compare-and-swap compares.
	Revision uint64
}

// PreviousWrapping is how a key was wrapped before a rewrap.
type PreviousWrapping struct {
	Quorum    keyctx.Quorum
	Wrappings []keyctx.Wrapping
	Until     time.Time // when it was superseded
}

// Clone returns a copy that shares nothing with r.
func (r KeyRecord) Clone() KeyRecord {
	r.Context = r.Context.Clone()
	r.Wrappings = cloneWrappings(r.Wrappings)
	r.Previous = slices.Clone(r.Previous)
	for i := range r.Previous {
		r.Previous[i].Wrappings = cloneWrappings(r.Previous[i].Wrappings)
	}
	return r
}

func cloneWrappings(ws []keyctx.Wrapping) []keyctx.Wrapping {
	ws = slices.Clone(ws)
	for i := range ws {
		ws[i].Wrapped = slices.Clone(ws[i].Wrapped)
	}
	return ws
}

// ContextFilter selects records by context. Exactly one of Hash, Match and All
// is set.
type ContextFilter struct {
	// Hash selects one context exactly.
	Hash keyctx.Hash

	// Match selects every context in Namespace that contains all these pairs.
	// It has no reserved pairs.
	Match keyctx.KeyContext

	// All selects every context in Namespace.
	All bool

	// Namespace is the namespace of Match and All; "" selects contexts without
	// one. AnyNamespace selects all of them, for copying a whole store.
	Namespace    string
	AnyNamespace bool
}

// Validate reports whether exactly one of Hash, Match and All is set, and
// whether Match and Namespace can be what they are.
func (f ContextFilter) Validate() error {
	n := 0
	if f.Hash != (keyctx.Hash{}) {
		n++
	}
	if len(f.Match) > 0 {
		n++
	}
	if f.All {
		n++
	}
	if n != 1 {
		return fmt.Errorf("storage: a ContextFilter needs exactly one of Hash, Match and All")
	}
	if len(f.Match) > 0 {
		if err := f.Match.Validate(); err != nil {
			return err
		}
	}
	return keyctx.ValidateNamespace(f.Namespace)
}

// Matches reports whether the filter selects the full context kc with this
// hash. Drivers with no index for it may use it; others must agree with it.
func (f ContextFilter) Matches(kc keyctx.KeyContext, hash keyctx.Hash) bool {
	if f.Hash != (keyctx.Hash{}) {
		return f.Hash == hash
	}
	if !f.AnyNamespace && kc.Namespace() != f.Namespace {
		return false
	}
	return f.All || kc.Contains(f.Match)
}

// KeyQuery asks for a page of key records. Contexts must be given; zero fields
// otherwise don't filter.
type KeyQuery struct {
	Contexts ContextFilter
	Purpose  keyctx.Purpose
	State    State
	ParentID keyctx.KeyID

	Cursor string // where the last page ended; "" for the first
	Limit  int
}

// KeyPage is a page of key records.
type KeyPage struct {
	Keys []KeyRecord
	Next string // the cursor of the next page; "" after the last
}

// ObjectRecord is one version of one object.
type ObjectRecord struct {
	// Of the object.
	ID          ID
	Context     keyctx.KeyContext // full, reserved pairs and all
	ContextHash keyctx.Hash       // of Context
	Name        string            // unique within the context
	CreatedAt   time.Time         // of its first version

	// UniqueName makes the name unique within the context's namespace, from this
	// version on until the object is removed; later versions have it too. Names
	// of objects that don't have it are no obstacle.
	UniqueName bool

	// Of the version.
	VersionID ID
	Number    uint64 // 1, 2, 3 …
	KeyID     keyctx.KeyID
	Size      int64 // of the plaintext, in bytes
	ExpiresAt int64 // microseconds since 1970, UTC; 0: never
	UpdatedAt time.Time
	UpdatedBy string
	Labels    map[string]string

	// Envelope is the sealed value. Lists leave it out unless asked.
	Envelope []byte
}

// Expired reports whether the version has expired at now.
func (r ObjectRecord) Expired(now time.Time) bool {
	return r.ExpiresAt != 0 && r.ExpiresAt <= now.UnixMicro()
}

// Same reports whether the two records are the same, field by field. Nil and
// empty are equal, and times are as [TruncateTime] makes them.
func (r ObjectRecord) Same(o ObjectRecord) bool {
	return r.ID == o.ID && r.ContextHash == o.ContextHash && maps.Equal(r.Context, o.Context) &&
		r.Name == o.Name && r.UniqueName == o.UniqueName &&
		r.CreatedAt.UnixMicro() == o.CreatedAt.UnixMicro() &&
		r.VersionID == o.VersionID && r.Number == o.Number && r.KeyID == o.KeyID &&
		r.Size == o.Size && r.ExpiresAt == o.ExpiresAt &&
		r.UpdatedAt.UnixMicro() == o.UpdatedAt.UnixMicro() && r.UpdatedBy == o.UpdatedBy &&
		maps.Equal(r.Labels, o.Labels) && bytes.Equal(r.Envelope, o.Envelope)
}

// Clone returns a copy that shares nothing with r.
func (r ObjectRecord) Clone() ObjectRecord {
	r.Context = r.Context.Clone()
	r.Labels = maps.Clone(r.Labels)
	r.Envelope = slices.Clone(r.Envelope)
	return r
}

// PutGuard says what must hold for a put. At most one of IfAbsent and IfVersion
// is set.
type PutGuard struct {
	IfAbsent  bool // no such object; else ErrExists
	IfVersion ID   // the current version's ID; else, or if there is none, ErrVersionConflict

	// Keep limits how many versions of the object remain, the newest ones; 0
	// keeps all. The others are removed in the same atomic write.
	Keep int

	// Now decides what has expired; zero: nothing has.
	Now time.Time
}

// ObjectRef names an object: by its ID, or by context and name.
type ObjectRef struct {
	ID          ID
	ContextHash keyctx.Hash // with Name; ignored if ID is set
	Name        string

	// Version asks for one version; zero for the current one.
	Version ID

	// NoEnvelope leaves the sealed value out.
	NoEnvelope bool

	// Now decides what has expired: the object, and the version asked for.
	Now time.Time
}

// Order is the order of a list of objects. It is always by context hash first.
type Order uint8

// The orders.
const (
	OrderByName    Order = 0 // then by the bytes of the name
	OrderByUpdated Order = 1 // then by the time of the last put, then by object ID
)

// ObjectQuery asks for a page of objects. Contexts must be given; zero fields
// otherwise don't filter.
type ObjectQuery struct {
	Contexts     ContextFilter
	NamePrefix   string
	UpdatedAfter time.Time // strictly later; needs OrderByUpdated
	Order        Order
	Descending   bool

	WithEnvelope   bool
	IncludeExpired bool
	Now            time.Time // decides what has expired

	Cursor string // where the last page ended; "" for the first
	Limit  int
}

// VersionQuery asks for a page of an object's versions.
type VersionQuery struct {
	Object       ID
	Ascending    bool // oldest first
	WithEnvelope bool

	IncludeExpired bool
	Now            time.Time

	Cursor string
	Limit  int
}

// ByKeyQuery asks for a page of the versions sealed under a key.
type ByKeyQuery struct {
	KeyID  keyctx.KeyID
	Cursor string
	Limit  int
}

// ObjectPage is a page of versions.
type ObjectPage struct {
	Objects []ObjectRecord
	Next    string // the cursor of the next page; "" after the last
}

// SystemRecord is a small record of the vault's own.
type SystemRecord struct {
	Name     string
	Value    []byte
	Revision uint64
}

// Page sizes.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// PageLimit returns how many rows a page has for a query's Limit.
func PageLimit(limit int) int {
	switch {
	case limit <= 0:
		return defaultLimit
	case limit > maxLimit:
		return maxLimit
	}
	return limit
}
