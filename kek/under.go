package kek

import (
	"context"
	"fmt"
	"slices"

	"github.com/embedvault/vault/keyctx"
)

// Hierarchy is a [Policy] that puts contexts under a parent: it projects them onto
// some of their pairs. It is made by [Under] and safe for concurrent use if the
// policy that it stands on is.
//
// A context that has a pair of each of the keys, and other pairs of the
// application's beside them, gets as Parent its pairs of those keys. All other
// contexts go to the policy below, the parents themselves among them: there it is
// said which KEKs wrap the parents' keys. So with Under(rules, "organization_id") the
// keys of {"organization_id", "user_id"} are wrapped under the key of
// {"organization_id"}, and that one as rules say.
//
// Reserved pairs are carried over as they must be. The vault's own contexts
// (vault:scope, vault:system) go to the policy below. A pair vault:index is the
// vault's and makes no context narrower: {"organization_id", "vault:index"} goes to
// the policy below as {"organization_id"} does, and under a parent all generations
// of an index have the same one. The namespace is added to the parent's context by
// the keyring, which hides it from policies.
//
// To have more than two levels, put one Hierarchy on another, the one with more
// keys on top: Under(Under(rules, "organization_id"), "organization_id", "team_id").
//
// Processes that don't know the parent can't read what is wrapped under it. To
// bring contexts that are in use under a parent let every process have
// [Hierarchy.MovingOut], then every process [Hierarchy.MovingIn], rewrap, and then
// let them have the Hierarchy itself. To take them out again go the same way back.
type Hierarchy struct {
	inner Policy
	keys  []string // sorted
}

var _ Policy = (*Hierarchy)(nil)

// Under returns a policy that puts contexts under the parents that these pair keys
// make, on top of inner. It keeps inner and copies keys.
//
// Errors match [ErrPolicy] for an inner that is nil, and for keys that are none,
// given twice, or as many as a context can have; [keyctx.ErrInvalidContext] for
// what can't be a pair's key or is reserved.
func Under(inner Policy, keys ...string) (*Hierarchy, error) {
	if isNil(inner) {
		return nil, fmt.Errorf("kek: under: %w: there is no policy for the parents", ErrPolicy)
	}
	sorted := slices.Sorted(slices.Values(keys))
	if n := len(slices.Compact(slices.Clone(sorted))); n == 0 || n != len(keys) || n >= keyctx.MaxPairs {
		return nil, fmt.Errorf("kek: under: %w: give 1 to %d different pair keys", ErrPolicy, keyctx.MaxPairs-1)
	}
	for _, k := range sorted {
		if err := (keyctx.KeyContext{k: "-"}).Validate(); err != nil {
			return nil, fmt.Errorf("kek: under: %w", err)
		}
	}
	return &Hierarchy{inner: inner, keys: sorted}, nil
}

// Choose returns the projection of kc as Parent if there is one, else what the
// policy below says. For a context with a Parent the policy below is not asked.
func (h *Hierarchy) Choose(ctx context.Context, kc keyctx.KeyContext) (Choice, error) {
	if parent := h.project(kc); parent != nil {
		return Choice{Parent: parent}, nil
	}
	return h.inner.Choose(ctx, kc)
}

// MovingIn returns the same policy for the time in which keys are brought under
// their parents: what the policy below says for a context with a Parent, and its
// Previous, is Previous.
func (h *Hierarchy) MovingIn() Policy {
	return PolicyFunc(func(ctx context.Context, kc keyctx.KeyContext) (Choice, error) {
		below, err := h.inner.Choose(ctx, kc)
		parent := h.project(kc)
		if err != nil || parent == nil {
			return below, err
		}
		return Choice{Parent: parent, Previous: append([]Choice{current(below)}, below.Previous...)}, nil
	})
}

// MovingOut returns the policy below for the time in which keys are still, or
// again, to be wrapped as it says, and some may be under their parents: the
// projection of a context is Previous.
func (h *Hierarchy) MovingOut() Policy {
	return PolicyFunc(func(ctx context.Context, kc keyctx.KeyContext) (Choice, error) {
		below, err := h.inner.Choose(ctx, kc)
		parent := h.project(kc)
		if err != nil || parent == nil {
			return below, err
		}
		below.Previous = append(slices.Clone(below.Previous), Choice{Parent: parent})
		return below, nil
	})
}

// current returns a choice without its Previous.
func current(c Choice) Choice {
	c.Previous = nil
	return c
}

// project returns the parent of kc, or nil if it has none.
func (h *Hierarchy) project(kc keyctx.KeyContext) keyctx.KeyContext {
	if kc.IsOwn() {
		return nil
	}
	pairs := 0
	for k := range kc {
		if !keyctx.IsReserved(k) {
			pairs++
		}
	}
	if pairs <= len(h.keys) {
		return nil
	}
	parent := make(keyctx.KeyContext, len(h.keys))
	for _, k := range h.keys {
		v, ok := kc[k]
		if !ok {
			return nil
		}
		parent[k] = v
	}
	return parent
}
