package envelope

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// TextPrefix starts the text form of a message envelope.
const TextPrefix = "vlt1."

// EncodeText returns the text form of a message envelope: "vlt1." and the
// envelope in base64url without padding (RFC 4648 §5). Bytes that are not an
// envelope of the message kinds are refused with [ErrMalformed].
func EncodeText(message []byte) (string, error) {
	e, err := Parse(message)
	if err != nil {
		return "", err
	}
	if e.Kind.Reference() != KindMessage {
		return "", fmt.Errorf("%w: a %v has no text form", ErrMalformed, e.Kind)
	}
	return TextPrefix + base64.RawURLEncoding.EncodeToString(message), nil
}

// DecodeText returns the envelope that text is the form of. It refuses what
// doesn't encode to the same text again: padding, line breaks, stray bits.
// Its errors match [ErrMalformed].
func DecodeText(text string) ([]byte, error) {
	code, ok := strings.CutPrefix(text, TextPrefix)
	if !ok {
		return nil, fmt.Errorf("%w: the text doesn't start with %q", ErrMalformed, TextPrefix)
	}
	// encoding/base64 skips CR and LF even when strict; that would give one
	// envelope many texts.
	if strings.ContainsAny(code, "\r\n") {
		return nil, fmt.Errorf("%w: the text has a line break", ErrMalformed)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(code)
	if err != nil {
		return nil, fmt.Errorf("%w: the text is not base64url", ErrMalformed)
	}
	e, err := Parse(b)
	if err != nil {
		return nil, err
	}
	if e.Kind.Reference() != KindMessage {
		return nil, fmt.Errorf("%w: a %v has no text form", ErrMalformed, e.Kind)
	}
	return b, nil
}
