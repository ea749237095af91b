package kek

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
)

// maxGeneration keeps generations exact in every JSON reader.
const maxGeneration = 1<<53 - 1

var (
	errNoMatch   = errors.New("no rule matches it and there is no default")
	errAmbiguous = errors.New("two equally specific rules match it and differ")
	errRequired  = errors.New("no rule matches it by a key that is required")
)

// Choose returns what the rules say for kc. It does no I/O. The result shares
// no slice with the rules. Its errors match [ErrPolicy], or
// [keyctx.ErrInvalidContext] for what is no key context.
func (r *Rules) Choose(_ context.Context, kc keyctx.KeyContext) (Choice, error) {
	if err := kc.ValidateFull(); err != nil {
		return Choice{}, fmt.Errorf("kek: choose KEKs: %w", err)
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	v := r.view(kc)
	e, err := v.at(r.now())
	if err != nil {
		return Choice{}, fmt.Errorf("kek: choose KEKs for a context with %s: %w: %w", describeMatch(kc), ErrPolicy, err)
	}
	return v.choice(e, r.now()), nil
}

// ruleView is what bears on one context.
type ruleView struct {
	nodes    []*ruleNode // whose matches it contains, the default's first
	required []string    // its keys that are required,
	since    []uint64    // and since which generation
	floor    uint64      // the first generation of its past
}

// view gathers what bears on kc. The caller holds the lock.
func (r *Rules) view(kc keyctx.KeyContext) ruleView {
	if kc.IsOwn() {
		return r.viewOwn()
	}
	v := r.viewOwn()
	v.nodes = r.index.in(v.nodes, kc)
	for _, n := range v.nodes {
		v.floor = max(v.floor, n.floor)
	}
	for k, since := range r.required {
		if _, ok := kc[k]; ok {
			v.required = append(v.required, k)
			v.since = append(v.since, since)
		}
	}
	return v
}

// viewOwn is the view of the vault's own contexts: the default and nothing else.
func (r *Rules) viewOwn() ruleView {
	return ruleView{nodes: []*ruleNode{&r.fallback}, floor: max(r.fallback.floor, 1)}
}

// at returns what held for the context in the generation g.
func (v ruleView) at(g uint64) (*ruleEntry, error) {
	var best *ruleEntry
	pairs, tied := 0, false
	for _, n := range v.nodes {
		e := n.at(g)
		switch {
		case e == nil:
		case best == nil || len(n.match) > pairs:
			best, pairs, tied = e, len(n.match), false
		case len(n.match) == pairs && e.key != best.key:
			tied = true
		}
	}
	switch {
	case !v.satisfied(g):
		return nil, errRequired
	case best == nil:
		return nil, errNoMatch
	case tied:
		return nil, errAmbiguous
	}
	return best, nil
}

// satisfied reports whether, in the generation g, each required key of the
// context was in the match of some rule that held.
func (v ruleView) satisfied(g uint64) bool {
	for i, k := range v.required {
		if v.since[i] <= g && !slices.ContainsFunc(v.nodes, func(n *ruleNode) bool {
			_, has := n.match[k]
			return has && n.at(g) != nil
		}) {
			return false
		}
	}
	return true
}

// choice returns e with the distinct choices that held for the context before,
// the newest first. Generations in which it had none (refused, ambiguous) add
// none: nothing was wrapped then.
func (v ruleView) choice(e *ruleEntry, now uint64) Choice {
	c := Choice{KEKs: slices.Clone(e.keks), Quorum: e.quorum}
	seen := map[string]bool{e.key: true}
	for _, g := range v.turns(now) {
		p, err := v.at(g)
		if err != nil || seen[p.key] {
			continue
		}
		seen[p.key] = true
		c.Previous = append(c.Previous, Choice{KEKs: slices.Clone(p.keks), Quorum: p.quorum})
	}
	return c
}

// turns returns the generations, the newest first, at which something changed
// for the context, and the first one of its past. Between them nothing did.
func (v ruleView) turns(now uint64) []uint64 {
	turns := []uint64{v.floor}
	add := func(g uint64) {
		if g > v.floor && g <= now {
			turns = append(turns, g)
		}
	}
	for _, n := range v.nodes {
		for _, e := range n.entries {
			add(e.from)
			add(e.until)
		}
	}
	for _, g := range v.since {
		add(g)
	}
	slices.Sort(turns)
	turns = slices.Compact(turns)
	slices.Reverse(turns)
	return turns
}

// now is the number of the present generation, from 1.
func (r *Rules) now() uint64 { return r.changes + 1 }

// advance begins a new generation.
func (r *Rules) advance() error {
	if r.now() >= maxGeneration {
		return fmt.Errorf("%w: no generation is left", ErrRulesLimit)
	}
	r.changes++
	return nil
}
