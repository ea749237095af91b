package audit

import (
	"fmt"
	"time"

	"github.com/embedvault/vault"
)

// Kind says what a [Finding] or a note is about.
type Kind string

// The kinds of findings: each means that the log is not what was written, or can't be
// shown to be.
const (
	Malformed       Kind = "malformed"       // a line is no line of a log
	Changed         Kind = "changed"         // the next line's hash is not this line's
	Missing         Kind = "missing"         // records are missing here
	MissingStart    Kind = "missing_start"   // the log doesn't begin with its first part
	MissingEnd      Kind = "missing_end"     // the head that the store keeps is beyond the end
	Reordered       Kind = "reordered"       // a record stands in another place than it was written at
	Duplicated      Kind = "duplicated"      // a record stands there twice
	Inserted        Kind = "inserted"        // a record with a number that was before, and other contents
	AnotherLog      Kind = "another_log"     // a file, or the head, is of another log
	Forged          Kind = "forged"          // a checkpoint's MAC is wrong: it, or records before it, were changed
	UnknownKey      Kind = "unknown_key"     // a checkpoint names a key that wasn't given
	Unauthenticated Kind = "unauthenticated" // more records than [MaxUnchecked] without a checkpoint, or no checkpoint at all
	OtherHead       Kind = "other_head"      // the head that the store keeps has another hash: the log was rewritten
	WrongCount      Kind = "wrong_count"     // a header or a checkpoint counts other records than there are
)

// The kinds of notes: what happened to the log, and was no tampering.
const (
	Reopened   Kind = "opened"     // a process opened it again
	Torn       Kind = "torn"       // a process was killed in the middle of a record, which was cut off when the log was opened again
	Unfinished Kind = "unfinished" // the same, and it wasn't opened since
	Lost       Kind = "lost"       // events could not be written: the disk was full, or too slow
)

// Finding is one thing that is wrong, or a note.
type Finding struct {
	Kind Kind
	File string // as it was named
	Line int    // in the file, from 1; 0: the file, or the log, as a whole
	Seq  uint64 // of the record, or of the first of those from Seq to Last; 0: none
	Last uint64
	Text string // for people
}

// String returns the finding in one line. It holds nothing from the log but numbers.
func (f Finding) String() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	if f.Last > f.Seq {
		return fmt.Sprintf("%s: %s: records %d to %d: %s", at, f.Kind, f.Seq, f.Last, f.Text)
	}
	if f.Seq > 0 {
		return fmt.Sprintf("%s: %s: record %d: %s", at, f.Kind, f.Seq, f.Text)
	}
	return fmt.Sprintf("%s: %s: %s", at, f.Kind, f.Text)
}

// Report is what verifying a log has found.
type Report struct {
	Log   vault.ID
	Files int
	Lines uint64 // of all types
	First uint64 // number of the first line
	Last  uint64 // number of the last whole line

	Events uint64 // events in these files
	Failed uint64 // of those, failed ones

	// Authenticated says that keys were given, so that MACs were checked. Without keys a
	// log that was rewritten from end to end has no findings.
	Authenticated bool
	Checkpoints   uint64    // with a right MAC, or, without keys, all
	Checkpoint    uint64    // number of the last one
	CheckpointAt  time.Time // its time
	After         uint64    // lines after it: chained, and not authenticated

	// HeadCompared says that the log's end was compared with a head from the store.
	HeadCompared bool
	Closed       bool // the log ends as Close ends it

	Findings []Finding // in the order of the files; at most Options.MaxFindings
	Omitted  int       // further findings
	Notes    []Finding // the same for what was no tampering; the last ones
}

// OK reports whether nothing was found. Look at Authenticated, After and HeadCompared
// too: they say how much that means.
func (r *Report) OK() bool { return len(r.Findings) == 0 && r.Omitted == 0 }
