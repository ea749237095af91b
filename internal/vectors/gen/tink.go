package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/embedvault/vault/internal/vectors"
)

// keyset is a Tink keyset of AES256_CTR_HMAC_SHA256 keys, the last one primary.
type keyset struct {
	name string
	keys []tinkKey
}

type tinkKey struct {
	id        uint32
	aes, hmac []byte
}

// keysetNames are the KEKs that the cases use. "rotated" has three keys.
var keysetNames = []string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "customer", "rotated"}

func namedKeyset(name string) keyset {
	s := keyset{name: name, keys: []tinkKey{namedKey(name)}}
	if name == "rotated" {
		s.keys = append(s.keys, namedKey("rotated second"), namedKey("rotated third"))
	}
	return s
}

func namedKey(name string) tinkKey {
	return tinkKey{
		id:   be.Uint32(det(4, "tink id", name)) | 1,
		aes:  det(32, "tink aes", name),
		hmac: det(32, "tink hmac", name),
	}
}

func (s keyset) uri() string { return "tink-keyset:" + s.name }

func (s keyset) primary() tinkKey { return s.keys[len(s.keys)-1] }

// wrap is what the local keyset driver makes: the format byte and Tink's
// ciphertext, here with a given IV.
func (s keyset) wrap(key, binding []byte, seed string) []byte {
	return cat([]byte{0x01}, s.primary().seal(key, binding, det(16, "iv", s.name, seed)))
}

// seal is Tink's AES-CTR-HMAC with the prefix of type TINK:
//
//	0x01 ‖ u32 key ID ‖ IV (16) ‖ AES-256-CTR ‖ HMAC-SHA256(ad ‖ IV ‖ ciphertext ‖ u64 bits of ad)
func (k tinkKey) seal(plaintext, ad, iv []byte) []byte {
	ct := make([]byte, len(plaintext))
	cipher.NewCTR(must(aes.NewCipher(k.aes)), iv).XORKeyStream(ct, plaintext)
	mac := hmac.New(sha256.New, k.hmac)
	mac.Write(cat(ad, iv, ct, be.AppendUint64(nil, uint64(len(ad))*8)))
	return cat(be.AppendUint32([]byte{0x01}, k.id), iv, ct, mac.Sum(nil))
}

// proto is the key as a google.crypto.tink.AesCtrHmacAeadKey, whose fields all
// have lengths that fit one byte.
func (k tinkKey) proto() []byte {
	field := func(tag byte, b []byte) []byte { return cat([]byte{tag, byte(len(b))}, b) }
	aesKey := cat(field(0x12, []byte{0x08, 16}), field(0x1a, k.aes))           // IV size
	macKey := cat(field(0x12, []byte{0x08, 3, 0x10, 32}), field(0x1a, k.hmac)) // SHA256, tag size
	return cat(field(0x12, aesKey), field(0x1a, macKey))
}

// json is the keyset in Tink's own JSON form, cleartext.
func (s keyset) json() json.RawMessage {
	type keyData struct {
		TypeURL         string `json:"typeUrl"`
		Value           string `json:"value"`
		KeyMaterialType string `json:"keyMaterialType"`
	}
	type key struct {
		KeyData          keyData `json:"keyData"`
		Status           string  `json:"status"`
		KeyID            uint32  `json:"keyId"`
		OutputPrefixType string  `json:"outputPrefixType"`
	}
	var keys []key
	for _, k := range s.keys {
		keys = append(keys, key{
			KeyData: keyData{
				TypeURL:         "type.googleapis.com/google.crypto.tink.AesCtrHmacAeadKey",
				Value:           base64.StdEncoding.EncodeToString(k.proto()),
				KeyMaterialType: "SYMMETRIC",
			},
			Status: "ENABLED", KeyID: k.id, OutputPrefixType: "TINK",
		})
	}
	return must(json.Marshal(map[string]any{"primaryKeyId": s.primary().id, "key": keys}))
}

func keysetCases() []vectors.Keyset {
	var vs []vectors.Keyset
	for _, name := range keysetNames {
		s := namedKeyset(name)
		v := vectors.Keyset{Name: name, URI: s.uri(), Primary: s.primary().id, Keyset: s.json()}
		for _, k := range s.keys {
			v.Keys = append(v.Keys, vectors.KeysetKey{ID: k.id, AESKey: k.aes, HMACKey: k.hmac})
		}
		vs = append(vs, v)
	}
	return vs
}

// kekNames are the first n of the KEKs.
func kekNames(n int) []string { return keysetNames[:n:n] }

// opaque is a wrapping by nobody, for cases about lengths and order.
func opaque(uri string, n int) wrapping {
	return wrapping{uri, cat([]byte{0x01}, det(n, "opaque", fmt.Sprint(n), uri))[:n]}
}
