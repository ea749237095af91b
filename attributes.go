package vault

import (
	"context"
	"iter"
	"maps"
)

// Attributes say what an actor is: a role, the organisation it belongs to. They
// are what Config.Authorizer decides by, beside the name. They can't be changed
// once they are made, and may be shared; the zero value has none.
type Attributes struct{ m map[string]string }

// NewAttributes returns a copy of m as attributes.
func NewAttributes(m map[string]string) Attributes { return Attributes{maps.Clone(m)} }

// Get returns an attribute's value, and whether the actor has it.
func (a Attributes) Get(name string) (value string, ok bool) {
	value, ok = a.m[name]
	return value, ok
}

// Len returns how many there are.
func (a Attributes) Len() int { return len(a.m) }

// All iterates over them, in no order.
func (a Attributes) All() iter.Seq2[string, string] { return maps.All(a.m) }

// Map returns a copy.
func (a Attributes) Map() map[string]string { return maps.Clone(a.m) }

type attributesKey struct{}

// ofActor are attributes, and whose they are.
type ofActor struct {
	actor actorName
	Attributes
}

// WithActorAttributes returns a context that says what the actor is whom
// [WithActor] has named in ctx: call it after that. To name another actor
// afterwards drops them, so that nobody acts under a new name with another's
// rights. They replace those that ctx had, are copied, and stand nowhere: neither
// in events nor in what is stored.
//
// They are believed. Take them from what the application has verified (a session, a
// token's claims), never from a request's own words.
func WithActorAttributes(ctx context.Context, attributes map[string]string) context.Context {
	return context.WithValue(ctx, attributesKey{}, ofActor{actorIn(ctx), NewAttributes(attributes)})
}

func attributesOf(ctx context.Context) Attributes {
	a, _ := ctx.Value(attributesKey{}).(ofActor)
	if a.actor != actorIn(ctx) {
		return Attributes{}
	}
	return a.Attributes
}
