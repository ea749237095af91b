package vault

import (
	"crypto/sha256"
	"fmt"

	"github.com/embedvault/vault/envelope"
)

// Index describes a blind index: a second column beside an encrypted one, by which
// rows are found with an equal value, and by nothing else. There is no order, no
// prefix and no range. What it is computed from is bound into it: tables and columns
// are logical names, and like the normaliser's they must stay the same for ever.
//
// Whoever reads the database sees which rows have equal values, and how many; across
// tenants, if the index is global. docs/THREATMODEL.md says what follows from that.
type Index struct {
	Table      string
	Column     string // that is indexed
	Normaliser string // "exact@1", "lower@1", "email@1", "digits@1", "e164@1"

	// And makes it a compound index, over several columns together: found are rows in
	// which all are equal. The order counts.
	And []IndexPart

	// Global makes it one index across all key contexts of the namespace, under a key
	// of the vault's own: for what is looked up before it is known whose it is, such
	// as an e-mail address at login. Whoever reads the database then sees equal values
	// across tenants, and shredding a tenant's keys doesn't make its entries useless.
	Global bool

	// Generation is 2 or more for an index that is to replace one of the generation
	// before, under a new key. 0 and 1 are the first.
	Generation uint32

	// Bits, 4 to 64, makes it a bucketed index: so short that many values share one,
	// which hides which are equal. What is found must be filtered by its value, with
	// [Index.Matches], and it can't be unique. 0: the whole 128 bits.
	Bits int
}

// IndexPart is a further column of a compound index.
type IndexPart struct {
	Column     string
	Normaliser string
}

// Limits of bucketed indexes, in bits.
const (
	minIndexBits = 4
	maxIndexBits = 64
)

// Validate reports what is wrong with the index, or nil. Its errors match
// [ErrInvalidIndex].
func (ix Index) Validate() error {
	for _, name := range []string{ix.Table, ix.Column} {
		if reason := badLocationName(name); reason != "" {
			return fmt.Errorf("%w: %s", ErrInvalidIndex, reason)
		}
	}
	if len(ix.And) >= maxRowIDs {
		return fmt.Errorf("%w: of %v: it has %d columns, at most %d are allowed", ErrInvalidIndex, ix, len(ix.And)+1, maxRowIDs)
	}
	seen := map[string]bool{}
	for _, p := range ix.parts() {
		if reason := badLocationName(p.Column); reason != "" {
			return fmt.Errorf("%w: of %v: %s", ErrInvalidIndex, ix, reason)
		}
		if seen[p.Column] {
			return fmt.Errorf("%w: of %v: the column %q stands in it twice", ErrInvalidIndex, ix, p.Column)
		}
		seen[p.Column] = true
		if _, ok := normalisers[p.Normaliser]; !ok {
			return fmt.Errorf("%w: of %v: the normaliser %.40q is none of %s", ErrInvalidIndex, ix, p.Normaliser, normaliserNames())
		}
	}
	if ix.Bits != 0 && (ix.Bits < minIndexBits || ix.Bits > maxIndexBits) {
		return fmt.Errorf("%w: of %v: Bits is %d, want %d to %d, or 0 for the whole index", ErrInvalidIndex, ix, ix.Bits, minIndexBits, maxIndexBits)
	}
	return nil
}

// String returns table and column.
func (ix Index) String() string { return fmt.Sprintf("%.80s.%.80s", ix.Table, ix.Column) }

// Size returns the length of the index in bytes: 16, or that of its Bits.
func (ix Index) Size() int {
	if ix.Bits > 0 {
		return (ix.Bits + 7) / 8
	}
	return envelope.IndexSize
}

func (ix Index) parts() []IndexPart {
	return append([]IndexPart{{ix.Column, ix.Normaliser}}, ix.And...)
}

// hash is what the key of the index is derived for:
//
//	SHA-256(u16 len ‖ table ‖ for each column (u16 len ‖ column ‖ u16 len ‖ normaliser))
//
// SPEC: docs/SPEC.md, "Blind index".
func (ix Index) hash() [sha256.Size]byte {
	var buf [256]byte
	b := appendPrefixed(buf[:0], ix.Table)
	for _, p := range ix.parts() {
		b = appendPrefixed(b, p.Column)
		b = appendPrefixed(b, p.Normaliser)
	}
	return sha256.Sum256(b)
}

// cut shortens an index to its bits; those of the last byte that don't count are 0.
func (ix Index) cut(full [envelope.IndexSize]byte) []byte {
	b := full[:ix.Size()]
	if rest := ix.Bits % 8; rest != 0 {
		b[len(b)-1] &= 0xff << (8 - rest)
	}
	return b
}
