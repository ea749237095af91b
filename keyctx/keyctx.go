// Package keyctx defines the key context, which says whose data something is,
// and the small vocabulary by which every other package names a context key:
// the context's [Hash], the [Purpose] of a key, its [KeyID].
//
// It holds no key material and does no I/O.
package keyctx

import (
	"errors"
	"fmt"
	"maps"
	"unicode/utf8"
)

// Limits of a key context. They are part of the format.
const (
	MaxPairs    = 10   // pairs that a caller may give; reserved pairs don't count
	MaxKeyLen   = 128  // bytes of a pair's key
	MaxValueLen = 1024 // bytes of a pair's value
)

// ErrInvalidContext is matched by every error about a key context that breaks
// the rules of [KeyContext]. The error's text names the offending pair's key
// and never a value.
var ErrInvalidContext = errors.New("invalid key context")

// KeyContext says whose data something is: 1 to 10 string pairs, such as
// {"organization_id": "org_01"}. It chooses the key, and it is bound to the
// data: what was encrypted for one context can't be decrypted for another.
//
// A pair's key is 1 to 128 bytes of [A-Za-z0-9_.:/-] and doesn't start with
// "vault:"; its value is 1 to 1024 bytes of valid UTF-8 without control
// characters (U+0000–001F, U+007F–009F). Bytes are compared as they are:
// no case folding and no Unicode normalisation, so "Org" and "org" are two
// contexts, and so are two spellings of the same accented letter.
//
// Nothing in this module keeps or changes a caller's map.
type KeyContext map[string]string

// Validate reports whether kc is one that a caller may use: see [KeyContext]
// for the rules. Its errors match [ErrInvalidContext].
func (kc KeyContext) Validate() error {
	if n := len(kc); n == 0 || n > MaxPairs {
		return errPairs(n)
	}
	for k, v := range kc {
		if err := validPair(k, v); err != nil {
			return err
		}
	}
	return nil
}

func errPairs(n int) error {
	return fmt.Errorf("%w: it needs 1 to %d pairs, got %d", ErrInvalidContext, MaxPairs, n)
}

// validPair checks a pair of a caller's.
func validPair(k, v string) error {
	if err := validKey(k); err != nil {
		return err
	}
	if IsReserved(k) {
		return fmt.Errorf("%w: the key %q starts with %q, which is reserved for the vault itself", ErrInvalidContext, k, reservedPrefix)
	}
	return validValue(k, v)
}

// Contains reports whether every pair of match is in kc. An empty match is
// contained in nothing: a sweep over "all contexts that contain match" must
// not become a sweep over everything because a variable was empty.
func (kc KeyContext) Contains(match KeyContext) bool {
	if len(match) == 0 {
		return false
	}
	for k, v := range match {
		if got, ok := kc[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Clone returns a copy that shares nothing with kc.
func (kc KeyContext) Clone() KeyContext { return maps.Clone(kc) }

func validKey(k string) error {
	if len(k) == 0 {
		return fmt.Errorf("%w: a pair has an empty key", ErrInvalidContext)
	}
	if len(k) > MaxKeyLen {
		return fmt.Errorf("%w: the key starting with %q has %d bytes, at most %d are allowed", ErrInvalidContext, k[:16], len(k), MaxKeyLen)
	}
	for i := range len(k) {
		if !keyByte[k[i]] {
			return fmt.Errorf("%w: the key %q has a byte outside A-Z a-z 0-9 _ . : / -", ErrInvalidContext, k)
		}
	}
	return nil
}

// keyByte[b] says whether b may stand in a pair's key.
var keyByte = func() (t [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-") {
		t[b] = true
	}
	return t
}()

// validValue checks the value v of the pair whose key is k. It never prints v:
// values are the identities of somebody's customers.
func validValue(k, v string) error {
	if len(v) == 0 {
		return fmt.Errorf("%w: the value of %q is empty", ErrInvalidContext, k)
	}
	if len(v) > MaxValueLen {
		return fmt.Errorf("%w: the value of %q has %d bytes, at most %d are allowed", ErrInvalidContext, k, len(v), MaxValueLen)
	}
	ascii := true
	for i := range len(v) {
		switch b := v[i]; {
		case b < 0x20 || b == 0x7f:
			return fmt.Errorf("%w: the value of %q has a control character", ErrInvalidContext, k)
		case b >= utf8.RuneSelf:
			ascii = false
		}
	}
	if ascii {
		return nil
	}
	if !utf8.ValidString(v) {
		return fmt.Errorf("%w: the value of %q is not valid UTF-8", ErrInvalidContext, k)
	}
	for _, r := range v {
		if r >= 0x80 && r <= 0x9f {
			return fmt.Errorf("%w: the value of %q has a control character", ErrInvalidContext, k)
		}
	}
	return nil
}
