package vectors_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

func TestKeyContexts(t *testing.T) {
	for _, v := range read[vectors.KeyContext](t, vectors.KeyContextFile) {
		t.Run(v.Name, func(t *testing.T) {
			kc := keyctx.KeyContext{}
			for _, p := range v.Pairs {
				kc[string(p.Key)] = string(p.Value)
			}
			var err error
			switch v.Input {
			case vectors.InputCaller:
				err = checkCaller(t, v, kc)
			case vectors.InputFull:
				err = checkFull(t, v, kc)
			case vectors.InputEncoding:
				err = checkEncoding(t, v, kc)
			default:
				t.Fatalf("unknown input %q", v.Input)
			}
			if v.Result == vectors.Valid && err != nil || v.Result != vectors.Valid && !errors.Is(err, keyctx.ErrInvalidContext) {
				t.Errorf("got %v, want %q", err, v.Result)
			}
		})
	}
}

func checkCaller(t *testing.T, v vectors.KeyContext, kc keyctx.KeyContext) error {
	ns := string(v.Namespace)
	enc, err := keyctx.AppendCanonical(nil, kc, ns)
	hash, err2 := keyctx.HashIn(kc, ns)
	if err3 := errors.Join(kc.Validate(), keyctx.ValidateNamespace(ns)); (err == nil) != (err2 == nil) || (err == nil) != (err3 == nil) {
		t.Errorf("AppendCanonical, HashIn and the checks differ: %v, %v, %v", err, err2, err3)
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(enc, v.Encoding) || !bytes.Equal(hash[:], v.Hash) {
		t.Errorf("encoding %x, hash %x", enc, hash)
	}
	return checkFull(t, v, kc.WithNamespace(ns))
}

func checkFull(t *testing.T, v vectors.KeyContext, kc keyctx.KeyContext) error {
	enc, err := kc.AppendCanonical(nil)
	hash, err2 := kc.Hash()
	if err3 := kc.ValidateFull(); (err == nil) != (err2 == nil) || (err == nil) != (err3 == nil) {
		t.Errorf("AppendCanonical, Hash and ValidateFull differ: %v, %v, %v", err, err2, err3)
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(enc, v.Encoding) || !bytes.Equal(hash[:], v.Hash) {
		t.Errorf("encoding %x, hash %x", enc, hash)
	}
	enc2, hash2 := canonical(kc)
	if !bytes.Equal(enc2, v.Encoding) || !bytes.Equal(hash2, v.Hash) {
		t.Errorf("second reader: encoding %x, hash %x", enc2, hash2)
	}
	back, err := keyctx.ParseCanonical(enc)
	if err == nil && !equal(back, kc) {
		t.Error("the encoding parses to another context")
	}
	return err
}

func checkEncoding(t *testing.T, v vectors.KeyContext, kc keyctx.KeyContext) error {
	got, err := keyctx.ParseCanonical(v.Encoding)
	if err != nil {
		return err
	}
	if !equal(got, kc) {
		t.Errorf("it parses to another context than the pairs")
	}
	if !slices.IsSortedFunc(v.Pairs, func(a, b vectors.Pair) int { return bytes.Compare(a.Key, b.Key) }) {
		t.Error("the vector's pairs are not sorted")
	}
	return checkFull(t, v, got)
}

func equal(a, b keyctx.KeyContext) bool { return len(a) == len(b) && (len(a) == 0 || a.Contains(b)) }

func TestBlocks(t *testing.T) {
	for _, v := range read[vectors.Block](t, vectors.BlockFile) {
		t.Run(v.Name, func(t *testing.T) {
			valid := v.Result == vectors.Valid
			if blockOK(v.Block) != valid {
				t.Errorf("second reader: want %q", v.Result)
			}
			block, err := envelope.ParseBlock(v.Block)
			if !valid {
				if !errors.Is(err, envelope.ErrMalformed) {
					t.Errorf("got %v, want %q", err, v.Result)
				}
				return
			}
			want := envelope.Block{Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Quorum: keyctx.Quorum(v.Quorum)}
			for _, w := range v.Wrappings {
				want.Wrappings = append(want.Wrappings, keyctx.Wrapping{URI: w.URI, Wrapped: w.Wrapped})
			}
			same := func(a, b keyctx.Wrapping) bool { return a.URI == b.URI && bytes.Equal(a.Wrapped, b.Wrapped) }
			if err != nil || block.Purpose != want.Purpose || block.Version != want.Version || block.Quorum != want.Quorum ||
				!slices.EqualFunc(block.Wrappings, want.Wrappings, same) {
				t.Errorf("got %+v, %v", block, err)
			}
			slices.Reverse(want.Wrappings) // Append sorts
			if b, err := want.Append([]byte("x")); err != nil || !bytes.Equal(b, append([]byte("x"), v.Block...)) {
				t.Errorf("it encodes to %x, %v", b, err)
			}
		})
	}
}

func TestTexts(t *testing.T) {
	for _, v := range read[vectors.Text](t, vectors.TextFile) {
		t.Run(v.Name, func(t *testing.T) {
			b, err := envelope.DecodeText(v.Text)
			if v.Result != vectors.Valid {
				if !errors.Is(err, envelope.ErrMalformed) || b != nil {
					t.Errorf("got %x, %v, want %q", b, err, v.Result)
				}
				return
			}
			if err != nil || !bytes.Equal(b, v.Envelope) {
				t.Errorf("got %x, %v", b, err)
			}
			if text, err := envelope.EncodeText(v.Envelope); err != nil || text != v.Text {
				t.Errorf("it encodes to %q, %v", text, err)
			}
		})
	}
}
