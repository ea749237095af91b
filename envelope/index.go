package envelope

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// labelIndex is the label of the key of one blind index.
const labelIndex = "vault/v1/bidx"

// IndexSize is the length of a blind index in bytes.
const IndexSize = 16

// BlindIndex returns the blind index of a normalised value, under the key of one
// index that is derived from k, whose purpose is index. column is the hash of what
// the index is of.
//
//	index key = HKDF-Expand(k, "vault/v1/bidx" ‖ column (32), 32)
//	index     = first 16 bytes of HMAC-SHA256(index key, value)
//
// SPEC: docs/SPEC.md, "Blind index".
func (k *Key) BlindIndex(column [sha256.Size]byte, value []byte) ([IndexSize]byte, error) {
	if k.purpose != keyctx.PurposeIndex {
		return [IndexSize]byte{}, fmt.Errorf("envelope: compute a blind index with a key for %v", k.purpose)
	}
	st, err := k.expand(labelIndex, column[:])
	if err != nil {
		return [IndexSize]byte{}, err
	}
	mac := hmac.New(sha256.New, st.out[:])
	k.release(st)
	mac.Write(value)
	return [IndexSize]byte(mac.Sum(nil)[:IndexSize]), nil
}
