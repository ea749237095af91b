package gcpkms

import "context"

var (
	Assemble = assemble
	Parse    = parse
)

// MaxLeft is how many calls may be left behind.
const MaxLeft = maxLeft

// Await is await of a KEK that has made no calls.
func Await[R any](ctx context.Context, sent []byte, call func(sent []byte) (R, error), late func(R)) (R, error) {
	return await(ctx, new(calls), sent, call, late)
}
