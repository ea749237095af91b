package envelope_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"pgregory.net/rapid"
)

func TestParseRefuses(t *testing.T) {
	k := newKey(t)
	message := seal(t, k, envelope.KindMessage, []byte("x"), nil)
	with := func(at int, b byte) []byte { c := slices.Clone(message); c[at] = b; return c }
	for v := range 256 {
		if v != envelope.Version {
			_, err := envelope.Parse(with(0, byte(v)))
			wantErr(t, err, envelope.ErrMalformed)
		}
	}
	for kind := range 256 {
		e, err := envelope.Parse(with(1, byte(kind)))
		switch {
		case kind >= 1 && kind <= 10 && kind%2 == 1:
			if err != nil || e.Kind != envelope.Kind(kind) {
				t.Errorf("kind %d: %v", kind, err)
			}
		default: // unknown, or self-contained: then the salt is no block
			wantErr(t, err, envelope.ErrMalformed)
			if e.Kind != 0 || e.Sealed != nil {
				t.Errorf("kind %d: an error, and %+v", kind, e)
			}
		}
	}
	shortest := seal(t, k, envelope.KindMessage, nil, nil)
	if _, err := envelope.Parse(shortest); err != nil {
		t.Error(err)
	}
	_, err := envelope.Parse(shortest[:len(shortest)-1])
	wantErr(t, err, envelope.ErrMalformed)
}

