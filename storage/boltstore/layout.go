package boltstore

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// The first bytes of the index's keys: see [Store].
const (
	tagObjectID   = 'i'
	tagVersionID  = 'v'
	tagUpdated    = 'u'
	tagByKey      = 'k'
	tagExpiry     = 'e'
	tagUnique     = 'n'
	tagObjectPair = 'c'
	tagKeyID      = 'K'
	tagParent     = 'P'
	tagKeyPair    = 'C'
)

const (
	hashLen  = len(keyctx.Hash{})
	idLen    = len(storage.ID{})
	tokenLen = 16
)

// objectKey is the key in objects.
func objectKey(hash keyctx.Hash, name string) []byte {
	b := make([]byte, 0, hashLen+len(name))
	return append(append(b, hash[:]...), name...)
}

// historyKey is the key in history.
func historyKey(object storage.ID, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, idLen+8), object[:]...), number)
}

// keyKey is the key in keys.
func keyKey(hash keyctx.Hash, purpose keyctx.Purpose, version uint32) []byte {
	b := append(make([]byte, 0, hashLen+5), hash[:]...)
	return binary.BigEndian.AppendUint32(append(b, byte(purpose)), version)
}

// tagged puts the parts of a key of the index together.
func tagged(tag byte, parts ...[]byte) []byte {
	n := 1
	for _, p := range parts {
		n += len(p)
	}
	b := append(make([]byte, 0, n), tag)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func objectIDKey(id storage.ID) []byte { return tagged(tagObjectID, id[:]) }

func versionIDKey(object, version storage.ID) []byte {
	return tagged(tagVersionID, object[:], version[:])
}

func updatedKey(r *storage.ObjectRecord) []byte {
	return tagged(tagUpdated, r.ContextHash[:], sortable(r.UpdatedAt.UnixMicro()), r.ID[:])
}

func byKeyKey(r *storage.ObjectRecord) []byte {
	return tagged(tagByKey, r.KeyID[:], historyKey(r.ID, r.Number))
}

func expiryKey(r *storage.ObjectRecord) []byte {
	return tagged(tagExpiry, part(r.Context.Namespace()), sortable(r.ExpiresAt), r.ID[:])
}

func uniqueKey(r *storage.ObjectRecord) []byte {
	return tagged(tagUnique, part(r.Context.Namespace()), []byte(r.Name))
}

func keyIDKey(id keyctx.KeyID) []byte { return tagged(tagKeyID, id[:]) }

func parentKey(r *storage.KeyRecord) []byte {
	return tagged(tagParent, r.ParentID[:], keyKey(r.ContextHash, r.Purpose, r.Version))
}

// part is u16 length ‖ bytes.
func part(s string) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(s)), uint16(len(s))), s...)
}

// sortable is an i64 whose bytes sort as it does.
func sortable(v int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(v)^1<<63)
}

// updatedPosition is the place of a row in a list by time: what follows the tag
// in updatedKey.
func updatedPosition(r *storage.ObjectRecord) []byte { return updatedKey(r)[1:] }

// updatedAfter is the first position in the context later than after.
func updatedAfter(hash keyctx.Hash, after time.Time) []byte {
	if after.IsZero() {
		return hash[:]
	}
	return append(hash[:], sortable(after.UnixMicro()+1)...)
}

// pairToken stands for a pair of a context. A context's namespace is a pair
// with an empty value if it has none.
func pairToken(k, v string) []byte {
	sum := sha256.Sum256(append(append([]byte("boltstore/pair"), part(k)...), v...))
	return sum[:tokenLen]
}

// pairKeys returns the entries by which a context is found.
func pairKeys(tag byte, kc keyctx.KeyContext, hash keyctx.Hash) [][]byte {
	keys := [][]byte{tagged(tag, pairToken(keyctx.ReservedNamespace, kc.Namespace()), hash[:])}
	for k, v := range kc {
		if k != keyctx.ReservedNamespace {
			keys = append(keys, tagged(tag, pairToken(k, v), hash[:]))
		}
	}
	return keys
}
