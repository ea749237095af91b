package boltstore

import (
	"bytes"
	"slices"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// contexts walks, in the order of their hashes, the contexts that a filter
// selects and that have records in a bucket. It may yield one that the filter
// doesn't select: whoever reads its records checks them.
type contexts struct {
	down   bool
	single *keyctx.Hash // just this one
	lists  []postings   // the contexts that are in all of these
	bucket *scan        // or else those that start a key of this bucket
}

// postings is the list of the contexts with one pair.
type postings struct {
	prefix []byte
	scan   *scan
}

// contexts returns the walk for f over bucket, whose contexts' pairs are in the
// index under tag.
func (t *tx) contexts(f storage.ContextFilter, bucket int, tag byte, down bool) (*contexts, error) {
	c := &contexts{down: down}
	if f.Hash != (keyctx.Hash{}) {
		c.single = &f.Hash
		return c, nil
	}
	for _, token := range filterTokens(f) {
		prefix := tagged(tag, token)
		s, err := t.scanIndex(prefix, prefixEnd(prefix), down)
		if err != nil {
			return nil, err
		}
		c.lists = append(c.lists, postings{prefix, s})
	}
	if len(c.lists) == 0 {
		c.bucket = t.scan(bucket, nil, nil, down)
	}
	return c, nil
}

func filterTokens(f storage.ContextFilter) (tokens [][]byte) {
	for k, v := range f.Match {
		tokens = append(tokens, pairToken(k, v))
	}
	if !f.AnyNamespace {
		tokens = append(tokens, pairToken(keyctx.ReservedNamespace, f.Namespace))
	}
	return tokens
}

// seek returns the first context that is not before from. It must not be asked
// for what lies behind.
func (c *contexts) seek(from keyctx.Hash) (keyctx.Hash, bool) {
	switch {
	case c.single != nil:
		return *c.single, !c.before(*c.single, from)
	case c.bucket != nil:
		return c.seekBucket(from)
	}
	for agreed := false; !agreed; {
		agreed = true
		for _, l := range c.lists {
			k, _ := l.scan.peek(slices.Concat(l.prefix, from[:]))
			if k == nil {
				return keyctx.Hash{}, false
			}
			if h := keyctx.Hash(k[len(l.prefix):]); h != from {
				from, agreed = h, false
			}
		}
	}
	return from, true
}

func (c *contexts) seekBucket(from keyctx.Hash) (keyctx.Hash, bool) {
	key := from[:]
	if c.down {
		// The last key of the context is what lies before the next one's first.
		if key = prefixEnd(key); key == nil {
			key = bytes.Repeat([]byte{0xff}, 1+hashLen+storage.MaxNameLen)
		}
	}
	k, _ := c.bucket.peek(key)
	if len(k) < hashLen {
		return keyctx.Hash{}, false
	}
	return keyctx.Hash(k[:hashLen]), true
}

func (c *contexts) before(a, b keyctx.Hash) bool {
	if c.down {
		a, b = b, a
	}
	return bytes.Compare(a[:], b[:]) < 0
}

// first returns where a walk begins.
func (c *contexts) first() keyctx.Hash {
	var h keyctx.Hash
	if c.down {
		copy(h[:], bytes.Repeat([]byte{0xff}, len(h)))
	}
	return h
}

// following returns the hash after h; ok is false after the last.
func (c *contexts) following(h keyctx.Hash) (next keyctx.Hash, ok bool) {
	for i := len(h) - 1; i >= 0; i-- {
		if c.down {
			if h[i]--; h[i] != 0xff {
				return h, true
			}
		} else if h[i]++; h[i] != 0 {
			return h, true
		}
	}
	return h, false
}
