package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// A key can be wrapped under the key, of purpose wrapping, of a wider context: its
// parent. Which context that is the policy says, never the record. A parent is a
// strict subset of its child's pairs, so that a chain of them ends: it has no more
// links than the child has pairs, whatever the records say.
//
// A parent's key is loaded, checked and cached like any other. What is known of it,
// when the KMS gave it and when its state was read, is what is known of its
// children: they are never taken for fresher than their parent is.

// ErrNoSelfContained is matched when a self-contained envelope is to be made for a
// context whose keys are wrapped under a parent's: it couldn't be opened without
// the store.
var ErrNoSelfContained = errors.New("a context under a parent has no self-contained envelopes")

// tombstone is the error of a key that the store says was shredded.
type tombstone struct{ id keyctx.KeyID }

func (t tombstone) Error() string { return fmt.Sprintf("%v: %s", ErrKeyShredded, t.id.Short()) }

func (t tombstone) Unwrap() error { return ErrKeyShredded }

// isTombstone reports whether err says that a key, or one that it depends on, was
// found shredded in the store. An event's error, say, may match ErrKeyShredded too.
func isTombstone(err error) bool {
	var t tombstone
	return errors.As(err, &t)
}

// parentID returns the ID of the key that wraps the record's, or zero if KEKs do.
// A record whose ParentID says something else than its wrapping is refused: by
// ParentID a key's children are counted before it is retired.
func parentID(rec storage.KeyRecord) (keyctx.KeyID, error) {
	id, under := keyctx.ParentOf(rec.Quorum, rec.Wrappings)
	switch {
	case under && id.IsZero():
		return id, fmt.Errorf("%w: key %s is wrapped under a key in a way that is never used", kek.ErrPolicy, rec.KeyID.Short())
	case id != rec.ParentID:
		return id, fmt.Errorf("%w: the parent of key %s is not what wraps it", storage.ErrCorrupt, rec.KeyID.Short())
	}
	return id, nil
}

// parentContext returns a parent's context as the keyring takes it.
func (r *Keyring) parentContext(pairs keyctx.KeyContext) (Context, error) {
	hash, err := pairs.WithNamespace(r.cfg.Namespace).Hash()
	if err != nil { // it may consist of reserved pairs alone
		return Context{}, fmt.Errorf("%w: Parent is not a key context: %v", kek.ErrPolicy, err)
	}
	return Context{Hash: hash, Pairs: pairs.Clone()}, nil
}

