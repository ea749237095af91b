package memkek

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"sync"

	"github.com/embedvault/vault/kek"
)

const (
	// format is the first byte of everything that was wrapped.
	format = 0x01

	// header is format and version.
	header = 1 + 4

	// overhead is by how much wrapped bytes are longer than the key: header,
	// nonce, tag.
	overhead = header + 12 + 16
)

// keyset is the versions of one key, shared by peers.
type keyset struct {
	mu       sync.RWMutex // guards what follows
	versions map[uint32]cipher.AEAD
	number   uint32 // of the newest version, from 1
}

func newKeyset() *keyset {
	s := &keyset{versions: make(map[uint32]cipher.AEAD, 1)}
	s.rotate()
	return s
}

func newAEAD() cipher.AEAD {
	var key [32]byte
	defer clear(key[:])
	_, _ = rand.Read(key[:])                       // never fails: crypto/rand crashes the program instead
	block, _ := aes.NewCipher(key[:])              // fails for other lengths only
	aead, _ := cipher.NewGCMWithRandomNonce(block) // fails for other ciphers only
	return aead
}

func (s *keyset) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	s.versions[s.number] = newAEAD()
}

func (s *keyset) destroyOld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions = map[uint32]cipher.AEAD{s.number: s.versions[s.number]}
}

func (s *keyset) primary() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.number
}

func (s *keyset) seal(key []byte, b kek.Binding) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	wrapped := make([]byte, header, overhead+len(key))
	wrapped[0] = format
	binary.BigEndian.PutUint32(wrapped[1:], s.number)
	return s.versions[s.number].Seal(wrapped, nil, key, b.AppendBytes(nil))
}

// versionOf returns the version that wrapped names, or 0.
func versionOf(wrapped []byte) uint32 {
	if len(wrapped) < overhead || wrapped[0] != format {
		return 0
	}
	return binary.BigEndian.Uint32(wrapped[1:])
}

// open returns what wrapped holds. The result is not nil if ok.
func (s *keyset) open(wrapped []byte, b kek.Binding) (key []byte, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	aead := s.versions[versionOf(wrapped)]
	if aead == nil {
		return nil, false
	}
	dst := make([]byte, 0, len(wrapped)-overhead) // not nil, even for an empty key
	key, err := aead.Open(dst, nil, wrapped[header:], b.AppendBytes(nil))
	return key, err == nil
}

// garbage is random bytes that look like a key of n bytes that was wrapped under
// the newest version.
func (s *keyset) garbage(n int) []byte {
	b := make([]byte, overhead+n)
	_, _ = rand.Read(b)
	b[0] = format
	binary.BigEndian.PutUint32(b[1:], s.primary())
	return b
}
