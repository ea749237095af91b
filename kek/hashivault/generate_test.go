//go:build generate

package hashivault_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

// TestGenerate writes the vectors:
//
//	go test -tags generate -run TestGenerate .
//
// They are append-only: add cases at the end, and look at the difference.
func TestGenerate(t *testing.T) {
	fill := func(label string, n int) []byte {
		var out []byte
		for i := byte(0); len(out) < n; i++ {
			sum := sha256.Sum256(append([]byte("hashivault vectors: "+label), i))
			out = append(out, sum[:]...)
		}
		return out[:n]
	}
	var all []vector
	add := func(name string, kc keyctx.KeyContext, purpose uint8, version uint32, transitVersion int, edit func(v *vector)) {
		hash, err := kc.Hash()
		if err != nil {
			t.Fatal(err)
		}
		v := vector{
			Name: name, Result: vectors.Valid,
			Host: "vault.example.com:8200", Mount: "transit", Transit: "root", Type: "aes256-gcm96", Derived: true,
		}
		v.Key = vectors.Key{Context: kc, ContextHash: hash[:], ContextKey: fill("context key", 32), Purpose: purpose, Version: version}
		v.bind()
		if edit != nil {
			edit(&v)
		}
		v.URI = "hashivault://" + v.Host + "/"
		if v.Namespace != "" {
			v.URI += "ns=" + strings.ReplaceAll(v.Namespace, "/", "/ns=") + "/"
		}
		v.URI += v.Mount + "/keys/" + v.Transit
		if len(v.Material) == 0 {
			n := map[string]int{"aes256-gcm96": 32, "aes128-gcm96": 16}[v.Type]
			for i := range transitVersion {
				v.Material = append(v.Material, fill("transit key"+string(rune('1'+i)), n))
			}
		}
		nonce := fill("nonce "+name, 12)
		v.Wrapped = append([]byte{0, 0, 0, 0, byte(transitVersion)}, nonce...)
		encoded := base64.StdEncoding.EncodeToString(v.Binding)
		if v.Derived {
			v.Context = encoded
		} else {
			v.AssociatedData = encoded
		}
		v.Ciphertext = ""
		v.Wrapped = v.seal(ignoring{t})
		v.Ciphertext = fmt.Sprintf("vault:v%d:%s", transitVersion, base64.StdEncoding.EncodeToString(v.Wrapped[5:]))
		all = append(all, v)
	}
	org := keyctx.KeyContext{"organization_id": "org_01"}
	plain := func(v *vector) { v.Derived = false }
	add("derived", org, 1, 1, 1, nil)
	add("derived-version-max", org, 1, 0xffffffff, 1, nil)
	add("derived-transit-version-2", org, 1, 1, 2, nil)
	add("derived-aes128", org, 1, 1, 1, func(v *vector) { v.Type = "aes128-gcm96" })
	add("derived-namespace", keyctx.KeyContext{"organization_id": "org_01", "vault:namespace": "billing"}, 2, 7, 1, func(v *vector) {
		v.Host, v.Namespace, v.Mount, v.Transit = "vault", "admin", "kms/transit", "Root_1.b-c"
	})
	add("plain", org, 1, 1, 1, plain)
	add("plain-version-max", org, 1, 0xffffffff, 1, plain)
	add("plain-transit-version-2", org, 1, 1, 2, plain)
	add("plain-aes128", keyctx.KeyContext{"organization_id": "org_01", "user/id": "Zoë"}, 3, 1, 1, func(v *vector) { v.Derived, v.Type = false, "aes128-gcm96" })

	bad := func(name string, from int, edit func(v *vector)) {
		v := all[from]
		v.Name, v.Result = name, vectors.Corrupt
		v.Wrapped = append(vectors.Hex(nil), v.Wrapped...)
		edit(&v)
		all = append(all, v)
	}
	unsent := func(edit func(v *vector)) func(v *vector) {
		return func(v *vector) {
			edit(v)
			v.Context, v.AssociatedData, v.Ciphertext = "", "", ""
		}
	}
	const d, p = 0, 5
	bad("empty", d, unsent(func(v *vector) { v.Wrapped = vectors.Hex{} }))
	bad("format-0", d, unsent(func(v *vector) { v.Wrapped[0] = 0 }))
	bad("format-3", d, unsent(func(v *vector) { v.Wrapped[0] = 3 }))
	bad("format-of-a-plain-key", d, unsent(func(v *vector) { v.Wrapped[0] = 2 }))
	bad("format-of-a-derived-key", p, unsent(func(v *vector) { v.Wrapped[0] = 1 }))
	bad("transit-version-0", d, unsent(func(v *vector) { v.Wrapped[4] = 0 }))
	bad("transit-version-2-31", p, unsent(func(v *vector) { v.Wrapped[1] = 0x80 }))
	bad("one-byte-short", d, unsent(func(v *vector) { v.Wrapped = v.Wrapped[:len(v.Wrapped)-1] }))
	bad("one-byte-more", p, unsent(func(v *vector) { v.Wrapped = append(v.Wrapped, 0) }))
	bad("vaults-own-form", d, unsent(func(v *vector) { v.Wrapped = vectors.Hex(v.Ciphertext)[:65] }))
	sent := func(v *vector) {
		v.Ciphertext = "vault:v" + string(rune('0'+v.Wrapped[4])) + ":" + base64.StdEncoding.EncodeToString(v.Wrapped[5:])
	}
	bad("derived-tag-changed", d, func(v *vector) { v.Wrapped[64] ^= 1; sent(v) })
	bad("plain-nonce-changed", p, func(v *vector) { v.Wrapped[5] ^= 1; sent(v) })
	bad("transit-version-too-new", d, func(v *vector) { v.Wrapped[4] = 2; sent(v) })
	bad("plain-bound-to-another-version", p, func(v *vector) {
		v.Version = 2
		v.bind()
		v.AssociatedData = base64.StdEncoding.EncodeToString(v.Binding)
	})
	bad("derived-bound-to-another-version", d, func(v *vector) {
		v.Version = 2
		v.bind()
		v.Context = base64.StdEncoding.EncodeToString(v.Binding)
	})

	// Two digits; a namespace of two elements.
	add("derived-transit-version-12", org, 1, 1, 12, func(v *vector) {
		v.Host, v.Namespace = "vault.example.com", "admin/team-a"
	})

	dir, err := vectors.Dir()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, vectorFile), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bind sets the key ID and the binding.
func (v *vector) bind() {
	info := append([]byte("vault/v1/kid"), v.ContextHash...)
	info = binary.BigEndian.AppendUint32(append(info, v.Purpose), v.Version)
	mac := hmac.New(sha256.New, v.ContextKey)
	mac.Write(append(info, 1))
	v.KeyID = mac.Sum(nil)
	v.Binding = v.binding().AppendBytes(nil)
}

// ignoring is a testing.TB that doesn't mind that the form isn't known yet.
type ignoring struct{ testing.TB }

func (ignoring) Errorf(string, ...any) {}
