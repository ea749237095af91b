package envelope_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"pgregory.net/rapid"
)

// The key ID is crypto/hkdf's, whatever the key, the context, the purpose and
// the version.
func TestKeyIDIsHKDF(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret")
		secret[0] |= 1 // not all zero
		hash := keyctx.Hash(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		purpose := keyctx.Purpose(rapid.ByteRange(1, 4).Draw(t, "purpose"))
		version := rapid.Uint32Min(1).Draw(t, "version")
		k, err := envelope.NewKey(secret, hash, purpose, version)
		if err != nil {
			t.Fatal(err)
		}
		info := slices.Concat([]byte("vault/v1/kid"), hash[:], []byte{byte(purpose)}, binary.BigEndian.AppendUint32(nil, version))
		want, err := hkdf.Expand(sha256.New, secret, string(info), 32)
		if err != nil {
			t.Fatal(err)
		}
		if id := k.ID(); !bytes.Equal(id[:], want) {
			t.Fatalf("got %v, want %x", id, want)
		}
	})
}

// Each part of what a key is for changes its ID.
func TestKeyIDCommits(t *testing.T) {
	otherSecret, otherHash := slices.Clone(testSecret), testHash
	otherSecret[31] ^= 1
	otherHash[0] ^= 1
	seen := map[keyctx.KeyID]string{}
	for name, make := range map[string]func() (*envelope.Key, error){
		"it":      func() (*envelope.Key, error) { return envelope.NewKey(testSecret, testHash, 1, 1) },
		"secret":  func() (*envelope.Key, error) { return envelope.NewKey(otherSecret, testHash, 1, 1) },
		"context": func() (*envelope.Key, error) { return envelope.NewKey(testSecret, otherHash, 1, 1) },
		"purpose": func() (*envelope.Key, error) { return envelope.NewKey(testSecret, testHash, 2, 1) },
		"version": func() (*envelope.Key, error) { return envelope.NewKey(testSecret, testHash, 1, 2) },
	} {
		k, err := make()
		noError(t, err)
		if other, ok := seen[k.ID()]; ok {
			t.Errorf("%s and %s have one ID", name, other)
		}
		seen[k.ID()] = name
	}
}

func TestNewKeyRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		secret  []byte
		purpose keyctx.Purpose
		version uint32
	}{
		"nil":           {nil, 1, 1},
		"empty":         {[]byte{}, 1, 1},
		"31 bytes":      {testSecret[:31], 1, 1},
		"33 bytes":      {sequence(1, 33), 1, 1},
		"64 bytes":      {sequence(1, 64), 1, 1},
		"zeros":         {make([]byte, 32), 1, 1},
		"purpose 0":     {testSecret, 0, 1},
		"purpose 5":     {testSecret, 5, 1},
		"version 0":     {testSecret, 1, 0},
		"HMAC's padded": {append(slices.Clone(testSecret), 0), 1, 1}, // would have the same ID
	} {
		k, err := envelope.NewKey(tc.secret, testHash, tc.purpose, tc.version)
		if k != nil {
			t.Errorf("%s: got a key", name)
		}
		wantErr(t, err, envelope.ErrBadKey)
	}
	one := make([]byte, 32)
	one[31] = 1
	if _, err := envelope.NewKey(one, testHash, 1, 1); err != nil {
		t.Error(err)
	}
}

func TestKeyCopiesItsSecret(t *testing.T) {
	secret := slices.Clone(testSecret)
	k, err := envelope.NewKey(secret, testHash, keyctx.PurposeData, 3)
	noError(t, err)
	clear(secret)
	got, err := k.AppendSecret([]byte("head"))
	noError(t, err)
	if !bytes.Equal(got, append([]byte("head"), testSecret...)) {
		t.Errorf("got %x", got)
	}
	clear(got)
	if got, err = k.AppendSecret(nil); err != nil || !bytes.Equal(got, testSecret) {
		t.Errorf("the result shares memory with the key: %x, %v", got, err)
	}
}

