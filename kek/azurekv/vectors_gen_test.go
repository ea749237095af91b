//go:build vectors

package azurekv_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/keyctx"
)

// TestWriteVectors adds the vectors that testdata/vectors/azurekv_v1.json lacks
// and leaves the others as they are, since OAEP, PSS and the keys are random:
//
//	go test -tags vectors -run TestWriteVectors .
//
// It encrypts and signs with the standard library alone, not through the driver or
// its server.
func TestWriteVectors(t *testing.T) {
	path := filepath.Join(must(vectors.Dir())(t), vectorFile)
	var have []vector
	if old, err := os.ReadFile(path); err == nil {
		ok(t, json.Unmarshal(old, &have))
	}
	g := newGenerator(t)
	g.signed()
	g.unsigned()
	g.symmetric()
	g.malformed()
	for _, v := range g.out {
		if !slices.ContainsFunc(have, func(h vector) bool { return h.Name == v.Name }) {
			have = append(have, v)
		}
	}
	text := must(json.MarshalIndent(have, "", "  "))(t)
	ok(t, os.WriteFile(path, append(text, '\n'), 0o644))
}

type generator struct {
	t                   *testing.T
	wrapping, signing   *rsa.PrivateKey
	wrapping4, signing3 *rsa.PrivateKey
	forger              *rsa.PrivateKey
	aes                 []byte
	version             string
	out                 []vector
}

func newGenerator(t *testing.T) *generator {
	key := func(bits int) *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits))(t) }
	a := sha256.Sum256([]byte("azurekv test vectors: the AES key"))
	return &generator{t: t, wrapping: key(2048), signing: key(2048), wrapping4: key(4096), signing3: key(3072), forger: key(2048), aes: a[:], version: "0123456789abcdef0123456789abcdef"}
}

// base is a vector with a key and its binding.
func (g *generator) base(name string, kc keyctx.KeyContext, purpose keyctx.Purpose, version uint32) vector {
	secret := sha256.Sum256([]byte("azurekv test vectors: context key of " + name))
	hash := must(kc.Hash())(g.t)
	id := keyID(g.t, secret[:], hash[:], purpose, version)
	v := vector{Name: name, Result: vectors.Valid, URI: "azure-kv://contoso.vault.azure.net/keys/vault-root", KeyVersion: g.version, Algorithm: "RSA-OAEP-256", AsksKMS: true}
	v.Key = vectors.Key{Context: kc, ContextHash: hash[:], ContextKey: secret[:], Purpose: uint8(purpose), Version: version, KeyID: id}
	v.Binding = v.kekBinding(g.t).AppendBytes(nil)
	v.Unwrapped = secret[:]
	v.VerifyingKeys = []vectors.Hex{}
	return v
}

func (g *generator) basic(name string) vector {
	return g.base(name, keyctx.KeyContext{"organization_id": "org_01"}, keyctx.PurposeData, 1)
}

// keyID is docs/SPEC.md, "Context keys".
func keyID(t *testing.T, key, hash []byte, purpose keyctx.Purpose, version uint32) []byte {
	info := slices.Concat([]byte("vault/v1/kid"), hash, []byte{byte(purpose)}, binary.BigEndian.AppendUint32(nil, version))
	return must(hkdf.Expand(sha256.New, key, string(info), 32))(t)
}

func (g *generator) add(v vector) { g.out = append(g.out, v) }

func (g *generator) oaep(key *rsa.PrivateKey, value []byte) []byte {
	return must(rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, value, nil))(g.t)
}

func (g *generator) spki(key *rsa.PrivateKey) []byte {
	return must(x509.MarshalPKIXPublicKey(&key.PublicKey))(g.t)
}

func (g *generator) pkcs8(key *rsa.PrivateKey) []byte {
	return must(x509.MarshalPKCS8PrivateKey(key))(g.t)
}

var pss = &rsa.PSSOptions{SaltLength: 32}

// sign completes a vector of format 0x01. Its VerifyingKeys are the signer's.
func (g *generator) sign(v vector, wrapping, signing *rsa.PrivateKey) vector {
	v.WrappingKey = g.pkcs8(wrapping)
	v.VerifyingKeys = []vectors.Hex{g.spki(signing)}
	v.Value = v.ContextKey
	v.Ciphertext = g.oaep(wrapping, v.Value)
	w, s := sha256.Sum256(g.spki(wrapping)), sha256.Sum256(g.spki(signing))
	v.WrappingHash, v.SigningHash = w[:], s[:]
	body := slices.Concat(azurekv.AppendHead(1, v.KeyVersion), w[:], s[:], binary.BigEndian.AppendUint16(nil, uint16(len(v.Ciphertext))), v.Ciphertext)
	v.SignedMessage = slices.Concat([]byte("vault/v1/azure-sig"), v.Binding, w[:], s[:], body)
	d := sha256.Sum256(v.SignedMessage)
	v.Signature = must(rsa.SignPSS(rand.Reader, signing, crypto.SHA256, d[:], pss))(g.t)
	v.Wrapped = slices.Concat(body, v.Signature)
	return v
}

