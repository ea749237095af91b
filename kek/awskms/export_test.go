package awskms

import (
	"maps"
	"slices"
)

// Codes returns the error codes that the driver knows.
func Codes() []string { return slices.Sorted(maps.Keys(classes)) }
