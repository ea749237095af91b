package envelope_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
)

// Wherever plaintext, associated data and block lie in dst's spare capacity,
// Seal gives the right result and doesn't panic; crypto/cipher would.
func TestSealAliasing(t *testing.T) {
	k := newKey(t)
	for _, kind := range []envelope.Kind{envelope.KindMessage, envelope.KindMessageSelf} {
		for _, part := range []string{"plaintext", "aad", "block"} {
			if part == "block" && !kind.SelfContained() {
				continue
			}
			for headLen := range 4 {
				for at := 0; at < 300; at += 7 {
					checkSealAlias(t, k, kind, part, headLen, at)
				}
			}
		}
	}
}

func checkSealAlias(t *testing.T, k *envelope.Key, kind envelope.Kind, part string, headLen, at int) {
	t.Helper()
	buf := make([]byte, 1024)
	copy(buf, "head")
	dst := buf[:headLen]
	inputs := map[string][]byte{"plaintext": []byte("the plaintext, of some length"), "aad": []byte("associated"), "block": blockFor(t, kind)}
	wantPlaintext, wantAAD, wantBlock := slices.Clone(inputs["plaintext"]), slices.Clone(inputs["aad"]), slices.Clone(inputs["block"])
	moved := buf[headLen+at:][:len(inputs[part])]
	copy(moved, inputs[part])
	inputs[part] = moved

	got, err := k.Seal(dst, kind, inputs["block"], inputs["plaintext"], inputs["aad"])
	noError(t, err)
	if string(got[:headLen]) != "head"[:headLen] {
		t.Fatalf("dst was overwritten: %q", got[:headLen])
	}
	e := parse(t, got[headLen:])
	plaintext, err := k.Open(nil, e, wantAAD)
	if err != nil || !bytes.Equal(plaintext, wantPlaintext) || !bytes.Equal(e.Block, wantBlock) {
		t.Fatalf("%v, %s at %d after %d: got %q, %v", kind, part, at, headLen, plaintext, err)
	}
}

func TestSealInPlace(t *testing.T) {
	k := newKey(t)
	for _, capacity := range []int{9, 94, 95, 96, 1000} {
		plaintext := append(make([]byte, 0, capacity), "plaintext"...)
		got, err := k.Seal(plaintext[:0], envelope.KindMessage, nil, plaintext, plaintext)
		noError(t, err)
		if back, err := k.Open(nil, parse(t, got), []byte("plaintext")); err != nil || string(back) != "plaintext" {
			t.Errorf("capacity %d: %q, %v", capacity, back, err)
		}
	}
	// Input that lies before dst's end is not touched.
	dst := append(make([]byte, 0, 1000), "plaintext"...)
	got, err := k.Seal(dst, envelope.KindMessage, nil, dst, dst)
	noError(t, err)
	if back, err := k.Open(nil, parse(t, got[9:]), dst); err != nil || string(back) != "plaintext" || string(dst) != "plaintext" {
		t.Errorf("got %q, %v; dst %q", back, err, dst)
	}
}

// Open writes wherever the caller wants, over the envelope itself, and over the
// associated data.
func TestOpenAliasing(t *testing.T) {
	k := newKey(t)
	plaintext, aad := bytes.Repeat([]byte("0123456789"), 20), []byte("associated")
	for _, kind := range []envelope.Kind{envelope.KindMessage, envelope.KindMessageSelf} {
		sealed := seal(t, k, kind, plaintext, aad)
		for at := 0; at <= len(sealed); at++ {
			b := slices.Clone(sealed)
			got, err := k.Open(b[at:at], parse(t, b), aad)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("%v, over the envelope from byte %d: %v", kind, at, err)
			}
		}
		for at := range 250 {
			buf := make([]byte, 300)
			moved := buf[at:][:len(aad)]
			copy(moved, aad)
			got, err := k.Open(buf[:0], parse(t, sealed), moved)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Fatalf("%v, over the associated data at %d: %v", kind, at, err)
			}
		}
	}
}

// On a failure dst is what it was, up to its length, and no plaintext is left
// in its spare capacity.
func TestOpenFailureReleasesNothing(t *testing.T) {
	k := newKey(t)
	plaintext := bytes.Repeat([]byte("secret!!"), 32)
	b := seal(t, k, envelope.KindMessage, plaintext, nil)
	b[len(b)-1] ^= 1
	dst := append(make([]byte, 0, 1024), "head"...)
	got, err := k.Open(dst, parse(t, b), nil)
	wantErr(t, err, envelope.ErrDecrypt)
	if got != nil || string(dst) != "head" || bytes.Contains(dst[:cap(dst)], []byte("secret")) {
		t.Errorf("got %x, dst %q", got, dst[:cap(dst)])
	}
	// The same over the envelope itself.
	_, err = k.Open(b[:0], parse(t, b), nil)
	wantErr(t, err, envelope.ErrDecrypt)
	if bytes.Contains(b, []byte("secret")) {
		t.Error("plaintext was left behind")
	}
}

// Seal and Open don't change what they are given, and append to what is there.
func TestInputsAreLeftAlone(t *testing.T) {
	k := newKey(t)
	block := blockFor(t, envelope.KindMessageSelf)
	plaintext, aad := []byte("plaintext"), []byte("associated")
	blockWas := slices.Clone(block)
	out, err := k.Seal([]byte("head"), envelope.KindMessageSelf, block, plaintext, aad)
	noError(t, err)
	sealed := slices.Clone(out[4:])
	got, err := k.Open([]byte("head"), parse(t, out[4:]), aad)
	noError(t, err)
	if string(out[:4]) != "head" || string(got) != "headplaintext" {
		t.Errorf("got %q, %q", out[:4], got)
	}
	if string(plaintext) != "plaintext" || string(aad) != "associated" || !bytes.Equal(block, blockWas) || !bytes.Equal(out[4:], sealed) {
		t.Error("an input was changed")
	}
}

// To append to one part of a parsed envelope doesn't write over the next.
func TestPartsHaveNoSpareCapacity(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		b := append(seal(t, k, kind, plaintextFor(kind), nil), "chunks"...)
		was := slices.Clone(b)
		e, err := envelope.Parse(b)
		noError(t, err)
		_, _, _ = append(e.Block, 0xFF), append(e.Salt, 0xFF), append(e.Sealed, 0xFF)
		if kind.Reference() == envelope.KindStream {
			e, _, err = envelope.ParseStreamHeader(b)
			noError(t, err)
			_, _, _ = append(e.Block, 0xFF), append(e.Salt, 0xFF), append(e.Sealed, 0xFF)
		}
		if !bytes.Equal(b, was) {
			t.Errorf("%v: an append changed the envelope", kind)
		}
	}
}
