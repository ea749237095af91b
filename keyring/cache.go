package keyring

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

// Key is an unwrapped context key in the cache, held by one who uses it. It
// must be released once, and not used after that.
type Key struct {
	*envelope.Key
	slot    *slot
	purpose keyctx.Purpose
	version uint32

	// block is the wrapped-key block that envelopes carry, if they do. It is
	// replaced whole when a renewal finds the key wrapped anew.
	block atomic.Pointer[[]byte]

	// inStore says whether the key's record was read from the store. A key that
	// came from an envelope alone is refreshed from block.
	inStore atomic.Bool

	// refs counts the users, the cache being one. At 0 the key is zeroed.
	refs atomic.Int32
	hits atomic.Uint64

	fresh   atomic.Pointer[freshness]
	dropped atomic.Bool  // taken out of the cache for cause; never served stale
	busy    atomic.Bool  // a background flight renews it
	retryAt atomic.Int64 // monotonic time before which no failed renewal is tried again
	fails   atomic.Int32 // renewals that failed in a row
	kekDown atomic.Bool  // the last one failed because a KEK was unavailable

	// Guarded by cache.mu.
	listed     listState
	used       atomic.Bool // written by users without the lock
	prev, next *Key
}

// freshness says when a key was last checked. It is replaced whole.
type freshness struct {
	loaded      instant       // the KMS unwrapped it
	reloadAfter time.Duration // from loaded: when a key in use is reloaded in the background
	state       instant       // its record was read
	rereadAfter time.Duration // from state: when a key in use is reread in the background

	ancestors *lineage // of a key under a parent; else nil
}

// Block returns the wrapped-key block to put into self-contained envelopes, or
// nil. It must not be changed.
func (k *Key) Block() []byte {
	if b := k.block.Load(); b != nil {
		return *b
	}
	return nil
}

// carries reports whether the key's envelopes carry this block. One that is wrapped
// otherwise now must be unwrapped, and so checked, before they do.
func (k *Key) carries(block []byte) bool { return block == nil || bytes.Equal(k.Block(), block) }

// Version returns the key's version, from 1.
func (k *Key) Version() uint32 { return k.version }

