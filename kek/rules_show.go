package kek

import (
	"fmt"
	"iter"
	"strings"

	"github.com/embedvault/vault/keyctx"
)

// All returns the rules as they were when the iteration began, ordered by their
// matches, each Choice with the Previous of a context that is exactly Match.
// The loop may change the rules. The default is [Rules.Default].
func (r *Rules) All() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		for _, rule := range r.list() {
			if !yield(rule) {
				return
			}
		}
	}
}

func (r *Rules) list() []Rule {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var rules []Rule
	for _, n := range r.index.sorted() {
		if e := n.live(); e != nil {
			c := r.view(n.match).choice(e, r.now())
			rules = append(rules, Rule{Match: n.match.Clone(), Choice: c})
		}
	}
	return rules
}

// Default returns the default choice, as the vault's own contexts get it, and
// false if there is none.
func (r *Rules) Default() (Choice, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.fallback.live()
	if e == nil {
		return Choice{}, false
	}
	return r.viewOwn().choice(e, r.now()), true
}

// String says how many rules there are. It prints no match, since matches are
// somebody's customers.
func (r *Rules) String() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	live := 0
	for _, s := range r.index.shapes {
		for _, n := range s.nodes {
			if n.live() != nil {
				live++
			}
		}
	}
	def := "no default"
	if e := r.fallback.live(); e != nil {
		def = "default " + e.quorum.String() + " " + strings.Join(e.uris, ", ")
	}
	return fmt.Sprintf("kek.Rules(%d rules, %s)", live, def)
}

// GoString is String, so that %#v prints no match either.
func (r *Rules) GoString() string { return r.String() }

// describeMatch names a match in an error by its keys, never by its values.
func describeMatch(match keyctx.KeyContext) string {
	keys := sortedKeys(match)
	if len(keys) > keyctx.MaxPairs {
		keys = keys[:keyctx.MaxPairs]
	}
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%.40q", k)
	}
	return "the pair keys " + strings.Join(keys, ", ")
}
