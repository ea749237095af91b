package vaulttest

import (
	"context"
	"reflect"
	"slices"

	"github.com/embedvault/vault"
)

// Decision is one that the vault's Authorizer has made.
type Decision struct {
	Request vault.AccessRequest
	Err     error // nil: allowed
}

// Decisions returns the decisions of Config.Authorizer so far, in the order in which
// they were made; with operations, only those about these. Set the authorizer with New's
// change; there are none without one. A decision that panicked, or was never made, is
// not among them.
func (v *Vault) Decisions(ops ...vault.Operation) []Decision {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.decisions), func(d Decision) bool {
		return len(ops) > 0 && !slices.Contains(ops, d.Request.Operation)
	})
}

// recorder notes what an authorizer decides.
type recorder struct {
	v  *Vault
	of vault.Authorizer
}

func (r recorder) Authorize(ctx context.Context, q vault.AccessRequest) error {
	err := r.of.Authorize(ctx, q)
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	r.v.decisions = append(r.v.decisions, Decision{q, err})
	return err
}

// immediateRecorder is a recorder of what decides at once, and does so too.
type immediateRecorder struct{ recorder }

func (immediateRecorder) DecidesAtOnce() {}

// recording returns an authorizer that decides as a does, and is recorded. One that
// holds a nil pointer is left for vault.New to refuse.
func (v *Vault) recording(a vault.Authorizer) vault.Authorizer {
	if r := reflect.ValueOf(a); a == nil || (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil() {
		return a
	}
	if _, ok := a.(vault.ImmediateAuthorizer); ok {
		return immediateRecorder{recorder{v, a}}
	}
	return recorder{v, a}
}
