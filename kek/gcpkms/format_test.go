package gcpkms_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/embedvault/vault/kek/gcpkms"
)

// relabel returns wrapped with another version and the checksum that is right for
// it, as docs/SPEC.md has them.
func relabel(wrapped []byte, version uint64) []byte {
	w := slices.Clone(wrapped)
	binary.BigEndian.PutUint64(w[1:], version)
	sum := crc32.Checksum(slices.Concat(w[:9], w[13:]), crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(w[9:], sum)
	return w
}

// What parses is what is assembled of it.
func FuzzParse(f *testing.F) {
	f.Add(gcpkms.Assemble(1, []byte("ciphertext")))
	f.Add(gcpkms.Assemble(1<<63, bytes.Repeat([]byte{0xff}, 100)))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		version, ciphertext, err := gcpkms.Parse(wrapped)
		if err == nil && !bytes.Equal(gcpkms.Assemble(version, ciphertext), wrapped) {
			t.Errorf("%x is not canonical", wrapped)
		}
	})
}
