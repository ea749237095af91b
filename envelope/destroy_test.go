package envelope

import (
	"testing"

	"github.com/embedvault/vault/keyctx"
)

// A state that comes back after Destroy, from a user whom nobody counted, is not
// used to seal.
func TestStateReleasedAfterDestroy(t *testing.T) {
	secret := make([]byte, KeySize)
	secret[0] = 1
	k, err := NewKey(secret, keyctx.Hash{}, keyctx.PurposeData, 1)
	if err != nil {
		t.Fatal(err)
	}
	st, err := k.expand(labelDEK, make([]byte, SaltSize))
	if err != nil {
		t.Fatal(err)
	}
	kept := k.secret.Load()
	k.Destroy()
	k.release(st)
	if st.out != [KeySize]byte{} {
		t.Error("a released state keeps what it derived")
	}
	if b, err := k.Seal(nil, KindMessage, nil, []byte("x"), nil); err == nil {
		t.Errorf("sealed with a destroyed key: %x", b)
	}
	if *kept != [KeySize]byte{} {
		t.Error("a destroyed key keeps its bytes")
	}
}
