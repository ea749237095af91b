package envelope

import (
	"crypto/rand"
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// labelWrap is the label of the key that wraps one narrower context's key.
const labelWrap = "vault/v1/kek"

// childFormat is the first byte of a wrapped child key.
const childFormat = 0x01

// ChildLen is the length of a wrapped child key in bytes.
const ChildLen = 1 + SaltSize + NonceSize + KeySize + TagSize

// WrapChild wraps child, the key of a narrower context, under k, whose purpose is
// wrapping. binding says what child is bound to, and must be given to
// [Key.UnwrapChild] again; it is not kept. The result is
//
//	u8 0x01 ‖ salt (24) ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)
//
// SPEC: docs/SPEC.md, "Child keys".
func (k *Key) WrapChild(child *Key, binding []byte) ([]byte, error) {
	if k.purpose != keyctx.PurposeWrapping {
		return nil, fmt.Errorf("envelope: wrap a key with a key for %v", k.purpose)
	}
	secret, err := child.AppendSecret(make([]byte, 0, KeySize))
	if err != nil {
		return nil, err
	}
	defer clear(secret)
	out := make([]byte, 1+SaltSize, ChildLen)
	out[0] = childFormat
	if _, err := rand.Read(out[1:]); err != nil { // never fails: crypto/rand crashes the program instead
		return nil, err
	}
	aead, err := k.aeadFor(labelWrap, out[1:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, secret, binding), nil
}

// UnwrapChild returns the bytes of the key that [Key.WrapChild] wrapped, which the
// caller zeroes. Nothing is known of them yet but that k wrapped them with this
// binding.
//
// Errors: [ErrMalformed] if wrapped doesn't have the form; [ErrDecrypt] if it is
// not what k wrapped with this binding.
func (k *Key) UnwrapChild(wrapped, binding []byte) ([]byte, error) {
	if k.purpose != keyctx.PurposeWrapping {
		return nil, fmt.Errorf("envelope: unwrap a key with a key for %v", k.purpose)
	}
	if len(wrapped) != ChildLen || wrapped[0] != childFormat {
		return nil, fmt.Errorf("%w: not a wrapped child key", ErrMalformed)
	}
	salt, sealed := wrapped[1:1+SaltSize], wrapped[1+SaltSize:]
	aead, err := k.aeadFor(labelWrap, salt)
	if err != nil {
		return nil, err
	}
	secret, err := aead.Open(make([]byte, 0, KeySize), nil, sealed, binding)
	if err != nil {
		return nil, ErrDecrypt
	}
	return secret, nil
}
