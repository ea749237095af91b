package vectors_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

func readSpec(t *testing.T) string {
	t.Helper()
	d, err := vectors.Dir()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(d, "..", "..", "docs", "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// example collects the lines of the worked example.
type example struct{ strings.Builder }

func (e *example) text(name, value string) { fmt.Fprintf(e, "%-16s  %s\n", name, value) }

func (e *example) bytes(name string, b []byte) {
	const width = 32 // bytes on a line
	for chunk := range slices.Chunk(b, width) {
		e.text(name, hex.EncodeToString(chunk))
		name = ""
	}
}

// The worked example says what the vector says, each value computed again by
// the second reader.
func TestSpecExample(t *testing.T) {
	const name, kekName = "self-aad", "alpha"
	vs := read[vectors.Envelope](t, vectors.EnvelopeFile)
	i := slices.IndexFunc(vs, func(v vectors.Envelope) bool { return v.Name == name })
	ks := read[vectors.Keyset](t, vectors.KeysetFile)
	j := slices.IndexFunc(ks, func(s vectors.Keyset) bool { return s.Name == kekName })
	if i < 0 || j < 0 {
		t.Fatal("the vector or the keyset isn't there")
	}
	v, ks1 := vs[i], ks[j]
	spec := readSpec(t)
	_, rest, ok := strings.Cut(spec, "## Worked example\n")
	if !ok {
		t.Fatal("SPEC.md has no worked example")
	}
	_, rest, _ = strings.Cut(rest, "\n```\n")
	got, _, ok := strings.Cut("\n"+rest, "\n```\n")
	got = strings.TrimPrefix(got, "\n")
	if want := strings.TrimSuffix(workedExample(t, v, ks1), "\n"); !ok || got != want {
		t.Errorf("the worked example is not that of %s; it should be\n%s", name, want)
	}
}

func workedExample(t *testing.T, v vectors.Envelope, s vectors.Keyset) string {
	t.Helper()
	var e example
	context, err := json.Marshal(v.Context)
	if err != nil {
		t.Fatal(err)
	}
	encoding, hash := canonical(v.Context)
	e.text("context", string(context))
	e.bytes("its encoding", encoding)
	e.bytes("context hash", hash)
	e.WriteByte('\n')

	e.bytes("context key", v.ContextKey)
	e.text("purpose, version", fmt.Sprintf("%d, %d", v.Purpose, v.Version))
	info := slices.Concat([]byte("vault/v1/kid"), hash, []byte{v.Purpose}, u32(v.Version))
	id := expand(v.ContextKey, info)
	e.bytes("info of the ID", info)
	e.bytes("key ID", id)
	e.WriteByte('\n')

	binding := slices.Concat([]byte("vault/v1/wrap"), id, hash, []byte{v.Purpose}, u32(v.Version))
	n, size, ok := uvarint(v.Envelope[34:])
	if !ok {
		t.Fatal("no block")
	}
	block := v.Envelope[34+size : 34+size+int(n)]
	uri, tail, _ := cut(block[8:])
	wrapped, _, _ := cut(tail)
	e.bytes("binding", binding)
	e.text("KEK URI", string(uri))
	e.bytes("AES key", s.Keys[0].AESKey)
	e.bytes("HMAC key", s.Keys[0].HMACKey)
	e.bytes("format", wrapped[:1])
	e.bytes("Tink prefix", wrapped[1:6])
	e.bytes("IV", wrapped[6:22])
	e.bytes("wrapped key", wrapped[22:54])
	e.bytes("HMAC tag", wrapped[54:])
	if got := unwrapKeyset(s, wrapped, binding); s.URI != string(uri) || !bytes.Equal(got, v.ContextKey) {
		t.Fatalf("the block unwraps to %x", got)
	}
	e.WriteByte('\n')

	e.bytes("block length", binary.AppendUvarint(nil, n))
	e.bytes("block head", block[:8])
	e.bytes("block URI", block[8:10+len(uri)])
	e.bytes("block wrapped", block[10+len(uri):])
	e.WriteByte('\n')

	body := v.Envelope[34+size+int(n):]
	info = slices.Concat([]byte("vault/v1/dek"), body[:24])
	e.bytes("salt", body[:24])
	e.bytes("info of the DEK", info)
	e.bytes("DEK", expand(v.ContextKey, info))
	e.WriteByte('\n')

	ad := slices.Concat(v.Envelope[:2], v.AAD)
	plaintext, err := gcm(expand(v.ContextKey, info)).Open(nil, nil, body[24:], ad)
	if err != nil {
		t.Fatal(err)
	}
	e.text("aad as text", string(v.AAD))
	e.bytes("associated data", ad)
	e.text("plaintext", string(plaintext))
	e.bytes("nonce", body[24:36])
	e.bytes("ciphertext", body[36:len(body)-16])
	e.bytes("GCM tag", body[len(body)-16:])
	e.WriteByte('\n')

	e.bytes("envelope", v.Envelope)
	text := envelope.TextPrefix + base64.RawURLEncoding.EncodeToString(v.Envelope)
	label := "text form"
	for line := range slices.Chunk([]byte(text), 64) {
		e.text(label, string(line))
		label = ""
	}
	return e.String()
}

// The limits in the text are those in the code.
func TestSpecLimits(t *testing.T) {
	spec := readSpec(t)
	longest := 8 + keyctx.MaxWrappings*(2+keyctx.MaxURILen+2+keyctx.MaxWrappedLen)
	for row, value := range map[string]string{
		"pairs that a caller gives":                fmt.Sprintf("1 to %d", keyctx.MaxPairs),
		"bytes of a pair's key":                    fmt.Sprintf("1 to %d", keyctx.MaxKeyLen),
		"bytes of a pair's value":                  fmt.Sprintf("1 to %d", keyctx.MaxValueLen),
		"wrappings of a key":                       fmt.Sprintf("1 to %d", keyctx.MaxWrappings),
		"bytes of a KEK's URI":                     fmt.Sprintf("1 to %d", keyctx.MaxURILen),
		"bytes of one wrapped key":                 fmt.Sprintf("1 to %d", keyctx.MaxWrappedLen),
		"bytes of a wrapped-key block":             fmt.Sprintf("%d to %d", 8+2+1+2+1, longest),
		"bytes that an envelope by reference adds": fmt.Sprint(envelope.Overhead),
		"bytes of a stream header by reference":    fmt.Sprint(envelope.StreamHeaderSize),
	} {
		if line := "| " + row + " | " + value + " |\n"; !strings.Contains(spec, line) {
			t.Errorf("SPEC.md doesn't say %q", line)
		}
	}
}

// Every file of vectors and every result is described.
func TestSpecVectors(t *testing.T) {
	spec := readSpec(t)
	words := append(vectors.Files(),
		string(vectors.Valid), string(vectors.Malformed), string(vectors.WrongContext), string(vectors.DecryptFailed),
		string(vectors.InvalidContext), string(vectors.InvalidName), string(vectors.Corrupt), string(vectors.Policy))
	for _, w := range words {
		if !strings.Contains(spec, "`"+w+"`") {
			t.Errorf("SPEC.md doesn't mention %s", w)
		}
	}
}
