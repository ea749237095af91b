package awskms

import (
	"errors"
	"slices"
)

// ErrOptions is matched by the errors of [New] about what it was given: no
// client, a key that isn't named as KMS names keys, a KMS key of another kind
// than a KEK can be, or options that don't fit the key. Such an error has no
// class of package kek: trying again won't help.
var ErrOptions = errors.New("not a KEK that can be made")

// Options say how a KEK uses its KMS key. The zero value is good for most.
type Options struct {
	// OmitPairs leaves the key context's own pairs out of the encryption context,
	// so that CloudTrail shows the context's hash and nothing that names a tenant.
	// What is bound is the same: the hash commits to every pair. It decides what
	// Wrap and Rewrap make; Unwrap and Rewrap read both.
	OmitPairs bool

	// AnyRegion leaves the Region out of the URI of a multi-Region key, so that
	// processes in other Regions, each with the replica of its own Region, share
	// records. New refuses it for other keys.
	AnyRegion bool

	// GrantTokens are sent with every call, for grants so new that not all of KMS
	// knows them yet. They are copied, and never printed.
	GrantTokens []string
}

func (o Options) clone() Options {
	o.GrantTokens = slices.Clone(o.GrantTokens)
	return o
}
