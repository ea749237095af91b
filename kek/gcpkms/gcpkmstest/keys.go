package gcpkmstest

import (
	"crypto/rand"
	"fmt"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// cryptoKey is a key. The server's mu guards it.
type cryptoKey struct {
	name     string
	uid      [16]byte // in every ciphertext: which key made it
	options  KeyOptions
	created  time.Time
	versions []*keyVersion // versions[i] has the number i+1
	primary  int           // its number; 0: none
	grants   map[string]map[string]bool
}

type keyVersion struct {
	state   kmspb.CryptoKeyVersion_CryptoKeyVersionState
	key     [32]byte
	created time.Time
}

// KeyOptions says what key to create. The zero value is a software key for
// symmetric encryption that doesn't rotate by itself.
type KeyOptions struct {
	Purpose        kmspb.CryptoKey_CryptoKeyPurpose // ENCRYPT_DECRYPT if it is 0
	Protection     kmspb.ProtectionLevel            // SOFTWARE if it is 0
	RotationPeriod time.Duration                    // shown, not carried out
	NoVersion      bool                             // as a key that is for imported versions only
}

// Key is a key of a [Server]. Its methods are safe for concurrent use. On a key
// that was deleted, and for versions that don't exist, they do nothing.
type Key struct {
	server *Server
	name   string
}

// Name returns the key's name.
func (k *Key) Name() string { return k.name }

// CreateKey makes a key with one enabled version, its primary one. The name is
// not checked. An existing key stays as it is.
func (s *Server) CreateKey(name string) *Key { return s.CreateKeyWith(name, KeyOptions{}) }

// CreateKeyWith is CreateKey with options.
func (s *Server) CreateKeyWith(name string, o KeyOptions) *Key {
	if o.Purpose == 0 {
		o.Purpose = kmspb.CryptoKey_ENCRYPT_DECRYPT
	}
	if o.Protection == 0 {
		o.Protection = kmspb.ProtectionLevel_SOFTWARE
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[name] == nil {
		s.keys[name] = newKey(name, o)
	}
	return &Key{server: s, name: name}
}

func newKey(name string, o KeyOptions) *cryptoKey {
	k := &cryptoKey{name: name, options: o, created: time.Now(), grants: map[string]map[string]bool{}}
	_, _ = rand.Read(k.uid[:]) // never fails
	if !o.NoVersion {
		k.primary = k.addVersion()
	}
	return k
}

// addVersion adds an enabled version and returns its number.
func (k *cryptoKey) addVersion() int {
	v := &keyVersion{state: kmspb.CryptoKeyVersion_ENABLED, created: time.Now()}
	_, _ = rand.Read(v.key[:])
	k.versions = append(k.versions, v)
	return len(k.versions)
}

// change calls f with the key, if it is there, and the server's lock held.
func (k *Key) change(f func(c *cryptoKey)) {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	if c := k.server.keys[k.name]; c != nil {
		f(c)
	}
}

// Rotate adds a version, makes it the primary one and returns its number.
func (k *Key) Rotate() (version int) {
	k.change(func(c *cryptoKey) {
		c.primary = c.addVersion()
		version = c.primary
	})
	return version
}

// SetPrimary makes a version the one that encrypts.
func (k *Key) SetPrimary(version int) {
	k.change(func(c *cryptoKey) {
		if version >= 1 && version <= len(c.versions) {
			c.primary = version
		}
	})
}

// SetState puts a version into a state. What is destroyed is gone for good: no
// other state follows.
func (k *Key) SetState(version int, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) {
	k.change(func(c *cryptoKey) { c.setState(version, state) })
}

func (c *cryptoKey) setState(version int, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) {
	if version < 1 || version > len(c.versions) || c.versions[version-1].state == kmspb.CryptoKeyVersion_DESTROYED {
		return
	}
	v := c.versions[version-1]
	v.state = state
	if state == kmspb.CryptoKeyVersion_DESTROYED {
		clear(v.key[:])
	}
}

// setAll puts every version into a state.
func (k *Key) setAll(state kmspb.CryptoKeyVersion_CryptoKeyVersionState) {
	k.change(func(c *cryptoKey) {
		for i := range c.versions {
			c.setState(i+1, state)
		}
	})
}

// Disable disables every version.
func (k *Key) Disable() { k.setAll(kmspb.CryptoKeyVersion_DISABLED) }

// Enable enables every version that isn't destroyed.
func (k *Key) Enable() { k.setAll(kmspb.CryptoKeyVersion_ENABLED) }

// ScheduleDestruction schedules every version to be destroyed. Nothing is
// destroyed until [Key.Destroy]; [Key.Enable] takes it back, which takes two
// steps at Google.
func (k *Key) ScheduleDestruction() { k.setAll(kmspb.CryptoKeyVersion_DESTROY_SCHEDULED) }

// Destroy destroys every version. There is no way back.
func (k *Key) Destroy() { k.setAll(kmspb.CryptoKeyVersion_DESTROYED) }

// Delete deletes the key. At Google its name can't be used again:
// https://docs.cloud.google.com/kms/docs/delete-kms-resources
func (k *Key) Delete() {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	delete(k.server.keys, k.name)
}

// Replace puts another key of the same name in the key's place, as Google
// doesn't: for tests of what a program makes of ciphertexts of the old one.
func (k *Key) Replace() {
	k.change(func(c *cryptoKey) {
		other := newKey(c.name, c.options)
		other.grants = c.grants
		k.server.keys[c.name] = other
	})
}

// versionName is the name of a version.
func (k *cryptoKey) versionName(version int) string {
	return fmt.Sprintf("%s/cryptoKeyVersions/%d", k.name, version)
}

// describe is the key as GetCryptoKey shows it.
func (k *cryptoKey) describe() *kmspb.CryptoKey {
	c := &kmspb.CryptoKey{Name: k.name, Purpose: k.options.Purpose, CreateTime: timestamppb.New(k.created)}
	if k.options.RotationPeriod > 0 {
		c.RotationSchedule = &kmspb.CryptoKey_RotationPeriod{RotationPeriod: durationpb.New(k.options.RotationPeriod)}
		c.NextRotationTime = timestamppb.New(k.created.Add(k.options.RotationPeriod))
	}
	if k.primary > 0 && k.options.Purpose == kmspb.CryptoKey_ENCRYPT_DECRYPT {
		v := k.versions[k.primary-1]
		c.Primary = &kmspb.CryptoKeyVersion{
			Name: k.versionName(k.primary), State: v.state, ProtectionLevel: k.options.Protection,
			Algorithm:  kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION,
			CreateTime: timestamppb.New(v.created),
		}
	}
	return c
}
