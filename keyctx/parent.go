package keyctx

import (
	"encoding/hex"
	"strings"
)

// ParentURIPrefix starts the URI of a context key that wraps the keys of narrower
// contexts. No KEK's URI may start with it. SPEC: docs/SPEC.md, "Child keys".
const ParentURIPrefix = "vault-key:"

// ParentURI returns how the context key id, of purpose [PurposeWrapping], is named
// where it wraps another: "vault-key:" and 64 lower-case hexadecimal digits.
func ParentURI(id KeyID) string { return ParentURIPrefix + id.String() }

// ParseParentURI is the inverse of [ParentURI]: it accepts exactly what that
// returns for an ID that isn't zero.
func ParseParentURI(uri string) (id KeyID, ok bool) {
	digits, found := strings.CutPrefix(uri, ParentURIPrefix)
	if !found || len(digits) != hex.EncodedLen(len(id)) || strings.ToLower(digits) != digits {
		return KeyID{}, false
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil || id.IsZero() {
		return KeyID{}, false
	}
	return id, true
}

// ParentOf returns the ID of the context key that wraps another, if these are its
// wrappings: one alone, by any-of, with a URI as [ParentURI] returns it. under says
// whether any of them has a URI that starts with [ParentURIPrefix]: without an ID
// it is none that was ever made.
func ParentOf(q Quorum, ws []Wrapping) (id KeyID, under bool) {
	for _, w := range ws {
		under = under || strings.HasPrefix(w.URI, ParentURIPrefix)
	}
	if under && q == AnyOf && len(ws) == 1 {
		id, _ = ParseParentURI(ws[0].URI)
	}
	return id, under
}
