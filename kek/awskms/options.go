package awskms

import (
	"errors"
	"fmt"
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

// Format prints how many grant tokens there are, whatever the verb, and not the
// tokens: a program may log its configuration.
func (o Options) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "{OmitPairs:%t AnyRegion:%t GrantTokens:%d}", o.OmitPairs, o.AnyRegion, len(o.GrantTokens))
}
