package awskms

import (
	"context"
	"maps"
	"slices"
)

// Codes returns the error codes that the driver knows.
func Codes() []string { return slices.Sorted(maps.Keys(classes)) }

// MaxLeft is how many calls may be left behind.
const MaxLeft = maxLeft

// Await is await of a KEK that has made no calls.
func Await[R any](ctx context.Context, sent []byte, call func(sent []byte) (R, error), late func(R)) (R, error) {
	return await(ctx, new(calls), sent, call, late)
}
