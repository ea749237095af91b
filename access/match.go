package access

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
)

// A request may be about many contexts and objects at once (a list within a match, a
// job), or about some that are not known. What a rule says of them is then not yes or
// no: a rule that allows must hold for all of them, one that denies for any.
type truth uint8

const (
	never  truth = iota // for none of them
	partly              // for some, or it can't be told
	always              // for each of them
)

// compiled is a rule that is ready to be asked.
type compiled struct {
	rule    Rule
	context map[string]operand
	ops     []vault.Operation
}

func (r Rule) compile() (*compiled, error) {
	name := fmt.Sprintf("%.100q", r.Name)
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("access: rule %s: %w: %w", name, ErrRule, err)
	}
	c := &compiled{rule: r.clone(), context: make(map[string]operand, len(r.Context))}
	for k, v := range r.Context {
		o, err := parseOperand(v)
		if err == nil {
			err = validPair(k, o)
		}
		if err != nil {
			return nil, fmt.Errorf("access: rule %s: %w: the pair %.40q of Context: %w", name, ErrRule, k, err)
		}
		c.context[k] = o
	}
	for _, op := range r.Operations {
		ops := expand(op)
		if len(ops) == 0 {
			return nil, fmt.Errorf("access: rule %s: %w: there is no operation or group %.40q", name, ErrRule, op)
		}
		c.ops = append(c.ops, ops...)
	}
	slices.Sort(c.ops)
	c.ops = slices.Compact(c.ops)
	return c, nil
}

// validPair checks that a key context can have such a pair.
func validPair(key string, o operand) error {
	if o.actor || o.attribute != "" {
		o.literal = "-" // whatever it will be
	}
	return (keyctx.KeyContext{key: o.literal}).Validate()
}

// matches reports what the rule says of a request, RequireReason aside. The rule is one
// for the request's operation.
func (c *compiled) matches(r *vault.AccessRequest) truth {
	if !c.rule.isFor(r) {
		return never
	}
	return min(c.inContext(r), c.rule.namedLike(r), c.rule.labelled(r))
}

// isFor reports whether the rule is for the actor.
func (r *Rule) isFor(q *vault.AccessRequest) bool {
	if len(r.Actors) > 0 && !slices.Contains(r.Actors, q.Actor) {
		return false
	}
	for name, values := range r.Attributes {
		if v, ok := q.Attributes.Get(name); !ok || !slices.Contains(values, v) {
			return false
		}
	}
	return true
}

// inContext compares the pairs with Context, or with Match, which may be of contexts that
// have more pairs.
func (c *compiled) inContext(r *vault.AccessRequest) truth {
	if c.rule.AnyContext {
		return always
	}
	pairs, missing := r.Context, never // what a pair that isn't there means
	if len(r.Context) == 0 {
		pairs, missing = r.Match, partly
	}
	said := always
	for k, o := range c.context {
		want, ok := o.value(r)
		got, there := pairs[k]
		switch {
		case !ok, there && got != want:
			return never
		case !there:
			said = min(said, missing)
		}
	}
	return said
}

// ofObjects are the operations that are about objects, or end them.
var ofObjects = map[vault.Operation]bool{
	vault.OpPut: true, vault.OpGet: true, vault.OpDelete: true, vault.OpDescribe: true,
	vault.OpLookup: true, vault.OpVersions: true, vault.OpList: true, vault.OpSweep: true,
	vault.OpReencryptObjects: true,
	vault.OpShred:            true, vault.OpRunShreds: true, vault.OpDisable: true, vault.OpRetireKeys: true,
}

// namedLike compares the object's name with ObjectPrefix.
func (r *Rule) namedLike(q *vault.AccessRequest) truth {
	switch {
	case r.ObjectPrefix == "":
		return always
	case !ofObjects[q.Operation]:
		return never
	case q.Object != "":
		return truthOf(strings.HasPrefix(q.Object, r.ObjectPrefix))
	case q.Operation == vault.OpList && strings.HasPrefix(q.Prefix, r.ObjectPrefix):
		return always
	case q.Operation == vault.OpList:
		return min(partly, truthOf(strings.HasPrefix(r.ObjectPrefix, q.Prefix)))
	}
	return partly // it isn't known, or there are many
}

// oneObject are the operations on an object whose labels are known: it has none if the
// request has none.
var oneObject = map[vault.Operation]bool{
	vault.OpPut: true, vault.OpGet: true, vault.OpDelete: true, vault.OpDescribe: true,
	vault.OpLookup: true, vault.OpVersions: true,
}

// labelled compares the object's labels with Labels.
func (r *Rule) labelled(q *vault.AccessRequest) truth {
	switch {
	case len(r.Labels) == 0:
		return always
	case !ofObjects[q.Operation]:
		return never
	case !oneObject[q.Operation]:
		return partly
	}
	stored := truthOf(has(q.Labels, r.Labels))
	if q.Operation != vault.OpPut {
		return stored
	}
	fresh := truthOf(has(q.NewLabels, r.Labels))
	if q.Labels == nil || stored == fresh { // there is no version yet, or they agree
		return fresh
	}
	return partly
}

func has(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func truthOf(b bool) truth {
	if b {
		return always
	}
	return never
}

// reasonGiven reports whether a reason says anything.
func reasonGiven(reason string) bool {
	return strings.ContainsFunc(reason, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
}
