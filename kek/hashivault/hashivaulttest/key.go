package hashivaulttest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// key is a transit key.
type key struct {
	kind       string
	derived    bool
	convergent bool
	exportable bool
	deletable  bool
	autoRotate time.Duration
	minDecrypt int
	versions   []version // version 1 first

	softDeleted bool
}

// softDeleted is what OpenBao says of a key that is: ErrSoftDeleted in its
// sdk/helper/keysutil/policy.go. Vault has no such state.
const softDeleted = "refusing to use soft-deleted key"

type version struct {
	key  []byte
	made time.Time
}

// sizes are the lengths of the keys of each type. Keys of the types that can't
// be a KEK have nothing in them: it takes no key to refuse them.
var sizes = map[string]int{"aes256-gcm96": 32, "aes128-gcm96": 16, "rsa-2048": 0, "ed25519": 0, "ecdsa-p256": 0}

func (k *key) aead() bool { return sizes[k.kind] > 0 }

func (k *key) rotate() {
	b := make([]byte, sizes[k.kind])
	_, _ = rand.Read(b) // never fails: crypto/rand crashes the program instead
	k.versions = append(k.versions, version{b, time.Now()})
}

// gcm returns the cipher of a version. Vault's Policy.GetKey and DeriveKey, in
// its sdk/helper/keysutil/policy.go: a context for a key that isn't derived is
// ignored.
func (k *key) gcm(n int, context []byte) (cipher.AEAD, error) {
	secret := k.versions[n-1].key
	if k.derived {
		if len(context) == 0 {
			return nil, errors.New("missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key")
		}
		var err error
		if secret, err = hkdf.Key(sha256.New, secret, nil, string(context), sizes[k.kind]); err != nil {
			return nil, err
		}
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	// The standard library's own nonces, 12 random bytes put before, are what
	// Vault does; and this way works under GODEBUG=fips140=only.
	return cipher.NewGCMWithRandomNonce(block)
}

// encrypt is Policy.EncryptWithFactory, under the latest version.
func (k *key) encrypt(plaintext, context, ad []byte) (string, int, error) {
	if !k.aead() {
		return "", 0, fmt.Errorf("message encryption not supported for key type %s", k.kind)
	}
	n := len(k.versions)
	gcm, err := k.gcm(n, context)
	if err != nil {
		return "", 0, err
	}
	raw := gcm.Seal(nil, nil, plaintext, ad)
	return "vault:v" + strconv.Itoa(n) + ":" + base64.StdEncoding.EncodeToString(raw), n, nil
}

// decrypt is Policy.DecryptWithFactory, with its errors in its order.
func (k *key) decrypt(text string, context, ad []byte) ([]byte, error) {
	if !k.aead() {
		return nil, fmt.Errorf("message decryption not supported for key type %s", k.kind)
	}
	rest, ok := strings.CutPrefix(text, "vault:v")
	if !ok {
		return nil, errors.New("invalid ciphertext: no prefix")
	}
	number, encoded, ok := strings.Cut(rest, ":")
	if !ok {
		return nil, errors.New("invalid ciphertext: wrong number of fields")
	}
	n, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return nil, errors.New("invalid ciphertext: version number could not be decoded")
	case n == 0:
		n = 1
	}
	switch {
	case n > len(k.versions):
		return nil, errors.New("invalid ciphertext: version is too new")
	case n < k.minDecrypt:
		return nil, errors.New("ciphertext or signature version is disallowed by policy (too old)")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("invalid ciphertext: could not decode base64")
	}
	if n < 1 {
		if k.derived {
			return nil, errors.New("invalid key version")
		}
		return nil, errors.New("no such key version")
	}
	gcm, err := k.gcm(n, context)
	if err != nil {
		return nil, err
	}
	if len(raw) < 12 {
		return nil, errors.New("invalid ciphertext length")
	}
	plaintext, err := gcm.Open(nil, nil, raw, ad)
	if err != nil {
		return nil, errors.New("cipher: message authentication failed")
	}
	return plaintext, nil
}

// describe is transit's pathPolicyRead.
func (k *key) describe(name string) map[string]any {
	made := map[string]any{}
	for i, v := range k.versions {
		if n := i + 1; n >= k.minDecrypt {
			made[strconv.Itoa(n)] = v.made.Unix()
		}
	}
	asymmetric := !k.aead()
	d := map[string]any{
		"name": name, "type": k.kind, "derived": k.derived, "deletion_allowed": k.deletable,
		"min_available_version": 0, "min_decryption_version": k.minDecrypt, "min_encryption_version": 0,
		"latest_version": len(k.versions), "exportable": k.exportable, "allow_plaintext_backup": false,
		"supports_encryption": k.aead() || k.kind == "rsa-2048", "supports_decryption": k.aead() || k.kind == "rsa-2048",
		"supports_signing": asymmetric, "supports_derivation": k.aead() || k.kind == "ed25519",
		"auto_rotate_period": int64(k.autoRotate.Seconds()), "imported_key": false, "keys": made,
	}
	if k.softDeleted {
		d["soft_deleted"] = true
	}
	if k.derived {
		d["kdf"], d["convergent_encryption"] = "hkdf_sha256", k.convergent
		if k.convergent {
			d["convergent_encryption_version"] = -1
		}
	}
	return d
}
