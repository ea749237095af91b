package azurekvtest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Key is a key of the server's, with all its versions. Its methods do what the
// owner of a vault does.
type Key struct {
	s        *Server
	host     string
	name     string
	keyType  Type
	versions []*version // oldest first; never empty
	ops      []Op       // key_ops; nil is all
	rotates  bool
	deleted  bool
}

// version is one version of a key. Like a Key it is guarded by s.mu.
type version struct {
	id       string // 32 hexadecimal digits
	material material
	disabled bool
	nbf, exp time.Time // zero if there is none
	created  time.Time
	kty      string
}

var validID = regexp.MustCompile(`^https://([a-z0-9.-]+)/keys/([a-z0-9-]{1,127})$`)

// CreateKey makes a key with one version. id is its identifier,
// "https://contoso.vault.azure.net/keys/vault-root", in lower case. A key of that
// name must not exist; not deleted and unpurged either, as in Key Vault.
func (s *Server) CreateKey(id string, t Type) (*Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.newMaterial(t)
	if err != nil {
		return nil, err
	}
	return s.add(id, t, newVersionID(), m)
}

// ImportRSA makes a key of a given RSA key and version, which is 32 lower-case
// hexadecimal digits.
func (s *Server) ImportRSA(id, version string, key *rsa.PrivateKey) (*Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(id, Type(fmt.Sprintf("RSA-%d", key.N.BitLen())), version, material{rsa: key})
}

// ImportAES makes an oct-HSM key of 32 given bytes and a version.
func (s *Server) ImportAES(id, version string, key []byte) (*Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(id, AES256, version, material{aes: slices.Clone(key)})
}

// add is called with s.mu held.
func (s *Server) add(id string, t Type, versionID string, m material) (*Key, error) {
	parts := validID.FindStringSubmatch(id)
	if parts == nil {
		return nil, fmt.Errorf("azurekvtest: %.200q is not https://<vault>/keys/<name>, in lower case", id)
	}
	if b, err := hex.DecodeString(versionID); err != nil || len(b) != 16 {
		return nil, fmt.Errorf("azurekvtest: the version %.100q is not 32 hexadecimal digits", versionID)
	}
	if s.keys[id] != nil {
		return nil, fmt.Errorf("azurekvtest: there is a key %s (if it was deleted: purge it)", id)
	}
	k := &Key{s: s, host: parts[1], name: parts[2], keyType: t}
	k.append(versionID, m)
	s.keys[id] = k
	return k, nil
}

func (k *Key) append(id string, m material) {
	kty := "RSA"
	switch {
	case m.hsm:
		kty = "RSA-HSM"
	case m.aes != nil:
		kty = "oct-HSM"
	case m.ec != nil:
		kty = "EC"
	}
	k.versions = append(k.versions, &version{id: id, material: m, created: time.Now(), kty: kty})
}

func newVersionID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ID returns the identifier without version.
func (k *Key) ID() string { return "https://" + k.host + "/keys/" + k.name }

// Version returns the newest version.
func (k *Key) Version() string {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	return k.newest().id
}

// VersionID returns the identifier with the newest version.
func (k *Key) VersionID() string { return k.ID() + "/" + k.Version() }

// PublicKey returns the public key of the newest version, nil if it has none.
func (k *Key) PublicKey() *rsa.PublicKey {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if m := k.newest().material; m.rsa != nil {
		return &m.rsa.PublicKey
	}
	return nil
}

func (k *Key) newest() *version { return k.versions[len(k.versions)-1] }

// Rotate makes a new version, which is the newest from then on.
func (k *Key) Rotate() error { return k.RotateTo(k.keyType) }

// RotateTo makes a new version of another type.
func (k *Key) RotateTo(t Type) error {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	m, err := k.s.newMaterial(t)
	if err != nil {
		return err
	}
	k.append(newVersionID(), m)
	return nil
}

// Disable disables versions, all of them if none is named. (Beware of the real
// thing: without a version it disables the newest only.)
func (k *Key) Disable(versions ...string) {
	k.each(versions, func(v *version) { v.disabled = true })
}

// Enable undoes Disable.
func (k *Key) Enable(versions ...string) {
	k.each(versions, func(v *version) { v.disabled = false })
}

// SetDates sets when all versions begin and cease to be valid; zero is never.
func (k *Key) SetDates(notBefore, expires time.Time) {
	k.each(nil, func(v *version) { v.nbf, v.exp = notBefore, expires })
}

func (k *Key) each(versions []string, do func(*version)) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	for _, v := range k.versions {
		if len(versions) == 0 || slices.Contains(versions, v.id) {
			do(v)
		}
	}
}

// SetOps sets what the key may be used for (key_ops); nothing is everything.
func (k *Key) SetOps(ops ...Op) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.ops = slices.Clone(ops)
}

// SetRotates gives the key a policy that rotates it, or takes it away. The
// server does not act on it.
func (k *Key) SetRotates(rotates bool) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.rotates = rotates
}

// Delete deletes the key softly: it is not found, can be recovered, and its name
// is taken.
func (k *Key) Delete() { k.setDeleted(true) }

// Recover undoes Delete.
func (k *Key) Recover() { k.setDeleted(false) }

func (k *Key) setDeleted(deleted bool) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.deleted = deleted
}

// Purge deletes the key for good, so that another of its name can be made.
func (k *Key) Purge() {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.deleted = true
	if k.s.keys[k.ID()] == k {
		delete(k.s.keys, k.ID())
	}
}

// denial is something that a principal may not do.
type denial struct {
	principal, key string
	ops            []Op
}

// Deny takes permissions away, until restore is called: of a principal ("" is
// every one), for this key, for some operations (none is every one).
func (k *Key) Deny(principal string, ops ...Op) (restore func()) {
	d := &denial{principal, k.ID(), slices.Clone(ops)}
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	k.s.denials = append(k.s.denials, d)
	return func() {
		k.s.mu.Lock()
		defer k.s.mu.Unlock()
		if i := slices.Index(k.s.denials, d); i >= 0 {
			k.s.denials = slices.Delete(k.s.denials, i, i+1)
		}
	}
}

// denied is called with s.mu held.
func (s *Server) denied(r request) bool {
	return slices.ContainsFunc(s.denials, func(d *denial) bool {
		return d.key == r.id() && (d.principal == "" || d.principal == r.principal) && (len(d.ops) == 0 || slices.Contains(d.ops, r.op))
	})
}
