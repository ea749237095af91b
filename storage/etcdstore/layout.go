package etcdstore

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// layoutVersion follows the prefix. No prefix contains it, so that one store's
// keys are never another one's, and a later layout has keys of its own.
const layoutVersion = "\x01"

// The first bytes of keys: see [Store].
const (
	tagObject      = 'o'
	tagHistory     = 'h'
	tagBody        = 'b'
	tagNumber      = 'm'
	tagVersionID   = 'v'
	tagObjectID    = 'i'
	tagNameDown    = 'O'
	tagUpdated     = 'u'
	tagUpdatedDown = 'U'
	tagByKey       = 'k'
	tagExpiry      = 'e'
	tagUnique      = 'n'
	tagDebris      = 'j'
	tagContext     = 'c'
	tagContextDown = 'd'
	tagKey         = 'w'
	tagKeyID       = 'K'
	tagParent      = 'P'
	tagKeyContext  = 'C'
	tagSystem      = 's'
)

const (
	hashLen  = len(keyctx.Hash{})
	idLen    = len(storage.ID{})
	keyIDLen = len(keyctx.KeyID{})
	tokenLen = 16
)

func (s *Store) key(tag byte, parts ...string) string {
	return s.base + string(rune(tag)) + strings.Join(parts, "")
}

func u64(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }

// sortable is an i64 whose bytes sort as it does.
func sortable(v int64) string { return u64(uint64(v) ^ 1<<63) }

func part(s string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

// turned is s with all bits turned: of two strings of one length the greater
// one becomes the lesser.
func turned(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = ^b[i]
	}
	return string(b)
}

// turnedPrefix is what starts the turned form of all names that start with s.
// In it 0xff never stands alone, so that the mark at the end sorts after
// everything.
func turnedPrefix(s string) string {
	return strings.ReplaceAll(turned(s), "\xff", "\xff\x00")
}

func turnedName(s string) string { return turnedPrefix(s) + "\xff\xff" }

// place is where an object is found by name: the key in 'o' without its tag.
func place(hash keyctx.Hash, name string) string { return string(hash[:]) + name }

func (s *Store) objectKey(place string) string { return s.key(tagObject, place) }

func (s *Store) nameDownKey(r *storage.ObjectRecord) string {
	return s.key(tagNameDown, turned(string(r.ContextHash[:])), turnedName(r.Name))
}

func (s *Store) historyKey(object storage.ID, number uint64) string {
	return s.key(tagHistory, string(object[:]), u64(^number))
}

func (s *Store) numberKey(object storage.ID, number uint64) string {
	return s.key(tagNumber, string(object[:]), u64(number))
}

func (s *Store) bodyKey(object storage.ID, number uint64) string {
	return s.key(tagBody, string(object[:]), u64(number))
}

func (s *Store) versionKey(object, version storage.ID) string {
	return s.key(tagVersionID, string(object[:]), string(version[:]))
}

func (s *Store) objectIDKey(id storage.ID) string { return s.key(tagObjectID, string(id[:])) }
func (s *Store) debrisKey(id storage.ID) string   { return s.key(tagDebris, string(id[:])) }

// updated is the place of a row in a list by time.
func updated(r *storage.ObjectRecord) string {
	return string(r.ContextHash[:]) + sortable(r.UpdatedAt.UnixMicro()) + string(r.ID[:])
}

func (s *Store) updatedKey(r *storage.ObjectRecord) string { return s.key(tagUpdated, updated(r)) }
func (s *Store) updatedDownKey(r *storage.ObjectRecord) string {
	return s.key(tagUpdatedDown, turned(updated(r)))
}

func (s *Store) byKeyKey(key keyctx.KeyID, object storage.ID, number uint64) string {
	return s.key(tagByKey, string(key[:]), string(object[:]), u64(number))
}

func (s *Store) expiryKey(r *storage.ObjectRecord) string {
	return s.key(tagExpiry, part(r.Context.Namespace()), sortable(r.ExpiresAt), string(r.ID[:]))
}

func (s *Store) uniqueKey(r *storage.ObjectRecord) string {
	return s.key(tagUnique, part(r.Context.Namespace()), r.Name)
}

// use is the key in 'w' without its tag.
func use(hash keyctx.Hash, purpose keyctx.Purpose, version uint32) string {
	b := append(hash[:], byte(purpose))
	return string(binary.BigEndian.AppendUint32(b, version))
}

func (s *Store) keyIDKey(id keyctx.KeyID) string { return s.key(tagKeyID, string(id[:])) }

func (s *Store) parentKey(r *storage.KeyRecord) string {
	return s.key(tagParent, string(r.ParentID[:]), use(r.ContextHash, r.Purpose, r.Version))
}

// anyToken stands for no pair: all contexts have it.
func anyToken() string { return token("etcdstore/any") }

// pairToken stands for a pair of a context. A context's namespace is a pair
// with an empty value if it has none.
func pairToken(k, v string) string { return token("etcdstore/pair" + part(k) + v) }

func token(s string) string {
	sum := sha256.Sum256([]byte(s))
	return string(sum[:tokenLen])
}

// markerKey is the entry that is there if and only if the context has records.
func (s *Store) markerKey(tag byte, hash keyctx.Hash) string {
	return s.key(tag, anyToken(), string(hash[:]))
}

// contextKeys returns the entries by which a context is found.
func (s *Store) contextKeys(tag byte, kc keyctx.KeyContext, hash keyctx.Hash) (keys []string) {
	tokens := []string{anyToken(), pairToken(keyctx.ReservedNamespace, kc.Namespace())}
	for k, v := range kc {
		if k != keyctx.ReservedNamespace {
			tokens = append(tokens, pairToken(k, v))
		}
	}
	for _, t := range tokens {
		keys = append(keys, s.key(tag, t, string(hash[:])))
		if tag == tagContext {
			keys = append(keys, s.key(tagContextDown, t, turned(string(hash[:]))))
		}
	}
	return keys
}

// span is the keys from lo to before hi.
type span struct{ lo, hi string }

func prefixSpan(prefix string) span { return span{prefix, prefixEnd(prefix)} }

// prefixEnd returns the first key after all that start with prefix. All
// prefixes here start with the store's, which has bytes below 0xff.
func prefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return string(b[:i+1])
		}
	}
	return ""
}

// after returns the first key after key.
func after(key string) string { return key + "\x00" }

// from leaves out what comes before lo.
func (s span) from(lo string) span { return span{max(s.lo, lo), s.hi} }

// laterThan is the first time that is later than t and can be stored.
func laterThan(t time.Time) string { return sortable(t.UnixMicro() + 1) }
