package envelope_test

import (
	"bytes"
	"testing"

	"github.com/embedvault/vault/envelope"
)

// What parses is built again from its parts to the same bytes; Inspect agrees;
// and it opens under no key of ours but with an error.
func FuzzParse(f *testing.F) {
	k := newKey(f)
	for _, kind := range allKinds {
		f.Add(seal(f, k, kind, plaintextFor(kind), nil))
	}
	f.Add(rebuild(envelope.KindMessageSelf, k.ID(), rawBlock(1, 1, 1, 2, 2, "u", "w", "v", "w"), make([]byte, 24), make([]byte, 28)))
	f.Add([]byte{0xE1, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		was := bytes.Clone(b)
		e, err := envelope.Parse(b)
		info, errInspect := envelope.Inspect(b)
		header, n, errHeader := envelope.ParseStreamHeader(b)
		if errHeader == nil {
			if again := rebuild(header.Kind, header.KeyID, header.Block, header.Salt, header.Sealed); !bytes.Equal(again, b[:n]) {
				t.Fatalf("stream header: %x\n%x", again, b[:n])
			}
		} else {
			wantErr(t, errHeader, envelope.ErrMalformed)
		}
		if err != nil {
			wantErr(t, err, envelope.ErrMalformed)
			wantErr(t, errInspect, envelope.ErrMalformed)
			return
		}
		if again := rebuild(e.Kind, e.KeyID, e.Block, e.Salt, e.Sealed); !bytes.Equal(again, b) {
			t.Fatalf("%x\n%x", again, b)
		}
		if e.Kind.Reference() == envelope.KindStream {
			if (errInspect == nil) != (errHeader == nil) || errInspect == nil && info.Size != n {
				t.Fatalf("%+v, %v, %v", info, errInspect, errHeader)
			}
		} else if errHeader == nil || errInspect != nil || info.Size != len(b) || info.KeyID != e.KeyID || info.PlaintextSize != e.PlaintextSize() {
			t.Fatalf("%+v, %v, %v", info, errInspect, errHeader)
		}
		if e.Block != nil {
			block, err := envelope.ParseBlock(e.Block)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Seal(nil, e.Kind, e.Block, make([]byte, 32), nil); err != nil {
				t.Fatalf("a block that parses and can't be sealed with: %v, %+v", err, block)
			}
		}
		e.KeyID = k.ID()
		if got, err := k.Open(nil, e, []byte("not what was sealed")); err == nil {
			t.Fatalf("opened: %x", got)
		}
		if !bytes.Equal(b, was) {
			t.Fatal("the input was changed")
		}
	})
}

// What parses is written to the same bytes again.
func FuzzParseBlock(f *testing.F) {
	f.Add(blockFor(f, envelope.KindMessageSelf))
	f.Add(rawBlock(1, 1, 1, 1, 1, "u", "w"))
	f.Add(rawBlock(1, 1, 1<<31, 1, 2, "!", "w", "~", "\x00"))
	f.Add(rawBlock(1, 1, 1, 2, 2, "u", "w", "u", "w"))
	f.Fuzz(func(t *testing.T, b []byte) {
		block, err := envelope.ParseBlock(b)
		if err != nil {
			wantErr(t, err, envelope.ErrMalformed)
			return
		}
		again, err := block.Append(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v\n%x\n%x", err, again, b)
		}
	})
}

// What decodes encodes to the same text again.
func FuzzDecodeText(f *testing.F) {
	k := newKey(f)
	for n := range 3 {
		text, err := envelope.EncodeText(seal(f, k, envelope.KindMessage, make([]byte, n), nil))
		noError(f, err)
		f.Add(text)
		f.Add(text + "\n")
		f.Add(text + "=")
	}
	text, err := envelope.EncodeText(seal(f, k, envelope.KindMessageSelf, nil, nil))
	noError(f, err)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := envelope.DecodeText(text)
		if err != nil {
			wantErr(t, err, envelope.ErrMalformed)
			return
		}
		again, err := envelope.EncodeText(b)
		if err != nil || again != text {
			t.Fatalf("%v\n%q\n%q", err, again, text)
		}
	})
}
