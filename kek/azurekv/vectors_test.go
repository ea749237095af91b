package azurekv_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
	"github.com/embedvault/vault/keyctx"
)

const vectorFile = "azurekv_v1.json"

// vector is a wrapped key of this driver's and how it comes about. What doesn't
// apply to a format is empty, and so is, in a corrupt vector, what its wrapped
// bytes don't have.
type vector struct {
	Name   string         `json:"name"`
	Result vectors.Result `json:"result"` // valid or corrupt
	vectors.Key
	Binding vectors.Hex `json:"binding"`
	URI     string      `json:"uri"`

	// The KEK: PKCS #8 of an RSA key, or the 32 bytes of an AES key; and the
	// SubjectPublicKeyInfos of the pinned keys. Without the option unsigned a
	// reader refuses 0x02. "" if no reader gets as far as needing the key.
	WrappingKey   vectors.Hex   `json:"wrapping_key"`
	VerifyingKeys []vectors.Hex `json:"verifying_keys"`
	Unsigned      bool          `json:"insecure_unsigned"`

	Algorithm     string      `json:"algorithm"`      // of wrapKey and unwrapKey
	KeyVersion    string      `json:"kek_version"`    // 32 hexadecimal digits
	Value         vectors.Hex `json:"value"`          // what wrapKey was given
	Ciphertext    vectors.Hex `json:"ciphertext"`     // what unwrapKey is given
	WrappingHash  vectors.Hex `json:"wrapping_hash"`  // SHA-256 of the wrapping key's SubjectPublicKeyInfo
	SigningHash   vectors.Hex `json:"signing_hash"`   // of the signing key's
	SignedMessage vectors.Hex `json:"signed_message"` // sign is given SHA-256 of it
	Signature     vectors.Hex `json:"signature"`      // PS256
	Wrapped       vectors.Hex `json:"wrapped"`        // all of it
	AsksKMS       bool        `json:"asks_key_vault"` // a reader may not call unwrapKey unless this is true
	Unwrapped     vectors.Hex `json:"unwrapped"`      // "" if corrupt
}

func (v vector) kekBinding(t testing.TB) kek.Binding {
	t.Helper()
	b := kek.Binding{Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Context: keyctx.KeyContext(v.Context)}
	copy(b.KeyID[:], v.KeyID)
	copy(b.ContextHash[:], v.ContextHash)
	return b
}

// open imports the vector's key into a server and opens it.
func (v vector) open(t testing.TB) (*azurekv.KEK, *azurekvtest.Server) {
	t.Helper()
	srv := azurekvtest.New(t)
	id := "https://" + v.URI[len("azure-kv://"):]
	switch {
	case v.Algorithm == "A256KW" && len(v.WrappingKey) > 0:
		must(srv.ImportAES(id, v.KeyVersion, v.WrappingKey))(t)
	case len(v.WrappingKey) > 0:
		must(srv.ImportRSA(id, v.KeyVersion, must(x509.ParsePKCS8PrivateKey(v.WrappingKey))(t).(*rsa.PrivateKey)))(t)
	default: // any key will do: it isn't asked
		must(srv.CreateKey(id, azurekvtest.AES256))(t)
	}
	o := azurekv.Options{InsecureUnsigned: v.Unsigned}
	for _, spki := range v.VerifyingKeys {
		o.VerifyingKeys = append(o.VerifyingKeys, must(x509.ParsePKIXPublicKey(spki))(t).(*rsa.PublicKey))
	}
	client := must(srv.Client(id[len("https://") : len(id)-len("/keys/vault-root")]))(t)
	return must(azurekv.New(t.Context(), client, id, o))(t), srv
}

// TestVectors reads every vector with the driver, over the network, and checks
// that it asks Key Vault only where it may.
func TestVectors(t *testing.T) {
	vs, err := vectors.Read[vector](vectorFile)
	ok(t, err)
	if len(vs) < 10 {
		t.Fatalf("%d vectors", len(vs))
	}
	for _, v := range vs {
		t.Run(v.Name, func(t *testing.T) {
			if b := v.kekBinding(t); !bytes.Equal(b.AppendBytes(nil), v.Binding) {
				t.Error("the binding differs")
			}
			v.checkParts(t)
			k, srv := v.open(t)
			got, err := k.Unwrap(t.Context(), v.Wrapped, v.kekBinding(t))
			if asked := srv.Calls(azurekvtest.UnwrapKey) > 0; asked != v.AsksKMS {
				t.Errorf("unwrapKey was called: %v, want %v", asked, v.AsksKMS)
			}
			if v.Result == vectors.Corrupt {
				wantError(t, err, kek.ErrCorrupt)
				if got != nil || err == nil {
					t.Errorf("got %d bytes, error %v", len(got), err)
				}
				return
			}
			ok(t, err)
			if v.Result != vectors.Valid || !bytes.Equal(got, v.Unwrapped) || !bytes.Equal(got, v.ContextKey) {
				t.Error("it unwraps to another key")
			}
			version := k.WrappedVersion(v.Wrapped)
			if k.URI() != v.URI || !strings.HasPrefix(version, v.KeyVersion+":") {
				t.Errorf("URI %q, version %q", k.URI(), version)
			}
		})
	}
}

// checkParts recomputes what the vector says of its own parts.
func (v vector) checkParts(t *testing.T) {
	t.Helper()
	p, err := azurekv.Parse(v.Wrapped)
	if err != nil {
		if v.Result == vectors.Valid || len(v.Ciphertext)+len(v.Signature) > 0 {
			t.Errorf("it doesn't parse: %v", err)
		}
		return
	}
	same := func(what string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs", what)
		}
	}
	same("ciphertext", p.Ciphertext, v.Ciphertext)
	same("version", []byte(p.Version), []byte(v.KeyVersion))
	same("wrapping_hash", p.Wrapping, v.WrappingHash)
	same("signing_hash", p.Signing, v.SigningHash)
	same("signature", p.Signature, v.Signature)
	b := v.kekBinding(t)
	if p.Format == 0x01 {
		m := p.Message(b)
		same("signed_message", m, v.SignedMessage)
		d := azurekv.Digest(b, [32]byte(p.Wrapping), [32]byte(p.Signing), p.Signed)
		if d != sha256.Sum256(m) {
			t.Error("what is signed is not the message")
		}
	}
	if v.Result != vectors.Valid {
		return
	}
	switch p.Format {
	case 0x01:
		same("value", v.ContextKey, v.Value)
	case 0x02:
		same("value", azurekv.Bound(nil, v.ContextKey, v.Binding), v.Value)
	case 0x03:
		same("value", azurekv.Bound(v.Value[:16], v.ContextKey, v.Binding), v.Value)
	}
}

// FuzzParse: what parses is taken whole and comes out the same, and nothing
// panics.
func FuzzParse(f *testing.F) {
	vs, err := vectors.Read[vector](vectorFile)
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range vs {
		f.Add([]byte(v.Wrapped))
	}
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		p, err := azurekv.Parse(wrapped)
		if err != nil {
			return
		}
		again := append(azurekv.AppendHead(p.Format, p.Version), p.Ciphertext...)
		if p.Format == 0x01 {
			again = append(azurekv.SignedBody(p.Version, [32]byte(p.Wrapping), [32]byte(p.Signing), p.Ciphertext), p.Signature...)
		}
		if !bytes.Equal(again, wrapped) {
			t.Errorf("%x was read as %x", wrapped, again)
		}
	})
}
