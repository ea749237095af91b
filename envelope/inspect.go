package envelope

import "github.com/embedvault/vault/keyctx"

// Info is what an envelope tells without a key. Nothing of it is authenticated.
type Info struct {
	Version       int // 0xE1
	Kind          Kind
	KeyID         keyctx.KeyID
	Size          int // of the envelope, in bytes; of a stream, its header's
	PlaintextSize int // in bytes; of a stream header, its file key's
	Overhead      int // Size less PlaintextSize

	// The wrapped-key block, of self-contained envelopes only.
	KeyVersion uint32
	Quorum     keyctx.Quorum
	KEKs       []string // URIs
}

// Inspect says what b is. A stream may follow its header. Its errors match
// [ErrMalformed].
func Inspect(b []byte) (Info, error) {
	e, n, err := parseAny(b)
	if err != nil {
		return Info{}, err
	}
	info := Info{
		Version:       Version,
		Kind:          e.Kind,
		KeyID:         e.KeyID,
		Size:          n,
		PlaintextSize: e.PlaintextSize(),
		Overhead:      n - e.PlaintextSize(),
	}
	if e.Block != nil { // of a self-contained kind; never empty
		block, err := ParseBlock(e.Block)
		if err != nil {
			return Info{}, err
		}
		info.KeyVersion, info.Quorum = block.Version, block.Quorum
		for _, w := range block.Wrappings {
			info.KEKs = append(info.KEKs, w.URI)
		}
	}
	return info, nil
}

// parseAny parses b by its kind and returns how much of it the envelope is: all
// of it, unless it is a stream header.
func parseAny(b []byte) (e Envelope, n int, err error) {
	if len(b) > 1 && Kind(b[1]).Reference() == KindStream {
		return ParseStreamHeader(b)
	}
	e, err = Parse(b)
	return e, len(b), err
}
