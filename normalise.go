package vault

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxIndexed is the longest value that is indexed, in bytes after normalisation. Its
// length stands in 16 bits in compound indexes.
const maxIndexed = 1<<16 - 1

// normalisers are the ways in which a value is made the same as those that count as
// equal to it. Each is for ever: a change has a new version, and is a new index.
// Errors hold nothing of the value. SPEC: docs/SPEC.md, "Normalisers".
var normalisers = map[string]func(text []byte) ([]byte, error){
	"exact@1":  func(text []byte) ([]byte, error) { return text, nil },
	"lower@1":  lower1,
	"email@1":  email1,
	"digits@1": digits1,
	"e164@1":   e164v1,
}

func normaliserNames() string {
	return strings.Join(slices.Sorted(maps.Keys(normalisers)), ", ")
}

func normalise(name string, text []byte) ([]byte, error) {
	f, ok := normalisers[name]
	if !ok {
		return nil, fmt.Errorf("%w: no normaliser %.40q", ErrInvalidIndex, name)
	}
	b, err := f(text)
	if err == nil && len(b) > maxIndexed {
		err = notIndexable(fmt.Sprintf("it has more than %d bytes", maxIndexed))
	}
	return b, err
}

func notIndexable(reason string) error { return fmt.Errorf("%w: %s", ErrNotIndexable, reason) }

// lower1 maps each code point to its lower case by the table of Unicode 15.0, which
// doesn't change with Go's. Nothing is composed or decomposed.
func lower1(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, notIndexable("it is not valid UTF-8")
	}
	return bytes.Map(lowerRune, text), nil
}

// email1 removes white space around an address and then is lower1. It must have text
// on both sides of an @.
func email1(text []byte) ([]byte, error) {
	text = bytes.TrimFunc(text, isSpace1)
	at := bytes.LastIndexByte(text, '@')
	if at < 1 || at == len(text)-1 {
		return nil, notIndexable("it is not an e-mail address")
	}
	return lower1(text)
}

// isSpace1 is the white space of email@1 and e164@1: a fixed list.
func isSpace1(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0x85, 0xa0, 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return r >= 0x2000 && r <= 0x200a
}

// digits1 keeps the ASCII digits. There must be one.
func digits1(text []byte) ([]byte, error) {
	out := []byte{}
	for _, b := range text {
		if b >= '0' && b <= '9' {
			out = append(out, b)
		}
	}
	if len(out) == 0 {
		return nil, notIndexable("it has no digit")
	}
	return out, nil
}

// e164v1 is a telephone number with its country code: a plus sign, a digit from 1 to
// 9, and up to 14 more; white space and - . / ( ) between them is removed.
func e164v1(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, notIndexable("it is not valid UTF-8")
	}
	out := bytes.Map(func(r rune) rune {
		if isSpace1(r) || r < utf8.RuneSelf && strings.ContainsRune("-./()", r) {
			return -1
		}
		return r
	}, text)
	if len(out) < 3 || len(out) > 16 || out[0] != '+' || out[1] == '0' {
		return nil, notIndexable("it is not + and a country code and a number of at most 15 digits together")
	}
	for _, b := range out[1:] {
		if b < '0' || b > '9' {
			return nil, notIndexable("it has something else than digits after the +")
		}
	}
	return out, nil
}
