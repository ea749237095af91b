package envelope_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

func TestSizes(t *testing.T) {
	if envelope.Overhead != 86 || envelope.StreamHeaderSize != 118 || envelope.Version != 0xE1 {
		t.Errorf("overhead %d, stream header %d, version %#x: these are the format", envelope.Overhead, envelope.StreamHeaderSize, envelope.Version)
	}
}

func TestEveryKind(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		t.Run(kindName(kind), func(t *testing.T) {
			plaintext, aad := plaintextFor(kind), []byte("associated")
			b := seal(t, k, kind, plaintext, aad)
			block := blockFor(t, kind)
			want := envelope.Overhead + len(plaintext)
			if block != nil {
				want += 1 + len(block) // a block this short has a length of one byte
			}
			if len(b) != want || b[0] != 0xE1 || b[1] != byte(kind) {
				t.Fatalf("%d bytes, want %d; head %x", len(b), want, b[:2])
			}
			e := parse(t, b)
			if e.Kind != kind || e.KeyID != k.ID() || !bytes.Equal(e.Block, block) || e.PlaintextSize() != len(plaintext) {
				t.Fatalf("parsed as %+v", e)
			}
			got, err := k.Open(nil, e, aad)
			noError(t, err)
			std, errStd := openStd(testSecret, testHash, 3, b, aad)
			noError(t, errStd)
			if !bytes.Equal(got, plaintext) || !bytes.Equal(std, plaintext) {
				t.Fatalf("got %q, the standard library %q", got, std)
			}
			made := sealStd(t, k, byte(kind), block, plaintext, aad)
			if got, err = k.Open(nil, parse(t, made), aad); err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("of the standard library's: %q, %v", got, err)
			}
		})
	}
}

func TestEmptyPlaintextAndData(t *testing.T) {
	k := newKey(t)
	for _, plaintext := range [][]byte{nil, {}} {
		for _, aad := range [][]byte{nil, {}} {
			b := seal(t, k, envelope.KindMessage, plaintext, aad)
			if len(b) != envelope.Overhead {
				t.Errorf("%d bytes", len(b))
			}
			// nil and empty associated data are the same.
			for _, again := range [][]byte{nil, {}} {
				got, err := k.Open(nil, parse(t, b), again)
				if err != nil || got == nil || len(got) != 0 {
					t.Errorf("got %#v, %v, want empty and not nil", got, err)
				}
			}
			_, err := k.Open(nil, parse(t, b), []byte{0})
			wantErr(t, err, envelope.ErrDecrypt)
		}
	}
}

func TestSaltAndNonceAreFresh(t *testing.T) {
	k := newKey(t)
	seen := map[string]bool{}
	for range 100 {
		e := parse(t, seal(t, k, envelope.KindMessage, []byte("x"), nil))
		for _, part := range [][]byte{e.Salt, e.Sealed[:envelope.NonceSize]} {
			if seen[string(part)] || bytes.Equal(part, make([]byte, len(part))) {
				t.Fatalf("not fresh: %x", part)
			}
			seen[string(part)] = true
		}
	}
}

