package keyctx

import (
	"fmt"
	"strconv"
	"strings"
)

const reservedPrefix = "vault:"

// The reserved pairs. They are part of a context's encoding and hash, they
// don't count towards [MaxPairs], and no caller can give them.
const (
	// ReservedNamespace separates applications that share KEKs or a database.
	ReservedNamespace = "vault:namespace"
	// ReservedScope, with the value [ScopeGlobal], marks keys that belong to no
	// tenant: blind indexes across tenants.
	ReservedScope = "vault:scope"
	// ReservedIndex is the generation of a blind index, from 2, in decimal.
	ReservedIndex = "vault:index"
	// ReservedSystem marks the vault's own keys.
	ReservedSystem = "vault:system"

	ScopeGlobal = "global"
)

// IsReserved reports whether the pair key k belongs to the vault itself.
func IsReserved(k string) bool { return strings.HasPrefix(k, reservedPrefix) }

// ValidateFull reports whether kc is a context as it is hashed and stored: one
// that [KeyContext.Validate] accepts, with reserved pairs beside it. A context
// without any pair of a caller's is one of the vault's own and must have
// vault:scope or vault:system. A reserved key that this version doesn't know
// is refused. Its errors match [ErrInvalidContext].
func (kc KeyContext) ValidateFull() error {
	pairs := 0
	for k, v := range kc {
		if err := validKey(k); err != nil {
			return err
		}
		if err := validValue(k, v); err != nil {
			return err
		}
		if !IsReserved(k) {
			pairs++
			continue
		}
		if !validReserved(k, v) {
			return fmt.Errorf("%w: the reserved pair %q is not one that this version knows", ErrInvalidContext, k)
		}
	}
	if pairs > MaxPairs || pairs == 0 && !kc.IsOwn() {
		return errPairs(pairs)
	}
	return nil
}

func validReserved(k, v string) bool {
	switch k {
	case ReservedNamespace, ReservedSystem:
		return true
	case ReservedScope:
		return v == ScopeGlobal
	case ReservedIndex:
		g, err := strconv.ParseUint(v, 10, 32)
		return err == nil && g >= 2 && strconv.FormatUint(g, 10) == v
	}
	return false
}

// IsOwn reports whether kc is one of the vault's own contexts, vault:scope or
// vault:system, for which a policy gives its default KEK.
func (kc KeyContext) IsOwn() bool {
	_, scope := kc[ReservedScope]
	_, system := kc[ReservedSystem]
	return scope || system
}

// Namespace returns the namespace of kc, or "".
func (kc KeyContext) Namespace() string { return kc[ReservedNamespace] }

// WithNamespace returns a copy of kc in the namespace ns, whatever namespace kc
// was in before; "" is no namespace. It checks nothing.
func (kc KeyContext) WithNamespace(ns string) KeyContext {
	c := kc.WithoutNamespace()
	if ns == "" {
		return c
	}
	if c == nil {
		c = make(KeyContext, 1)
	}
	c[ReservedNamespace] = ns
	return c
}

// WithoutNamespace returns a copy of kc without its namespace: what policies,
// authorizers and metadata see.
func (kc KeyContext) WithoutNamespace() KeyContext {
	c := kc.Clone()
	delete(c, ReservedNamespace)
	return c
}

// ValidateNamespace reports whether ns can be a namespace: "" or what may
// stand as a pair's value. Its errors match [ErrInvalidContext].
func ValidateNamespace(ns string) error {
	if ns == "" {
		return nil
	}
	return validValue(ReservedNamespace, ns)
}
