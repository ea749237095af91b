package kek

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/embedvault/vault/keyctx"
)

// ruleNode is what the rules say, and have said, about one match.
type ruleNode struct {
	match keyctx.KeyContext // empty for the default

	// entries are in the order of time and don't overlap; only the last may be
	// live.
	entries []ruleEntry

	// floor is the generation from which on contexts that contain match have a
	// past; 0 is from the beginning.
	floor uint64
}

// ruleEntry is one choice of one match, from a generation until another.
type ruleEntry struct {
	keks   []Wrapper
	uris   []string // of keks, in the same order
	quorum Quorum
	key    string // equal for equal choices, see choiceKey

	from  uint64 // the first generation in which it holds
	until uint64 // the first in which it doesn't any more; 0 while it holds
}

// newEntry checks a choice and copies what is kept of it.
func newEntry(c Choice) (ruleEntry, error) {
	if c.Parent != nil {
		return ruleEntry{}, fmt.Errorf("%w: rules name KEKs, not a Parent", ErrPolicy)
	}
	if len(c.Previous) > 0 {
		return ruleEntry{}, fmt.Errorf("%w: rules keep Previous themselves", ErrPolicy)
	}
	c.KEKs = slices.Clone(c.KEKs)
	if err := c.normalizeKEKs(); err != nil {
		return ruleEntry{}, err
	}
	e := ruleEntry{keks: c.KEKs, quorum: c.Quorum, uris: make([]string, len(c.KEKs))}
	for i, w := range c.KEKs {
		e.uris[i] = w.URI()
	}
	e.key = choiceKey(e.quorum, e.uris)
	return e, nil
}

// choiceKey encodes a quorum and a set of URIs: equal for equal ones only.
func choiceKey(q Quorum, uris []string) string {
	b := []byte{byte(q)}
	for _, uri := range slices.Sorted(slices.Values(uris)) {
		b = appendPart(b, uri)
	}
	return string(b)
}

func appendPart(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s))) // URIs and values are shorter than 64 KiB
	return append(b, s...)
}

func isZeroChoice(c Choice) bool {
	return len(c.KEKs) == 0 && c.Quorum == 0 && len(c.Previous) == 0 && c.Parent == nil
}

