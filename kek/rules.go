package kek

import (
	"errors"
	"fmt"
	"sync"

	"github.com/embedvault/vault/keyctx"
)

// Limits of [Rules].
const (
	// MaxRules is how many matches can have a rule, past choices or a dropped
	// history.
	MaxRules = 1_000_000

	// MaxRuleShapes is how many different sets of pair keys the matches can have:
	// {"organization_id"} is one, {"organization_id", "region"} another. The cost
	// of Choose grows with them, and not with the number of rules.
	MaxRuleShapes = 256

	// MaxPastChoices is how many past choices of one match are kept.
	MaxPastChoices = 64

	// MaxRequired is how many pair keys can be required.
	MaxRequired = 64
)

var (
	// ErrNoRule is matched when a rule is to be removed that isn't there.
	ErrNoRule = errors.New("no rule with this match")

	// ErrFallsToDefault is matched when [Rules.Remove] refuses, because the
	// contexts of that rule would go to the default KEK. [Rules.RemoveToDefault]
	// is the call for that.
	ErrFallsToDefault = errors.New("without this rule its contexts would go to the default KEK")

	// ErrRulesLimit is matched when a change would go beyond a limit: [MaxRules],
	// [MaxRuleShapes], [MaxPastChoices], [MaxRequired]. Nothing is changed then.
	// Dropping the history, which makes room, is an explicit call.
	ErrRulesLimit = errors.New("too many KEK rules")
)

// Rule gives the contexts that contain Match their KEKs.
type Rule struct {
	// Match is 1 to 10 pairs as in any key context of a caller's. The rule is for
	// every context that has all of them.
	Match keyctx.KeyContext

	// Choice is KEKs and Quorum. [Rules] keeps Previous itself, and knows no
	// Parent: both must be empty in what it is given. To put contexts under
	// parents whose KEKs the rules name, put [Under] on top of them.
	Choice Choice
}

// Rules is a [Policy] in memory, which can be changed while it is used. It is
// made by [NewRules] or [ParseRules]; the zero value has no rule and no default
// and refuses every context. It must not be copied. All its methods are safe for concurrent
// use, and a change counts for every Choose that begins after it.
//
// A rule matches a context that contains all pairs of its match. The rule with
// the most pairs wins. Two with equally many that give different KEKs, or a
// different quorum, are an error and not a guess. A context that no rule matches
// gets the default choice, if there is one and [Rules.Require] doesn't rule it
// out. The vault's own contexts (vault:scope, vault:system) always get the
// default.
//
// Previous is every choice that the context had at an earlier time, the newest
// first: before a rule was set, replaced or removed, before the default was
// changed, before a key was required. Each stays until [Rules.DropPrevious] or
// [Rules.DropAllPrevious]: envelopes and backups from that time still need it.
// A choice that holds for the same URIs and the same quorum as another is the
// same choice, whatever the order and whichever Wrapper stands behind the URI.
//
// To start with rules that have always been there, give them to [NewRules]
// together: what is Set later keeps the default as Previous.
//
// Rules are configuration. They are to be kept where whoever writes to the
// vault's database can't change them.
type Rules struct {
	mu sync.RWMutex // guards everything below

	// changes counts them. What held between two of them is a generation, and
	// past choices are found by asking what held in each: see now.
	changes uint64

	// fallback has the empty match, the default's choices over time, and the
	// floor that holds for every context.
	fallback ruleNode

	index    ruleIndex
	required map[string]uint64 // pair key → the generation since which it is required
}

var _ Policy = (*Rules)(nil)

// NewRules returns rules with a default choice, or none if def is the zero
// Choice: then a context that no rule matches is refused. The rules given here
// have no history. Nothing that is passed in is kept but the Wrappers.
//
// Errors: [ErrPolicy] for a choice that [Choice.Normalize] would refuse, one
// with Previous or Parent, or a match given twice; [keyctx.ErrInvalidContext]
// for a match; [ErrRulesLimit].
func NewRules(def Choice, rules ...Rule) (*Rules, error) {
	r := new(Rules)
	if !isZeroChoice(def) {
		e, err := newEntry(def)
		if err != nil {
			return nil, fmt.Errorf("kek: the default choice: %w", err)
		}
		r.fallback.begin(e, r.now())
	}
	for _, rule := range rules {
		if err := r.addInitial(rule); err != nil {
			return nil, fmt.Errorf("kek: %s: %w", describeMatch(rule.Match), err)
		}
	}
	return r, nil
}

func (r *Rules) addInitial(rule Rule) error {
	if err := rule.Match.Validate(); err != nil {
		return err
	}
	e, err := newEntry(rule.Choice)
	if err != nil {
		return err
	}
	n, err := r.index.ensure(rule.Match)
	if err != nil {
		return err
	}
	if n.live() != nil {
		return fmt.Errorf("%w: two rules have the same match", ErrPolicy)
	}
	n.begin(e, r.now())
	return nil
}