// acquire counts one more user, unless the last one has already gone.
func (k *Key) acquire() bool {
	for {
		n := k.refs.Load()
		if n == 0 {
			return false
		}
		if k.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release ends the use of the key. The last user's release zeroes it.
func (k *Key) Release() {
	if k.refs.Add(-1) == 0 {
		k.Destroy()
	}
}

func (k *Key) hit() {
	k.hits.Add(1)
	if !k.used.Load() { // a store only when it changes something: the line is shared
		k.used.Store(true)
	}
}

// source returns the flight that renews the key from where it came from.
func (k *Key) source(p keyctx.Purpose) flightKey {
	if k.inStore.Load() {
		return flightKey{purpose: p, id: k.ID(), op: opByID}
	}
	return flightKey{purpose: p, id: k.ID(), op: opBlock}.withBlock(k.Block())
}

// slot holds the keys of one context.
type slot struct {
	hash keyctx.Hash

	// Read without a lock. Written under mu.
	keys     atomic.Pointer[[]*Key] // few: the versions and purposes in use; replaced, never changed
	active   [keyctx.PurposeAuthentication + 1]atomic.Pointer[activeKey]
	rotateAt atomic.Int64 // monotonic time before which no rotation by age is tried again
	dead     atomic.Bool  // no longer in the cache's map; look the context up again

	mu      sync.Mutex // held briefly, never across I/O
	flights map[flightKey]*flight
	epoch   uint64 // raised when what a running load found may be overtaken
}

// activeKey is the key that a context seals under, replaced whole.
type activeKey struct {
	key         *Key
	seen        instant // the store was last seen to have it as the newest
	rereadAfter time.Duration
}

func (s *slot) find(p keyctx.Purpose, id keyctx.KeyID) *Key {
	keys := s.keys.Load()
	if keys == nil {
		return nil
	}
	for _, k := range *keys {
		if k.purpose == p && k.ID() == id {
			return k
		}
	}
	return nil
}

// cache holds slots by context hash. Look-ups take no lock. How many keys it
// holds in all is bounded by the SIEVE algorithm (Zhang et al., NSDI 2024): a
// queue in order of insertion, and a hand that moves from old to new, spares
// what was used since it last passed, and evicts what was not.
type cache struct {
	slots sync.Map // keyctx.Hash → *slot
	size  int

	mu           sync.Mutex // guards the queue; held for a few steps, never across I/O
	newest, hand *Key
	oldest       *Key
	count        int
	evictions    uint64
	pastHits     uint64 // of keys no longer in the queue
}

type listState uint8

const (
	unlisted listState = iota
	listed
	delisted
)

func newCache(size int) *cache { return &cache{size: size} }

// lookup returns the context's slot if it has one.
func (c *cache) lookup(ctx Context) *slot {
	if ctx.Hint != nil {
		if s := ctx.Hint.slot.Load(); s != nil && !s.dead.Load() {
			return s
		}
	}
	v, ok := c.slots.Load(ctx.Hash)
	if !ok {
		return nil
	}
	s := v.(*slot)
	if ctx.Hint != nil {
		ctx.Hint.slot.Store(s)
	}
	return s
}

// lockSlot returns the context's slot, made if there is none, with mu held.
func (c *cache) lockSlot(hash keyctx.Hash) *slot {
	for {
		v, ok := c.slots.Load(hash)
		if !ok {
			v, _ = c.slots.LoadOrStore(hash, &slot{hash: hash})
		}
		s := v.(*slot)
		s.mu.Lock()
		if !s.dead.Load() {
			return s
		}
		s.mu.Unlock()
	}
}

// tidy removes a slot that holds nothing. s.mu is held.
func (c *cache) tidy(s *slot) {
	if len(s.flights) == 0 && s.keys.Load() == nil {
		s.dead.Store(true)
		c.slots.CompareAndDelete(s.hash, s)
	}
}

// add puts k, which is new and has one reference, the cache's, into its slot.
// If the slot already has that key the old one stays, and is returned: its
// users and counters go on. s.mu is held. The key returned has one more
// reference, the caller's.
func (c *cache) add(s *slot, k *Key) *Key {
	if old := s.find(k.purpose, k.ID()); old != nil && old.acquire() {
		old.fresh.Store(k.fresh.Load())
		old.settle()
		// What a record says of the wrapping goes before what an envelope brought.
		if b := k.block.Load(); b != nil && (k.inStore.Load() || !old.inStore.Load()) {
			old.block.Store(b)
		}
		if k.inStore.Load() {
			old.inStore.Store(true)
		}
		k.Release()
		return old
	}
	keys := []*Key{k}
	if old := s.keys.Load(); old != nil {
		keys = append(keys, *old...)
	}
	s.keys.Store(&keys)
	k.refs.Add(1)
	return k
}

// settle notes that a renewal went well.
func (k *Key) settle() {
	k.fails.Store(0)
	k.retryAt.Store(0)
}

// enlist puts k into the queue and evicts what is too many. No slot's mu is
// held.
func (c *cache) enlist(k *Key) {
	c.mu.Lock()
	if k.listed != unlisted { // already there, or already dropped
		c.mu.Unlock()
		return
	}
	var victims []*Key
	for c.count >= c.size {
		v := c.sieve()
		c.unlink(v)
		c.evictions++
		victims = append(victims, v)
	}
	k.listed = listed
	k.next = c.newest
	if c.newest != nil {
		c.newest.prev = k
	}
	c.newest = k
	if c.oldest == nil {
		c.oldest = k
	}
	c.count++
	c.mu.Unlock()
	for _, v := range victims {
		c.detach(v)
	}
}

// sieve returns the key to evict. c.mu is held and the queue not empty.
func (c *cache) sieve() *Key {
	k := c.hand
	if k == nil {
		k = c.oldest
	}
	for k.used.Load() {
		k.used.Store(false)
		if k = k.prev; k == nil {
			k = c.oldest
		}
	}
	c.hand = k.prev
	return k
}

// unlink takes k out of the queue. c.mu is held.
func (c *cache) unlink(k *Key) {
	if c.hand == k {
		c.hand = k.prev
	}
	if k.prev != nil {
		k.prev.next = k.next
	} else {
		c.newest = k.next
	}
	if k.next != nil {
		k.next.prev = k.prev
	} else {
		c.oldest = k.prev
	}
	k.prev, k.next = nil, nil
	k.listed = delisted
	c.count--
	c.pastHits += k.hits.Load()
}

// detach takes a key that has left the queue out of its slot, and lets go of
// the cache's reference.
func (c *cache) detach(k *Key) {
	s := k.slot
	s.mu.Lock()
	found := false
	if keys := s.keys.Load(); keys != nil {
		if i := slices.Index(*keys, k); i >= 0 {
			found = true
			rest := slices.Delete(slices.Clone(*keys), i, i+1)
			if len(rest) == 0 {
				s.keys.Store(nil)
			} else {
				s.keys.Store(&rest)
			}
		}
	}
	if a := s.active[k.purpose].Load(); a != nil && a.key == k {
		s.active[k.purpose].Store(nil)
	}
	c.tidy(s)
	s.mu.Unlock()
	if found {
		k.Release()
	}
}

// drop removes k from the cache for cause: it may no longer be used.
func (c *cache) drop(k *Key) {
	k.dropped.Store(true)
	c.mu.Lock()
	switch k.listed {
	case listed:
		c.unlink(k)
	case unlisted:
		k.listed = delisted
	}
	c.mu.Unlock()
	c.detach(k)
}

// purge removes every key.
func (c *cache) purge() {
	c.mu.Lock()
	var all []*Key
	for k := c.newest; k != nil; k = k.next {
		all = append(all, k)
	}
	c.mu.Unlock()
	for _, k := range all {
		c.drop(k)
	}
}

// tally returns how many keys the cache holds, has evicted, and how often one
// was found in it.
func (c *cache) tally() (count int, evictions, hits uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hits = c.pastHits
	for k := c.newest; k != nil; k = k.next {
		hits += k.hits.Load()
	}
	return c.count, c.evictions, hits
}
