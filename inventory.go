package vault

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

type (
	// KeyState says what a key does.
	KeyState = storage.State

	// Purpose says what a key is for.
	Purpose = keyctx.Purpose

	// Quorum says how many of a key's wrappings are needed to unwrap it.
	Quorum = keyctx.Quorum
)

// The states of keys.
const (
	StateActive      = storage.StateActive      // encrypts and decrypts
	StateDecryptOnly = storage.StateDecryptOnly // superseded by a newer version
	StateDisabled    = storage.StateDisabled    // does neither until it is enabled
	StateShredded    = storage.StateShredded    // a tombstone: its wrapped copies are gone
)

// The purposes of keys.
const (
	PurposeData           = keyctx.PurposeData           // encrypts data
	PurposeIndex          = keyctx.PurposeIndex          // computes blind indexes
	PurposeWrapping       = keyctx.PurposeWrapping       // wraps the keys of narrower contexts
	PurposeAuthentication = keyctx.PurposeAuthentication // authenticates the audit log
)

// KeyFilter says which keys [Vault.Keys] shows. Exactly one of Match and All must
// be set; the others narrow it down, and zero doesn't.
type KeyFilter struct {
	// Match selects the keys of every context that contains all these pairs, All
	// every key of this vault's namespace.
	Match KeyContext
	All   bool

	Purpose Purpose
	State   KeyState

	// MaxKeyAge shows only keys that break this limit: those that new data is
	// sealed under although they were made longer ago.
	MaxKeyAge time.Duration

	// MaxUnusedAge shows only keys that break this limit: those that were
	// superseded longer ago and that no stored object and no other key refers to, so that
	// [Vault.RetireKeys] may take them. It doesn't know of ciphertext that the
	// application keeps. A key that breaks either limit is shown if both are set.
	MaxUnusedAge time.Duration

	// Objects counts the stored versions of objects under each key that is shown.
	Objects bool
}

// KeyInfo describes one version of a context's key. It is what the store says,
// which is authenticated only when a key is used.
type KeyInfo struct {
	ID          KeyID       `json:"id"`
	Context     KeyContext  `json:"context"` // without the namespace
	ContextHash ContextHash `json:"context_hash"`
	Purpose     Purpose     `json:"purpose"`
	Version     uint32      `json:"version"` // from 1

	// State is the state as it takes effect: a key whose parent, or the parent's, is
	// shredded or disabled counts as that too.
	State KeyState `json:"state"`

	// Active says that new data is sealed under it: it is the newest version, and
	// neither it nor what it is wrapped under is disabled or shredded.
	Active bool `json:"active"`

	KEKs    []string `json:"keks"`             // URIs, sorted; none if it was shredded itself
	Quorum  Quorum   `json:"quorum"`           // 0 if it was shredded itself
	Parent  KeyID    `json:"parent,omitzero"`  // the key that wraps it, if KEKs don't
	Objects int64    `json:"objects,omitzero"` // only with KeyFilter.Objects

	CreatedAt      time.Time `json:"created_at"`
	StateChangedAt time.Time `json:"state_changed_at"`       // when its own state changed
	RewrappedAt    time.Time `json:"rewrapped_at,omitzero"`  // zero: never
	SupersededAt   time.Time `json:"superseded_at,omitzero"` // when the next version was made; zero: there is none
}

// Keys iterates over the keys that the filter selects, one context after the
// other, by purpose and version. Nothing is unwrapped, and nothing is locked while
// the loop's body runs: it may change keys. Objects costs a read for each key, and each
// parent is read once, to tell the state of the keys under it. After
// an error the iteration ends.
//
// Errors: ErrInvalidOption, ErrInvalidContext; ErrNoStore; ErrClosed; the store's;
// ctx's.
func (v *Vault) Keys(ctx context.Context, f KeyFilter) iter.Seq2[KeyInfo, error] {
	f.Match = f.Match.Clone() // the caller may change its map before it iterates
	return func(yield func(KeyInfo, error) bool) {
		if err := v.keys(ctx, f, func(k KeyInfo) bool { return yield(k, nil) }); err != nil {
			yield(KeyInfo{}, fmt.Errorf("vault: keys: %w", err))
		}
	}
}

func (v *Vault) keys(ctx context.Context, f KeyFilter, yield func(KeyInfo) bool) (err error) {
	defer v.trace(&ctx, "keys", nil).end(&err)
	if err := f.validate(); err != nil {
		return err
	}
	if err := v.permit(ctx, AccessRequest{Operation: OpKeys, Match: f.Match, All: f.All}); err != nil {
		return err
	}
	now, family := time.Now(), v.newAncestry()
	for rec, err := range v.keyRecords(ctx, storage.KeyQuery{Contexts: v.contexts(f.Match, f.All), Purpose: f.Purpose}) {
		if err != nil {
			return err
		}
		info, show := rec.info(), false
		if info.State, err = family.state(ctx, info.State, info.Parent); err != nil {
			return err
		}
		info.Active = info.Active && info.State == StateActive
		if f.State != 0 && f.State != info.State {
			continue
		}
		if show, err = v.shows(ctx, f, &info, now); err != nil {
			return err
		}
		if show && !yield(info) {
			return nil
		}
	}
	return nil
}

