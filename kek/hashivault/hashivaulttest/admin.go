package hashivaulttest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// KeyOptions say what key to create. The zero value is what Vault's own defaults
// make: aes256-gcm96, not derived, mounted at "transit".
type KeyOptions struct {
	Namespace, Mount string

	Type       string // "aes256-gcm96" (the default), "aes128-gcm96", "rsa-2048", "ed25519", "ecdsa-p256"
	Derived    bool
	Convergent bool
	Exportable bool
	Deletable  bool
	AutoRotate time.Duration

	// Material gives the key material of versions 1, 2, …, for tests that need
	// known keys. It is random otherwise.
	Material [][]byte
}

// CreateKey creates a key. It panics if there is one of that name, no such
// mount, or no such type: that is a mistake in the test.
func (s *Server) CreateKey(name string, o KeyOptions) *Key {
	if o.Mount == "" {
		o.Mount = "transit"
	}
	if o.Type == "" {
		o.Type = "aes256-gcm96"
	}
	k := &Key{s, place{strings.Trim(o.Namespace, "/"), strings.Trim(o.Mount, "/")}, name}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, ok := s.mounts[k.at]
	if _, known := sizes[o.Type]; !ok || !known || keys[name] != nil {
		panic(fmt.Sprintf("hashivaulttest: can't create the key %q of type %q in %q, %q", name, o.Type, k.at.namespace, k.at.mount))
	}
	made := &key{
		kind: o.Type, derived: o.Derived, convergent: o.Convergent, exportable: o.Exportable,
		deletable: o.Deletable, autoRotate: o.AutoRotate, minDecrypt: 1,
	}
	for _, m := range o.Material {
		made.versions = append(made.versions, version{slices.Clone(m), time.Now()})
	}
	if len(made.versions) == 0 {
		made.rotate()
	}
	keys[name] = made
	return k
}

// Key is a transit key on the server.
type Key struct {
	server *Server
	at     place
	name   string
}

// Key returns the key of that name, which need not exist, in "transit".
func (s *Server) Key(name string) *Key { return &Key{s, place{"", "transit"}, name} }

// Exists reports whether the key exists.
func (k *Key) Exists() bool {
	exists := false
	k.change(func(*key) { exists = true })
	return exists
}

// Rotate makes a new version.
func (k *Key) Rotate() { k.change((*key).rotate) }

// SetMinDecryptionVersion retires the versions below n.
func (k *Key) SetMinDecryptionVersion(n int) { k.change(func(k *key) { k.minDecrypt = n }) }

// SetConvergent changes what no Vault changes: for tests of a key that was made
// anew.
func (k *Key) SetConvergent(on bool) { k.change(func(k *key) { k.convergent = on }) }

// SetSoftDeleted takes the key out of use, or back into it, as OpenBao can.
func (k *Key) SetSoftDeleted(on bool) { k.change(func(k *key) { k.softDeleted = on }) }

// Delete deletes the key, whether that is allowed or not.
func (k *Key) Delete() {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	delete(k.server.mounts[k.at], k.name)
}

// Detach takes the key away, as Delete does, and returns a function that puts it
// back as it was.
func (k *Key) Detach() (restore func()) {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	was := k.server.mounts[k.at][k.name]
	delete(k.server.mounts[k.at], k.name)
	return func() {
		k.server.mu.Lock()
		defer k.server.mu.Unlock()
		k.server.mounts[k.at][k.name] = was
	}
}

func (k *Key) change(f func(*key)) {
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	if found := k.server.mounts[k.at][k.name]; found != nil {
		f(found)
	}
}
