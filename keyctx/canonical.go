package keyctx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// canonicalLabel starts every canonical encoding, so that its hash can't be
// the hash of anything else that this module makes.
const canonicalLabel = "vault/ctx/v1"

// maxFullPairs is every pair of a caller's and every reserved one.
const maxFullPairs = MaxPairs + 4

// Hash is the SHA-256 of a context's canonical encoding.
type Hash [sha256.Size]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives the form of String, for JSON and logs.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the form of String: 64 hexadecimal digits.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(h)) {
		return fmt.Errorf("keyctx: a context hash has %d hexadecimal digits, got %d", hex.EncodedLen(len(h)), len(b))
	}
	var v Hash
	if _, err := hex.Decode(v[:], b); err != nil {
		return fmt.Errorf("keyctx: a context hash: %w", err)
	}
	*h = v
	return nil
}

// Short returns the first 8 bytes in hexadecimal: how a context is named in
// errors and logs, since its pairs are somebody's customers.
func (h Hash) Short() string { return hex.EncodeToString(h[:8]) }

// AppendCanonical appends to dst the canonical encoding of kc in the namespace
// ns ("" for none). kc is a caller's context, checked as by
// [KeyContext.Validate]; ns is checked as by [ValidateNamespace].
// SPEC: docs/SPEC.md, "Canonical key context".
func AppendCanonical(dst []byte, kc KeyContext, ns string) ([]byte, error) {
	if n := len(kc); n == 0 || n > MaxPairs {
		return nil, errPairs(n)
	}
	var p sortedPairs
	for k, v := range kc { // once: this is on the path of every message
		if err := validPair(k, v); err != nil {
			return nil, err
		}
		p.insert(k, v)
	}
	if ns != "" {
		// A namespace of 64 KiB would overflow its length, and two contexts
		// could share an encoding.
		if err := ValidateNamespace(ns); err != nil {
			return nil, err
		}
		p.insert(ReservedNamespace, ns)
	}
	return p.append(dst), nil
}

// AppendCanonical appends to dst the canonical encoding of kc as it stands,
// reserved pairs and all, checked as by [KeyContext.ValidateFull].
func (kc KeyContext) AppendCanonical(dst []byte) ([]byte, error) {
	if err := kc.ValidateFull(); err != nil {
		return nil, err
	}
	var p sortedPairs
	for k, v := range kc {
		p.insert(k, v)
	}
	return p.append(dst), nil
}

// Hash returns the hash of kc as it stands, reserved pairs and all, checked as
// by [KeyContext.ValidateFull].
func (kc KeyContext) Hash() (Hash, error) {
	var buf [512]byte
	b, err := kc.AppendCanonical(buf[:0])
	if err != nil {
		return Hash{}, err
	}
	return sha256.Sum256(b), nil
}

// HashIn returns the hash of a caller's context in the namespace ns, checked
// as by [AppendCanonical]. It doesn't copy the map.
func HashIn(kc KeyContext, ns string) (Hash, error) {
	var buf [512]byte
	b, err := AppendCanonical(buf[:0], kc, ns)
	if err != nil {
		return Hash{}, err
	}
	return sha256.Sum256(b), nil
}

// sortedPairs are valid pairs in the order of their keys' bytes.
type sortedPairs struct {
	n    int
	list [maxFullPairs]struct{ k, v string }
}

func (p *sortedPairs) insert(k, v string) {
	i := p.n
	for ; i > 0 && p.list[i-1].k > k; i-- {
		p.list[i] = p.list[i-1]
	}
	p.list[i].k, p.list[i].v = k, v
	p.n++
}

func (p *sortedPairs) append(dst []byte) []byte {
	dst = append(dst, canonicalLabel...)
	dst = append(dst, byte(p.n))
	for i := range p.n {
		dst = appendString(dst, p.list[i].k)
		dst = appendString(dst, p.list[i].v)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// ParseCanonical is the inverse of [KeyContext.AppendCanonical]: it accepts
// exactly what that produces, so that what parses encodes to the same bytes.
// Its errors match [ErrInvalidContext].
func ParseCanonical(b []byte) (KeyContext, error) {
	rest := b
	if len(rest) < len(canonicalLabel)+1 || string(rest[:len(canonicalLabel)]) != canonicalLabel {
		return nil, fmt.Errorf("%w: not a canonical encoding", ErrInvalidContext)
	}
	n := int(rest[len(canonicalLabel)])
	rest = rest[len(canonicalLabel)+1:]
	if n > maxFullPairs {
		return nil, fmt.Errorf("%w: %d pairs", ErrInvalidContext, n)
	}
	kc := make(KeyContext, n)
	last := ""
	for range n {
		var k, v string
		var ok bool
		if k, rest, ok = cutString(rest); !ok {
			return nil, fmt.Errorf("%w: the encoding is cut short", ErrInvalidContext)
		}
		if v, rest, ok = cutString(rest); !ok {
			return nil, fmt.Errorf("%w: the encoding is cut short", ErrInvalidContext)
		}
		if k <= last {
			return nil, fmt.Errorf("%w: the pairs are not in order", ErrInvalidContext)
		}
		last = k
		kc[k] = v
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d bytes follow the encoding", ErrInvalidContext, len(rest))
	}
	if err := kc.ValidateFull(); err != nil {
		return nil, err
	}
	return kc, nil
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 2 {
		return "", nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return "", nil, false
	}
	return string(b[2 : 2+n]), b[2+n:], true
}