func TestSealRefuses(t *testing.T) {
	k := newKey(t)
	block := blockFor(t, envelope.KindMessageSelf)
	key32 := plaintextFor(envelope.KindDataKey)
	for name, tc := range map[string]struct {
		kind             envelope.Kind
		block, plaintext []byte
	}{
		"kind 0":                       {0, nil, nil},
		"kind 0 with a block":          {0, block, nil},
		"kind 11":                      {11, nil, nil},
		"kind 12":                      {12, block, nil},
		"kind 255":                     {255, nil, nil},
		"by reference with a block":    {envelope.KindMessage, block, nil},
		"self-contained without":       {envelope.KindMessageSelf, nil, nil},
		"self-contained, empty block":  {envelope.KindMessageSelf, []byte{}, nil},
		"a block that is none":         {envelope.KindMessageSelf, []byte("block"), nil},
		"a block with a byte too many": {envelope.KindMessageSelf, append(slices.Clone(block), 0), nil},
		"a block cut short":            {envelope.KindMessageSelf, block[:len(block)-1], nil},
		"a stream key of 31":           {envelope.KindStream, nil, key32[:31]},
		"a stream key of 33":           {envelope.KindStreamSelf, block, append(slices.Clone(key32), 0)},
		"a data key of 0":              {envelope.KindDataKey, nil, nil},
		"a data key of 64":             {envelope.KindDataKeySelf, block, append(slices.Clone(key32), key32...)},
	} {
		dst := []byte("head")
		if got, err := k.Seal(dst, tc.kind, tc.block, tc.plaintext, nil); err == nil || got != nil {
			t.Errorf("%s: got %x, %v", name, got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	k := newKey(t)
	aad := []byte("associated")
	b := seal(t, k, envelope.KindMessage, []byte("plaintext"), aad)
	t.Run("other associated data", func(t *testing.T) {
		for _, other := range [][]byte{nil, {}, []byte("associate"), []byte("associatedx"), []byte("Associated"), []byte("\xe1\x01associated")} {
			got, err := k.Open([]byte("head"), parse(t, b), other)
			wantErr(t, err, envelope.ErrDecrypt)
			if got != nil {
				t.Errorf("an error, and %x", got)
			}
		}
	})
	t.Run("another key", func(t *testing.T) {
		for name, make := range map[string]func() (*envelope.Key, error){
			"context": func() (*envelope.Key, error) {
				return envelope.NewKey(testSecret, keyctx.Hash{1}, keyctx.PurposeData, 3)
			},
			"version": func() (*envelope.Key, error) {
				return envelope.NewKey(testSecret, testHash, keyctx.PurposeData, 4)
			},
			"secret": func() (*envelope.Key, error) {
				return envelope.NewKey(sequence(2, 32), testHash, keyctx.PurposeData, 3)
			},
		} {
			other, err := make()
			noError(t, err)
			_, err = other.Open(nil, parse(t, b), aad)
			if !errors.Is(err, envelope.ErrWrongKey) {
				t.Errorf("another %s: %v", name, err)
			}
			e := parse(t, b)
			e.KeyID = other.ID()
			if name == "secret" { // with a forged ID the DEK is still another
				_, err = other.Open(nil, e, aad)
				wantErr(t, err, envelope.ErrDecrypt)
			}
		}
	})
	t.Run("a kind that isn't what was sealed", func(t *testing.T) {
		for _, kind := range allKinds {
			e := parse(t, b)
			if e.Kind = kind; kind != envelope.KindMessage {
				_, err := k.Open(nil, e, aad)
				wantErr(t, err, envelope.ErrDecrypt)
			}
		}
	})
	t.Run("no parsed envelope", func(t *testing.T) {
		good := parse(t, b)
		for name, spoil := range map[string]func(e *envelope.Envelope){
			"kind 0":         func(e *envelope.Envelope) { e.Kind = 0 },
			"kind 200":       func(e *envelope.Envelope) { e.Kind = 200 },
			"no salt":        func(e *envelope.Envelope) { e.Salt = nil },
			"short salt":     func(e *envelope.Envelope) { e.Salt = e.Salt[:23] },
			"long salt":      func(e *envelope.Envelope) { e.Salt = make([]byte, 1000) },
			"nothing":        func(e *envelope.Envelope) { e.Sealed = nil },
			"short of a tag": func(e *envelope.Envelope) { e.Sealed = e.Sealed[:27] },
		} {
			e := good
			spoil(&e)
			if _, err := k.Open(nil, e, aad); !errors.Is(err, envelope.ErrMalformed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := k.Open(nil, envelope.Envelope{}, nil)
		wantErr(t, err, envelope.ErrWrongKey)
	})
}

// The kinds that seal a key: what holds another number of bytes is malformed,
// even though it is authentic, and nothing of it is released.
func TestKeysOfAnotherLength(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds[2:6] {
		for _, n := range []int{0, 1, 31, 33, 64} {
			plaintext := bytes.Repeat([]byte{0xAA}, n)
			b := sealStd(t, k, byte(kind), blockFor(t, kind), plaintext, nil)
			dst := make([]byte, 4, 256)
			got, err := k.Open(dst, parse(t, b), nil)
			wantErr(t, err, envelope.ErrMalformed)
			if got != nil || bytes.Contains(dst[:cap(dst)], []byte{0xAA}) {
				t.Errorf("%v of %d bytes: some of it was released", kind, n)
			}
			b[len(b)-1] ^= 1 // not authentic comes first
			_, err = k.Open(nil, parse(t, b), nil)
			wantErr(t, err, envelope.ErrDecrypt)
		}
	}
}

// Truncated at every length, every kind is refused.
func TestTruncated(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		b := seal(t, k, kind, plaintextFor(kind), nil)
		for n := range b {
			e, err := envelope.Parse(b[:n])
			if err == nil {
				_, err = k.Open(nil, e, nil)
				wantErr(t, err, envelope.ErrDecrypt)
				continue
			}
			wantErr(t, err, envelope.ErrMalformed)
		}
	}
}

func TestTrailingBytes(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		b := seal(t, k, kind, plaintextFor(kind), nil)
		for _, more := range [][]byte{{0}, {0xE1}, b, make([]byte, 100)} {
			_, err := k.Open(nil, parse(t, slices.Concat(b, more)), nil)
			wantErr(t, err, envelope.ErrDecrypt)
		}
	}
}

// Each bit flipped is refused, with one exception that is meant: the block is
// not authenticated here, it proves itself against the key ID when it is
// unwrapped. A flip in it is malformed, or shows in the block.
func TestEachBitFlipped(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		b := seal(t, k, kind, plaintextFor(kind), []byte("aad"))
		block := blockFor(t, kind)
		const blockAt = 2 + 32 + 1
		for bit := range 8 * len(b) {
			flipped := slices.Clone(b)
			flipped[bit/8] ^= 1 << (bit % 8)
			e, err := envelope.Parse(flipped)
			if err != nil {
				wantErr(t, err, envelope.ErrMalformed)
				continue
			}
			_, err = k.Open(nil, e, []byte("aad"))
			inBlock := block != nil && bit/8 >= blockAt && bit/8 < blockAt+len(block)
			switch {
			case inBlock && err == nil:
				if bytes.Equal(e.Block, block) {
					t.Errorf("%v, bit %d: it shows nowhere", kind, bit)
				}
			case bit/8 >= 2 && bit/8 < 34:
				wantErr(t, err, envelope.ErrWrongKey)
			default:
				wantErr(t, err, envelope.ErrDecrypt)
			}
		}
	}
}

// A self-contained envelope can be rewrapped, or become one by reference's twin,
// without the data being touched; its kind can't be changed.
func TestBlockIsNotBoundToTheData(t *testing.T) {
	k := newKey(t)
	b := seal(t, k, envelope.KindMessageSelf, []byte("x"), nil)
	e := parse(t, b)
	rewrapped := testBlock()
	rewrapped.Wrappings = []keyctx.Wrapping{{URI: "new:1", Wrapped: bytes.Repeat([]byte{7}, 200)}}
	rewrapped.Quorum = keyctx.AnyOf
	block, err := rewrapped.Append(nil)
	noError(t, err)
	again := rebuild(e.Kind, e.KeyID, block, e.Salt, e.Sealed)
	if got, err := k.Open(nil, parse(t, again), nil); err != nil || string(got) != "x" {
		t.Errorf("rewrapped: %q, %v", got, err)
	}
	_, err = k.Open(nil, parse(t, rebuild(envelope.KindMessage, e.KeyID, nil, e.Salt, e.Sealed)), nil)
	wantErr(t, err, envelope.ErrDecrypt)
}

// rebuild writes an envelope out of its parts.
func rebuild(kind envelope.Kind, id keyctx.KeyID, block, salt, sealed []byte) []byte {
	b := append([]byte{0xE1, byte(kind)}, id[:]...)
	if kind.SelfContained() {
		b = binary.AppendUvarint(b, uint64(len(block)))
		b = append(b, block...)
	}
	return slices.Concat(b, salt, sealed)
}
