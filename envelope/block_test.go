package envelope_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
)

func TestBlockGolden(t *testing.T) {
	const want = "01" + "01" + "00000003" + "02" + "02" +
		"0003" + "613a31" + "0005" + "6669727374" +
		"0003" + "623a32" + "0006" + "7365636f6e64"
	in := testBlock()
	b, err := in.Append([]byte("head"))
	noError(t, err)
	if got := hex.EncodeToString(b[4:]); string(b[:4]) != "head" || got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if in.Wrappings[0].URI != "b:2" {
		t.Error("the caller's wrappings were sorted in their place")
	}
	got, err := envelope.ParseBlock(b[4:])
	noError(t, err)
	clear(b) // the result shares nothing with it
	slices.Reverse(in.Wrappings)
	if !reflect.DeepEqual(got, in) {
		t.Errorf("got %+v, want %+v", got, in)
	}
}

// rawBlock writes a block, whatever it is given.
func rawBlock(format, purpose byte, version uint32, quorum, count byte, parts ...string) []byte {
	b := []byte{format, purpose, byte(version >> 24), byte(version >> 16), byte(version >> 8), byte(version), quorum, count}
	for _, p := range parts {
		b = append(b, byte(len(p)>>8), byte(len(p)))
		b = append(b, p...)
	}
	return b
}

