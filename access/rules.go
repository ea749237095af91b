package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/embedvault/vault"
)

var (
	// ErrNoRule is matched when a rule is to be removed that isn't there.
	ErrNoRule = errors.New("no access rule with this name")

	// ErrNotAllowed is matched by a denial because no rule allows the operation, and
	// ErrDenied by one because a rule denies it.
	ErrNotAllowed = errors.New("no rule allows it")
	ErrDenied     = errors.New("a rule denies it")

	// ErrReasonRequired is matched by a denial of what a rule would allow with a
	// reason: vault.WithReason.
	ErrReasonRequired = errors.New("a reason is required")
)

// Rules is a [vault.Authorizer] of rules, which can be changed while it is used. It is
// made by [NewRules] or [ParseRules]; the zero value has no rule and denies everything.
// It must not be copied. All its methods are safe for concurrent use, and a change
// counts for every decision that begins after it.
//
// A request is denied if a rule that denies matches it; else allowed if one that allows
// does; else denied. A request about many contexts or objects at once (a list with
// Within, a job), or about some that are not known (a lookup of an ID that isn't there),
// is matched by a rule that allows only if that holds for all of them, and by one that
// denies if it can hold for any. So whoever is limited to a tenant lists within it and
// nowhere else, and a rule that denies one user of an organisation denies the list within
// the organisation.
//
// Rules are configuration. They are to be kept where whoever writes to the vault's
// database can't change them.
type Rules struct {
	mu    sync.Mutex // held by who changes them
	state atomic.Pointer[ruleSet]
}

var _ vault.ImmediateAuthorizer = (*Rules)(nil)

// ruleSet is the rules at one time. It is never changed.
type ruleSet struct {
	rules []*compiled // in order
	byOp  map[vault.Operation][]*compiled
}

// NewRules returns rules. Nothing that is passed in is kept.
//
// Errors: [ErrRule] for one that is not valid, two with the same name, or more than
// [MaxRules].
func NewRules(rules ...Rule) (*Rules, error) {
	r := new(Rules)
	return r, r.Replace(rules...)
}

// Replace puts these rules in the place of all that there are, at once. The errors are
// those of [NewRules]; nothing is changed then.
func (r *Rules) Replace(rules ...Rule) error {
	list := make([]*compiled, 0, len(rules))
	for _, rule := range rules {
		c, err := rule.compile()
		if err != nil {
			return err
		}
		list = append(list, c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.set(list)
}

// Set adds a rule, or puts it in the place of the one with its name. The errors are
// those of [NewRules].
func (r *Rules) Set(rule Rule) error {
	c, err := rule.compile()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.now().rules)
	if i := indexOf(list, rule.Name); i >= 0 {
		list[i] = c
	} else {
		list = append(list, c)
	}
	return r.set(list)
}

// Remove takes away the rule with this name. Errors: [ErrNoRule].
func (r *Rules) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.now().rules)
	i := indexOf(list, name)
	if i < 0 {
		return fmt.Errorf("access: remove rule %.100q: %w", name, ErrNoRule)
	}
	return r.set(slices.Delete(list, i, i+1))
}

// All returns a copy of the rules, in order.
func (r *Rules) All() []Rule {
	list := r.now().rules
	rules := make([]Rule, len(list))
	for i, c := range list {
		rules[i] = c.rule.clone()
	}
	return rules
}

func indexOf(list []*compiled, name string) int {
	return slices.IndexFunc(list, func(c *compiled) bool { return c.rule.Name == name })
}

// set makes the list what counts from now on. The caller holds the lock.
func (r *Rules) set(list []*compiled) error {
	if len(list) > MaxRules {
		return fmt.Errorf("access: %w: %d rules, at most %d are allowed", ErrRule, len(list), MaxRules)
	}
	next := &ruleSet{rules: list, byOp: map[vault.Operation][]*compiled{}}
	seen := make(map[string]bool, len(list))
	for _, c := range list {
		if seen[c.rule.Name] {
			return fmt.Errorf("access: %w: two rules have the name %s", ErrRule, c.rule.Name)
		}
		seen[c.rule.Name] = true
		for _, op := range c.ops {
			next.byOp[op] = append(next.byOp[op], c)
		}
	}
	r.state.Store(next)
	return nil
}

func (r *Rules) now() *ruleSet {
	if s := r.state.Load(); s != nil {
		return s
	}
	return new(ruleSet)
}

// Decision is what the rules say of a request, and by which of them.
type Decision struct {
	Allowed bool

	// Rule is the name of the rule that decided: the first one that denies, or else
	// the first that allows, or else the first that would with a reason; "" if no
	// rule matches.
	Rule string

	// ReasonMissing says that Rule would allow it if there were a reason.
	ReasonMissing bool
}

// Explain returns what the rules say of a request.
func (r *Rules) Explain(q vault.AccessRequest) Decision {
	var allows, would string
	for _, c := range r.now().byOp[q.Operation] {
		said := c.matches(&q)
		switch {
		case said == never:
		case c.rule.Effect == Deny:
			return Decision{Rule: c.rule.Name}
		case said != always:
		case c.rule.RequireReason && !reasonGiven(q.Reason):
			would = first(would, c.rule.Name)
		default:
			allows = first(allows, c.rule.Name)
		}
	}
	if allows != "" {
		return Decision{Allowed: true, Rule: allows}
	}
	return Decision{Rule: would, ReasonMissing: would != ""}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Authorize returns nil if the rules allow the request. Errors: [ErrDenied],
// [ErrReasonRequired], [ErrNotAllowed]. They name the rule and nothing of the request.
func (r *Rules) Authorize(_ context.Context, q vault.AccessRequest) error {
	switch d := r.Explain(q); {
	case d.Allowed:
		return nil
	case d.ReasonMissing:
		return fmt.Errorf("access: rule %s: %w", d.Rule, ErrReasonRequired)
	case d.Rule != "":
		return fmt.Errorf("access: rule %s: %w", d.Rule, ErrDenied)
	}
	return fmt.Errorf("access: %w", ErrNotAllowed)
}

// DecidesAtOnce marks Rules as a [vault.ImmediateAuthorizer].
func (r *Rules) DecidesAtOnce() {}
