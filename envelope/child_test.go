package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

func wrappingKey(t testing.TB, first byte) *envelope.Key {
	t.Helper()
	k, err := envelope.NewKey(sequence(first, 32), testHash, keyctx.PurposeWrapping, 1)
	noError(t, err)
	return k
}

var testBinding = []byte("what the child is bound to")

func TestWrapChild(t *testing.T) {
	parent, child := wrappingKey(t, 100), newKey(t)
	wrapped, err := parent.WrapChild(child, testBinding)
	noError(t, err)
	if len(wrapped) != envelope.ChildLen {
		t.Fatalf("%d bytes, want %d", len(wrapped), envelope.ChildLen)
	}
	got, err := parent.UnwrapChild(wrapped, testBinding)
	noError(t, err)
	if !bytes.Equal(got, testSecret) {
		t.Fatalf("unwrapped %x", got)
	}
	again, err := parent.WrapChild(child, testBinding)
	noError(t, err)
	if bytes.Equal(wrapped[:25], again[:25]) {
		t.Fatal("two wrappings have the same salt")
	}
}

// What WrapChild writes is read by the letters of the specification.
func TestWrapChildIsAsSpecified(t *testing.T) {
	wrapped, err := wrappingKey(t, 100).WrapChild(newKey(t), testBinding)
	noError(t, err)
	key, err := hkdf.Expand(sha256.New, sequence(100, 32), "vault/v1/kek"+string(wrapped[1:25]), 32)
	noError(t, err)
	block, err := aes.NewCipher(key)
	noError(t, err)
	gcm, err := cipher.NewGCMWithRandomNonce(block) // which reads a nonce of 12 bytes first
	noError(t, err)
	secret, err := gcm.Open(nil, nil, wrapped[25:], testBinding)
	noError(t, err)
	if wrapped[0] != 1 || !bytes.Equal(secret, testSecret) {
		t.Fatalf("format %d, key %x", wrapped[0], secret)
	}
}

func TestUnwrapChildRefuses(t *testing.T) {
	parent := wrappingKey(t, 100)
	good, err := parent.WrapChild(newKey(t), testBinding)
	noError(t, err)
	with := func(i int, b byte) []byte { c := slices.Clone(good); c[i] = b; return c }
	for name, c := range map[string]struct {
		wrapped, binding []byte
		want             error
	}{
		"empty":             {nil, testBinding, envelope.ErrMalformed},
		"format alone":      {good[:1], testBinding, envelope.ErrMalformed},
		"cut short":         {good[:len(good)-1], testBinding, envelope.ErrMalformed},
		"a byte more":       {append(slices.Clone(good), 0), testBinding, envelope.ErrMalformed},
		"format 0":          {with(0, 0), testBinding, envelope.ErrMalformed},
		"format 2":          {with(0, 2), testBinding, envelope.ErrMalformed},
		"another binding":   {good, []byte("another"), envelope.ErrDecrypt},
		"no binding":        {good, nil, envelope.ErrDecrypt},
		"salt changed":      {with(1, good[1]^1), testBinding, envelope.ErrDecrypt},
		"nonce changed":     {with(25, good[25]^1), testBinding, envelope.ErrDecrypt},
		"key changed":       {with(40, good[40]^1), testBinding, envelope.ErrDecrypt},
		"tag changed":       {with(84, good[84]^1), testBinding, envelope.ErrDecrypt},
		"of another parent": {wrapBy(t, wrappingKey(t, 7)), testBinding, envelope.ErrDecrypt},
	} {
		got, err := parent.UnwrapChild(c.wrapped, c.binding)
		if wantErr(t, err, c.want); got != nil {
			t.Errorf("%s: bytes with the error", name)
		}
	}
}

// A key wraps only if wrapping is its purpose, and seals nothing then.
func TestOnlyWrappingKeysWrap(t *testing.T) {
	parent := wrappingKey(t, 100)
	good, err := parent.WrapChild(newKey(t), testBinding)
	noError(t, err)
	for _, p := range []keyctx.Purpose{keyctx.PurposeData, keyctx.PurposeIndex, keyctx.PurposeAuthentication} {
		k, err := envelope.NewKey(sequence(100, 32), testHash, p, 1)
		noError(t, err)
		if _, err := k.WrapChild(newKey(t), testBinding); err == nil {
			t.Errorf("a key for %v wraps", p)
		}
		if _, err := k.UnwrapChild(good, testBinding); err == nil {
			t.Errorf("a key for %v unwraps", p)
		}
	}
	if _, err := parent.Seal(nil, envelope.KindMessage, nil, []byte("x"), nil); err == nil {
		t.Error("a wrapping key seals data")
	}
}

func TestDestroyedKeysWrapNothing(t *testing.T) {
	parent, child := wrappingKey(t, 100), newKey(t)
	wrapped, err := parent.WrapChild(child, testBinding)
	noError(t, err)
	child.Destroy()
	if _, err := parent.WrapChild(child, testBinding); err == nil {
		t.Error("a destroyed key was wrapped")
	}
	parent.Destroy()
	if _, err := parent.UnwrapChild(wrapped, testBinding); err == nil {
		t.Error("a destroyed key unwrapped")
	}
}

// Whatever bytes it is given it returns the very key, or an error.
func FuzzUnwrapChild(f *testing.F) {
	parent := wrappingKey(f, 100)
	good, err := parent.WrapChild(newKey(f), testBinding)
	noError(f, err)
	f.Add(good, testBinding)
	f.Add(good[:len(good)-1], testBinding)
	f.Add(slices.Concat([]byte{2}, good[1:]), []byte{})
	f.Fuzz(func(t *testing.T, wrapped, binding []byte) {
		was := bytes.Clone(wrapped)
		got, err := parent.UnwrapChild(wrapped, binding)
		if !bytes.Equal(wrapped, was) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if got != nil {
				t.Fatal("bytes with an error")
			}
			return
		}
		if len(wrapped) != envelope.ChildLen || !bytes.Equal(binding, testBinding) || !bytes.Equal(got, testSecret) {
			t.Fatalf("a forgery: %x, %x", wrapped, binding)
		}
	})
}

// wrapBy wraps the test's key under another parent.
func wrapBy(t testing.TB, parent *envelope.Key) []byte {
	t.Helper()
	wrapped, err := parent.WrapChild(newKey(t), testBinding)
	noError(t, err)
	return wrapped
}