// After Destroy everything fails, also where states of the key's HMAC were
// pooled before, and nothing is sealed: not under the old key, not under zeros.
func TestDestroy(t *testing.T) {
	k := newKey(t)
	var sealed []byte
	for range 10 {
		sealed = seal(t, k, envelope.KindMessage, []byte("x"), nil)
	}
	e := parse(t, sealed)
	k.Destroy()
	k.Destroy() // as often as one likes
	for range 3 {
		for _, kind := range allKinds {
			dst := make([]byte, 0, 1024)
			got, err := k.Seal(dst, kind, blockFor(t, kind), plaintextFor(kind), nil)
			if err == nil || got != nil {
				t.Fatalf("%v: sealed with a destroyed key: %x", kind, got)
			}
		}
		if got, err := k.Open(nil, e, nil); err == nil || got != nil {
			t.Fatalf("opened with a destroyed key: %x", got)
		}
		if got, err := k.AppendSecret(nil); err == nil || got != nil {
			t.Fatalf("a destroyed key's bytes: %x", got)
		}
	}
	if k.ID() != newKey(t).ID() {
		t.Error("the ID has gone too; errors and logs need it")
	}
}

func TestKeyConcurrently(t *testing.T) {
	k := newKey(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				want := fmt.Appendf(nil, "%d/%d", g, i)
				b, err := k.Seal(nil, envelope.KindMessage, nil, want, want)
				if err != nil {
					t.Error(err)
					return
				}
				e, err := envelope.Parse(b)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := k.Open(nil, e, want); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d/%d: got %q, %v", g, i, got, err)
				}
				if got, err := openStd(testSecret, testHash, 3, b, want); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d/%d by the standard library: %q, %v", g, i, got, err)
				}
			}
		})
	}
	wg.Wait()
}

// Whatever the verb, and wherever the key lies, nothing of it is printed.
func TestFormatPrintsNoSecret(t *testing.T) {
	k := newKey(t)
	seal(t, k, envelope.KindMessage, nil, nil)
	values := map[string]any{
		"it":         k,
		"exported":   struct{ Key *envelope.Key }{k},
		"unexported": struct{ key *envelope.Key }{k},
		"pointer":    &struct{ key *envelope.Key }{k},
		"deeper":     struct{ a any }{struct{ key *envelope.Key }{k}},
		"slice":      []*envelope.Key{k},
		"map":        map[string]*envelope.Key{"k": k},
		"any":        []any{k},
	}
	half := testSecret[8:16]
	decimal := strings.Trim(fmt.Sprint(half), "[]")
	secrets := []string{
		string(half), hex.EncodeToString(half), fmt.Sprintf("%X", half), decimal,
		strings.ReplaceAll(decimal, " ", ", "), strings.Trim(fmt.Sprintf("%#v", half), "[]byte{}"),
		base64.StdEncoding.EncodeToString(testSecret)[:20], fmt.Sprintf("%o", half[0]) + " " + fmt.Sprintf("%o", half[1]),
	}
	for name, v := range values {
		texts := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%X", "%s", "%q", "%d", "%o", "%b", "%c", "%U", "%t", "% x", "%08v", "%p", "%T"} {
			texts[verb] = fmt.Sprintf(verb, v)
		}
		if b, err := json.Marshal(v); err == nil {
			texts["JSON"] = string(b)
		}
		for verb, s := range texts {
			for _, secret := range secrets {
				if strings.Contains(s, secret) {
					t.Errorf("%s with %s prints the key: %s", name, verb, s)
				}
			}
		}
	}
	if s := fmt.Sprint(k); !strings.Contains(s, k.ID().Short()) {
		t.Errorf("it can't be told which key it is: %s", s)
	}
}

func TestKeyForAnotherPurposeSealsNothing(t *testing.T) {
	data := newKey(t)
	sealed := seal(t, data, envelope.KindMessage, []byte("x"), nil)
	for _, p := range []keyctx.Purpose{keyctx.PurposeIndex, keyctx.PurposeWrapping, keyctx.PurposeAuthentication} {
		k, err := envelope.NewKey(testSecret, testHash, p, 3)
		noError(t, err)
		if got, err := k.Seal(nil, envelope.KindMessage, nil, []byte("x"), nil); err == nil || got != nil {
			t.Errorf("%v: sealed", p)
		}
		e := parse(t, sealed)
		_, err = k.Open(nil, e, nil)
		wantErr(t, err, envelope.ErrWrongKey)
		e.KeyID = k.ID() // as a forger would
		if got, err := k.Open(nil, e, nil); err == nil || got != nil {
			t.Errorf("%v: opened", p)
		}
	}
}
