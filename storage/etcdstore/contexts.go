package etcdstore

import (
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// contexts walks the contexts that have all the pairs of a filter, in the order
// of their hashes, or backwards in that of their turned hashes: what it gives
// are the hashes in the form in which they sort forwards. It may give one that
// the filter doesn't select: whoever reads its records checks them.
type contexts struct {
	r     *snap
	lists []*postings
	next  string // where to go on
	done  bool
}

// postings is the list of the contexts with one pair, read some at a time.
type postings struct {
	span   span
	skip   int // bytes before the hash
	buffer []string
	more   bool
	loaded bool
}

// postingsAtOnce is how much of each list one request asks for.
const postingsAtOnce = 256

// contexts returns the walk for f, from the hash from on. tag is that of the
// entries.
func (r *snap) contexts(f storage.ContextFilter, tag byte, from string) *contexts {
	c := &contexts{r: r, next: from}
	for _, token := range filterTokens(f) {
		prefix := r.s.key(tag, token)
		c.lists = append(c.lists, &postings{span: prefixSpan(prefix), skip: len(prefix)})
	}
	return c
}

func filterTokens(f storage.ContextFilter) (tokens []string) {
	for k, v := range f.Match {
		tokens = append(tokens, pairToken(k, v))
	}
	if !f.AnyNamespace {
		tokens = append(tokens, pairToken(keyctx.ReservedNamespace, f.Namespace))
	}
	if len(tokens) == 0 {
		tokens = append(tokens, anyToken())
	}
	return tokens
}

// take returns up to n contexts; none at the end.
func (c *contexts) take(n int) (hashes []string, err error) {
	for len(hashes) < n && !c.done {
		agreed := true
		for _, l := range c.lists {
			if err := c.load(l); err != nil {
				return nil, err
			}
			if len(l.buffer) == 0 {
				c.done = true
				return hashes, nil
			}
			if l.buffer[0] != c.next {
				c.next, agreed = l.buffer[0], false
			}
		}
		if agreed {
			hashes = append(hashes, c.next)
			c.next = after(c.next)
		}
	}
	return hashes, nil
}

// load has the list's buffer begin with its first context that is not before
// c.next, if there is one.
func (c *contexts) load(l *postings) error {
	for len(l.buffer) > 0 && l.buffer[0] < c.next {
		l.buffer = l.buffer[1:]
	}
	if len(l.buffer) > 0 || l.loaded && !l.more {
		return nil
	}
	prefix := l.span.lo[:l.skip]
	a, err := c.r.do(read{span: l.span.from(prefix + c.next), limit: postingsAtOnce, keysOnly: true})
	if err != nil {
		return err
	}
	l.loaded, l.more = true, a[0].more
	for _, e := range a[0].entries {
		l.buffer = append(l.buffer, string(e.Key[l.skip:]))
	}
	return nil
}

const (
	maxContexts = 64 // whose records one request asks for
	minEach     = 8  // records asked for of each
)

// scanContexts visits the entries of one context after the other. within says
// in which span they are, given the hash as contexts gives it.
func (r *snap) scanContexts(c *contexts, within func(hash string) span, want func() int, visit func([]*entry) error) error {
	for n := 1; ; n = min(2*n, maxContexts) {
		hashes, err := c.take(n)
		if err != nil || len(hashes) == 0 {
			return err
		}
		each := max(want()/len(hashes), minEach)
		var reads []read
		for _, h := range hashes {
			if sp := within(h); sp.lo < sp.hi {
				reads = append(reads, read{span: sp, limit: min(each, maxEntries)})
			}
		}
		answers, err := r.do(reads...)
		if err != nil {
			return err
		}
		for i, a := range answers {
			if len(a.entries) == 0 {
				continue
			}
			if err := visit(a.entries); err != nil {
				return err
			}
			if !a.more {
				continue
			}
			rest := reads[i].span.from(after(string(a.entries[len(a.entries)-1].Key)))
			if err := r.scan(rest, want, visit); err != nil {
				return err
			}
		}
	}
}