func (f KeyFilter) validate() error {
	switch {
	case f.All == (len(f.Match) > 0):
		return fmt.Errorf("%w: set exactly one of Match and All", ErrInvalidOption)
	case f.Purpose != 0 && !f.Purpose.Valid():
		return fmt.Errorf("%w: KeyFilter.Purpose %d is unknown", ErrInvalidOption, f.Purpose)
	case f.State != 0 && !f.State.Valid():
		return fmt.Errorf("%w: KeyFilter.State %d is unknown", ErrInvalidOption, f.State)
	case f.MaxKeyAge < 0 || f.MaxUnusedAge < 0:
		return fmt.Errorf("%w: MaxKeyAge and MaxUnusedAge must not be negative", ErrInvalidOption)
	case f.All:
		return nil
	}
	return f.Match.Validate()
}

// shows reports whether the filter's ages and counts let a key be shown, and fills
// in what had to be counted for it.
func (v *Vault) shows(ctx context.Context, f KeyFilter, k *KeyInfo, now time.Time) (bool, error) {
	old := f.MaxKeyAge > 0 && k.Active && now.Sub(k.CreatedAt) > f.MaxKeyAge
	unused := f.MaxUnusedAge > 0 && k.State != StateShredded && !k.SupersededAt.IsZero() && now.Sub(k.SupersededAt) > f.MaxUnusedAge
	limits := f.MaxKeyAge > 0 || f.MaxUnusedAge > 0
	if limits && !old && !unused {
		return false, nil
	}
	if !f.Objects && !unused {
		return true, nil
	}
	n, err := v.cfg.Store.CountByKey(ctx, k.ID)
	if err != nil {
		return false, fmt.Errorf("counting the objects under key %s: %w", k.ID.Short(), err)
	}
	if f.Objects {
		k.Objects = n
	}
	if unused && !old && n == 0 && k.Purpose == PurposeWrapping {
		children, err := storage.CountChildren(ctx, v.cfg.Store, v.cfg.Namespace, k.ID, 1)
		return children == 0 && err == nil, err
	}
	return !limits || old || n == 0, nil
}

// keyRecord is a stored key that is known to be its context's newest version, or
// not.
type keyRecord struct {
	storage.KeyRecord
	supersededAt time.Time // when the next version was made; zero: it is the newest
}

// newest reports whether there is no newer version.
func (r keyRecord) newest() bool { return r.supersededAt.IsZero() }

// state is the state as it takes effect: that a key was superseded is decided by
// the versions, and its record may not say so yet.
func (r keyRecord) state() storage.State {
	if r.State == storage.StateActive && !r.newest() {
		return storage.StateDecryptOnly
	}
	return r.State
}

func (r keyRecord) info() KeyInfo {
	k := KeyInfo{
		ID: r.KeyID, Context: r.Context.WithoutNamespace(), ContextHash: r.ContextHash,
		Purpose: r.Purpose, Version: r.Version, State: r.state(), Quorum: r.Quorum, Parent: r.ParentID,
		Active:    r.newest() && r.State == storage.StateActive,
		CreatedAt: r.CreatedAt, StateChangedAt: r.StateChangedAt, RewrappedAt: r.RewrappedAt,
		SupersededAt: r.supersededAt,
	}
	for _, w := range r.Wrappings {
		k.KEKs = append(k.KEKs, w.URI)
	}
	return k
}

// keyRecords iterates over the records of a query, a page at a time. The query
// must not filter by state or parent, or newer versions would be overlooked.
func (v *Vault) keyRecords(ctx context.Context, q storage.KeyQuery) iter.Seq2[keyRecord, error] {
	return func(yield func(keyRecord, error) bool) {
		var held *storage.KeyRecord // the last one of a page: what comes next?
		for first := true; first || q.Cursor != ""; first = false {
			page, err := v.keyPage(ctx, q)
			if err != nil {
				yield(keyRecord{}, err)
				return
			}
			for i := range page.Keys {
				if held != nil && !yield(followedBy(*held, &page.Keys[i]), nil) {
					return
				}
				held = &page.Keys[i]
			}
			q.Cursor = page.Next
		}
		if held != nil {
			yield(keyRecord{KeyRecord: *held}, nil)
		}
	}
}

func (v *Vault) keyPage(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	if err := v.ready(ctx); err != nil {
		return storage.KeyPage{}, err
	}
	if q.Limit == 0 {
		q.Limit = passPage
	}
	page, err := v.cfg.Store.ListKeys(ctx, q)
	if err != nil {
		return storage.KeyPage{}, fmt.Errorf("listing keys: %w", err)
	}
	return page, nil
}

// followedBy says whether next, which comes after rec in the order of the store,
// is a newer version of the same key.
func followedBy(rec storage.KeyRecord, next *storage.KeyRecord) keyRecord {
	r := keyRecord{KeyRecord: rec}
	if next.ContextHash == rec.ContextHash && next.Purpose == rec.Purpose {
		r.supersededAt = next.CreatedAt
		if r.supersededAt.IsZero() { // a record that says nothing of when: long ago
			r.supersededAt = time.Unix(0, 0).UTC()
		}
	}
	return r
}
