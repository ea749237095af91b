package azurekvtest

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
)

// kwIV is the initial value of RFC 3394, section 2.2.3.1.
var kwIV = [8]byte{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}

var errKeyWrap = errors.New("azurekvtest: AES key wrap: not a wrapped key")

// keyWrap is RFC 3394, section 2.2.1. The standard library has no such function.
func keyWrap(key, plaintext []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	n := len(plaintext) / 8
	if n < 2 || len(plaintext)%8 != 0 {
		return nil, errKeyWrap
	}
	out := append(kwIV[:], plaintext...)
	var b [16]byte
	copy(b[:8], out)
	for t := range 6 * n {
		r := out[8+t%n*8:][:8]
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		copy(r, b[8:])
		xorCounter(b[:8], t+1)
	}
	copy(out, b[:8])
	return out, nil
}

// keyUnwrap is RFC 3394, section 2.2.2.
func keyUnwrap(key, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	n := len(wrapped)/8 - 1
	if n < 2 || len(wrapped)%8 != 0 {
		return nil, errKeyWrap
	}
	out := append([]byte(nil), wrapped[8:]...)
	var b [16]byte
	copy(b[:8], wrapped)
	for t := 6*n - 1; t >= 0; t-- {
		r := out[t%n*8:][:8]
		xorCounter(b[:8], t+1)
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(r, b[8:])
	}
	if subtle.ConstantTimeCompare(b[:8], kwIV[:]) != 1 {
		return nil, errKeyWrap
	}
	return out, nil
}

func xorCounter(a []byte, t int) {
	binary.BigEndian.PutUint64(a, binary.BigEndian.Uint64(a)^uint64(t))
}