// The length of the block is a uvarint in its shortest form, and no more than a
// block can have.
func TestParseBlockLength(t *testing.T) {
	k := newKey(t)
	b := seal(t, k, envelope.KindMessageSelf, []byte("x"), nil)
	block := blockFor(t, envelope.KindMessageSelf)
	head, tail := b[:34], b[34+1:]
	if b[34] != byte(len(block)) {
		t.Fatalf("the length is %#x", b[34])
	}
	n := byte(len(block))
	for name, length := range map[string][]byte{
		"one byte too few":        {n - 1},
		"one byte too many":       {n + 1},
		"0":                       {0},
		"7, shorter than any":     {7},
		"non-minimal, 2 bytes":    {n | 0x80, 0},
		"non-minimal, 3 bytes":    {n | 0x80, 0x80, 0},
		"non-minimal, 10 bytes":   {n | 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0},
		"non-minimal 0":           {0x80, 0},
		"unfinished":              {0x80},
		"beyond the envelope":     {0xff, 0x7f},
		"2^28":                    {0x80, 0x80, 0x80, 0x80, 0x01},
		"2^31":                    {0x80, 0x80, 0x80, 0x80, 0x08},
		"2^32 and the length":     {n | 0x80, 0x80, 0x80, 0x80, 0x10},
		"2^63":                    {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
		"2^64-1":                  {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"2^64, overflow":          {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02},
		"2^64 and the length":     {n | 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02},
		"eleven bytes":            {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"every byte goes on":      bytes.Repeat([]byte{0xff}, 50),
		"nothing":                 {},
		"the length of all of it": {byte(len(block) + len(tail))},
	} {
		t.Run(name, func(t *testing.T) {
			hostile := slices.Concat(head, length, tail)
			_, err := envelope.Parse(hostile)
			wantErr(t, err, envelope.ErrMalformed)
			_, err = envelope.Inspect(hostile)
			wantErr(t, err, envelope.ErrMalformed)
			_, err = envelope.Parse(slices.Concat(head, length)) // nothing after it
			wantErr(t, err, envelope.ErrMalformed)
		})
	}
}

// The longest block there can be, whose length takes three bytes, goes round.
func TestLongestBlock(t *testing.T) {
	longest := envelope.Block{Purpose: keyctx.PurposeData, Version: 1<<32 - 1, Quorum: keyctx.AnyOf}
	for i := range keyctx.MaxWrappings {
		longest.Wrappings = append(longest.Wrappings, keyctx.Wrapping{
			URI:     strings.Repeat(string(rune('a'+i)), keyctx.MaxURILen),
			Wrapped: bytes.Repeat([]byte{byte(i)}, keyctx.MaxWrappedLen),
		})
	}
	block, err := longest.Append(nil)
	noError(t, err)
	k := newKey(t)
	b, err := k.Seal(nil, envelope.KindObjectSelf, block, []byte("x"), nil)
	noError(t, err)
	e := parse(t, b)
	if got, err := k.Open(nil, e, nil); err != nil || string(got) != "x" || !bytes.Equal(e.Block, block) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestParseStreamHeader(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		b := seal(t, k, kind, plaintextFor(kind), nil)
		stream := append(slices.Clone(b), "the chunks that follow"...)
		e, n, err := envelope.ParseStreamHeader(stream)
		if kind.Reference() != envelope.KindStream {
			wantErr(t, err, envelope.ErrMalformed)
			continue
		}
		noError(t, err)
		if n != len(b) || e.Kind != kind || e.PlaintextSize() != envelope.KeySize {
			t.Fatalf("%v: %d bytes, want %d; %+v", kind, n, len(b), e)
		}
		if got, err := k.Open(nil, e, nil); err != nil || !bytes.Equal(got, plaintextFor(kind)) {
			t.Errorf("%v: %x, %v", kind, got, err)
		}
		for cut := range b {
			_, _, err := envelope.ParseStreamHeader(b[:cut])
			wantErr(t, err, envelope.ErrMalformed)
		}
		if kind == envelope.KindStream && n != envelope.StreamHeaderSize {
			t.Errorf("a header of %d bytes", n)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	k := newKey(t)
	for _, kind := range allKinds {
		b := seal(t, k, kind, plaintextFor(kind), nil)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := envelope.Parse(b); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations", kind, n)
		}
	}
}

// A few bytes that speak of many must not make many.
func TestHostileLengthsAllocateLittle(t *testing.T) {
	id := bytes.Repeat([]byte{1}, 32)
	block := func(count byte, rest ...byte) []byte {
		return append([]byte{1, 1, 0, 0, 0, 1, 1, count}, rest...)
	}
	wrap := func(block []byte) []byte {
		return slices.Concat([]byte{0xE1, 2}, id, binary.AppendUvarint(nil, uint64(len(block))), block)
	}
	for name, b := range map[string][]byte{
		"block of 2^64-1": slices.Concat([]byte{0xE1, 2}, id, bytes.Repeat([]byte{0xff}, 9), []byte{1}, make([]byte, 100)),
		"block of 30 KiB": slices.Concat([]byte{0xE1, 2}, id, []byte{0x80, 0xf0, 0x01}, make([]byte, 100)),
		"255 wrappings":   wrap(block(255)),
		"8 wrappings":     wrap(block(8, 0xff, 0xff, 'a')),
		"URI of 64 KiB":   wrap(block(1, 0xff, 0xff, 'a')),
		"key of 64 KiB":   wrap(block(1, 0, 1, 'a', 0xff, 0xff)),
	} {
		const limit, rounds = 4 << 10, 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			if _, err := envelope.Parse(b); err == nil {
				t.Fatalf("%s: parsed", name)
			}
			if _, err := envelope.Inspect(b); err == nil {
				t.Fatalf("%s: inspected", name)
			}
			if _, err := envelope.ParseBlock(b[min(35, len(b)):]); err == nil {
				t.Fatalf("%s: the block parsed", name)
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / rounds; n > limit {
			t.Errorf("%s: %d bytes a time", name, n)
		}
	}
}

// What parses can be built again from its parts, to the same bytes; and what is
// sealed parses.
func TestRebuild(t *testing.T) {
	k := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(allKinds).Draw(t, "kind")
		plaintext := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plaintext")
		if ref := kind.Reference(); ref == envelope.KindStream || ref == envelope.KindDataKey {
			plaintext = rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key")
		}
		aad := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "aad")
		var block []byte
		var want envelope.Block
		if kind.SelfContained() {
			want = drawBlock(t)
			var err error
			if block, err = want.Append(nil); err != nil {
				t.Fatal(err)
			}
		}
		head := rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "dst")
		out, err := k.Seal(slices.Clone(head), kind, block, plaintext, aad)
		if err != nil || !bytes.HasPrefix(out, head) {
			t.Fatalf("%x, %v", out, err)
		}
		b := out[len(head):]
		e, err := envelope.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := rebuild(e.Kind, e.KeyID, e.Block, e.Salt, e.Sealed); !bytes.Equal(again, b) {
			t.Fatalf("%x\n%x", again, b)
		}
		got, err := k.Open(slices.Clone(head), e, aad)
		if err != nil || !bytes.Equal(got, append(head, plaintext...)) {
			t.Fatalf("%x, %v", got, err)
		}
		std, err := openStd(testSecret, testHash, 3, b, aad)
		if err != nil || !bytes.Equal(std, plaintext) {
			t.Fatalf("by the standard library: %x, %v", std, err)
		}
	})
}

func drawBlock(t *rapid.T) envelope.Block {
	b := envelope.Block{
		Purpose: keyctx.PurposeData,
		Version: rapid.Uint32Min(1).Draw(t, "version"),
		Quorum:  keyctx.AnyOf,
	}
	uris := rapid.SliceOfNDistinct(rapid.StringMatching(`[!-~]{1,40}`), 1, keyctx.MaxWrappings, rapid.ID).Draw(t, "URIs")
	for _, uri := range uris {
		b.Wrappings = append(b.Wrappings, keyctx.Wrapping{URI: uri, Wrapped: rapid.SliceOfN(rapid.Byte(), 1, 60).Draw(t, "wrapped")})
	}
	if len(uris) > 1 && rapid.Bool().Draw(t, "all-of") {
		b.Quorum = keyctx.AllOf
	}
	return b
}
