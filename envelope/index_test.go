package envelope_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

func TestBlindIndex(t *testing.T) {
	k, err := envelope.NewKey(testSecret, testHash, keyctx.PurposeIndex, 1)
	noError(t, err)
	column := sha256.Sum256([]byte("some column"))
	seen := map[[envelope.IndexSize]byte]bool{}
	for _, value := range [][]byte{nil, []byte("a"), []byte("b"), make([]byte, 1000)} {
		key, err := hkdf.Expand(sha256.New, testSecret, "vault/v1/bidx"+string(column[:]), 32)
		noError(t, err)
		mac := hmac.New(sha256.New, key)
		mac.Write(value)
		got, err := k.BlindIndex(column, value)
		noError(t, err)
		if !bytes.Equal(got[:], mac.Sum(nil)[:16]) || seen[got] {
			t.Errorf("%x", got)
		}
		seen[got] = true
	}
	other, err := k.BlindIndex(sha256.Sum256([]byte("another")), []byte("a"))
	noError(t, err)
	if seen[other] {
		t.Error("another column has the same index")
	}
	for _, p := range []keyctx.Purpose{keyctx.PurposeData, keyctx.PurposeWrapping, keyctx.PurposeAuthentication} {
		k, err := envelope.NewKey(testSecret, testHash, p, 1)
		noError(t, err)
		if _, err := k.BlindIndex(column, nil); err == nil {
			t.Errorf("a key for %v computes an index", p)
		}
	}
	k.Destroy()
	if _, err := k.BlindIndex(column, nil); err == nil {
		t.Error("a destroyed key computes an index")
	}
}
