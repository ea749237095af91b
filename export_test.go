package vault

import (
	"context"
	"reflect"

	"github.com/embedvault/vault/envelope"
)

// LowerRune is the mapping of lower@1.
var LowerRune = lowerRune

// LocationHash is what a field at l is bound to.
func LocationHash(l Location) [16]byte { return l.hash }

// SealRawField seals what a field's plaintext would be, whatever it is.
func SealRawField(v *Vault, ctx context.Context, kc KeyContext, plain []byte) ([]byte, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	out, _, err := v.seal(ctx, c, envelope.KindField, len(plain), nil, plain, nil)
	return out, err
}

// FieldPlaintext returns what a field seals.
func FieldPlaintext(v *Vault, ctx context.Context, kc KeyContext, data []byte) ([]byte, error) {
	c, err := v.context(kc)
	if err != nil {
		return nil, err
	}
	out, _, err := v.open(ctx, c, envelope.KindField, nil, data, nil)
	return out, err
}

// EncodeField encodes the variable that a pointer points to.
func EncodeField(ptr any) (uint8, []byte, error) {
	c, b, err := encodeField(reflect.ValueOf(ptr).Elem())
	return uint8(c), b, err
}
