package storage

import (
	"maps"
	"sync/atomic"

	"github.com/embedvault/vault/keyctx"
)

// Decoder decodes records as [DecodeKeyRecord] and [DecodeObjectRecord] do and
// remembers contexts that it met lately: a store that decodes record upon
// record of the same few hundred contexts saves a quarter of the time. The
// zero value is ready for use; it is safe for concurrent use, and its memory
// is bounded (2 MiB).
type Decoder struct {
	known [decoderSlots]atomic.Pointer[knownContext]
}

const (
	decoderSlots  = 1024
	maxRemembered = 512 // bytes of a context's encoding
)

// knownContext is a context that was checked: canonical is its encoding and
// hash the hash of that. It is never changed, and its map never given away.
type knownContext struct {
	hash      keyctx.Hash
	canonical string
	context   keyctx.KeyContext
}

// slot is where the context with this hash is remembered, over whatever was
// there before.
func (d *Decoder) slot(hash keyctx.Hash) *atomic.Pointer[knownContext] {
	return &d.known[(int(hash[0])<<8|int(hash[1]))%decoderSlots]
}

// get returns the context if both hash and encoding are those of one that was
// checked before. d may be nil.
func (d *Decoder) get(hash keyctx.Hash, canonical []byte) keyctx.KeyContext {
	if d == nil {
		return nil
	}
	k := d.slot(hash).Load()
	if k == nil || k.hash != hash || k.canonical != string(canonical) {
		return nil
	}
	return maps.Clone(k.context)
}

func (d *Decoder) put(hash keyctx.Hash, canonical []byte, kc keyctx.KeyContext) {
	if d != nil && len(canonical) <= maxRemembered {
		d.slot(hash).Store(&knownContext{hash, string(canonical), maps.Clone(kc)})
	}
}

// KeyRecord is like [DecodeKeyRecord].
func (d *Decoder) KeyRecord(b []byte) (KeyRecord, error) { return decodeKey(b, d) }

// ObjectRecord is like [DecodeObjectRecord].
func (d *Decoder) ObjectRecord(b []byte) (ObjectRecord, error) { return decodeObject(b, d, true) }

// ObjectMeta is like [DecodeObjectMeta].
func (d *Decoder) ObjectMeta(b []byte) (ObjectRecord, error) { return decodeObject(b, d, false) }
