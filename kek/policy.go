package kek

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/embedvault/vault/keyctx"
)

// ErrPolicy is matched when a policy has no usable choice for a context, and
// when the KEKs of a record or an envelope are not the ones that the policy
// names for the context that the caller asserts.
var ErrPolicy = errors.New("not what the KEK policy says for this context")

// Quorum says how many KEKs of a [Choice] are needed to unwrap.
type Quorum = keyctx.Quorum

// The quorums.
const (
	AnyOf = keyctx.AnyOf // each KEK wraps the whole key; one suffices
	AllOf = keyctx.AllOf // each KEK wraps one share of it; all are needed
)

// Policy chooses KEKs for a key context. It must be safe for concurrent use.
//
// A KEK unwraps only for contexts for which the policy names it. Without that,
// a tenant who holds a KEK of its own could wrap a key of its choosing for
// another tenant's context.
type Policy interface {
	// Choose returns the KEKs for kc, which has no vault:namespace pair, may be
	// one of the vault's own contexts (vault:scope, vault:system: give those the
	// default KEK), and must not be kept or changed. It is asked when a key is
	// loaded or refreshed, not for every message. If it fails, the operation
	// fails with its error.
	Choose(ctx context.Context, kc keyctx.KeyContext) (Choice, error)
}

// PolicyFunc is a function that is a [Policy]: the natural way to read an
// application's own table of its customers' keys.
type PolicyFunc func(ctx context.Context, kc keyctx.KeyContext) (Choice, error)

// Choose calls f.
func (f PolicyFunc) Choose(ctx context.Context, kc keyctx.KeyContext) (Choice, error) {
	return f(ctx, kc)
}

// Fixed returns the policy that gives every context the one KEK w.
func Fixed(w Wrapper) Policy {
	choice := Choice{KEKs: []Wrapper{w}, Quorum: AnyOf}
	return PolicyFunc(func(context.Context, keyctx.KeyContext) (Choice, error) { return choice, nil })
}

// Choice is what a policy says for one context.
type Choice struct {
	// KEKs are 1 to 8 with distinct URIs.
	KEKs []Wrapper

	// Quorum is AnyOf or AllOf; AllOf needs two KEKs. It may be left zero where
	// there is one KEK, which is any-of.
	Quorum Quorum

	// Previous are the choices of earlier times, under which keys may still be
	// wrapped. They unwrap and never wrap. A Previous's own Previous is ignored.
	Previous []Choice

	// Parent, a strict subset of the context that is a key context itself, makes the
	// key of that wider context the KEK. It excludes KEKs, and needs a store. The
	// policy is asked for the parent's own choice in turn, which may be a Parent
	// again: no more often than the context has pairs, less one. See [Under].
	Parent keyctx.KeyContext
}

// Normalize checks the choice for kc and returns it with its quorum filled in.
// Its errors match [ErrPolicy] and say what to mend.
func (c Choice) Normalize(kc keyctx.KeyContext) (Choice, error) {
	if c.Parent != nil {
		switch {
		case len(c.KEKs) > 0:
			return Choice{}, fmt.Errorf("%w: a choice has both KEKs and a Parent", ErrPolicy)
		case len(c.Parent) >= len(kc) || !kc.Contains(c.Parent):
			return Choice{}, fmt.Errorf("%w: Parent is not a strict subset of the context", ErrPolicy)
		}
	} else if err := c.normalizeKEKs(); err != nil {
		return Choice{}, err
	}
	previous := make([]Choice, len(c.Previous))
	for i, p := range c.Previous {
		p.Previous = nil
		if p.Parent != nil {
			if len(p.KEKs) > 0 || len(p.Parent) >= len(kc) || !kc.Contains(p.Parent) {
				return Choice{}, fmt.Errorf("%w: Previous[%d]: its Parent", ErrPolicy, i)
			}
		} else if err := p.normalizeKEKs(); err != nil {
			return Choice{}, fmt.Errorf("choice.Previous[%d]: %w", i, err)
		}
		previous[i] = p
	}
	c.Previous = previous
	return c, nil
}

