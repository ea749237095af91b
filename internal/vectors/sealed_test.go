package vectors_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

func read[T any](t *testing.T, file string) []T {
	t.Helper()
	vs, err := vectors.Read[T](file)
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

// newKey returns the vector's context key, and checks the vector's hash and key
// ID on the way.
func newKey(t *testing.T, v vectors.Key) *envelope.Key {
	t.Helper()
	hash, err := keyctx.KeyContext(v.Context).Hash()
	if err != nil || !bytes.Equal(hash[:], v.ContextHash) {
		t.Fatalf("context hash: %v, %v, want %x", hash, err, v.ContextHash)
	}
	if _, h := canonical(v.Context); !bytes.Equal(h, v.ContextHash) {
		t.Fatalf("context hash, second reader: %x", h)
	}
	k, err := envelope.NewKey(v.ContextKey, hash, keyctx.Purpose(v.Purpose), v.Version)
	if err != nil {
		t.Fatal(err)
	}
	if id := k.ID(); !bytes.Equal(id[:], v.KeyID) {
		t.Fatalf("key ID: got %x, want %x", id, v.KeyID)
	}
	return k
}

// open is what package envelope makes of an envelope of one API.
func open(k *envelope.Key, kind envelope.Kind, b, aad []byte) ([]byte, vectors.Result, error) {
	e, err := envelope.Parse(b)
	if kind == envelope.KindStream {
		var n int
		if e, n, err = envelope.ParseStreamHeader(b); err == nil && n != len(b) {
			err = envelope.ErrMalformed // the vectors' headers stand alone
		}
	}
	if err == nil && e.Kind.Reference() != kind {
		err = envelope.ErrMalformed
	}
	var plaintext []byte
	if err == nil {
		plaintext, err = k.Open(nil, e, aad)
	}
	switch {
	case err == nil:
		return plaintext, vectors.Valid, nil
	case errors.Is(err, envelope.ErrMalformed):
		return nil, vectors.Malformed, nil
	case errors.Is(err, envelope.ErrWrongKey):
		return nil, vectors.WrongContext, nil
	case errors.Is(err, envelope.ErrDecrypt):
		return nil, vectors.DecryptFailed, nil
	}
	return nil, "", err
}

// checkSealed runs one vector through every entry point that can take it.
func checkSealed(t *testing.T, kind envelope.Kind, want vectors.Result, v vectors.Sealed) {
	t.Helper()
	k := newKey(t, v.Key)
	defer k.Destroy()
	if got := expand(v.ContextKey, slices.Concat([]byte("vault/v1/dek"), v.Salt)); !bytes.Equal(got, v.DEK) {
		t.Errorf("DEK: got %x, want %x", got, v.DEK)
	}
	before := bytes.Clone(v.Envelope)
	plaintext, got, err := open(k, kind, v.Envelope, v.AAD)
	if err != nil || got != want {
		t.Errorf("package envelope: got %q, %v, want %q", got, err, want)
	}
	second := reader{v.ContextHash, v.ContextKey, v.Purpose, v.Version, byte(kind), v.AAD}
	plaintext2, got := second.read(v.Envelope)
	if got != want {
		t.Errorf("second reader: got %q, want %q", got, want)
	}
	if want == vectors.Valid && (!bytes.Equal(plaintext, v.Plaintext) || !bytes.Equal(plaintext2, v.Plaintext)) {
		t.Errorf("plaintext: got %x and %x, want %x", plaintext, plaintext2, v.Plaintext)
	}
	if !bytes.Equal(before, v.Envelope) {
		t.Error("reading changed the envelope")
	}
	checkParsed(t, v.Envelope)
	checkText(t, v.Envelope)
	if want == vectors.Valid {
		checkValid(t, k, v)
	}
}

// checkParsed holds Parse, ParseBlock and Inspect together: what parses encodes
// to the same bytes and is described as it is.
func checkParsed(t *testing.T, b []byte) {
	t.Helper()
	e, err := envelope.Parse(b)
	if err != nil {
		if !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("Parse: %v", err)
		}
		if _, err := envelope.Inspect(b); !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("Inspect of what doesn't parse: %v", err)
		}
		return
	}
	info, err := envelope.Inspect(b)
	if _, _, short := envelope.ParseStreamHeader(b); e.Kind.Reference() == envelope.KindStream && short != nil {
		if !errors.Is(err, envelope.ErrMalformed) {
			t.Errorf("Inspect of a stream header that is cut short: %v", err)
		}
		return
	}
	if err != nil || info.Kind != e.Kind || info.KeyID != e.KeyID || info.Version != envelope.Version ||
		info.Size != info.PlaintextSize+info.Overhead {
		t.Errorf("Inspect: %+v, %v", info, err)
	}
	again := slices.Concat([]byte{envelope.Version, byte(e.Kind)}, e.KeyID[:])
	if e.Kind.SelfContained() {
		block, err := envelope.ParseBlock(e.Block)
		if err != nil {
			t.Fatalf("ParseBlock: %v", err)
		}
		wire, err := block.Append(nil)
		if err != nil || !bytes.Equal(wire, e.Block) {
			t.Errorf("the block encodes to %x, %v", wire, err)
		}
		again = append(binary.AppendUvarint(again, uint64(len(wire))), wire...)
		if info.KeyVersion != block.Version || info.Quorum != block.Quorum || len(info.KEKs) != len(block.Wrappings) {
			t.Errorf("Inspect: %+v of block %+v", info, block)
		}
	}
	if again = slices.Concat(again, e.Salt, e.Sealed); !bytes.Equal(again, b) {
		t.Errorf("it encodes to %x, was %x", again, b)
	}
}

