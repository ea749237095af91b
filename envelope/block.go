package envelope

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/embedvault/vault/keyctx"
)

// blockFormat is the first byte of a wrapped-key block.
const blockFormat = 0x01

// parentURIPrefix starts the URI of a context key that wraps another. Such a
// wrapping can't be undone without a store, so no envelope may carry one.
const parentURIPrefix = keyctx.ParentURIPrefix

// maxBlockLen is the length of the longest wrapped-key block.
const maxBlockLen = 1 + 1 + 4 + 1 + 1 + keyctx.MaxWrappings*(2+keyctx.MaxURILen+2+keyctx.MaxWrappedLen)

// Block is a wrapped-key block: how a self-contained envelope carries its own
// context key. Its wire form is
//
//	u8 0x01 ‖ u8 purpose ‖ u32 version ‖ u8 quorum ‖ u8 count ‖
//	count × (u16 len ‖ KEK URI ‖ u16 len ‖ wrapped bytes)
//
// SPEC: docs/SPEC.md, "Wrapped-key block".
type Block struct {
	Purpose   keyctx.Purpose // data, nothing else
	Version   uint32         // of the context key, from 1
	Quorum    keyctx.Quorum
	Wrappings []keyctx.Wrapping // 1 to 8 with distinct URIs
}

// Append appends the block's wire form to dst, wrappings sorted by URI. It
// refuses, with an error that matches [ErrMalformed], what [ParseBlock] would.
// It neither keeps nor changes the block's slices, which must not share memory
// with dst's spare capacity.
func (b Block) Append(dst []byte) ([]byte, error) {
	if n := len(b.Wrappings); n == 0 || n > keyctx.MaxWrappings {
		return nil, fmt.Errorf("%w: %d wrappings in a block", ErrMalformed, n)
	}
	ws := slices.Clone(b.Wrappings)
	slices.SortFunc(ws, func(a, b keyctx.Wrapping) int { return strings.Compare(a.URI, b.URI) })
	start := len(dst)
	dst = append(dst, blockFormat, byte(b.Purpose))
	dst = binary.BigEndian.AppendUint32(dst, b.Version)
	dst = append(dst, byte(b.Quorum), byte(len(ws)))
	for _, w := range ws {
		if len(w.URI) > keyctx.MaxURILen || len(w.Wrapped) > keyctx.MaxWrappedLen {
			return nil, fmt.Errorf("%w: a wrapping is too long", ErrMalformed)
		}
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(w.URI)))
		dst = append(dst, w.URI...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(w.Wrapped)))
		dst = append(dst, w.Wrapped...)
	}
	if _, err := scanBlock(dst[start:], nil); err != nil {
		return nil, err
	}
	return dst, nil
}

// ParseBlock reads a block's wire form. The result shares nothing with b. Its
// errors match [ErrMalformed].
func ParseBlock(b []byte) (Block, error) {
	var ws []keyctx.Wrapping
	block, err := scanBlock(b, func(uri, wrapped []byte) {
		ws = append(ws, keyctx.Wrapping{URI: string(uri), Wrapped: slices.Clone(wrapped)})
	})
	if err != nil {
		return Block{}, err
	}
	block.Wrappings = ws
	return block, nil
}

// scanBlock checks a block whole and hands each wrapping to visit, which may be
// nil, as slices of b. It allocates nothing. The returned Block has no
// wrappings.
func scanBlock(b []byte, visit func(uri, wrapped []byte)) (Block, error) {
	if len(b) < 8 || b[0] != blockFormat {
		return Block{}, fmt.Errorf("%w: not a wrapped-key block", ErrMalformed)
	}
	block := Block{
		Purpose: keyctx.Purpose(b[1]),
		Version: binary.BigEndian.Uint32(b[2:]),
		Quorum:  keyctx.Quorum(b[6]),
	}
	count := int(b[7])
	switch {
	case block.Purpose != keyctx.PurposeData:
		return Block{}, fmt.Errorf("%w: the block's key is not for data", ErrMalformed)
	case block.Version == 0:
		return Block{}, fmt.Errorf("%w: key version 0", ErrMalformed)
	case !block.Quorum.Valid():
		return Block{}, fmt.Errorf("%w: unknown quorum %d", ErrMalformed, b[6])
	case count == 0 || count > keyctx.MaxWrappings:
		return Block{}, fmt.Errorf("%w: %d wrappings in a block", ErrMalformed, count)
	case block.Quorum == keyctx.AllOf && count < 2:
		return Block{}, fmt.Errorf("%w: all-of with one wrapping", ErrMalformed)
	}
	rest := b[8:]
	var last []byte
	for range count {
		var uri, wrapped []byte
		var ok bool
		if uri, rest, ok = cutBytes(rest); !ok {
			return Block{}, fmt.Errorf("%w: the block is cut short", ErrMalformed)
		}
		if wrapped, rest, ok = cutBytes(rest); !ok {
			return Block{}, fmt.Errorf("%w: the block is cut short", ErrMalformed)
		}
		switch {
		case !validURI(uri):
			return Block{}, fmt.Errorf("%w: a KEK URI that is no URI", ErrMalformed)
		case len(uri) >= len(parentURIPrefix) && string(uri[:len(parentURIPrefix)]) == parentURIPrefix:
			return Block{}, fmt.Errorf("%w: a key wrapped by another context key", ErrMalformed)
		case len(wrapped) == 0 || len(wrapped) > keyctx.MaxWrappedLen:
			return Block{}, fmt.Errorf("%w: a wrapped key of %d bytes", ErrMalformed, len(wrapped))
		case string(uri) <= string(last): // also the same URI twice
			return Block{}, fmt.Errorf("%w: KEK URIs are not in order", ErrMalformed)
		}
		last = uri
		if visit != nil {
			visit(uri, wrapped)
		}
	}
	if len(rest) != 0 {
		return Block{}, fmt.Errorf("%w: %d bytes follow the block's last wrapping", ErrMalformed, len(rest))
	}
	return block, nil
}

// validURI is keyctx.ValidURI for bytes, without copying them.
func validURI(uri []byte) bool {
	if len(uri) == 0 || len(uri) > keyctx.MaxURILen {
		return false
	}
	for _, c := range uri {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return true
}

func cutBytes(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}