func (c *Choice) normalizeKEKs() error {
	if n := len(c.KEKs); n == 0 || n > keyctx.MaxWrappings {
		return fmt.Errorf("%w: it names %d KEKs, want 1 to %d", ErrPolicy, n, keyctx.MaxWrappings)
	}
	if c.Quorum == 0 && len(c.KEKs) == 1 {
		c.Quorum = AnyOf
	}
	if !c.Quorum.Valid() {
		return fmt.Errorf("%w: %d KEKs need Quorum AnyOf or AllOf", ErrPolicy, len(c.KEKs))
	}
	if c.Quorum == AllOf && len(c.KEKs) < 2 {
		return fmt.Errorf("%w: AllOf needs at least two KEKs", ErrPolicy)
	}
	seen := make(map[string]bool, len(c.KEKs))
	for i, w := range c.KEKs {
		if isNil(w) {
			return fmt.Errorf("%w: KEKs[%d] is nil", ErrPolicy, i)
		}
		uri := w.URI()
		switch {
		case !keyctx.ValidURI(uri):
			return fmt.Errorf("%w: KEKs[%d] has no valid URI (1 to %d bytes of printable ASCII)", ErrPolicy, i, keyctx.MaxURILen)
		case strings.HasPrefix(uri, keyctx.ParentURIPrefix):
			return fmt.Errorf("%w: KEKs[%d] has a URI that starts with vault-key:, which is the vault's own", ErrPolicy, i)
		case seen[uri]:
			return fmt.Errorf("%w: two KEKs have the URI %s", ErrPolicy, uri)
		}
		seen[uri] = true
	}
	return nil
}

// isNil reports whether w, a Wrapper or a Policy, is nil or a nil pointer or
// function. A policy that reads a map of *driver.KEK by tenant returns the latter
// for a tenant it doesn't know, and asking that for its URI would panic.
func isNil(w any) bool {
	if w == nil {
		return true
	}
	v := reflect.ValueOf(w)
	return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}

// Match returns, for the wrappings of a record or an envelope, the KEKs that
// may unwrap them, in the order of the wrappings. The quorum and the URIs must
// be those of the choice or of one of its Previous: for any-of a non-empty
// subset, so that a key can be made while one KMS is down; for all-of exactly
// the set. Otherwise the error matches [ErrPolicy]. Match calls no KEK. The
// choice is one that [Choice.Normalize] returned.
func (c Choice) Match(quorum Quorum, wrappings []keyctx.Wrapping) ([]Wrapper, error) {
	if ws := c.match(quorum, wrappings); ws != nil {
		return ws, nil
	}
	for _, p := range c.Previous {
		if ws := p.match(quorum, wrappings); ws != nil {
			return ws, nil
		}
	}
	return nil, fmt.Errorf("%w: wrapped under %s, %v", ErrPolicy, quoteURIs(wrappings), quorum)
}

func (c Choice) match(quorum Quorum, wrappings []keyctx.Wrapping) []Wrapper {
	if quorum != c.Quorum || len(wrappings) == 0 || len(wrappings) > len(c.KEKs) {
		return nil
	}
	if quorum == AllOf && len(wrappings) != len(c.KEKs) {
		return nil
	}
	ws := make([]Wrapper, len(wrappings))
	for i, wr := range wrappings {
		at := slices.IndexFunc(c.KEKs, func(w Wrapper) bool { return w.URI() == wr.URI })
		twice := slices.ContainsFunc(wrappings[:i], func(o keyctx.Wrapping) bool { return o.URI == wr.URI })
		if at < 0 || twice { // the same share twice is not two shares
			return nil
		}
		ws[i] = c.KEKs[at]
	}
	return ws
}

// quoteURIs names KEKs in an error. They come from data: quoted, and few.
func quoteURIs(wrappings []keyctx.Wrapping) string {
	var b strings.Builder
	for i, w := range wrappings {
		if i == keyctx.MaxWrappings {
			fmt.Fprintf(&b, " and %d more", len(wrappings)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.120q", w.URI)
	}
	return b.String()
}
