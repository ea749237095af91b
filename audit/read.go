package audit

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/embedvault/vault"
)

// Filter selects records: those that have all that is set.
type Filter struct {
	Object      string // name
	ObjectID    vault.ID
	Actor       string
	Reason      string
	Event       vault.EventName
	KeyID       vault.KeyID
	From, Until time.Time // of Record.Time; Until is not included
	Failed      bool      // only what failed

	// ContextHash selects one key context, and Context what contains these pairs, where
	// records have pairs. A record that either selects is selected.
	ContextHash vault.ContextHash
	Context     vault.KeyContext
}

// Match reports whether the filter selects a record.
func (f *Filter) Match(r *Record) bool {
	return orAny(f.Object, r.Object) && orAny(f.ObjectID, r.ObjectID) && orAny(f.Actor, r.Actor) &&
		orAny(f.Reason, r.Reason) && orAny(f.Event, r.Event) && orAny(f.KeyID, r.KeyID) &&
		(f.From.IsZero() || !r.Time.Before(f.From)) && (f.Until.IsZero() || r.Time.Before(f.Until)) &&
		(!f.Failed || r.ErrorClass != "") && f.matchContext(r)
}

func (f *Filter) matchContext(r *Record) bool {
	byHash, byPairs := f.ContextHash != vault.ContextHash{}, len(f.Context) > 0
	if !byHash && !byPairs {
		return true
	}
	return byHash && r.ContextHash == f.ContextHash || byPairs && r.Context.Contains(f.Context)
}

func orAny[T comparable](want, got T) bool {
	var zero T
	return want == zero || want == got
}

// ErrLine is matched by errors of [Read] about one line that can't be read.
var ErrLine = errors.New("a line that can't be read")

// Read yields the records that the filter selects, in the order in which they stand, of
// a [Log]'s files or of a [JSONLines]'s. It proves nothing: see [Verify]. A line that
// can't be read is yielded as an error that matches [ErrLine], with its File and Line,
// and reading goes on; any other error is the last. It takes bounded memory.
func Read(sources []Source, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, s := range sources {
			if !readOne(s, &f, yield) {
				return
			}
		}
	}
}

func readOne(s Source, f *Filter, yield func(Record, error) bool) bool {
	lines := newLines(s.Reader)
	for n := 1; ; n++ {
		b, err := lines.next()
		at := Record{File: s.Name, Line: n}
		if errors.Is(err, io.EOF) {
			return lines.size == 0 || yield(at, fmt.Errorf("audit: %s:%d: %w: it isn't whole", s.Name, n, ErrLine))
		}
		if err != nil {
			yield(at, fmt.Errorf("audit: read %s: %w", s.Name, err))
			return false
		}
		if len(b) == 0 && !lines.long { // where JSONLines began anew
			continue
		}
		r, event, err := recordOf(b, lines.long)
		if err != nil && !yield(at, fmt.Errorf("audit: %s:%d: %w: %w", s.Name, n, ErrLine, err)) {
			return false
		}
		if err != nil || !event {
			continue
		}
		if r.File, r.Line = s.Name, n; f.Match(&r) && !yield(r, nil) {
			return false
		}
	}
}

// recordOf returns the record of a line, if it has one.
func recordOf(b []byte, long bool) (r Record, event bool, err error) {
	if long {
		return r, false, fmt.Errorf("%w: it is longer than %d bytes", errNotALine, maxLine)
	}
	l, err := parseLine(b)
	if err != nil || l.typ != "" && l.typ != typeEvent {
		return r, false, err
	}
	r, err = l.record()
	return r, err == nil, err
}