// at returns the entry that held in the generation g, or nil.
func (n *ruleNode) at(g uint64) *ruleEntry {
	i, found := slices.BinarySearchFunc(n.entries, g, func(e ruleEntry, g uint64) int {
		switch {
		case e.from > g:
			return 1
		case e.until != 0 && e.until <= g:
			return -1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &n.entries[i]
}

// live returns the entry that holds now, or nil.
func (n *ruleNode) live() *ruleEntry {
	if len(n.entries) == 0 || n.entries[len(n.entries)-1].until != 0 {
		return nil
	}
	return &n.entries[len(n.entries)-1]
}

// begin makes e hold from the generation g; what held ends there.
func (n *ruleNode) begin(e ruleEntry, g uint64) {
	n.endAt(g)
	e.from, e.until = g, 0
	n.entries = append(n.entries, e)
}

func (n *ruleNode) endAt(g uint64) {
	if e := n.live(); e != nil {
		e.until = g
	}
}

// past returns how many entries no longer hold.
func (n *ruleNode) past() int {
	if n.live() != nil {
		return len(n.entries) - 1
	}
	return len(n.entries)
}

// forget removes the entries that ended at or before the generation g.
func (n *ruleNode) forget(g uint64) {
	n.entries = slices.DeleteFunc(n.entries, func(e ruleEntry) bool { return e.until != 0 && e.until <= g })
}

// ruleShape holds the nodes whose matches have the same keys.
type ruleShape struct {
	keys  []string             // sorted
	nodes map[string]*ruleNode // by the values of keys, see project
}

// ruleIndex finds the nodes whose match a context contains at the cost of one
// look-up for each shape.
type ruleIndex struct {
	shapes map[string]*ruleShape // by shapeKey
	count  int                   // nodes in all shapes
}

func sortedKeys(kc keyctx.KeyContext) []string { return slices.Sorted(maps.Keys(kc)) }

func shapeKey(keys []string) string {
	var b []byte
	for _, k := range keys {
		b = appendPart(b, k)
	}
	return string(b)
}

// project appends the values that kc has for keys, or reports false if it
// lacks one.
func project(dst []byte, kc keyctx.KeyContext, keys []string) ([]byte, bool) {
	for _, k := range keys {
		v, ok := kc[k]
		if !ok {
			return dst, false
		}
		dst = appendPart(dst, v)
	}
	return dst, true
}

// find returns the node with exactly this match, or nil.
func (x *ruleIndex) find(match keyctx.KeyContext) *ruleNode {
	keys := sortedKeys(match)
	s := x.shapes[shapeKey(keys)]
	if s == nil {
		return nil
	}
	b, _ := project(nil, match, keys)
	return s.nodes[string(b)]
}

// ensure returns the node with this match, which is valid, and makes it if need
// be.
func (x *ruleIndex) ensure(match keyctx.KeyContext) (*ruleNode, error) {
	if n := x.find(match); n != nil {
		return n, nil
	}
	if x.count >= MaxRules {
		return nil, fmt.Errorf("%w: at most %d matches are possible", ErrRulesLimit, MaxRules)
	}
	keys := sortedKeys(match)
	s := x.shapes[shapeKey(keys)]
	if s == nil {
		if len(x.shapes) >= MaxRuleShapes {
			return nil, fmt.Errorf("%w: at most %d different sets of keys are possible", ErrRulesLimit, MaxRuleShapes)
		}
		if x.shapes == nil {
			x.shapes = make(map[string]*ruleShape)
		}
		s = &ruleShape{keys: keys, nodes: make(map[string]*ruleNode)}
		x.shapes[shapeKey(keys)] = s
	}
	n := &ruleNode{match: match.Clone()}
	b, _ := project(nil, match, keys)
	s.nodes[string(b)] = n
	x.count++
	return n, nil
}

// tidy removes a node that says nothing any more.
func (x *ruleIndex) tidy(n *ruleNode) {
	if len(n.match) == 0 || len(n.entries) > 0 || n.floor != 0 || x.find(n.match) != n {
		return
	}
	keys := sortedKeys(n.match)
	s := x.shapes[shapeKey(keys)]
	b, _ := project(nil, n.match, keys)
	delete(s.nodes, string(b))
	x.count--
	if len(s.nodes) == 0 {
		delete(x.shapes, shapeKey(keys))
	}
}

// in appends the nodes whose match kc contains, in no order.
func (x *ruleIndex) in(dst []*ruleNode, kc keyctx.KeyContext) []*ruleNode {
	var buf [256]byte
	for _, s := range x.shapes {
		if b, ok := project(buf[:0], kc, s.keys); ok {
			if n := s.nodes[string(b)]; n != nil {
				dst = append(dst, n)
			}
		}
	}
	return dst
}

// eachWithin calls f, which may tidy its node away, for every node whose match
// contains match; an empty match is in all of them.
func (x *ruleIndex) eachWithin(match keyctx.KeyContext, f func(*ruleNode)) {
	keys := sortedKeys(match)
	for _, s := range x.shapes {
		switch {
		case slices.Equal(s.keys, keys):
			if n := x.find(match); n != nil {
				f(n)
			}
		case containsAll(s.keys, keys):
			for _, n := range s.nodes {
				if len(match) == 0 || n.match.Contains(match) {
					f(n)
				}
			}
		}
	}
}

func containsAll(keys, wanted []string) bool {
	for _, k := range wanted {
		if _, found := slices.BinarySearch(keys, k); !found {
			return false
		}
	}
	return true
}

// sorted returns all nodes: by the keys of their matches, then by the values.
func (x *ruleIndex) sorted() []*ruleNode {
	nodes := make([]*ruleNode, 0, x.count)
	shapes := slices.SortedFunc(maps.Values(x.shapes), func(a, b *ruleShape) int { return slices.Compare(a.keys, b.keys) })
	for _, s := range shapes {
		at := len(nodes)
		nodes = slices.AppendSeq(nodes, maps.Values(s.nodes))
		slices.SortFunc(nodes[at:], func(a, b *ruleNode) int { return compareValues(a.match, b.match, s.keys) })
	}
	return nodes
}

func compareValues(a, b keyctx.KeyContext, keys []string) int {
	for _, k := range keys {
		if c := strings.Compare(a[k], b[k]); c != 0 {
			return c
		}
	}
	return 0
}
