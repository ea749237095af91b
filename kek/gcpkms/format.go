package gcpkms

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/embedvault/vault/keyctx"
)

// What this package wraps is
//
//	u8 0x01 ‖ u64 key version ‖ u32 CRC32C(0x01 ‖ key version ‖ ciphertext) ‖ ciphertext
//
// The ciphertext is Cloud KMS's and says to it alone under which version it was
// made, so the version stands in front, for a rewrap to tell what is current. No
// key authenticates it: Cloud KMS chooses the version after it was given the
// associated data. The checksum makes of an accident to any byte, the version's
// included, an error without a call; it stops nobody who means it.
//
// SPEC: docs/SPEC.md, "Google Cloud KMS".
const (
	format = 0x01

	versionAt    = 1
	checksumAt   = versionAt + 8
	ciphertextAt = checksumAt + 4

	// maxCiphertext leaves room for what stands in front.
	maxCiphertext = keyctx.MaxWrappedLen - ciphertextAt
)

var errFormat = errors.New("not of a format that this KEK makes")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc32c(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// assemble makes wrapped bytes of what Cloud KMS returned.
func assemble(version uint64, ciphertext []byte) []byte {
	wrapped := make([]byte, ciphertextAt, ciphertextAt+len(ciphertext))
	wrapped[0] = format
	binary.BigEndian.PutUint64(wrapped[versionAt:], version)
	wrapped = append(wrapped, ciphertext...)
	binary.BigEndian.PutUint32(wrapped[checksumAt:], checksum(wrapped))
	return wrapped
}

// parse is the inverse of assemble. The ciphertext is a part of wrapped. What it
// takes, assemble gives back.
func parse(wrapped []byte) (version uint64, ciphertext []byte, err error) {
	if len(wrapped) <= ciphertextAt || len(wrapped) > keyctx.MaxWrappedLen || wrapped[0] != format {
		return 0, nil, errFormat
	}
	version = binary.BigEndian.Uint64(wrapped[versionAt:])
	if version == 0 || binary.BigEndian.Uint32(wrapped[checksumAt:]) != checksum(wrapped) {
		return 0, nil, errFormat
	}
	return version, wrapped[ciphertextAt:], nil
}

// checksum is over all but itself.
func checksum(wrapped []byte) uint32 {
	return crc32.Update(crc32c(wrapped[:checksumAt]), castagnoli, wrapped[ciphertextAt:])
}
