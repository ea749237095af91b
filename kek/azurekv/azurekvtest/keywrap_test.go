package azurekvtest

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// RFC 3394, section 4.
func TestKeyWrapVectors(t *testing.T) {
	for _, c := range [][3]string{
		{"000102030405060708090A0B0C0D0E0F", "00112233445566778899AABBCCDDEEFF", "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5"},
		{"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF", "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"},
		{"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
			"28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"},
	} {
		key, plain, want := unhex(t, c[0]), unhex(t, c[1]), unhex(t, c[2])
		got, err := keyWrap(key, plain)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("wrap: got %X, error %v", got, err)
		}
		back, err := keyUnwrap(key, want)
		if err != nil || !bytes.Equal(back, plain) {
			t.Errorf("unwrap: got %X, error %v", back, err)
		}
		for i := range want {
			want[i] ^= 0x10
			if _, err := keyUnwrap(key, want); err == nil {
				t.Errorf("byte %d changed: unwrapped", i)
			}
			want[i] ^= 0x10
		}
	}
	for _, n := range []int{0, 7, 8, 15, 17} {
		if _, err := keyWrap(make([]byte, 32), make([]byte, n)); err == nil {
			t.Errorf("%d bytes were wrapped", n)
		}
		if _, err := keyUnwrap(make([]byte, 32), make([]byte, n)); err == nil {
			t.Errorf("%d bytes were unwrapped", n)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
