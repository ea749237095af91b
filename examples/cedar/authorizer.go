package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
)

// Authorizer lets Cedar policies decide. The principal is Actor::"<name>" with its
// attributes; the action is Action::"<operation>", which is in the Group of package
// access; the resource is Object::"<name>" with "pairs" (those of the key context, or of
// the match that a list or a job is for), "many" and, where they are known, "labels".
// context.reason is the reason.
type Authorizer struct {
	policies *cedar.PolicySet
	names    map[cedar.PolicyID]string // by @id
	actions  cedar.EntityMap
}

// Cedar decides from memory, so that no goroutine is needed for each decision.
var _ vault.ImmediateAuthorizer = (*Authorizer)(nil)

// NewAuthorizer reads policies, each of which needs an @id of its own, by which it is
// named in errors.
func NewAuthorizer(file string, text []byte) (*Authorizer, error) {
	policies, err := cedar.NewPolicySetFromBytes(file, text)
	if err != nil {
		return nil, fmt.Errorf("cedar: read policies: %w", err)
	}
	a := &Authorizer{policies: policies, names: map[cedar.PolicyID]string{}, actions: actions()}
	for id, p := range policies.All() {
		name := string(p.Annotations()["id"])
		if name == "" || slices.Contains(slices.Collect(maps.Values(a.names)), name) {
			return nil, fmt.Errorf("cedar: policy at line %d needs an @id of its own", p.Position().Line)
		}
		a.names[id] = name
	}
	return a, nil
}

// DecidesAtOnce marks it as a [vault.ImmediateAuthorizer].
func (a *Authorizer) DecidesAtOnce() {}

var (
	errForbidden = errors.New("a policy forbids it")
	errNoPermit  = errors.New("no policy permits it")
	errPolicy    = errors.New("a policy could not be evaluated")
)

// Authorize asks the policies. A policy that can't be evaluated denies, whatever the
// others say: to Cedar a forbid that fails is none. Errors name policies and no value.
func (a *Authorizer) Authorize(_ context.Context, r vault.AccessRequest) error {
	entities := maps.Clone(a.actions)
	principal, resource := cedar.NewEntityUID("Actor", cedar.String(r.Actor)), resourceOf(r)
	entities[principal] = cedar.Entity{UID: principal, Attributes: record(r.Attributes.All())}
	entities[resource.UID] = resource
	decision, why := cedar.Authorize(a.policies, entities, cedar.Request{
		Principal: principal,
		Action:    cedar.NewEntityUID("Action", cedar.String(r.Operation)),
		Resource:  resource.UID,
		Context:   cedar.NewRecord(cedar.RecordMap{"reason": cedar.String(strings.TrimSpace(r.Reason))}),
	})
	switch {
	case len(why.Errors) > 0:
		return fmt.Errorf("cedar: policy %s: %w", a.names[why.Errors[0].PolicyID], errPolicy)
	case decision == cedar.Allow:
		return nil
	case len(why.Reasons) > 0:
		return fmt.Errorf("cedar: policy %s: %w", a.names[why.Reasons[0].PolicyID], errForbidden)
	}
	return fmt.Errorf("cedar: %w", errNoPermit)
}

// resourceOf is the object, or what else the request is about.
func resourceOf(r vault.AccessRequest) cedar.Entity {
	pairs := r.Context
	if r.Context == nil {
		pairs = r.Match
	}
	attributes := cedar.RecordMap{
		"pairs": record(maps.All(pairs)),
		"many":  cedar.Boolean(r.Context == nil),
	}
	if r.Labels != nil {
		attributes["labels"] = record(maps.All(r.Labels))
	}
	return cedar.Entity{UID: cedar.NewEntityUID("Object", cedar.String(r.Object)), Attributes: cedar.NewRecord(attributes)}
}

func record(pairs iter.Seq2[string, string]) cedar.Record {
	m := cedar.RecordMap{}
	for k, v := range pairs {
		m[cedar.String(k)] = cedar.String(v)
	}
	return cedar.NewRecord(m)
}

// actions are the vault's operations, each in its group of package access.
func actions() cedar.EntityMap {
	entities := cedar.EntityMap{}
	for _, group := range []vault.Operation{access.Read, access.Write, access.Describe, access.Manage} {
		parent := cedar.NewEntityUID("Group", cedar.String(group))
		for _, op := range access.Group(group) {
			uid := cedar.NewEntityUID("Action", cedar.String(op))
			entities[uid] = cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(parent)}
		}
	}
	return entities
}
