package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

var (
	testSecret = sequence(1, envelope.KeySize)
	testHash   = keyctx.Hash(sha256.Sum256([]byte("some context")))

	allKinds = []envelope.Kind{
		envelope.KindMessage, envelope.KindMessageSelf, envelope.KindStream, envelope.KindStreamSelf,
		envelope.KindDataKey, envelope.KindDataKeySelf, envelope.KindObject, envelope.KindObjectSelf,
		envelope.KindField, envelope.KindFieldSelf,
	}
)

// sequence gives n bytes that count up from first.
func sequence(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func newKey(t testing.TB) *envelope.Key {
	t.Helper()
	k, err := envelope.NewKey(testSecret, testHash, keyctx.PurposeData, 3)
	noError(t, err)
	return k
}

func testBlock() envelope.Block {
	return envelope.Block{
		Purpose: keyctx.PurposeData,
		Version: 3,
		Quorum:  keyctx.AllOf,
		Wrappings: []keyctx.Wrapping{
			{URI: "b:2", Wrapped: []byte("second")},
			{URI: "a:1", Wrapped: []byte("first")},
		},
	}
}

// blockFor gives the block that an envelope of the kind carries, if any.
func blockFor(t testing.TB, kind envelope.Kind) []byte {
	t.Helper()
	if !kind.SelfContained() {
		return nil
	}
	b, err := testBlock().Append(nil)
	noError(t, err)
	return b
}

// plaintextFor gives a plaintext that the kind takes.
func plaintextFor(kind envelope.Kind) []byte {
	switch kind.Reference() {
	case envelope.KindStream, envelope.KindDataKey:
		return sequence(0x80, envelope.KeySize)
	}
	return []byte("the plaintext, of some length")
}

func seal(t testing.TB, k *envelope.Key, kind envelope.Kind, plaintext, aad []byte) []byte {
	t.Helper()
	b, err := k.Seal(nil, kind, blockFor(t, kind), plaintext, aad)
	noError(t, err)
	return b
}

func parse(t testing.TB, b []byte) envelope.Envelope {
	t.Helper()
	e, err := envelope.Parse(b)
	noError(t, err)
	return e
}

// openStd opens an envelope with the standard library alone, from DESIGN's
// words; it shares no line with the package.
func openStd(secret []byte, hash keyctx.Hash, version uint32, b, aad []byte) ([]byte, error) {
	info := slices.Concat([]byte("vault/v1/kid"), hash[:], []byte{1}, binary.BigEndian.AppendUint32(nil, version))
	id, err := hkdf.Expand(sha256.New, secret, string(info), 32)
	if err != nil {
		return nil, err
	}
	if b[0] != 0xE1 || !bytes.Equal(b[2:34], id) {
		return nil, errors.New("version or key ID")
	}
	rest := b[34:]
	if b[1]%2 == 0 {
		n, size := binary.Uvarint(rest)
		rest = rest[size+int(n):]
	}
	dek, err := hkdf.Expand(sha256.New, secret, "vault/v1/dek"+string(rest[:24]), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(dek)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block) // reads the nonce from the front
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, nil, rest[24:], slices.Concat(b[:2], aad))
}

// sealStd makes an envelope with the standard library alone, and with whatever
// it is given: also what Seal would refuse.
func sealStd(t testing.TB, k *envelope.Key, kind byte, block, plaintext, aad []byte) []byte {
	t.Helper()
	id := k.ID()
	b := append([]byte{0xE1, kind}, id[:]...)
	if block != nil {
		b = binary.AppendUvarint(b, uint64(len(block)))
		b = append(b, block...)
	}
	salt := sequence(0x40, 24)
	dek, err := hkdf.Expand(sha256.New, testSecret, "vault/v1/dek"+string(salt), 32)
	noError(t, err)
	c, err := aes.NewCipher(dek)
	noError(t, err)
	gcm, err := cipher.NewGCMWithRandomNonce(c)
	noError(t, err)
	return append(append(b, salt...), gcm.Seal(nil, nil, plaintext, slices.Concat([]byte{0xE1, kind}, aad))...)
}

func kindName(kind envelope.Kind) string { return fmt.Sprintf("kind %d", uint8(kind)) }
