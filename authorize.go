package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/embedvault/vault/keyring"
)

// Authorizer decides who may do what. It is asked before a key is used and before
// anything is written.
type Authorizer interface {
	// Authorize returns nil if the operation is allowed. Any error denies it, also one
	// that means that it could not decide (the policy engine is down): the call then
	// fails with an error that matches both [ErrAccessDenied] and this one, whose text
	// stands in the call's error and in its event, up to 1024 bytes of it. So it must name a rule or a cause,
	// and no value of a key context, no label and no attribute.
	//
	// It must be safe for concurrent use, must return when ctx ends, and must not call
	// the vault that asks it: such a call is denied, at once if it has ctx or one made of
	// it, and with another once ten thousand decisions are under way. A panic is a denial.
	// ctx has all values of the call's, and ends after Config.AuthorizerTimeout, or when the vault
	// is closed; an answer that comes after that doesn't count, whatever it is. What
	// ignores ctx stays behind as a goroutine; when a thousand have, whatever else is
	// asked is denied until some of them end.
	//
	// The request is the authorizer's to keep.
	Authorize(ctx context.Context, r AccessRequest) error
}

// AuthorizerFunc is a function as an [Authorizer].
type AuthorizerFunc func(ctx context.Context, r AccessRequest) error

// Authorize calls f.
func (f AuthorizerFunc) Authorize(ctx context.Context, r AccessRequest) error { return f(ctx, r) }

// ImmediateAuthorizer is an [Authorizer] that decides from memory alone and never
// waits, for a network, a disk or a lock that is held for long. It is asked on the call's
// own goroutine and without a timeout, which saves about two microseconds an
// operation; one that hangs after all takes the call with it.
type ImmediateAuthorizer interface {
	Authorizer

	// DecidesAtOnce does nothing. To have it is the promise.
	DecidesAtOnce()
}

// AccessRequest is what an [Authorizer] decides about: one operation.
//
// What it is about is said by Context, Match or All. One of Context and Match is nil,
// or both are if the operation is for the whole namespace, or for nothing that is
// known: compare what must be there, so that what isn't is denied.
type AccessRequest struct {
	Operation Operation

	Actor      string     // of WithActor
	Attributes Attributes // of WithActorAttributes
	Reason     string     // of WithReason

	// Context is the key context, without the namespace, of an operation on exactly
	// one. That of Lookup is the stored row's.
	Context KeyContext

	// Match is the pairs of an operation on every context that contains them: of lists
	// with Within, and of jobs. It is decided once, and what is allowed is allowed for
	// each of those contexts, also for narrower ones (an organisation's users): rows
	// are not decided one by one. Whoever is limited to one tenant is so by Match as
	// by Context.
	Match KeyContext

	// All says that the operation is on everything in the vault's namespace.
	All bool

	// Object is the object's name; of fields and indexes it is "table.column". If it was asked for by its ID it is the stored
	// row's, which Get and its kin prove afterwards, and "" if there is no such object.
	Object   string
	ObjectID ID // if it was asked for by its ID; also the ID of a shredding that is to be cancelled

	// Prefix is what the names begin with that a list is of; "" is all.
	Prefix string

	// Labels are those of the stored version that is to be read, described or
	// deleted, or of the current one that Put is to follow; nil if there is no such
	// version, and empty if it has none. They are not authenticated: whoever writes to
	// the database can change them. Lists and jobs have none. Versions asks first about
	// the current version, and again about each whose labels differ from those of the
	// one before.
	Labels map[string]string

	// NewLabels are those that Put is to store.
	NewLabels map[string]string
}

// AccessRequestOf returns the request of an operation on one context, with the actor, the
// attributes and the reason that ctx has: to ask an authorizer oneself, before a
// button is shown, or in a test. It copies kc. The caller fills in the rest.
func AccessRequestOf(ctx context.Context, op Operation, kc KeyContext) AccessRequest {
	return AccessRequest{
		Operation: op, Actor: actorOf(ctx), Attributes: attributesOf(ctx), Reason: reasonOf(ctx),
		Context: kc.Clone(),
	}
}

// ownCopies makes the request the authorizer's own: it may keep or change it, and may
// still be looking at it when the call has gone on without it.
func (r AccessRequest) ownCopies(ctx context.Context) AccessRequest {
	own := AccessRequestOf(ctx, r.Operation, r.Context)
	own.Match, own.All = r.Match.Clone(), r.All
	own.Object, own.ObjectID, own.Prefix = r.Object, r.ObjectID, r.Prefix
	own.Labels, own.NewLabels = maps.Clone(r.Labels), maps.Clone(r.NewLabels)
	return own
}

// authorize decides about an operation on one context. Every operation asks before it
// uses a key and before it writes; what the vault does by itself (the sweep, shreddings
// that are due, renewing and rotating keys) is not asked about.
func (v *Vault) authorize(ctx context.Context, op Operation, c keyring.Context) error {
	if v.cfg.Authorizer == nil {
		return nil
	}
	return v.decide(ctx, AccessRequest{Operation: op, Context: c.Pairs})
}

// authorizeAt is authorize about a field, or an index, at a place: Request.Object names
// its table and column.
func (v *Vault) authorizeAt(ctx context.Context, op Operation, c keyring.Context, at fmt.Stringer) error {
	if v.cfg.Authorizer == nil {
		return nil
	}
	return v.decide(ctx, AccessRequest{Operation: op, Context: c.Pairs, Object: at.String()})
}

// permit decides about an operation that makes no event of its own as a whole, and makes
// one if it is denied.
func (v *Vault) permit(ctx context.Context, r AccessRequest) error {
	if v.cfg.Authorizer == nil {
		return nil
	}
	about := keyring.Context{Pairs: r.Context}
	if r.Context == nil {
		about.Pairs = r.Match
	}
	if len(about.Pairs) > 0 {
		about.Hash = v.hashOf(about.Pairs)
	}
	o := v.begin(ctx, operationEvents[r.Operation], about)
	o.change(func(e *Event) { e.Object, e.ObjectID = r.Object, r.ObjectID })
	err := v.decide(ctx, r)
	if errors.Is(err, ErrAccessDenied) {
		return o.end(err)
	}
	return err
}
