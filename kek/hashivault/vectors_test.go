package hashivault_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/keyctx"
)

const vectorFile = "hashivault_v1.json"

// vector is a wrapped key, and what leads to it.
type vector struct {
	Name   string         `json:"name"`
	Result vectors.Result `json:"result"`

	vectors.Key
	Binding vectors.Hex `json:"binding"`

	Host      string        `json:"host"`
	Namespace string        `json:"namespace"`
	Mount     string        `json:"mount"`
	Transit   string        `json:"transit_key"`
	URI       string        `json:"uri"`
	Type      string        `json:"transit_type"`
	Derived   bool          `json:"derived"`
	Material  []vectors.Hex `json:"transit_versions"` // the key material of versions 1, 2, …

	// What is sent to transit's decrypt; "" where nothing may be sent.
	Context        string `json:"request_context"`
	AssociatedData string `json:"request_associated_data"`
	Ciphertext     string `json:"request_ciphertext"`

	Wrapped vectors.Hex `json:"wrapped"`
}

func (v vector) binding() kek.Binding {
	b := kek.Binding{Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Context: v.Key.Context}
	copy(b.KeyID[:], v.KeyID)
	copy(b.ContextHash[:], v.ContextHash)
	return b
}

func TestVectors(t *testing.T) {
	vs, err := vectors.Read[vector](vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		t.Run(v.Name, func(t *testing.T) { v.check(t) })
	}
	if len(vs) < 10 {
		t.Errorf("%d vectors", len(vs))
	}
}

func (v vector) check(t *testing.T) {
	b := v.binding()
	if got := b.AppendBytes(nil); !bytes.Equal(got, v.Binding) {
		t.Errorf("the binding is %x", got)
	}
	srv := hashivaulttest.New(t)
	srv.Mount(v.Namespace, v.Mount)
	o := hashivaulttest.KeyOptions{Namespace: v.Namespace, Mount: v.Mount, Type: v.Type, Derived: v.Derived}
	for _, m := range v.Material {
		o.Material = append(o.Material, m)
	}
	srv.CreateKey(v.Transit, o)
	client := srv.Client(srv.CreateTokenWithout(time.Hour, "all"))
	srv.SetPolicy("all", hashivaulttest.Policy{"*": {"read", "update"}})
	if v.Namespace != "" {
		client.SetNamespace(v.Namespace)
	}
	k := open(t, client, v.Transit, hashivault.Options{Mount: v.Mount, Host: v.Host})
	if k.URI() != v.URI {
		t.Errorf("the URI is %q", k.URI())
	}
	srv.ResetLog()
	key, err := k.Unwrap(t.Context(), v.Wrapped, b)
	if v.Result != vectors.Valid {
		wantClass(t, "Unwrap", err, kek.ErrCorrupt)
		if n := srv.Calls(""); v.Ciphertext == "" && n > 0 || v.Ciphertext != "" && n != 1 {
			t.Errorf("%d calls were made", n)
		}
		return
	}
	if err != nil || !bytes.Equal(key, v.ContextKey) {
		t.Errorf("Unwrap: %x, %v", key, err)
	}
	v.checkRequest(t, k, srv)
	if got := v.seal(t); !bytes.Equal(got, v.Wrapped) {
		t.Errorf("wrapped anew with the same nonce: %x", got)
	}
}

// checkRequest looks at what the driver sends.
func (v vector) checkRequest(t *testing.T, k *hashivault.KEK, srv *hashivaulttest.Server) {
	var sent struct {
		Context        string `json:"context"`
		AssociatedData string `json:"associated_data"`
		Ciphertext     string `json:"ciphertext"`
	}
	srv.Fail(hashivaulttest.Echo) // its answer repeats the request
	srv.Rewrite(func(_ hashivaulttest.Entry, status int, body []byte) (int, []byte) {
		var answer struct{ Errors []string }
		if json.Unmarshal(body, &answer) == nil && len(answer.Errors) == 1 {
			_, request, _ := bytes.Cut([]byte(answer.Errors[0]), []byte(": "))
			_ = json.Unmarshal(request, &sent)
		}
		return status, body
	})
	_, err := k.Unwrap(t.Context(), v.Wrapped, v.binding())
	wantClass(t, "Unwrap", err, kek.ErrUnavailable)
	if sent.Context != v.Context || sent.AssociatedData != v.AssociatedData || sent.Ciphertext != v.Ciphertext {
		t.Errorf("sent %+v", sent)
	}
}

// seal is a second writer of the format, which needs no server.
func (v vector) seal(t testing.TB) []byte {
	version, nonce := v.Wrapped[1:5], v.Wrapped[5:17]
	number := binary.BigEndian.Uint32(version)
	secret := []byte(v.Material[number-1])
	format, ad := byte(0x02), []byte(v.Binding)
	if v.Derived {
		var err error
		if secret, err = hkdf.Key(sha256.New, secret, nil, string(v.Binding), map[string]int{"aes256-gcm96": 32, "aes128-gcm96": 16}[v.Type]); err != nil {
			t.Fatal(err)
		}
		format, ad = 0x01, nil
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	raw := gcm.Seal(bytes.Clone(nonce), nonce, v.ContextKey, ad)
	if want := fmt.Sprintf("vault:v%d:%s", number, base64.StdEncoding.EncodeToString(raw)); v.Ciphertext != want {
		t.Errorf("Vault's form is %s", want)
	}
	return append(append([]byte{format}, version...), raw...)
}
