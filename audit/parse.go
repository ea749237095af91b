package audit

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/embedvault/vault"
)

// Record is one event, as it stands in a log or in a file of [JSONLines]; there the
// fields up to Prev are zero, save File and Line.
type Record struct {
	File string // as it was named to Read
	Line int    // in the file, from 1
	Seq  uint64
	Prev [32]byte // SHA-256 of the line before

	Event       vault.EventName
	Time        time.Time // when the operation began
	Actor       string
	Reason      string
	ContextHash vault.ContextHash
	Context     vault.KeyContext // only with Config.EventContext
	KeyID       vault.KeyID
	Object      string
	ObjectID    vault.ID
	VersionID   vault.ID
	KEK         string
	Duration    time.Duration
	ErrorClass  string // see Class; "" if it was done
	Error       string
}

// line is a parsed line of any type.
type line struct {
	seq    uint64
	prev   [32]byte
	typ    string
	wire   wire
	log    vault.ID // of a header
	mac    [32]byte // of a checkpoint
	keyID  vault.KeyID
	isLog  bool // it has seq, prev and type
	parsed time.Time
}

// wire has the members of all types.
type wire struct {
	Time string `json:"time"`

	Format uint64 `json:"format"`
	Log    string `json:"log"`
	Part   uint64 `json:"part"`
	Events uint64 `json:"events"`
	Failed uint64 `json:"failed"`
	MAC    string `json:"mac"`

	Note   string `json:"note"`
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Count  uint64 `json:"count"`

	Event       string           `json:"event"`
	Actor       string           `json:"actor"`
	Reason      string           `json:"reason"`
	ContextHash string           `json:"context_hash"`
	Context     vault.KeyContext `json:"context"`
	KeyID       string           `json:"key_id"`
	Object      string           `json:"object"`
	ObjectID    string           `json:"object_id"`
	VersionID   string           `json:"version_id"`
	KEK         string           `json:"kek"`
	DurationNS  int64            `json:"duration_ns"`
	ErrorClass  string           `json:"error_class"`
	Error       string           `json:"error"`
}

var errNotALine = errors.New("not a line of an audit log")

// parseLine reads a line without its end. The beginning of a log's line has one form
// only; after it members may come that this version doesn't know, but none twice.
func parseLine(b []byte) (line, error) {
	var l line
	if !utf8.Valid(b) {
		return l, fmt.Errorf("%w: it is no UTF-8", errNotALine)
	}
	if rest, ok := bytes.CutPrefix(b, []byte(`{"seq":`)); ok {
		if err := l.parseHead(rest); err != nil {
			return l, err
		}
	}
	if err := json.Unmarshal(b, &l.wire); err != nil {
		return l, fmt.Errorf("%w: it is no JSON object, or a member has a wrong type", errNotALine)
	}
	if err := onceEach(b); err != nil {
		return l, err
	}
	var err error
	if l.parsed, err = time.Parse(timeForm, l.wire.Time); err != nil {
		return l, fmt.Errorf("%w: it has no time", errNotALine)
	}
	return l, l.parseType()
}

// parseHead reads what follows {"seq": up to the type.
func (l *line) parseHead(b []byte) error {
	bad := fmt.Errorf("%w: it doesn't begin as one", errNotALine)
	number, rest, ok := bytes.Cut(b, []byte(`,"prev":"`))
	if !ok || len(rest) < 2*len(l.prev) {
		return bad
	}
	var err error
	if l.seq, err = strconv.ParseUint(string(number), 10, 64); err != nil || strconv.FormatUint(l.seq, 10) != string(number) {
		return bad
	}
	digits := rest[:2*len(l.prev)]
	if _, err := hex.Decode(l.prev[:], digits); err != nil || !bytes.Equal(digits, bytes.ToLower(digits)) {
		return bad
	}
	typ, ok := bytes.CutPrefix(rest[len(digits):], []byte(`","type":"`))
	if !ok {
		return bad
	}
	name, _, ok := bytes.Cut(typ, []byte(`","time":"`))
	if !ok || len(name) > 32 {
		return bad
	}
	l.typ, l.isLog = string(name), true
	return nil
}

func (l *line) parseType() error {
	var err error
	switch l.typ {
	case "", typeEvent:
		_, err = l.record()
		return err
	case typeNote:
		return nil
	case typeHeader:
		if l.wire.Format != logFormat {
			return fmt.Errorf("%w: its format is %d; this version reads %d", errNotALine, l.wire.Format, logFormat)
		}
		if l.log, err = vault.ParseID(l.wire.Log); err != nil || l.log.IsZero() || l.wire.Part == 0 {
			return fmt.Errorf("%w: a header without a log ID or a part", errNotALine)
		}
		return nil
	case typeCheckpoint:
		if len(l.wire.MAC) != 2*len(l.mac) || l.keyID.UnmarshalText([]byte(l.wire.KeyID)) != nil {
			return fmt.Errorf("%w: a checkpoint without a MAC", errNotALine)
		}
		if _, err := hex.Decode(l.mac[:], []byte(l.wire.MAC)); err != nil {
			return fmt.Errorf("%w: a checkpoint without a MAC", errNotALine)
		}
		return nil
	}
	return fmt.Errorf("%w: its type is unknown", errNotALine)
}

// record returns an event's record.
func (l *line) record() (Record, error) {
	w := &l.wire
	r := Record{
		Seq: l.seq, Prev: l.prev, Event: vault.EventName(w.Event), Time: l.parsed, Actor: w.Actor, Reason: w.Reason,
		Context: w.Context, Object: w.Object, KEK: w.KEK, Duration: time.Duration(w.DurationNS),
		ErrorClass: w.ErrorClass, Error: w.Error,
	}
	if w.Event == "" {
		return Record{}, fmt.Errorf("%w: it names no event", errNotALine)
	}
	bad := func(text string, into interface{ UnmarshalText([]byte) error }) bool {
		return text != "" && into.UnmarshalText([]byte(text)) != nil
	}
	if bad(w.ContextHash, &r.ContextHash) || bad(w.KeyID, &r.KeyID) || bad(w.ObjectID, &r.ObjectID) || bad(w.VersionID, &r.VersionID) {
		return Record{}, fmt.Errorf("%w: an ID or a hash isn't one", errNotALine)
	}
	return r, nil
}

// onceEach reports whether b, which is valid JSON, is one object with nothing around it
// in which no name comes twice, not even written otherwise: of two readers each could
// believe another.
func onceEach(b []byte) error {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return fmt.Errorf("%w: it is no JSON object", errNotALine)
	}
	var seen [][]byte
	depth, name := 0, false
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
			name = depth == 1
		case '}', ']':
			depth--
		case ',':
			name = depth == 1
		case '"':
			end := stringEnd(b, i)
			if key := b[i+1 : end]; name {
				if name = false; !plainName(key) {
					return fmt.Errorf("%w: a member has a strange name", errNotALine)
				}
				seen = append(seen, key)
			}
			i = end
		}
	}
	slices.SortFunc(seen, bytes.Compare) // a line may have very many
	for i := 1; i < len(seen); i++ {
		if bytes.Equal(seen[i-1], seen[i]) {
			return fmt.Errorf("%w: a member comes twice", errNotALine)
		}
	}
	return nil
}

// stringEnd returns where the JSON string ends that begins at i.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b)-1 && b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return min(i, len(b)-1)
}

// plainName: package encoding/json takes names in other cases for the same.
func plainName(s []byte) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return len(s) > 0
}
