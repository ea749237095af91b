package envelope

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/embedvault/vault/keyctx"
)

// head[kind] is the associated data's fixed part, so that the common case of no
// associated data of the caller's concatenates nothing.
var head = func() (t [KindFieldSelf + 1][2]byte) {
	for k := range t {
		t[k] = [2]byte{Version, byte(k)}
	}
	return t
}()

// maxPlaintext is what GCM takes under one nonce, 64 GiB less 32 bytes, and
// what leaves room in an int for the envelope around it.
const maxPlaintext = min(uint64(1<<36-32), math.MaxInt-uint64(Overhead+binary.MaxVarintLen64+maxBlockLen))

// Seal appends to dst an envelope of plaintext, authenticated together with
// aad. block is the wire form of the wrapped-key block that carries k, for the
// self-contained kinds, and empty for the others. None of the slices is kept;
// plaintext and aad are not changed unless they share memory with dst's spare
// capacity, which is allowed.
//
// The kinds that seal a key take exactly 32 bytes of plaintext.
func (k *Key) Seal(dst []byte, kind Kind, block, plaintext, aad []byte) ([]byte, error) {
	if !kind.Valid() || kind.SelfContained() != (len(block) > 0) {
		return nil, fmt.Errorf("envelope: seal a %v with a block of %d bytes", kind, len(block))
	}
	if k.purpose != keyctx.PurposeData {
		return nil, fmt.Errorf("envelope: seal with a key for %v", k.purpose)
	}
	if kind.sealsKey() && len(plaintext) != KeySize {
		return nil, fmt.Errorf("envelope: seal a %v of %d bytes, want %d", kind, len(plaintext), KeySize)
	}
	if uint64(len(plaintext)) > maxPlaintext { // cipher.AEAD would panic
		return nil, fmt.Errorf("envelope: seal %d bytes, at most %d are possible", len(plaintext), maxPlaintext)
	}
	size := Overhead + len(plaintext)
	if kind.SelfContained() {
		if _, err := scanBlock(block, nil); err != nil {
			return nil, err
		}
		size += uvarintLen(uint64(len(block))) + len(block)
	}
	out := slices.Grow(dst, size)
	if room := out[len(dst) : len(dst)+size]; overlap(room, plaintext) || overlap(room, aad) || overlap(room, block) {
		// The head would overwrite what is still to be read.
		sealed, err := k.Seal(nil, kind, block, plaintext, aad)
		if err != nil {
			return nil, err
		}
		return append(out, sealed...), nil
	}
	out = append(out, Version, byte(kind))
	out = append(out, k.id[:]...)
	if kind.SelfContained() {
		out = binary.AppendUvarint(out, uint64(len(block)))
		out = append(out, block...)
	}
	salt := out[len(out) : len(out)+SaltSize]
	if _, err := rand.Read(salt); err != nil { // never fails: crypto/rand crashes the program instead
		return nil, err
	}
	out = out[:len(out)+SaltSize]
	aead, err := k.aead(salt)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, plaintext, boundData(kind, aad)), nil
}

// Open appends to dst what is sealed in e, which must name this key. None of
// the slices is kept. On an error dst's bytes up to its length are as they were.
//
// Errors: [ErrWrongKey]; [ErrDecrypt] if e or aad isn't what was sealed;
// [ErrMalformed] if e is of a kind that seals a key and holds something else.
func (k *Key) Open(dst []byte, e Envelope, aad []byte) ([]byte, error) {
	aead, err := k.opener(e)
	if err != nil {
		return nil, err
	}
	size := e.PlaintextSize()
	if dst == nil {
		dst = make([]byte, 0, size) // never nil, so that an empty plaintext isn't either
	}
	out := slices.Grow(dst, size)
	if room := out[len(dst) : len(dst)+size]; overlap(room, e.Sealed) || overlap(room, aad) {
		plaintext, err := k.Open(nil, e, aad)
		if err != nil {
			return nil, err
		}
		out = append(out, plaintext...)
		clear(plaintext)
		return out, nil
	}
	out, err = aead.Open(out, nil, e.Sealed, boundData(e.Kind, aad))
	if err != nil {
		return nil, ErrDecrypt
	}
	if err := checkOpened(e.Kind, out[len(dst):]); err != nil {
		return nil, err
	}
	return out, nil
}

// opener returns the AEAD of an envelope that names this key.
func (k *Key) opener(e Envelope) (cipher.AEAD, error) {
	if !k.id.Equal(e.KeyID) {
		return nil, ErrWrongKey
	}
	if k.purpose != keyctx.PurposeData {
		return nil, fmt.Errorf("envelope: open with a key for %v", k.purpose)
	}
	if !e.Kind.Valid() || len(e.Salt) != SaltSize || e.PlaintextSize() < 0 {
		return nil, fmt.Errorf("%w: it was not parsed", ErrMalformed)
	}
	return k.aead(e.Salt)
}

// checkOpened refuses, and clears, what is no key although its kind seals keys.
func checkOpened(kind Kind, plaintext []byte) error {
	if kind.sealsKey() && len(plaintext) != KeySize {
		clear(plaintext)
		return fmt.Errorf("%w: a %v of %d bytes", ErrMalformed, kind, len(plaintext))
	}
	return nil
}

// boundData is GCM's associated data: version ‖ kind ‖ aad. The key ID needs
// not be in it, since the DEK is derived from the very key it commits to; and
// the block is left out so that a self-contained envelope can be rewrapped
// without touching its data.
func boundData(kind Kind, aad []byte) []byte {
	fixed := head[kind][:]
	if len(aad) == 0 {
		return fixed
	}
	return slices.Concat(fixed, aad)
}

func uvarintLen(n uint64) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// overlap reports whether a and b share memory. crypto/cipher panics when
// output and input overlap inexactly, and no panic may reach a user.
func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	a0, b0 := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return a0 < b0+uintptr(len(b)) && b0 < a0+uintptr(len(a))
}
