package kek

import (
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
)

// Set makes the contexts that contain match use the choice, KEKs and Quorum.
// What they used before, another choice of this rule's or that of a less
// specific rule or the default, becomes Previous. To set the same KEKs again
// replaces the Wrappers behind them and adds no history. Nothing that is passed in is
// kept but the Wrappers.
//
// Errors: [keyctx.ErrInvalidContext] for a match that is no key context of a
// caller's; [ErrPolicy] for a choice that [Choice.Normalize] would refuse, or
// one with Previous or Parent; [ErrRulesLimit].
func (r *Rules) Set(match keyctx.KeyContext, c Choice) error {
	if err := match.Validate(); err != nil {
		return fmt.Errorf("kek: set a rule: %w", err)
	}
	e, err := newEntry(c) // calls the Wrappers, so before the lock
	if err != nil {
		return fmt.Errorf("kek: set a rule for %s: %w", describeMatch(match), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.index.ensure(match)
	if err != nil {
		return fmt.Errorf("kek: set a rule for %s: %w", describeMatch(match), err)
	}
	if err := r.replace(n, e); err != nil {
		r.index.tidy(n)
		return fmt.Errorf("kek: set a rule for %s: %w", describeMatch(match), err)
	}
	return nil
}

// SetDefault changes the choice of the contexts that no rule matches. What they
// used before becomes Previous. The zero Choice ends the default: such contexts
// are refused from then on, the vault's own ones too.
//
// Errors are those of [Rules.Set] for the choice.
func (r *Rules) SetDefault(c Choice) error {
	if isZeroChoice(c) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fallback.live() == nil {
			return nil
		}
		if err := r.end(&r.fallback); err != nil {
			return fmt.Errorf("kek: end the default choice: %w", err)
		}
		return nil
	}
	e, err := newEntry(c)
	if err != nil {
		return fmt.Errorf("kek: set the default choice: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.replace(&r.fallback, e); err != nil {
		return fmt.Errorf("kek: set the default choice: %w", err)
	}
	return nil
}

// Remove takes away the rule with exactly this match. Its contexts go to a less
// specific rule, or are refused if there is neither that nor a default, or if
// one of the match's keys is required. If they would go to the default, Remove
// refuses: the data of a customer with a key of its own must not come to lie
// under another by a slip.
//
// Errors: [keyctx.ErrInvalidContext], [ErrNoRule], [ErrFallsToDefault],
// [ErrRulesLimit].
func (r *Rules) Remove(match keyctx.KeyContext) error { return r.remove(match, false) }

// RemoveToDefault is [Rules.Remove] for when the contexts of that rule may go
// to the default.
func (r *Rules) RemoveToDefault(match keyctx.KeyContext) error { return r.remove(match, true) }

func (r *Rules) remove(match keyctx.KeyContext, toDefault bool) error {
	if err := match.Validate(); err != nil {
		return fmt.Errorf("kek: remove a rule: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.index.find(match)
	var err error
	switch {
	case n == nil || n.live() == nil:
		err = ErrNoRule
	case !toDefault && r.fallsToDefault(n):
		err = ErrFallsToDefault
	default:
		err = r.end(n)
	}
	if err != nil {
		return fmt.Errorf("kek: remove the rule for %s: %w", describeMatch(match), err)
	}
	return nil
}

// Require refuses the default to contexts that have a pair with one of these
// keys: they must match some rule whose match has a pair with that key. So a
// customer nobody has made a rule for is an error, not data under the default.
// It can't be taken back.
//
// Errors: [keyctx.ErrInvalidContext] for what can't be a pair's key, or is
// reserved; [ErrRulesLimit].
func (r *Rules) Require(keys ...string) error {
	for _, k := range keys {
		if err := (keyctx.KeyContext{k: "-"}).Validate(); err != nil {
			return fmt.Errorf("kek: require a pair key: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fresh := slices.Clone(keys)
	slices.Sort(fresh)
	fresh = slices.DeleteFunc(slices.Compact(fresh), func(k string) bool { return r.required[k] != 0 })
	if len(fresh) == 0 {
		return nil
	}
	if len(r.required)+len(fresh) > MaxRequired {
		return fmt.Errorf("kek: require pair keys: %w: at most %d can be required", ErrRulesLimit, MaxRequired)
	}
	if err := r.advance(); err != nil {
		return fmt.Errorf("kek: require pair keys: %w", err)
	}
	if r.required == nil {
		r.required = make(map[string]uint64, len(fresh))
	}
	for _, k := range fresh {
		r.required[k] = r.now()
	}
	return nil
}

// DropPrevious forgets what contexts that contain match used before now. What
// is still wrapped under those KEKs alone can no longer be unwrapped through
// these rules: rewrap it first, envelopes and backups included. What changes
// later becomes Previous again.
//
// It looks at every rule whose match contains this one. Errors:
// [keyctx.ErrInvalidContext], also for an empty match, [ErrRulesLimit].
func (r *Rules) DropPrevious(match keyctx.KeyContext) error {
	if err := match.Validate(); err != nil {
		return fmt.Errorf("kek: drop previous choices: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.index.ensure(match)
	if err != nil {
		return fmt.Errorf("kek: drop previous choices of %s: %w", describeMatch(match), err)
	}
	n.floor = r.now()
	r.index.eachWithin(match, r.prune)
	return nil
}

// DropAllPrevious is [Rules.DropPrevious] for every context there is, the
// default's included.
func (r *Rules) DropAllPrevious() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fallback.floor = r.now()
	r.prune(&r.fallback)
	r.index.eachWithin(nil, r.prune)
}

// replace makes e what holds for n's match from now on.
func (r *Rules) replace(n *ruleNode, e ruleEntry) error {
	if old := n.live(); old != nil && old.key == e.key {
		e.from = old.from
		*old = e
		return nil
	}
	if err := r.room(n); err != nil {
		return err
	}
	if err := r.advance(); err != nil {
		return err
	}
	n.begin(e, r.now())
	return nil
}

// end makes n's match have no choice of its own from now on.
func (r *Rules) end(n *ruleNode) error {
	if err := r.room(n); err != nil {
		return err
	}
	if err := r.advance(); err != nil {
		return err
	}
	n.endAt(r.now())
	return nil
}

// room reports whether n can have one more past choice.
func (r *Rules) room(n *ruleNode) error {
	if n.live() == nil {
		return nil // nothing becomes the past
	}
	n.forget(r.floorOf(n))
	if n.past() >= MaxPastChoices {
		return fmt.Errorf("%w: it has %d past choices, drop them first", ErrRulesLimit, n.past())
	}
	return nil
}

// fallsToDefault reports whether contexts of exactly n's match would go to the
// default if n's rule weren't there. What contains more pairs than the match
// falls no further than the match does.
func (r *Rules) fallsToDefault(n *ruleNode) bool {
	if r.fallback.live() == nil {
		return false
	}
	for k := range n.match {
		if r.required[k] != 0 {
			return false // refused, if no other rule has the key; not the default's
		}
	}
	return !slices.ContainsFunc(r.index.in(nil, n.match), func(o *ruleNode) bool { return o != n && o.live() != nil })
}

// floorOf returns the floor of every context that contains n's match.
func (r *Rules) floorOf(n *ruleNode) uint64 {
	floor := max(r.fallback.floor, n.floor)
	for _, o := range r.index.in(nil, n.match) {
		floor = max(floor, o.floor)
	}
	return floor
}

// prune removes from n what no context can need any more: the entries that
// ended before the floor of all its contexts, a floor that a less specific one
// makes idle, and the node itself if nothing is left of it.
func (r *Rules) prune(n *ruleNode) {
	n.forget(r.floorOf(n))
	if n == &r.fallback {
		return
	}
	own := n.floor
	n.floor = 0
	if max(r.floorOf(n), 1) < own { // generation 1 has no past
		n.floor = own
	}
	r.index.tidy(n)
}