func TestParseBlockAccepts(t *testing.T) {
	uri, wrapped := strings.Repeat("u", keyctx.MaxURILen), strings.Repeat("w", keyctx.MaxWrappedLen)
	for name, b := range map[string][]byte{
		"smallest":        rawBlock(1, 1, 1, 1, 1, "u", "w"),
		"longest parts":   rawBlock(1, 1, 1<<32-1, 1, 1, uri, wrapped),
		"eight":           rawBlock(1, 1, 1, 2, 8, "1", "w", "2", "w", "3", "w", "4", "w", "5", "w", "6", "w", "7", "w", "8", "w"),
		"a prefix first":  rawBlock(1, 1, 1, 2, 2, "u", "w", "u1", "w"),
		"first and last":  rawBlock(1, 1, 1, 1, 2, "!", "w", "~", "w"),
		"like a parent's": rawBlock(1, 1, 1, 1, 1, "vault-keys:", "w"),
		"Vault-key:":      rawBlock(1, 1, 1, 1, 1, "Vault-key:x", "w"),
		"vault-key":       rawBlock(1, 1, 1, 1, 1, "vault-key", "w"),
	} {
		block, err := envelope.ParseBlock(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := block.Append(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: written again it is %x, %v", name, again, err)
		}
	}
}

func TestParseBlockRefuses(t *testing.T) {
	k := newKey(t)
	uri, wrapped := strings.Repeat("u", keyctx.MaxURILen+1), strings.Repeat("w", keyctx.MaxWrappedLen+1)
	bad := map[string][]byte{
		"nothing":           nil,
		"format 0":          rawBlock(0, 1, 1, 1, 1, "u", "w"),
		"format 2":          rawBlock(2, 1, 1, 1, 1, "u", "w"),
		"purpose 0":         rawBlock(1, 0, 1, 1, 1, "u", "w"),
		"purpose index":     rawBlock(1, 2, 1, 1, 1, "u", "w"),
		"purpose wrapping":  rawBlock(1, 3, 1, 1, 1, "u", "w"),
		"purpose audit":     rawBlock(1, 4, 1, 1, 1, "u", "w"),
		"purpose 255":       rawBlock(1, 255, 1, 1, 1, "u", "w"),
		"version 0":         rawBlock(1, 1, 0, 1, 1, "u", "w"),
		"quorum 0":          rawBlock(1, 1, 1, 0, 1, "u", "w"),
		"quorum 3":          rawBlock(1, 1, 1, 3, 1, "u", "w"),
		"all-of with one":   rawBlock(1, 1, 1, 2, 1, "u", "w"),
		"count 0":           rawBlock(1, 1, 1, 1, 0),
		"count 0, one":      rawBlock(1, 1, 1, 1, 0, "u", "w"),
		"count 9":           rawBlock(1, 1, 1, 1, 9, "1", "w", "2", "w", "3", "w", "4", "w", "5", "w", "6", "w", "7", "w", "8", "w", "9", "w"),
		"count too low":     rawBlock(1, 1, 1, 1, 1, "u", "w", "v", "w"),
		"count too high":    rawBlock(1, 1, 1, 1, 2, "u", "w"),
		"unsorted":          rawBlock(1, 1, 1, 1, 2, "v", "w", "u", "w"),
		"unsorted by a bit": rawBlock(1, 1, 1, 1, 2, "ub", "w", "uB", "w"),
		"the same URI":      rawBlock(1, 1, 1, 1, 2, "u", "w", "u", "x"),
		"the same twice":    rawBlock(1, 1, 1, 2, 2, "u", "w", "u", "w"),
		"a parent's URI":    rawBlock(1, 1, 1, 1, 1, "vault-key:"+strings.Repeat("0", 64), "w"),
		"a parent's prefix": rawBlock(1, 1, 1, 1, 1, "vault-key:", "w"),
		"a parent's second": rawBlock(1, 1, 1, 1, 2, "u", "w", "vault-key:x", "w"),
		"empty URI":         rawBlock(1, 1, 1, 1, 1, "", "w"),
		"URI with a space":  rawBlock(1, 1, 1, 1, 1, "u u", "w"),
		"URI with DEL":      rawBlock(1, 1, 1, 1, 1, "u\x7f", "w"),
		"URI with NUL":      rawBlock(1, 1, 1, 1, 1, "u\x00", "w"),
		"URI not ASCII":     rawBlock(1, 1, 1, 1, 1, "é", "w"),
		"URI of 513":        rawBlock(1, 1, 1, 1, 1, uri, "w"),
		"wrapped of 0":      rawBlock(1, 1, 1, 1, 1, "u", ""),
		"wrapped of 4097":   rawBlock(1, 1, 1, 1, 1, "u", wrapped),
		"a byte after it":   append(rawBlock(1, 1, 1, 1, 1, "u", "w"), 0),
		"a wrapping after":  rawBlock(1, 1, 1, 1, 1, "u", "w", "u", "w"),
		"a huge URI":        append(rawBlock(1, 1, 1, 1, 1), 0xff, 0xff, 'u'),
		"a huge key":        append(rawBlock(1, 1, 1, 1, 1, "u"), 0xff, 0xff, 'w'),
	}
	whole := rawBlock(1, 1, 1, 2, 2, "u", "w", "v", "w")
	for n := range whole {
		bad["cut at "+string(rune('A'+n))] = whole[:n]
	}
	for name, b := range bad {
		t.Run(name, func(t *testing.T) {
			got, err := envelope.ParseBlock(b)
			wantErr(t, err, envelope.ErrMalformed)
			if got.Wrappings != nil || got.Version != 0 {
				t.Errorf("an error, and %+v", got)
			}
			// Nor does an envelope with it parse, nor is one sealed.
			_, err = envelope.Parse(rebuild(envelope.KindMessageSelf, k.ID(), b, make([]byte, 24), make([]byte, 28)))
			wantErr(t, err, envelope.ErrMalformed)
			if sealed, err := k.Seal(nil, envelope.KindMessageSelf, b, []byte("x"), nil); err == nil {
				t.Errorf("sealed: %x", sealed)
			}
		})
	}
}

func TestAppendBlockRefuses(t *testing.T) {
	for name, spoil := range map[string]func(b *envelope.Block){
		"purpose index":     func(b *envelope.Block) { b.Purpose = keyctx.PurposeIndex },
		"purpose 0":         func(b *envelope.Block) { b.Purpose = 0 },
		"version 0":         func(b *envelope.Block) { b.Version = 0 },
		"quorum 0":          func(b *envelope.Block) { b.Quorum = 0 },
		"quorum 3":          func(b *envelope.Block) { b.Quorum = 3 },
		"no wrappings":      func(b *envelope.Block) { b.Wrappings = nil },
		"all-of with one":   func(b *envelope.Block) { b.Wrappings = b.Wrappings[:1] },
		"nine":              func(b *envelope.Block) { b.Wrappings = slices.Repeat(b.Wrappings, 5)[:9] },
		"257, a byte's one": func(b *envelope.Block) { b.Wrappings = slices.Repeat(b.Wrappings, 129)[:257] },
		"URI twice":         func(b *envelope.Block) { b.Wrappings[1].URI = b.Wrappings[0].URI },
		"empty URI":         func(b *envelope.Block) { b.Wrappings[0].URI = "" },
		"URI too long":      func(b *envelope.Block) { b.Wrappings[0].URI = strings.Repeat("u", 513) },
		"URI of 64 KiB + 1": func(b *envelope.Block) { b.Wrappings[0].URI = strings.Repeat("u", 1<<16+1) },
		"URI not ASCII":     func(b *envelope.Block) { b.Wrappings[0].URI = "é" },
		"a parent's URI":    func(b *envelope.Block) { b.Wrappings[0].URI = "vault-key:x" },
		"wrapped nil":       func(b *envelope.Block) { b.Wrappings[0].Wrapped = nil },
		"wrapped of 4097":   func(b *envelope.Block) { b.Wrappings[0].Wrapped = make([]byte, 4097) },
		"wrapped of 64 KiB": func(b *envelope.Block) { b.Wrappings[0].Wrapped = make([]byte, 1<<16+1) },
	} {
		b := testBlock()
		spoil(&b)
		got, err := b.Append([]byte("head"))
		if got != nil {
			t.Errorf("%s: got %x", name, got)
		}
		wantErr(t, err, envelope.ErrMalformed)
	}
}
