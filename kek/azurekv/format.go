package azurekv

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
)

// The first byte of wrapped bytes. SPEC: docs/SPEC.md, "Azure Key Vault".
const (
	formatNone      = 0x00 // of no wrapped bytes: a KEK that only reads
	formatSigned    = 0x01 // RSA-OAEP-256, signed with PS256
	formatUnsigned  = 0x02 // RSA-OAEP-256
	formatSymmetric = 0x03 // A256KW
)

const (
	keyLen      = 32 // of what is wrapped
	randomLen   = 16 // before the key in formatSymmetric
	hashLen     = sha256.Size
	aesWrapLen  = randomLen + keyLen + hashLen + 8 // RFC 3394 adds 8 bytes
	signedStart = 1 + versionLen + 2*hashLen + 2   // of the ciphertext in formatSigned
)

// rsaLens are the lengths in bytes of the moduli that Key Vault has, and so of
// ciphertexts and signatures.
var rsaLens = []int{2048 / 8, 3072 / 8, 4096 / 8}

var errFormat = errors.New("not of a format that this KEK makes")

// record is wrapped bytes, parsed. Its slices are parts of them.
type record struct {
	format     byte
	version    string // 32 lower-case hexadecimal digits
	ciphertext []byte

	// Of formatSigned.
	wrapping, signing [hashLen]byte // hashes of the two public keys
	body, signature   []byte        // everything before the signature, and it
}

// parse parses wrapped bytes. It takes exactly what append makes: every length
// follows from the format, n and the two moduli there can be.
func parse(wrapped []byte) (record, error) {
	if len(wrapped) < 1+versionLen {
		return record{}, errFormat
	}
	r := record{format: wrapped[0], version: hex.EncodeToString(wrapped[1 : 1+versionLen])}
	rest := wrapped[1+versionLen:]
	switch {
	case r.format == formatUnsigned && slices.Contains(rsaLens, len(rest)):
		r.ciphertext = rest
	case r.format == formatSymmetric && len(rest) == aesWrapLen:
		r.ciphertext = rest
	case r.format == formatSigned && len(wrapped) > signedStart:
		return r.parseSigned(wrapped)
	default:
		return record{}, errFormat
	}
	return r, nil
}

// parseSigned fills in the rest of a signed record, which is longer than
// signedStart.
func (r record) parseSigned(wrapped []byte) (record, error) {
	head := wrapped[1+versionLen:]
	copy(r.wrapping[:], head)
	copy(r.signing[:], head[hashLen:])
	n := int(binary.BigEndian.Uint16(head[2*hashLen:]))
	rest := wrapped[signedStart:]
	if !slices.Contains(rsaLens, n) || len(rest) < n || !slices.Contains(rsaLens, len(rest)-n) {
		return record{}, errFormat
	}
	r.ciphertext, r.signature = rest[:n], rest[n:]
	r.body = wrapped[:signedStart+n]
	return r, nil
}

// versionIn returns the version in wrapped bytes that parse.
func versionIn(wrapped []byte) string {
	r, err := parse(wrapped)
	if err != nil {
		return ""
	}
	return r.version
}

// appendHead starts wrapped bytes. version was checked.
func appendHead(format byte, version string) []byte {
	head, _ := hex.AppendDecode([]byte{format}, []byte(version))
	return head
}

// signedBody returns all of a signed record but the signature.
func signedBody(version string, wrapping, signing [hashLen]byte, ciphertext []byte) []byte {
	b := appendHead(formatSigned, version)
	b = append(b, wrapping[:]...)
	b = append(b, signing[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(ciphertext))) // at most 512
	return append(b, ciphertext...)
}

// bound returns what is encrypted where there is no signature: the key and the
// hash of what it is bound to, after some random bytes or none. The caller
// zeroes it.
func bound(random, key, binding []byte) []byte {
	h := sha256.Sum256(binding)
	return bytes.Join([][]byte{random, key, h[:]}, nil)
}