// parents returns the contexts whose keys may wrap those of a choice's context.
func (r *Keyring) parents(choice kek.Choice) ([]Context, error) {
	var ps []Context
	for _, c := range append([]kek.Choice{choice}, choice.Previous...) {
		if c.Parent == nil {
			continue
		}
		p, err := r.parentContext(c.Parent)
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// parent returns the key id, if it is a wrapping key of a context that the policy
// gives c as Parent, with a reference for the caller. For the renewal of a cached
// key the parent must have been checked a short time ago, or is checked again.
func (r *Keyring) parent(ctx context.Context, c Context, id keyctx.KeyID, renewal bool) (*Key, error) {
	choice, err := r.choose(ctx, c)
	if err != nil {
		return nil, err
	}
	ps, err := r.parents(choice)
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		k, err := r.parentKey(ctx, p, id, renewal)
		if err == nil {
			return k, nil
		}
		if !errors.Is(err, ErrWrongContext) {
			return nil, fmt.Errorf("the parent of a key of context %s: %w", c.Hash.Short(), err)
		}
	}
	return nil, fmt.Errorf("%w: a key of context %s is wrapped under key %s, which is no wrapping key of a parent", kek.ErrPolicy, c.Hash.Short(), id.Short())
}

// What a renewal of a child asks of its parent: that it was checked not longer ago
// than these parts of TTL and of ActiveKeyTTL. A child is renewed by itself after
// half of its time at the earliest, so that it isn't due again at once.
const (
	parentLoaded = 2
	parentState  = 4
)

// parentKey returns the wrapping key id of the context p, with a reference for the
// caller.
func (r *Keyring) parentKey(ctx context.Context, p Context, id keyctx.KeyID, renewal bool) (*Key, error) {
	f := flightKey{purpose: keyctx.PurposeWrapping, id: id, op: opByID}
	if !renewal {
		return r.find(ctx, p, f, nil) // as good as one for any other use, also in an outage
	}
	k := r.cachedParent(p, id)
	if k == nil {
		return r.load(ctx, p, f)
	}
	defer k.Release()
	now, fresh := r.clock.now(), k.fresh.Load()
	f.force = now.since(fresh.loaded) >= r.cfg.TTL/parentLoaded
	switch {
	case !f.force && now.since(fresh.state) < r.cfg.ActiveKeyTTL/parentState && k.acquire():
		k.hit()
		return k, nil
	case f.force && now.mono < k.retryAt.Load() && k.kekDown.Load():
		return nil, fmt.Errorf("%w: renewing key %s failed a moment ago", kek.ErrUnavailable, id.Short())
	}
	renewed, err := r.load(ctx, p, f)
	if err != nil && ctx.Err() == nil {
		r.renewFailed(k, err) // its children needn't each ask a KMS that is down
	}
	return renewed, err
}

// cachedParent returns the wrapping key id of the context p from the cache, with a
// reference for the caller, or nil.
func (r *Keyring) cachedParent(p Context, id keyctx.KeyID) *Key {
	s := r.cache.lookup(p)
	if s == nil {
		return nil
	}
	if k := s.find(keyctx.PurposeWrapping, id); k != nil && k.inStore.Load() && k.acquire() {
		return k
	}
	return nil
}

// unwrapUnder returns the key of a record whose context and state were checked, and
// which the key id wraps, with a reference for the caller. With its parent at hand
// to unwrap it costs little, so that nothing about it is taken from the cache.
func (r *Keyring) unwrapUnder(ctx context.Context, s *slot, c Context, rec storage.KeyRecord, id keyctx.KeyID, at instant) (*Key, error) {
	parent, err := r.parent(ctx, c, id, s.find(rec.Purpose, rec.KeyID) != nil)
	if err != nil {
		return nil, err
	}
	defer parent.Release()
	key, err := r.unwrapChild(c, rec, parent)
	if err != nil {
		return nil, err
	}
	fresh := r.checked(at)
	fresh.under(parent)
	return r.withoutBlock(r.keep(s, key, rec.Purpose, rec.Version, nil, true, fresh)), nil
}

// withoutBlock forgets the block of k that a self-contained envelope once brought,
// where new envelopes would carry it.
func (r *Keyring) withoutBlock(k *Key) *Key {
	if r.cfg.KeepBlocks {
		k.block.Store(nil)
	}
	return k
}

// unwrapChild returns the key of a record, which parent wraps, checked.
func (r *Keyring) unwrapChild(c Context, rec storage.KeyRecord, parent *Key) (*envelope.Key, error) {
	return openChild(parent, rec.Wrappings[0].Wrapped, r.binding(c, rec.KeyID, rec.Purpose, rec.Version))
}

// openChild returns the key that b names, which parent wrapped.
func openChild(parent *Key, wrapped []byte, b kek.Binding) (*envelope.Key, error) {
	secret, err := parent.UnwrapChild(wrapped, b.AppendBytes(nil))
	if err == nil {
		var key *envelope.Key
		if key, err = checkID(secret, b); err == nil {
			return key, nil
		}
	}
	// As text: what was wrapped is no envelope, whose errors these are.
	return nil, fmt.Errorf("%w: unwrapping key %s under key %s: %v", kek.ErrCorrupt, b.KeyID.Short(), parent.ID().Short(), err)
}

// wrapUnder wraps a key under the newest key of its context's parent, which is made
// if there is none, and checks the wrapping: it costs no call. fresh becomes what
// it is of a key under that parent.
func (r *Keyring) wrapUnder(ctx context.Context, pairs keyctx.KeyContext, key *envelope.Key, b kek.Binding, fresh *freshness) ([]keyctx.Wrapping, error) {
	if r.cfg.Store == nil {
		return nil, fmt.Errorf("a key under a parent: %w", ErrNoStore)
	}
	p, err := r.parentContext(pairs)
	if err != nil {
		return nil, err
	}
	parent, err := r.Active(ctx, p, keyctx.PurposeWrapping)
	if err != nil {
		return nil, fmt.Errorf("the parent: %w", err)
	}
	defer parent.Release()
	fresh.under(parent)
	return wrapChild(parent, key, b)
}

// wrapChild wraps a key under parent and checks the wrapping.
func wrapChild(parent *Key, key *envelope.Key, b kek.Binding) ([]keyctx.Wrapping, error) {
	wrapped, err := parent.WrapChild(key, b.AppendBytes(nil))
	if err != nil {
		return nil, fmt.Errorf("under key %s: %w", parent.ID().Short(), err)
	}
	again, err := openChild(parent, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("checking a new wrapping: %w", err)
	}
	again.Destroy()
	return []keyctx.Wrapping{{URI: keyctx.ParentURI(parent.ID()), Wrapped: wrapped}}, nil
}

// heedAncestors refuses the key of a record if the store says that one which it is
// wrapped under is shredded or disabled. It asks no KMS, and believes the records: it
// only refuses.
func (r *Keyring) heedAncestors(ctx context.Context, rec storage.KeyRecord) error {
	for range maxAncestors {
		if rec.ParentID.IsZero() {
			return nil
		}
		id := rec.ParentID
		parent, err := r.cfg.Store.GetKey(ctx, id)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the state of key %s: %w", id.Short(), err)
		}
		if err := usable(parent); err != nil {
			return err
		}
		rec = parent
	}
	return fmt.Errorf("%w: the parents of a key don't end", storage.ErrCorrupt)
}

// maxAncestors is how many ancestors a key can have: each has a pair less, and the
// last has one. A context has its caller's pairs and reserved ones beside them.
const maxAncestors = keyctx.MaxPairs + 3

// under makes f no fresher than the parent is.
func (f *freshness) under(parent *Key) {
	p := parent.fresh.Load()
	f.loaded, f.state = older(f.loaded, p.loaded), older(f.state, p.state)
	f.ancestors = &lineage{parent.ID(), p.ancestors}
}

// lineage is a key's parent, and the parent's lineage.
type lineage struct {
	id keyctx.KeyID
	up *lineage
}

// hasAny reports whether one of the keys is an ancestor.
func (l *lineage) hasAny(ids map[keyctx.KeyID]bool) bool {
	for ; l != nil; l = l.up {
		if ids[l.id] {
			return true
		}
	}
	return false
}

// older returns the instant from which more time has passed, on each clock.
func older(a, b instant) instant {
	return instant{mono: min(a.mono, b.mono), wall: min(a.wall, b.wall)}
}
