package awskmstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// material is what a key encrypts with between two rotations.
type material struct {
	id   string // 64 hexadecimal digits, as KMS's KeyMaterialId
	aead cipher.AEAD
}

func newMaterial() material {
	var b [64]byte
	_, _ = rand.Read(b[:])
	block, err := aes.NewCipher(b[:32])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return material{id: hex.EncodeToString(b[32:]), aead: aead}
		}
	}
	panic("awskmstest: AES-256-GCM: " + err.Error()) // it has no other key lengths to refuse
}

// A ciphertext of the fake. KMS's are opaque; this one is made to be as strict:
//
//	magic (8) ‖ digits of the key ID (16) ‖ u32 number of the material ‖ nonce ‖ AES-256-GCM ‖ tag
const (
	magic     = "fakekms\x01"
	headerLen = len(magic) + 16 + 4
)

func (k *Key) seal(plaintext []byte, pairs map[string]string) []byte {
	n := len(k.shared.materials) - 1
	head := append([]byte(magic), k.raw[:]...)
	head = binary.BigEndian.AppendUint32(head, uint32(n))
	return k.shared.materials[n].aead.Seal(slices.Clone(head), nil, plaintext, associated(head, pairs))
}

// sealedBy returns the key ID's digits in a blob.
func sealedBy(blob []byte) (raw [16]byte, ok bool) {
	if len(blob) < headerLen || !bytes.HasPrefix(blob, []byte(magic)) {
		return raw, false
	}
	return [16]byte(blob[len(magic):]), true
}

// open opens a blob of k's and returns the material's ID as well.
func (k *Key) open(blob []byte, pairs map[string]string) (plaintext []byte, materialID string, ok bool) {
	head := blob[:headerLen]
	n := binary.BigEndian.Uint32(head[headerLen-4:])
	if uint64(n) >= uint64(len(k.shared.materials)) {
		return nil, "", false
	}
	m := k.shared.materials[n]
	plaintext, err := m.aead.Open(nil, nil, blob[headerLen:], associated(head, pairs))
	return plaintext, m.id, err == nil
}

// associated binds the header and the pairs in whatever order; JSON of a map is
// sorted. No pairs are the same as none given.
func associated(head []byte, pairs map[string]string) []byte {
	if pairs == nil {
		pairs = map[string]string{}
	}
	b, err := json.Marshal(pairs)
	if err != nil {
		panic("awskmstest: " + err.Error()) // strings always encode
	}
	return slices.Concat(head, b)
}
