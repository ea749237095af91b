package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sync"
	"sync/atomic"

	"github.com/embedvault/vault/keyctx"
)

// KeySize is the length of a context key in bytes.
const KeySize = 32

// Labels of HKDF-Expand: what separates one use of a context key from another.
// With its label no info is longer than 54 bytes, so that one HMAC block holds
// it. SPEC: docs/SPEC.md, "Context keys" and "Opening an envelope".
const (
	labelKeyID = "vault/v1/kid"
	labelDEK   = "vault/v1/dek"
)

var (
	// ErrBadKey is returned by [NewKey] for bytes that can't be a context key:
	// not 32 of them, or all zero.
	ErrBadKey = errors.New("envelope: not a context key")

	errDestroyed = errors.New("envelope: the key was destroyed")
)

// Key is a context key, ready to seal and open. It is made by [NewKey], may be
// used by many goroutines at once, and holds the key's bytes until [Key.Destroy].
type Key struct {
	id      keyctx.KeyID
	purpose keyctx.Purpose

	// secret becomes nil before the bytes are zeroed: the key is destroyed. That
	// is the second line of defence; whoever shares a Key counts its users and
	// destroys it after the last one.
	//
	// It is an atomic.Pointer also because package fmt can't follow one. Format
	// isn't called for a Key in somebody's unexported field, and what fmt prints
	// there for a verb that doesn't fit, such as %s, is the whole struct.
	secret atomic.Pointer[[KeySize]byte]

	// states holds *state. What is in it is key material: it goes with the
	// Key. It is dropped and never zeroed, and states are used only while secret
	// isn't nil; a pool that rebuilt its states from a zeroed key would seal
	// under zeros.
	states sync.Pool
}

// state is what one derivation needs, pooled so that it allocates nothing: an
// HMAC-SHA256 keyed with the context key and room for the message and the
// result.
type state struct {
	mac hash.Hash
	in  [64]byte
	out [KeySize]byte
}

// NewKey returns the context key with these bytes, for the context with this
// hash, this purpose and version. It computes the key's ID from them; a caller
// who expects a certain ID must compare. NewKey copies secret. Its errors match
// [ErrBadKey].
//
// Keys that are not exactly 32 bytes are refused because HMAC pads its key:
// keys of other lengths could share an ID.
func NewKey(secret []byte, context keyctx.Hash, purpose keyctx.Purpose, version uint32) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("%w: want %d bytes, got %d", ErrBadKey, KeySize, len(secret))
	}
	var or byte
	for _, b := range secret {
		or |= b
	}
	if or == 0 {
		return nil, fmt.Errorf("%w: all its bytes are zero", ErrBadKey)
	}
	if !purpose.Valid() || version == 0 {
		return nil, fmt.Errorf("%w: purpose %v, version %d", ErrBadKey, purpose, version)
	}
	k := &Key{purpose: purpose}
	own := [KeySize]byte(secret)
	k.secret.Store(&own)

	var info [sha256.Size + 5]byte
	copy(info[:], context[:])
	info[sha256.Size] = byte(purpose)
	binary.BigEndian.PutUint32(info[sha256.Size+1:], version)
	st, err := k.expand(labelKeyID, info[:])
	if err != nil {
		return nil, err
	}
	k.id = st.out
	k.release(st)
	return k, nil
}

// ID returns the key's ID.
func (k *Key) ID() keyctx.KeyID { return k.id }

// AppendSecret appends the key's bytes to dst, for wrapping them. It fails on a
// destroyed key.
func (k *Key) AppendSecret(dst []byte) ([]byte, error) {
	secret := k.secret.Load()
	if secret == nil {
		return nil, errDestroyed
	}
	return append(dst, secret[:]...), nil
}

// Destroy zeroes the key. No other method may run at the same time: the caller
// knows that its last user has gone. Calls after it fail.
func (k *Key) Destroy() {
	if secret := k.secret.Swap(nil); secret != nil {
		clear(secret[:])
	}
	k.states = sync.Pool{} // what it held is dropped to the collector
}

// Format prints the key's ID and nothing secret, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "envelope.Key(%s)", k.id.Short()) }

// expand returns a state whose out is HKDF-Expand-SHA256(secret, label ‖ info,
// 32), that is T(1) = HMAC(secret, label ‖ info ‖ 0x01). The caller releases it.
// RFC 5869 §2.3; §3.3 for why the key, being uniformly random, needs no Extract.
func (k *Key) expand(label string, info []byte) (*state, error) {
	st, _ := k.states.Get().(*state)
	secret := k.secret.Load()
	if st == nil && secret != nil {
		st = &state{mac: hmac.New(sha256.New, secret[:])}
	}
	// After the HMAC was made, not before: had the key been zeroed in between,
	// this sees it.
	if k.secret.Load() == nil {
		return nil, errDestroyed
	}
	n := copy(st.in[:], label)
	n += copy(st.in[n:], info)
	st.in[n] = 0x01
	st.mac.Reset()
	st.mac.Write(st.in[:n+1])
	st.mac.Sum(st.out[:0])
	return st, nil
}

func (k *Key) release(st *state) {
	clear(st.out[:])
	k.states.Put(st)
}

// aead returns AES-256-GCM with random nonces under the DEK of this salt.
func (k *Key) aead(salt []byte) (cipher.AEAD, error) { return k.aeadFor(labelDEK, salt) }

// aeadFor returns AES-256-GCM with random nonces under the key that is derived for
// this label and salt.
func (k *Key) aeadFor(label string, salt []byte) (cipher.AEAD, error) {
	st, err := k.expand(label, salt)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(st.out[:])
	k.release(st)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
