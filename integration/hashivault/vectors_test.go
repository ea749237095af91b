package hashivault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/keyctx"
)

// vector is what of the driver's vectors is needed here.
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
	Material  []vectors.Hex `json:"transit_versions"`

	Context        string `json:"request_context"`
	AssociatedData string `json:"request_associated_data"`
	Ciphertext     string `json:"request_ciphertext"`

	Wrapped vectors.Hex `json:"wrapped"`
}

// TestVectors restores the vectors' keys into the real server, which then gives
// the results that the vectors say. (What is in a namespace has to do without:
// this Vault has none.)
func TestVectors(t *testing.T) {
	vs, err := vectors.Read[vector]("hashivault_v1.json")
	ok(t, err)
	s := start(t)
	s.mount(t, "kms/transit")
	for _, v := range vs {
		name := "vector-" + v.Name
		s.restore(t, v.Mount, name, v)
		k, err := hashivault.New(t.Context(), s.client(s.root), name, hashivault.Options{Mount: v.Mount})
		ok(t, err)
		b := kek.Binding{Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Context: v.Key.Context}
		copy(b.KeyID[:], v.KeyID)
		copy(b.ContextHash[:], v.ContextHash)
		key, err := k.Unwrap(t.Context(), v.Wrapped, b)
		if v.Result != vectors.Valid {
			wantClass(t, v.Name, err, kek.ErrCorrupt)
		} else if err != nil || !bytes.Equal(key, v.ContextKey) {
			t.Errorf("%s: %x, %v", v.Name, key, err)
		}
	}
}

// restore makes a key with the vector's key material: it lets the server make
// one, takes a plaintext backup, puts the material in, and restores that.
func (s *server) restore(t *testing.T, mount, name string, v vector) {
	t.Helper()
	s.write(t, mount+"/keys/"+name+"-made", map[string]any{
		"type": v.Type, "derived": v.Derived, "exportable": true, "allow_plaintext_backup": true,
	})
	for range v.Material[1:] {
		s.write(t, mount+"/keys/"+name+"-made/rotate", nil)
	}
	secret, err := s.client(s.root).Logical().ReadWithContext(t.Context(), mount+"/backup/"+name+"-made")
	ok(t, err)
	decoded, err := base64.StdEncoding.DecodeString(secret.Data["backup"].(string))
	ok(t, err)
	var backup struct {
		Policy  map[string]any `json:"policy"`
		Archive struct {
			Keys []map[string]any `json:"keys"`
		} `json:"archived_keys"`
	}
	ok(t, json.Unmarshal(decoded, &backup))
	keys := backup.Policy["keys"].(map[string]any)
	for i, material := range v.Material {
		encoded := base64.StdEncoding.EncodeToString(material)
		keys[strconv.Itoa(i+1)].(map[string]any)["key"] = encoded
		backup.Archive.Keys[i+1]["key"] = encoded
	}
	b, err := json.Marshal(backup)
	ok(t, err)
	s.write(t, mount+"/restore/"+name, map[string]any{"backup": base64.StdEncoding.EncodeToString(b)})
}
