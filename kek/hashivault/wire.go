package hashivault

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/embedvault/vault/kek"
)

// mode is how a wrapped key is bound, and the first byte of everything wrapped
// so. A key has one for ever: Vault can't change a key's "derived".
type mode byte

const (
	// derived: the key is a derived one, and the binding is its context, from
	// which Vault derives the key that encrypts.
	derived mode = 0x01

	// plain: the key is not a derived one, and the binding is associated data.
	plain mode = 0x02
)

const (
	keyLen = 32 // of what is wrapped
	rawLen = 12 + keyLen + 16

	// wrappedLen is the length of all that this driver wraps:
	//
	//	u8 mode ‖ u32 key version ‖ nonce (12) ‖ ciphertext (32) ‖ tag (16)
	//
	// The last three are what stands in base64 behind "vault:v<version>:", and
	// they have these lengths for all types of key that New accepts.
	wrappedLen = 1 + 4 + rawLen

	textPrefix = "vault:v"
)

var errFormat = errors.New("not of a format that this KEK makes")

// ciphertext is a ciphertext of Vault's.
type ciphertext struct {
	version uint32 // 1 to 2³¹−1
	raw     []byte // rawLen bytes
}

// parseWrapped takes apart what this driver made with a key of mode m. What
// another mode made can't be of this key, and to try it would be worse than
// useless: Vault ignores a context that is given for a key that isn't derived.
func parseWrapped(wrapped []byte, m mode) (ciphertext, error) {
	if len(wrapped) != wrappedLen || mode(wrapped[0]) != m {
		return ciphertext{}, fmt.Errorf("%w: %w", kek.ErrCorrupt, errFormat)
	}
	c := ciphertext{binary.BigEndian.Uint32(wrapped[1:]), wrapped[5:]}
	// Vault reads version 0 as version 1: one ciphertext would have two forms.
	if c.version == 0 || c.version > math.MaxInt32 {
		return ciphertext{}, fmt.Errorf("%w: %w", kek.ErrCorrupt, errFormat)
	}
	return c, nil
}

func (c ciphertext) wrapped(m mode) []byte {
	b := make([]byte, 0, wrappedLen)
	b = append(b, byte(m))
	b = binary.BigEndian.AppendUint32(b, c.version)
	return append(b, c.raw...)
}

// text is Vault's own form.
func (c ciphertext) text() string {
	return textPrefix + strconv.FormatUint(uint64(c.version), 10) + ":" + base64.StdEncoding.EncodeToString(c.raw)
}

// parseText takes apart Vault's own form, in exactly the form that text gives
// it: no leading zeros, no line breaks, no other padding.
func parseText(s string) (ciphertext, error) {
	rest, ok := strings.CutPrefix(s, textPrefix)
	number, encoded, found := strings.Cut(rest, ":")
	if !ok || !found || len(encoded) != base64.StdEncoding.EncodedLen(rawLen) {
		return ciphertext{}, errAnswer
	}
	version, err := strconv.ParseUint(number, 10, 31)
	if err != nil || version == 0 {
		return ciphertext{}, errAnswer
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	c := ciphertext{uint32(version), raw}
	if err != nil || len(raw) != rawLen || c.text() != s {
		return ciphertext{}, errAnswer
	}
	return c, nil
}

// errAnswer is an answer that can't be right.
var errAnswer = fmt.Errorf("%w: the server's answer is not a wrapped key", kek.ErrCorrupt)
