package keyctx_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/embedvault/vault/keyctx"
)

// The numbers and the words are part of formats and configuration.
func TestPurposesAndQuorums(t *testing.T) {
	for n, want := range map[uint8]string{0: "purpose(0)", 1: "data", 2: "index", 3: "wrapping", 4: "authentication", 5: "purpose(5)", 255: "purpose(255)"} {
		p := keyctx.Purpose(n)
		if p.String() != want || p.Valid() != (n >= 1 && n <= 4) {
			t.Errorf("purpose %d: %v, valid %v", n, p, p.Valid())
		}
	}
	for n, want := range map[uint8]string{0: "quorum(0)", 1: "any-of", 2: "all-of", 3: "quorum(3)"} {
		q := keyctx.Quorum(n)
		if q.String() != want || q.Valid() != (n == 1 || n == 2) {
			t.Errorf("quorum %d: %v, valid %v", n, q, q.Valid())
		}
	}
}

func TestKeyID(t *testing.T) {
	var zero, id keyctx.KeyID
	for i := range id {
		id[i] = byte(i)
	}
	if !zero.IsZero() || id.IsZero() || !id.Equal(id) || id.Equal(zero) {
		t.Error("IsZero or Equal")
	}
	for i := range id {
		other := id
		other[i] ^= 1
		if id.Equal(other) {
			t.Errorf("byte %d doesn't count", i)
		}
	}
	if id.String() != "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" || id.Short() != "0001020304050607" {
		t.Errorf("%v, %v", id, id.Short())
	}
}

func TestValidURI(t *testing.T) {
	for uri, want := range map[string]bool{
		"":                                false,
		"x":                               true,
		"aws-kms://arn:aws:kms:eu:1:key/": true,
		"!~":                              true,
		" ":                               false,
		"a b":                             false,
		"a\x7f":                           false,
		"a\n":                             false,
		"é":                               false,
		strings.Repeat("u", 512):          true,
		strings.Repeat("u", 513):          false,
	} {
		if keyctx.ValidURI(uri) != want {
			t.Errorf("ValidURI(%q) is %v", uri, !want)
		}
	}
}

// IDs and hashes are text in JSON, and IDs read back.
func TestKeyIDAsText(t *testing.T) {
	id := keyctx.KeyID{1, 2, 0xff}
	b, err := json.Marshal(map[string]any{"id": id, "hash": keyctx.Hash(id)})
	if want := `{"hash":"` + id.String() + `","id":"` + id.String() + `"}`; err != nil || string(b) != want {
		t.Fatalf("%s, %v, want %s", b, err, want)
	}
	var got keyctx.KeyID
	if err := json.Unmarshal([]byte(`"`+id.String()+`"`), &got); err != nil || got != id {
		t.Fatalf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		if err := got.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read as a key ID", bad)
		}
	}
}