// checkText holds the text form and Parse together.
func checkText(t *testing.T, b []byte) {
	t.Helper()
	e, err := envelope.Parse(b)
	message := err == nil && e.Kind.Reference() == envelope.KindMessage
	raw := envelope.TextPrefix + base64.RawURLEncoding.EncodeToString(b)
	text, err := envelope.EncodeText(b)
	back, err2 := envelope.DecodeText(raw)
	if !message {
		if !errors.Is(err, envelope.ErrMalformed) || !errors.Is(err2, envelope.ErrMalformed) {
			t.Errorf("text form of what is no message: %v, %v", err, err2)
		}
	} else if err != nil || err2 != nil || text != raw || !bytes.Equal(back, b) {
		t.Errorf("text form: %v, %v", err, err2)
	}
}

// checkValid opens a valid vector in the other ways there are.
func checkValid(t *testing.T, k *envelope.Key, v vectors.Sealed) {
	t.Helper()
	e, err := envelope.Parse(v.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(e.Salt, v.Salt) || !bytes.Equal(e.Sealed[:envelope.NonceSize], v.Nonce) || e.PlaintextSize() != len(v.Plaintext) {
		t.Error("salt, nonce or size are not the vector's")
	}
	out, err := k.Open([]byte("before"), e, v.AAD)
	if err != nil || !bytes.Equal(out, append([]byte("before"), v.Plaintext...)) {
		t.Errorf("appended: %x, %v", out, err)
	}
	own, err := envelope.Parse(bytes.Clone(v.Envelope))
	if err != nil {
		t.Fatal(err)
	}
	if out, err = k.Open(own.Sealed[:0], own, v.AAD); err != nil || !bytes.Equal(out, v.Plaintext) {
		t.Errorf("in place: %x, %v", out, err)
	}
	sealed, err := k.Seal(nil, e.Kind, e.Block, v.Plaintext, v.AAD)
	if err != nil || len(sealed) != len(v.Envelope) {
		t.Fatalf("sealed again: %d bytes, %v, want %d", len(sealed), err, len(v.Envelope))
	}
	kind := byte(e.Kind.Reference())
	second := reader{v.ContextHash, v.ContextKey, v.Purpose, v.Version, kind, v.AAD}
	if got, result := second.read(sealed); result != vectors.Valid || !bytes.Equal(got, v.Plaintext) {
		t.Errorf("second reader on what package envelope sealed: %q", result)
	}
}

func TestEnvelopes(t *testing.T) {
	for _, f := range []struct {
		file string
		kind envelope.Kind
	}{
		{vectors.EnvelopeFile, envelope.KindMessage},
		{vectors.DataKeyFile, envelope.KindDataKey},
		{vectors.StreamHeaderFile, envelope.KindStream},
	} {
		for _, v := range read[vectors.Envelope](t, f.file) {
			t.Run(f.file+"/"+v.Name, func(t *testing.T) { checkSealed(t, f.kind, v.Result, v.Sealed) })
		}
	}
}

func TestObjects(t *testing.T) {
	for _, v := range read[vectors.Object](t, vectors.ObjectFile) {
		t.Run(v.Name, func(t *testing.T) {
			if nameOK(v.ObjectName) != (v.Result != vectors.InvalidName) {
				t.Errorf("name %q: want %q", v.ObjectName, v.Result)
			}
			if aad := objectAAD(v.VersionID, v.ExpiresAt, v.ObjectName); !bytes.Equal(aad, v.AAD) {
				t.Errorf("associated data: got %x, want %x", aad, v.AAD)
			}
			want := v.Result
			if want == vectors.InvalidName { // the name is judged first; the rest is in order
				want = vectors.Valid
			}
			checkSealed(t, envelope.KindObject, want, v.Sealed)
		})
	}
}

// A stream may follow its header, and doesn't change what the header is.
func TestStreamHeaderWithStream(t *testing.T) {
	for _, v := range read[vectors.Envelope](t, vectors.StreamHeaderFile) {
		if v.Result != vectors.Valid {
			continue
		}
		e, n, err := envelope.ParseStreamHeader(slices.Concat(v.Envelope, make([]byte, 100)))
		if err != nil || n != len(v.Envelope) {
			t.Fatalf("%s: length %d, %v, want %d", v.Name, n, err, len(v.Envelope))
		}
		k := newKey(t, v.Key)
		if got, err := k.Open(nil, e, v.AAD); err != nil || !bytes.Equal(got, v.Plaintext) {
			t.Errorf("%s: %x, %v", v.Name, got, err)
		}
	}
}

// The two readers agree on far more than the vectors: on each one truncated and
// with bits flipped, wherever that is.
func TestReadersAgree(t *testing.T) {
	for _, v := range read[vectors.Envelope](t, vectors.EnvelopeFile) {
		if len(v.Envelope) > 600 {
			continue
		}
		k := newKey(t, v.Key)
		second := reader{v.ContextHash, v.ContextKey, v.Purpose, v.Version, 1, v.AAD}
		check := func(b []byte) {
			t.Helper()
			p1, r1, err := open(k, envelope.KindMessage, b, v.AAD)
			p2, r2 := second.read(b)
			if err != nil || r1 != r2 || !bytes.Equal(p1, p2) {
				t.Errorf("%s: %q (%v) and %q for %x", v.Name, r1, err, r2, b)
			}
		}
		for i := range v.Envelope {
			check(v.Envelope[:i])
			b := bytes.Clone(v.Envelope)
			b[i] ^= 1 << (i % 8)
			check(b)
			b[i] = 0
			check(b)
		}
		k.Destroy()
	}
}
