package memkek

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync"

	"github.com/embedvault/vault/kek"
)

const (
	// format is the first byte of everything that was wrapped.
	format = 0x01

	// overhead is by how much wrapped bytes are longer than the key: format,
	// nonce, tag.
	overhead = 1 + 12 + 16
)

// keyset is the versions of one key, shared by peers.
type keyset struct {
	mu       sync.RWMutex // guards what follows
	versions []cipher.AEAD
	number   int // of the newest version, from 1
}

func newKeyset() *keyset {
	s := new(keyset)
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
	s.versions = append(s.versions, newAEAD())
	s.number++
}

func (s *keyset) destroyOld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions = []cipher.AEAD{s.versions[len(s.versions)-1]}
}

func (s *keyset) primary() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.number
}

func (s *keyset) seal(key []byte, b kek.Binding) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	wrapped := make([]byte, 1, overhead+len(key))
	wrapped[0] = format
	return s.versions[len(s.versions)-1].Seal(wrapped, nil, key, b.AppendBytes(nil))
}

// open tries every version, the newest first. The result is not nil if ok.
func (s *keyset) open(wrapped []byte, b kek.Binding) (key []byte, ok bool) {
	if len(wrapped) < overhead || wrapped[0] != format {
		return nil, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	binding := b.AppendBytes(nil)
	for i := len(s.versions) - 1; i >= 0; i-- {
		dst := make([]byte, 0, len(wrapped)-overhead) // not nil, even for an empty key
		if key, err := s.versions[i].Open(dst, nil, wrapped[1:], binding); err == nil {
			return key, true
		}
	}
	return nil, false
}

// garbage is random bytes that look like a wrapped key of n bytes.
func garbage(n int) []byte {
	b := make([]byte, overhead+n)
	_, _ = rand.Read(b)
	b[0] = format
	return b
}
