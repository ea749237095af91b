package vault

import (
	"context"
	"fmt"
	"reflect"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyring"
)

// fieldFormat is the first byte of what a field seals:
//
//	u8 format 0x01 ‖ u8 codec ‖ location hash (16) ‖ value
//
// SPEC: docs/SPEC.md, "Field".
const fieldFormat = 0x01

const fieldHead = 1 + 1 + 16

// SealField seals a value for one place of a database, and returns the bytes to store
// there: 104 more than the value has, more if they carry their own key. value is a
// string, a []byte, a number, a bool, a time.Time, a type made of one of these, or
// anything that encoding/json takes; see [Encrypted]. It is neither kept nor changed.
//
// Errors: ErrUnsupportedType, also for a nil value; ErrInvalidLocation, ErrNoLocation;
// those of Encrypt.
func (v *Vault) SealField(ctx context.Context, kc KeyContext, at Location, value any) ([]byte, error) {
	return v.Scope(kc).SealField(ctx, at, value)
}

// OpenField opens what was sealed for this place, into the variable that dst points
// to: one of the type that was sealed. If it fails, dst is as it was.
//
// With [Config.Legacy] set, data that doesn't start as an envelope does goes there;
// what it returns is the value in the encoding of dst's type (docs/SPEC.md, "Field"):
// of strings and bytes the bytes, of what is sealed as JSON the JSON.
//
// Errors: ErrWrongLocation if it was sealed for another place; *TypeError if it was
// sealed as another type; ErrInvalidLocation, ErrNoLocation, ErrUnsupportedType; those
// of Decrypt.
func (v *Vault) OpenField(ctx context.Context, kc KeyContext, at Location, data []byte, dst any) error {
	return v.Scope(kc).OpenField(ctx, at, data, dst)
}

// SealField is [Vault.SealField].
func (s *Scope) SealField(ctx context.Context, at Location, value any) ([]byte, error) {
	r := reflect.ValueOf(value)
	if !r.IsValid() {
		return nil, fmt.Errorf("vault: seal field %v: %w: nil; store NULL instead", at, ErrUnsupportedType)
	}
	c, plain, err := encodeField(r)
	if err != nil {
		return nil, fmt.Errorf("vault: seal field %v: %w", at, err)
	}
	defer clear(plain)
	return s.sealField(ctx, at, c, plain)
}

// OpenField is [Vault.OpenField].
func (s *Scope) OpenField(ctx context.Context, at Location, data []byte, dst any) error {
	r := reflect.ValueOf(dst)
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return fmt.Errorf("vault: open field %v: %w: want a pointer to a variable, got a %T", at, ErrInvalidOption, dst)
	}
	out := reflect.New(r.Elem().Type()).Elem()
	err := s.openField(ctx, nil, at, data, out.Type(), func(c codec, value []byte) error { return decodeField(c, value, out) })
	if err == nil { // and its event was recorded
		r.Elem().Set(out)
	}
	return err
}

// sealField seals an encoded value at a place.
func (s *Scope) sealField(ctx context.Context, at Location, c codec, value []byte) (_ []byte, err error) {
	if s.err != nil {
		return nil, s.err
	}
	defer s.v.trace(&ctx, "seal_field", &s.c).end(&err)
	o := s.v.begin(ctx, FieldEncrypted, s.c)
	o.change(func(e *Event) { e.Object = at.String() })
	var out []byte
	var id KeyID
	err = s.v.authorizeAt(ctx, OpSealField, s.c, at)
	if err == nil {
		out, id, err = s.v.sealFieldAt(ctx, s.c, at, c, value)
	}
	if err != nil {
		err = fmt.Errorf("vault: seal field %v: %w", at, err)
	}
	o.key(id)
	if err := o.endMessage(err); err != nil {
		return nil, err
	}
	return out, nil
}

func (v *Vault) sealFieldAt(ctx context.Context, kc keyring.Context, at Location, c codec, value []byte) ([]byte, KeyID, error) {
	if err := at.Err(); err != nil {
		return nil, KeyID{}, err
	}
	if len(value) > v.cfg.MaxPlaintext {
		return nil, KeyID{}, fmt.Errorf("%w: %d bytes are %w of %d", ErrTooLarge, len(value), errTooLong, v.cfg.MaxPlaintext)
	}
	plain := make([]byte, 0, fieldHead+len(value))
	plain = append(plain, fieldFormat, byte(c))
	plain = append(plain, at.hash[:]...)
	plain = append(plain, value...)
	defer clear(plain)
	return v.seal(ctx, kc, envelope.KindField, len(plain), nil, plain, nil)
}

// openField opens a field, and gives its value to decode, which must not keep it.
// want is the type that the value is for; h may be nil.
func (s *Scope) openField(ctx context.Context, h *heldKey, at Location, data []byte, want reflect.Type, decode func(codec, []byte) error) (err error) {
	if s.err != nil {
		return s.err
	}
	defer s.v.trace(&ctx, "open_field", &s.c).end(&err)
	o := s.v.begin(ctx, FieldDecrypted, s.c)
	o.change(func(e *Event) { e.Object = at.String() })
	var id KeyID
	err = s.v.authorizeAt(ctx, OpOpenField, s.c, at)
	if err == nil {
		id, err = s.v.openFieldAt(ctx, s.c, h, at, data, want, decode)
	}
	if err != nil {
		err = fmt.Errorf("vault: open field %v: %w", at, err)
	}
	o.key(id)
	return o.endMessage(err)
}

func (v *Vault) openFieldAt(ctx context.Context, c keyring.Context, h *heldKey, at Location, data []byte, want reflect.Type, decode func(codec, []byte) error) (KeyID, error) {
	if err := at.Err(); err != nil {
		return KeyID{}, err
	}
	if len(data) > 0 && data[0] != envelope.Version && v.cfg.Legacy != nil {
		return KeyID{}, v.openLegacyField(ctx, c, data, want, decode)
	}
	plain, id, err := h.open(ctx, v, c, data)
	if err != nil {
		return id, err
	}
	defer clear(plain)
	k, value, err := parseField(plain, at)
	if err != nil {
		return id, err
	}
	return id, decode(k, value)
}

// parseField takes apart what a field sealed. Where it was sealed for is compared
// before anything is released.
func parseField(plain []byte, at Location) (codec, []byte, error) {
	if len(plain) < fieldHead || plain[0] != fieldFormat {
		return 0, nil, fmt.Errorf("%w: what the field seals has another format", ErrMalformed)
	}
	if !at.matches(plain[2:fieldHead]) {
		return 0, nil, ErrWrongLocation
	}
	return codec(plain[1]), plain[fieldHead:], nil
}

func (v *Vault) openLegacyField(ctx context.Context, c keyring.Context, data []byte, want reflect.Type, decode func(codec, []byte) error) error {
	k, err := codecOf(want)
	if err != nil {
		return err
	}
	value, err := v.decryptLegacy(ctx, c, nil, data, nil)
	if err != nil {
		return err
	}
	defer clear(value)
	if err := decode(k, value); err != nil {
		return fmt.Errorf("legacy: the value is not in the encoding of %v: %w", want, err)
	}
	return nil
}
