package storage

import (
	"errors"
	"fmt"
	"time"

	"github.com/embedvault/vault/keyctx"
)

// Limits of what is stored. A driver takes everything within them, save that
// a database may have limits of its own for the size of a record: those are
// reported as [ErrTooLarge].
const (
	MaxNameLen        = 512      // bytes of an object's name
	MaxNames          = 1000     // names that one GetObjects asks for
	MaxSystemNameLen  = 512      // bytes of a system record's name
	MaxSystemValueLen = 64 << 10 // bytes of a system record's value

	maxText     = 1<<16 - 1 // bytes of UpdatedBy, and of a label's key or value
	maxLabels   = 1<<16 - 1
	maxPrevious = 1<<16 - 1
)

// Times that can be stored lie between the zero time and the end of the year
// 9999, in microseconds since 1970.
var (
	minMicros = time.Time{}.UnixMicro()
	maxMicros = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

// TruncateTime returns t as a store gives it back: in UTC, what is finer than
// a microsecond cut off. The zero time stays the zero time.
func TruncateTime(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

func checkTimes(ts ...time.Time) error {
	for _, t := range ts {
		// By the year first: far outside it, UnixMicro overflows.
		if y := t.UTC().Year(); y < 1 || y > 9999 {
			return fmt.Errorf("a time in the year %d can't be stored", y)
		}
	}
	return nil
}

// Validate reports whether r can be stored: the key ID is set, the context is
// valid and has the context hash, the enumerations have one of their values,
// and wrappings are within the limits of package keyctx. A record without
// wrappings may have quorum 0. Drivers call it before they write.
func (r KeyRecord) Validate() error {
	if err := r.check(); err != nil {
		return fmt.Errorf("storage: invalid key record: %w", err)
	}
	return nil
}

func (r *KeyRecord) check() error {
	if err := checkContext(r.Context, r.ContextHash); err != nil {
		return err
	}
	switch {
	case r.KeyID.IsZero():
		return errors.New("it has no key ID")
	case !r.Purpose.Valid():
		return errors.New("it has an unknown purpose")
	case r.Version == 0:
		return errors.New("it has version 0")
	case !r.State.Valid():
		return errors.New("it has an unknown state")
	case r.StateBefore != 0 && !r.StateBefore.Valid():
		return errors.New("it has an unknown former state")
	case len(r.Previous) > maxPrevious:
		return fmt.Errorf("%w: it has %d previous wrappings", ErrTooLarge, len(r.Previous))
	}
	if err := checkWrappings(r.Quorum, r.Wrappings); err != nil {
		return err
	}
	for i := range r.Previous {
		p := &r.Previous[i]
		if err := errors.Join(checkWrappings(p.Quorum, p.Wrappings), checkTimes(p.Until)); err != nil {
			return err
		}
	}
	return checkTimes(r.CreatedAt, r.StateChangedAt, r.RewrappedAt)
}

func checkContext(kc keyctx.KeyContext, want keyctx.Hash) error {
	got, err := kc.Hash()
	if err != nil {
		return err
	}
	if got != want {
		return errors.New("the context hash is another context's")
	}
	return nil
}

func checkWrappings(q keyctx.Quorum, ws []keyctx.Wrapping) error {
	if len(ws) > keyctx.MaxWrappings {
		return fmt.Errorf("it has %d wrappings", len(ws))
	}
	if !q.Valid() && (q != 0 || len(ws) > 0) {
		return errors.New("it has an unknown quorum")
	}
	for _, w := range ws {
		if !keyctx.ValidURI(w.URI) {
			return errors.New("a wrapping's URI is not one")
		}
		if n := len(w.Wrapped); n == 0 || n > keyctx.MaxWrappedLen {
			return fmt.Errorf("a wrapping has %d bytes", n)
		}
	}
	return nil
}

// Validate reports whether r can be stored: the IDs are set, the context is
// valid and has the context hash, the name is 1 to [MaxNameLen] bytes, and no
// number is out of range. Drivers call it before they write. What a name may
// be made of is the vault's business.
func (r ObjectRecord) Validate() error {
	if err := r.check(); err != nil {
		return fmt.Errorf("storage: invalid object record: %w", err)
	}
	return nil
}

func (r *ObjectRecord) check() error {
	if err := checkContext(r.Context, r.ContextHash); err != nil {
		return err
	}
	switch {
	case r.ID.IsZero() || r.VersionID.IsZero():
		return errors.New("it has no object ID, or no version ID")
	case r.KeyID.IsZero():
		return errors.New("it has no key ID")
	case r.Number == 0:
		return errors.New("it has number 0")
	case len(r.Name) == 0 || len(r.Name) > MaxNameLen:
		return fmt.Errorf("its name has %d bytes, 1 to %d are allowed", len(r.Name), MaxNameLen)
	case r.Size < 0 || r.ExpiresAt < 0 || r.ExpiresAt > maxMicros:
		return errors.New("its size or expiry is out of range")
	case len(r.UpdatedBy) > maxText || len(r.Labels) > maxLabels:
		return fmt.Errorf("%w: the actor, or the number of labels", ErrTooLarge)
	case uint64(len(r.Envelope)) > 1<<32-1:
		return fmt.Errorf("%w: the envelope has %d bytes", ErrTooLarge, len(r.Envelope))
	}
	for k, v := range r.Labels {
		if len(k) > maxText || len(v) > maxText {
			return fmt.Errorf("%w: a label", ErrTooLarge)
		}
	}
	return checkTimes(r.CreatedAt, r.UpdatedAt)
}

// Validate reports whether r's name can be a system record's; a value that is
// too long matches [ErrTooLarge]. Drivers call it before they write.
func (r SystemRecord) Validate() error {
	if len(r.Name) == 0 || len(r.Name) > MaxSystemNameLen {
		return fmt.Errorf("storage: a system record's name has %d bytes, 1 to %d are allowed", len(r.Name), MaxSystemNameLen)
	}
	for i := range len(r.Name) {
		if r.Name[i] < 0x20 || r.Name[i] > 0x7e {
			return errors.New("storage: a system record's name has a byte that is not printable ASCII")
		}
	}
	if len(r.Value) > MaxSystemValueLen {
		return fmt.Errorf("storage: %w: the system record %s has %d bytes, at most %d are allowed", ErrTooLarge, r.Name, len(r.Value), MaxSystemValueLen)
	}
	return nil
}

// Validate reports whether at most one of IfAbsent and IfVersion is set and
// Keep isn't negative.
func (g PutGuard) Validate() error {
	if g.IfAbsent && !g.IfVersion.IsZero() || g.Keep < 0 {
		return errors.New("storage: a PutGuard has at most one of IfAbsent and IfVersion, and Keep from 0")
	}
	return nil
}

// Validate reports whether the filters of q are well formed. The cursor is
// checked by [KeyQuery.CursorPosition].
func (q KeyQuery) Validate() error {
	if q.Purpose != 0 && !q.Purpose.Valid() || q.State != 0 && !q.State.Valid() {
		return errors.New("storage: a KeyQuery has an unknown purpose or state")
	}
	return q.Contexts.Validate()
}

// Selects reports whether r is one of the records that q asks for, its cursor
// and limit aside.
func (q KeyQuery) Selects(r *KeyRecord) bool {
	return (q.Purpose == 0 || q.Purpose == r.Purpose) &&
		(q.State == 0 || q.State == r.State) &&
		(q.ParentID.IsZero() || q.ParentID == r.ParentID) &&
		q.Contexts.Matches(r.Context, r.ContextHash)
}

// Validate reports whether the filters and the order of q are well formed. The
// cursor is checked by [ObjectQuery.CursorPosition].
func (q ObjectQuery) Validate() error {
	if q.Order > OrderByUpdated {
		return errors.New("storage: an ObjectQuery has an unknown order")
	}
	if !q.UpdatedAfter.IsZero() && q.Order != OrderByUpdated {
		return errors.New("storage: UpdatedAfter needs OrderByUpdated")
	}
	if err := checkTimes(q.UpdatedAfter); err != nil {
		return fmt.Errorf("storage: UpdatedAfter: %w", err)
	}
	return q.Contexts.Validate()
}