func (g *generator) plain(v vector, wrapping *rsa.PrivateKey) vector {
	v.Unsigned = true
	v.WrappingKey = g.pkcs8(wrapping)
	h := sha256.Sum256(v.Binding)
	v.Value = slices.Concat(v.ContextKey, h[:])
	v.Ciphertext = g.oaep(wrapping, v.Value)
	v.Wrapped = slices.Concat(azurekv.AppendHead(2, v.KeyVersion), v.Ciphertext)
	return v
}

func (g *generator) kw(v vector) vector {
	v.URI = "azure-kv://contoso.managedhsm.azure.net/keys/vault-root"
	v.Algorithm, v.WrappingKey = "A256KW", g.aes
	h, random := sha256.Sum256(v.Binding), sha256.Sum256([]byte("random of "+v.Name))
	v.Value = slices.Concat(random[:16], v.ContextKey, h[:])
	v.Ciphertext = g.rfc3394(v.Value)
	v.Wrapped = slices.Concat(azurekv.AppendHead(3, v.KeyVersion), v.Ciphertext)
	return v
}

// rfc3394 is the index-based form of section 2.2.1, written apart from the one in
// azurekvtest.
func (g *generator) rfc3394(p []byte) []byte {
	block := must(aes.NewCipher(g.aes))(g.t)
	a := bytes.Repeat([]byte{0xa6}, 8)
	n := len(p) / 8
	r := make([][]byte, n+1)
	for i := 1; i <= n; i++ {
		r[i] = slices.Clone(p[8*i-8 : 8*i])
	}
	for j := 0; j <= 5; j++ {
		for i := 1; i <= n; i++ {
			b := slices.Concat(a, r[i])
			block.Encrypt(b, b)
			t := uint64(n*j + i)
			a = binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(b[:8])^t)
			r[i] = b[8:]
		}
	}
	return slices.Concat(append([][]byte{a}, r[1:]...)...)
}

func (g *generator) signed() {
	g.add(g.sign(g.basic("signed"), g.wrapping, g.signing))
	g.add(g.sign(g.base("signed-4096-3072", keyctx.KeyContext{"organization_id": "org_01", "user/id": "Zoë"}, keyctx.PurposeIndex, 7), g.wrapping4, g.signing3))
	namespaced := keyctx.KeyContext{"organization_id": "org_01", keyctx.ReservedNamespace: "billing"}
	g.add(g.sign(g.base("signed-namespace-version-max", namespaced, keyctx.PurposeAuthentication, 1<<32-1), g.wrapping, g.signing3))
	two := g.sign(g.basic("signed-two-pinned"), g.wrapping, g.signing)
	two.VerifyingKeys = append([]vectors.Hex{g.spki(g.signing3)}, two.VerifyingKeys...)
	g.add(two)
}

func (g *generator) unsigned() {
	g.add(g.plain(g.basic("unsigned"), g.wrapping))
	g.add(g.plain(g.base("unsigned-4096", keyctx.KeyContext{"a": "b"}, keyctx.PurposeWrapping, 2), g.wrapping4))
	v := g.refuse(g.plain(g.basic("unsigned-without-the-option"), g.wrapping), false)
	v.Unsigned, v.VerifyingKeys = false, []vectors.Hex{g.spki(g.signing)}
	g.add(v)
	g.add(g.moved(g.plain(g.basic("unsigned-other-binding"), g.wrapping), true))
}

func (g *generator) symmetric() {
	g.add(g.kw(g.basic("symmetric")))
	g.add(g.kw(g.base("symmetric-purpose-4", keyctx.KeyContext{"organization_id": "org_02"}, keyctx.PurposeAuthentication, 9)))
	g.add(g.moved(g.kw(g.basic("symmetric-other-binding")), true))
	v := g.refuse(g.kw(g.basic("symmetric-ciphertext-changed")), true)
	v.Wrapped[len(v.Wrapped)-1] ^= 1
	v.Ciphertext = v.Wrapped[17:]
	g.add(v)
}

// refuse makes a vector corrupt. asks says whether a reader gets as far as Key
// Vault.
func (g *generator) refuse(v vector, asks bool) vector {
	v.Result, v.Unwrapped, v.AsksKMS = vectors.Corrupt, vectors.Hex{}, asks
	v.Wrapped = slices.Clone(v.Wrapped)
	if !asks && !v.Unsigned {
		v.WrappingKey = vectors.Hex{}
	}
	return v
}

// moved reads a vector with the binding of the version after.
func (g *generator) moved(v vector, asks bool) vector {
	v = g.refuse(v, asks)
	v.Version++
	b := v.kekBinding(g.t)
	id := keyID(g.t, v.ContextKey, v.ContextHash, b.Purpose, b.Version)
	v.KeyID = id
	v.Binding = v.kekBinding(g.t).AppendBytes(nil)
	v.SignedMessage = g.message(v)
	return v
}

