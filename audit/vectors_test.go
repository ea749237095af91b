package audit

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/keyctx"
)

func readVectors(t *testing.T) []vectors.Audit {
	t.Helper()
	vs, err := vectors.Read[vectors.Audit](vectors.AuditFile)
	if err != nil {
		t.Fatal(err)
	}
	return vs
}

// Each vector has the findings that it says, and no others.
func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		opts := VerifyOptions{Keys: []*vault.AuditKey{vault.NewAuditKey(vault.KeyID(v.KeyID), [32]byte(v.MACKey))}}
		if v.Head != nil {
			log, err := vault.ParseID(v.Head.Log)
			if err != nil {
				t.Fatal(err)
			}
			opts.Head = &vault.AuditHead{Log: log, Seq: v.Head.Seq, Hash: [32]byte(v.Head.Hash)}
		}
		var sources []Source
		for i, f := range v.Files {
			sources = append(sources, Source{fmt.Sprint(i), strings.NewReader(f)})
		}
		r, err := Verify(t.Context(), sources, opts)
		if err != nil {
			t.Fatal(err)
		}
		got := []vectors.AuditFinding{}
		for _, f := range r.Findings {
			var file int
			fmt.Sscan(f.File, &file)
			got = append(got, vectors.AuditFinding{Kind: string(f.Kind), File: file, Line: f.Line, Seq: f.Seq, Last: f.Last})
		}
		if !slices.Equal(got, v.Findings) || r.OK() != (v.Result == vectors.Valid) {
			t.Errorf("%s: found %+v, want %+v", v.Name, got, v.Findings)
		}
		if r.Events != v.Events || r.Failed != v.Failed || r.After != v.After || r.Closed != v.Closed {
			t.Errorf("%s: %d events, %d failed, %d after, closed %v; want %d, %d, %d, %v", v.Name, r.Events, r.Failed, r.After, r.Closed, v.Events, v.Failed, v.After, v.Closed)
		}
	}
}

// The key that MACs is derived from the context key as specified, and only from one that
// authenticates.
func TestDerivedKey(t *testing.T) {
	v := readVectors(t)[0]
	for purpose := keyctx.PurposeData; purpose <= keyctx.PurposeAuthentication; purpose++ {
		k, err := envelope.NewKey(v.ContextKey, keyctx.Hash(v.ContextHash), purpose, v.Version)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.AuditKey()
		if right := purpose == keyctx.PurposeAuthentication; (err == nil) != right || right && (!bytes.Equal(got[:], v.MACKey) || k.ID() != vault.KeyID(v.KeyID)) {
			t.Errorf("purpose %v: %x, %v", purpose, got, err)
		}
		k.Destroy()
		if _, err := k.AuditKey(); err == nil {
			t.Error("a destroyed key derives")
		}
	}
}

// classed is an error that says what it is told to.
type classed struct {
	error
	text string
}

func (c classed) Error() string { return c.text }
func (c classed) Unwrap() error { return c.error }

// The writer writes each line of a valid vector, byte for byte.
func TestWriterWritesTheVectors(t *testing.T) {
	lines := 0
	for _, v := range readVectors(t) {
		if v.Result != vectors.Valid {
			continue
		}
		key := vault.NewAuditKey(vault.KeyID(v.KeyID), [32]byte(v.MACKey))
		var s state
		for line := range strings.Lines(strings.Join(v.Files, "")) {
			text, whole := strings.CutSuffix(line, "\n")
			if !whole {
				break
			}
			l, err := parseLine([]byte(text))
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			var got []byte
			switch l.typ {
			case typeHeader:
				s.log, s.part = l.log, s.part+1
				got = s.appendHeader(nil, l.parsed)
			case typeCheckpoint:
				got = s.appendCheckpoint(nil, l.parsed, key)
			case typeEvent:
				got = s.appendEventLine(nil, appendEvent(nil, eventOf(t, l)), l.wire.ErrorClass != "")
			case typeNote:
				more := ""
				switch l.wire.Note {
				case noteTorn:
					more = fmt.Sprintf(`,"bytes":%d,"sha256":"%s"`, l.wire.Bytes, l.wire.SHA256)
				case noteLost:
					more = fmt.Sprintf(`,"count":%d`, l.wire.Count)
				}
				got = s.appendNote(nil, l.parsed, l.wire.Note, more)
			}
			if string(got) != line {
				t.Errorf("%s: written\n%swant\n%s", v.Name, got, line)
			}
			if sum := s.seq; sum != l.seq {
				t.Fatalf("%s: line %d is %d", v.Name, l.seq, sum)
			}
			s.hash = hashLine(text)
			lines++
		}
	}
	if lines < 40 {
		t.Errorf("%d lines", lines)
	}
}

func hashLine(text string) [32]byte {
	lines := newLines(strings.NewReader(text))
	_, _ = lines.next()
	return lines.hash
}

func eventOf(t *testing.T, l line) vault.Event {
	t.Helper()
	r, err := l.record()
	if err != nil {
		t.Fatal(err)
	}
	e := vault.Event{
		Name: r.Event, Time: r.Time, Actor: r.Actor, Reason: r.Reason, ContextHash: r.ContextHash, Context: r.Context, KeyID: r.KeyID,
		Object: r.Object, ObjectID: r.ObjectID, VersionID: r.VersionID, KEK: r.KEK, Duration: r.Duration,
	}
	if r.ErrorClass == "" {
		return e
	}
	for _, c := range classes {
		if c.code == r.ErrorClass {
			e.Err = classed{c.err, r.Error}
		}
	}
	if e.Err == nil {
		e.Err = errors.New(r.Error)
	}
	return e
}
