package vault

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
)

type (
	keyContextKey struct{}
	vaultKey      struct{}
)

// ctxScope is the key context that a ctx carries. A function returns it, so that
// printing a ctx shows none of its values, whatever the verb.
type ctxScope struct {
	kc    func() KeyContext
	scope atomic.Pointer[Scope] // of the vault that was last asked for; hashing once is cheaper
}

// of returns the vault bound to the context.
func (s *ctxScope) of(v *Vault) *Scope {
	if sc := s.scope.Load(); sc != nil && sc.v == v {
		return sc
	}
	sc := v.Scope(s.kc())
	s.scope.Store(sc)
	return sc
}

// WithKeyContext returns a ctx that says whose data the fields are that are written,
// read and searched with it. kc is copied. Whether it is valid is reported by the
// calls that use it.
func WithKeyContext(ctx context.Context, kc KeyContext) context.Context {
	own := kc.Clone()
	if own == nil {
		own = KeyContext{} // given, and invalid: not the same as not given
	}
	return context.WithValue(ctx, keyContextKey{}, &ctxScope{kc: func() KeyContext { return own }})
}

// KeyContextFrom returns a copy of the key context of [WithKeyContext], and whether
// there is one.
func KeyContextFrom(ctx context.Context) (KeyContext, bool) {
	s, ok := ctx.Value(keyContextKey{}).(*ctxScope)
	if !ok {
		return nil, false
	}
	return s.kc().Clone(), true
}

// WithVault returns a ctx that says which vault seals and opens the fields that no
// adapter has bound to one.
func WithVault(ctx context.Context, v *Vault) context.Context {
	return context.WithValue(ctx, vaultKey{}, v)
}

// VaultFrom returns the vault of [WithVault], and whether there is one.
func VaultFrom(ctx context.Context) (*Vault, bool) {
	v, _ := ctx.Value(vaultKey{}).(*Vault)
	return v, v != nil
}

// Detach returns a ctx for work that outlives ctx, such as a background job: it has
// the vault, the key context, the actor and the reason of ctx, and nothing else of it,
// neither its end nor its deadline, nor a transaction that it carries.
func Detach(ctx context.Context) context.Context {
	out := context.Background()
	for _, key := range []any{vaultKey{}, keyContextKey{}, actorKey{}, reasonKey{}} {
		if v := ctx.Value(key); v != nil {
			out = context.WithValue(out, key, v)
		}
	}
	return out
}

// scopeFor returns the vault bound to a key context: v, or else the vault of ctx; kc,
// or else the key context of ctx, which must agree where there are both.
func scopeFor(ctx context.Context, v *Vault, kc KeyContext) (*Scope, error) {
	if v == nil {
		if v, _ = VaultFrom(ctx); v == nil {
			return nil, ErrNoVault
		}
	}
	in, _ := ctx.Value(keyContextKey{}).(*ctxScope)
	switch {
	case in == nil && kc == nil:
		return nil, ErrNoContext
	case in != nil && kc != nil && !maps.Equal(in.kc(), kc):
		return nil, ErrContextConflict
	case in != nil:
		s := in.of(v)
		return s, s.err
	}
	s := v.Scope(kc)
	return s, s.err
}

// agrees reports whether ctx has no other key context than the scope's.
func (s *Scope) agrees(ctx context.Context) error {
	in, _ := ctx.Value(keyContextKey{}).(*ctxScope)
	if in != nil && in.scope.Load() != s && !maps.Equal(in.kc(), s.c.Pairs) {
		return fmt.Errorf("%w: it was read for context %s", ErrContextConflict, s.c.Hash.Short())
	}
	return nil
}