// message is what the signature would have to be over.
func (g *generator) message(v vector) []byte {
	p, err := azurekv.Parse(v.Wrapped)
	if err != nil || p.Format != 1 {
		return nil
	}
	return p.Message(v.kekBinding(g.t))
}

func (g *generator) malformed() {
	g.signedChanged()
	good := g.sign(g.basic("x"), g.wrapping, g.signing).Wrapped
	un := g.plain(g.basic("x"), g.wrapping).Wrapped
	kw := g.kw(g.basic("x")).Wrapped
	n := func(n uint16) []byte {
		b := slices.Clone(good)
		binary.BigEndian.PutUint16(b[81:], n)
		return b
	}
	relabel := func(b []byte, format byte) []byte { return slices.Concat([]byte{format}, b[1:]) }
	for _, c := range []struct {
		name    string
		wrapped []byte
	}{
		{"malformed-empty", []byte{}},
		{"malformed-format-alone", []byte{1}},
		{"malformed-no-ciphertext", un[:17]},
		{"malformed-format-0", relabel(un, 0)},
		{"malformed-format-4", relabel(un, 4)},
		{"malformed-format-255", relabel(good, 255)},
		{"malformed-signed-as-unsigned", relabel(good, 2)},
		{"malformed-signed-as-symmetric", relabel(good, 3)},
		{"malformed-unsigned-as-signed", relabel(un, 1)},
		{"malformed-symmetric-as-unsigned", relabel(kw, 2)},
		{"malformed-signed-trailing-byte", append(slices.Clone(good), 0)},
		{"malformed-signed-cut", good[:len(good)-1]},
		{"malformed-signed-no-signature", good[:len(good)-256]},
		{"malformed-signed-two-signatures", append(slices.Clone(good), good[len(good)-256:]...)}, // a signature of 512 bytes, by a key of 2048 bits
		{"malformed-signed-n-0", n(0)},
		{"malformed-signed-n-255", n(255)},
		{"malformed-signed-n-384", n(384)},
		{"malformed-signed-n-512", n(512)},
		{"malformed-signed-n-65535", n(65535)},
		{"malformed-unsigned-trailing-byte", append(slices.Clone(un), 0)},
		{"malformed-unsigned-cut", un[:len(un)-1]},
		{"malformed-symmetric-trailing-byte", append(slices.Clone(kw), 0)},
		{"malformed-symmetric-cut", kw[:len(kw)-8]},
	} {
		v := g.basic(c.name)
		v.VerifyingKeys, v.Unsigned = []vectors.Hex{g.spki(g.signing)}, true
		v.Wrapped = c.wrapped
		v.Result, v.Unwrapped, v.AsksKMS = vectors.Corrupt, vectors.Hex{}, false
		if p, err := azurekv.Parse(c.wrapped); err == nil {
			v.Ciphertext, v.WrappingHash, v.SigningHash, v.Signature, v.SignedMessage = p.Ciphertext, p.Wrapping, p.Signing, p.Signature, g.message(v)
		} else {
			v.KeyVersion, v.Algorithm = "", ""
		}
		g.add(v)
	}
}

// signedChanged are records that parse and whose signature is wrong.
func (g *generator) signedChanged() {
	g.add(g.moved(g.sign(g.basic("signed-other-binding"), g.wrapping, g.signing), false))
	change := func(name string, at int) {
		v := g.refuse(g.sign(g.basic(name), g.wrapping, g.signing), false)
		v.Wrapped[at] ^= 1
		p := must(azurekv.Parse(v.Wrapped))(g.t)
		v.KeyVersion, v.Ciphertext, v.WrappingHash, v.SigningHash, v.Signature = p.Version, p.Ciphertext, p.Wrapping, p.Signing, p.Signature
		v.SignedMessage = g.message(v)
		g.add(v)
	}
	change("signed-version-changed", 16)
	change("signed-wrapping-hash-changed", 17)
	change("signed-signing-hash-changed", 49)
	change("signed-ciphertext-changed", 83)
	change("signed-signature-changed", 83+256)

	v := g.refuse(g.sign(g.basic("signed-by-another"), g.wrapping, g.forger), false)
	v.VerifyingKeys = []vectors.Hex{g.spki(g.signing)}
	g.add(v)
	v = g.refuse(g.sign(g.basic("signed-salt-20"), g.wrapping, g.signing), false)
	d := sha256.Sum256(v.SignedMessage)
	v.Signature = must(rsa.SignPSS(rand.Reader, g.signing, crypto.SHA256, d[:], &rsa.PSSOptions{SaltLength: 20}))(g.t)
	v.Wrapped = append(v.Wrapped[:83+256], v.Signature...)
	g.add(v)
	v = g.refuse(g.sign(g.basic("signed-pkcs1"), g.wrapping, g.signing), false)
	d = sha256.Sum256(v.SignedMessage)
	v.Signature = must(rsa.SignPKCS1v15(nil, g.signing, crypto.SHA256, d[:]))(g.t)
	v.Wrapped = append(v.Wrapped[:83+256], v.Signature...)
	g.add(v)
}
