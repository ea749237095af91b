package access

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
)

// Effect says what a rule does with what it matches. The zero value is invalid.
type Effect uint8

// The effects.
const (
	Allow Effect = 1 + iota
	Deny         // beats every rule that allows
)

// String returns "allow" or "deny".
func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return fmt.Sprintf("Effect(%d)", uint8(e))
}

// Limits of a rule.
const (
	MaxRules      = 10_000 // in [Rules]
	MaxConditions = 1_000  // actors, values of an attribute, attributes, labels or operations in one rule
	maxText       = 1024   // bytes of a name, a value or a prefix
)

// ErrRule is matched by every error about a rule that is not valid.
var ErrRule = errors.New("invalid access rule")

// Rule allows or denies operations. It matches a request when all of its conditions
// do. Names and values are compared byte for byte.
type Rule struct {
	// Name is 1 to 100 bytes of [A-Za-z0-9._-], unique among the rules. It stands in
	// errors and events.
	Name string

	Effect Effect

	// Actors are names of vault.WithActor, one of which the actor must have.
	Actors []string

	// Attributes are attributes of vault.WithActorAttributes, each of which the actor
	// must have with one of the values.
	Attributes map[string][]string

	// Anyone says that the rule is for whoever it is, an actor without a name too. It
	// must be set if Actors and Attributes are empty, and only then.
	Anyone bool

	// Operations are operations of package vault's, or groups: [Read], [Write],
	// [Describe], [Manage].
	Operations []vault.Operation

	// Context is pairs that the key context must contain. A value is taken as it is,
	// or is exactly "${actor}" for the actor's name, or "${actor.NAME}" for its
	// attribute NAME, which must be of [A-Za-z0-9_.:/-]. What they stand for is only
	// compared, never looked into. An actor without that name or attribute, or with an
	// empty one, doesn't match. Any other value with "${" in it is refused.
	Context map[string]string

	// AnyContext says that the rule is for all key contexts, and for what is about
	// none. It must be set if Context is empty, and only then.
	AnyContext bool

	// ObjectPrefix is what the object's name must begin with; "" is no condition. It
	// matches no operation that is not about objects.
	ObjectPrefix string

	// Labels are labels that the object must have. They are stored in clear and not
	// authenticated. For a put they must be among those of the current version, if
	// there is one, and among the new ones; in a rule that denies, either is enough.
	Labels map[string]string

	// RequireReason makes the rule allow only what has a reason, of vault.WithReason,
	// with a letter or a digit in it: for break-glass. It can't stand in a rule that
	// denies.
	RequireReason bool
}

var ruleName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// Validate reports whether the rule is one that [Rules] takes. Its errors match
// [ErrRule].
func (r Rule) Validate() error {
	_, err := r.compile()
	return err
}

func (r Rule) validate() error {
	switch {
	case !ruleName.MatchString(r.Name):
		return errors.New("a Name must be 1 to 100 of A-Z a-z 0-9 . _ -")
	case r.Effect != Allow && r.Effect != Deny:
		return errors.New("Effect must be Allow or Deny")
	case r.Anyone == (len(r.Actors)+len(r.Attributes) > 0):
		return errors.New("set Anyone, or else Actors or Attributes")
	case r.AnyContext == (len(r.Context) > 0):
		return errors.New("set AnyContext, or else Context")
	case r.RequireReason && r.Effect == Deny:
		return errors.New("RequireReason can't stand in a rule that denies")
	case len(r.Operations) == 0:
		return errors.New("no Operations: it is empty")
	case max(len(r.Actors), len(r.Attributes), len(r.Labels), len(r.Operations)) > MaxConditions:
		return fmt.Errorf("more than %d conditions of a kind", MaxConditions)
	case len(r.Context) > keyctx.MaxPairs:
		return fmt.Errorf("more than %d pairs in Context", keyctx.MaxPairs)
	case emptyButThere(r.Actors != nil, len(r.Actors)), emptyButThere(r.Attributes != nil, len(r.Attributes)),
		emptyButThere(r.Context != nil, len(r.Context)), emptyButThere(r.Labels != nil, len(r.Labels)):
		return errors.New("one of Actors, Attributes, Context or Labels is empty, but not nil; was the last one taken out?")
	}
	return r.validateTexts()
}

// emptyButThere is what is left of a list whose last element was taken out: the rule
// would become wider.
func emptyButThere(there bool, n int) bool { return there && n == 0 }

func (r Rule) validateTexts() error {
	if r.ObjectPrefix != "" && !isText(r.ObjectPrefix) {
		return errors.New("ObjectPrefix is not 1 to 1024 bytes of UTF-8")
	}
	for _, a := range r.Actors {
		if !isText(a) {
			return errors.New("one of Actors is not 1 to 1024 bytes of UTF-8")
		}
	}
	for name, values := range r.Attributes {
		if !isText(name) || len(values) == 0 || len(values) > MaxConditions || !allText(values) {
			return fmt.Errorf("the attribute %.40q needs a name and 1 to %d values, each of 1 to 1024 bytes of UTF-8", name, MaxConditions)
		}
	}
	for k, v := range r.Labels {
		if !isText(k) || len(v) > maxText || !utf8.ValidString(v) {
			return fmt.Errorf("the label %.40q is not UTF-8, empty, or too long", k)
		}
	}
	return nil
}

func isText(s string) bool { return s != "" && len(s) <= maxText && utf8.ValidString(s) }

func allText(s []string) bool {
	return !slices.ContainsFunc(s, func(s string) bool { return !isText(s) })
}

// clone returns a copy that shares nothing.
func (r Rule) clone() Rule {
	r.Actors, r.Operations = slices.Clone(r.Actors), slices.Clone(r.Operations)
	r.Context, r.Labels = maps.Clone(r.Context), maps.Clone(r.Labels)
	r.Attributes = maps.Clone(r.Attributes)
	for k, v := range r.Attributes {
		r.Attributes[k] = slices.Clone(v)
	}
	return r
}

// operand is a value of Rule.Context.
type operand struct {
	literal   string // if it is one
	actor     bool   // the actor's name
	attribute string // the name of one
}

var placeholder = regexp.MustCompile(`^\$\{actor(?:\.([A-Za-z0-9_.:/-]{1,128}))?\}$`)

// parseOperand reads a value: the whole of it is a placeholder, or none of it.
func parseOperand(s string) (operand, error) {
	if !strings.Contains(s, "${") {
		return operand{literal: s}, nil
	}
	m := placeholder.FindStringSubmatch(s)
	switch {
	case m == nil:
		return operand{}, errors.New(`its value has "${" in it and is neither "${actor}" nor "${actor.NAME}"`)
	case m[1] == "":
		return operand{actor: true}, nil
	}
	return operand{attribute: m[1]}, nil
}

// value is what the operand stands for; false if the actor has no such thing.
func (o operand) value(r *vault.AccessRequest) (string, bool) {
	switch {
	case o.actor:
		return r.Actor, r.Actor != ""
	case o.attribute != "":
		v, ok := r.Attributes.Get(o.attribute)
		return v, ok && v != ""
	}
	return o.literal, true
}
