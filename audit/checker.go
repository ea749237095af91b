package audit

import (
	"bytes"
	"fmt"
	"math"

	"github.com/embedvault/vault"
)

// maxNotes is how many notes a report has at most.
const maxNotes = 1000

// checker follows a log line by line. It holds no more than a few lines' worth of
// memory, however long the log is.
type checker struct {
	keys   []*vault.AuditKey
	head   *vault.AuditHead
	limit  int  // of findings
	tail   bool // the first file need not be the first part
	oneKey bool // checkpoints of other keys are not checked
	light  bool // events are taken as they are: to find the end of one's own file

	report   Report
	state           // after the last line that has its place
	begun    bool   // a line was seen
	blind    uint64 // unreadable lines since: the last hash says nothing of the next prev
	skip     bool   // the rest of this file: it is another log's
	headSeen bool
	mark     uint64 // a line whose hash is wanted
	markSeen bool
	markHash [32]byte
	before   [32]byte // the hash that the first line of all has of the one before
	macSeen  bool     // a checkpoint with a right MAC was seen
	over     *Finding // too many lines without a checkpoint, unless one follows
	torn     *tear

	file     string
	lineNo   int
	lastFile string // where the last line with its place stands
	lastLine int
}

// tear is what is behind the last whole line of a file.
type tear struct {
	bytes int64
	hash  [32]byte
}

func (c *checker) find(kind Kind, file string, line int, seq, last uint64, format string, args ...any) {
	if len(c.report.Findings) >= c.limit {
		c.report.Omitted++
		return
	}
	c.report.Findings = append(c.report.Findings, Finding{Kind: kind, File: file, Line: line, Seq: seq, Last: last, Text: fmt.Sprintf(format, args...)})
}

// here finds something about the line that is being looked at.
func (c *checker) here(kind Kind, seq uint64, format string, args ...any) {
	c.find(kind, c.file, c.lineNo, seq, seq, format, args...)
}

// noted finds something that the log says of itself: its chain holds.
func (c *checker) noted(kind Kind, l line, format string, args ...any) {
	if !c.light {
		c.find(kind, c.file, c.lineNo, l.wire.First, max(l.wire.First, l.wire.Last), format, args...)
	}
}

func (c *checker) note(kind Kind, seq uint64, format string, args ...any) {
	if len(c.report.Notes) == maxNotes {
		c.report.Notes = append(c.report.Notes[:0], c.report.Notes[1:]...)
	}
	c.report.Notes = append(c.report.Notes, Finding{Kind: kind, File: c.file, Line: c.lineNo, Seq: seq, Last: seq, Text: fmt.Sprintf(format, args...)})
}

// beginFile begins the next file.
func (c *checker) beginFile(name string) {
	if c.torn != nil { // of the file before: another begins, so it wasn't the log's end
		c.find(Missing, c.file, c.lineNo+1, 0, 0, "the file ends in the middle of a record, and another file follows")
	}
	c.file, c.lineNo, c.torn, c.size, c.skip = name, 0, nil, 0, false
	c.report.Files++
}

// take takes the next line, without its end; long says that it is longer than a line
// can be, and b then only its hash's.
func (c *checker) take(b []byte, long bool, hash [32]byte, size int64) {
	c.lineNo++
	c.report.Lines++
	c.size += size
	if c.skip {
		return
	}
	l, err := c.parse(b, long)
	if err == nil && !l.isLog {
		err = fmt.Errorf("%w: it has no number", errNotALine)
	}
	if err != nil {
		c.here(Malformed, 0, "%v", err)
		c.blind++
		c.report.Closed = false
		return
	}
	if l.typ == typeHeader && c.lineNo > 1 || l.typ != typeHeader && c.lineNo == 1 {
		c.here(Malformed, l.seq, "a file begins with its header, and has no other")
	}
	if l.typ == typeHeader && c.begun && l.log != c.log {
		c.here(AnotherLog, l.seq, "log %s, not %s: the rest of the file was left out", l.log, c.log)
		c.skip = true
		return
	}
	if !c.begun && l.seq > 0 {
		c.begin(l)
	}
	if !c.inPlace(l, hash) {
		return
	}
	c.accept(l, b, hash)
}

func (c *checker) parse(b []byte, long bool) (line, error) {
	if long {
		return line{}, fmt.Errorf("%w: it is longer than %d bytes", errNotALine, maxLine)
	}
	if rest, ok := bytes.CutPrefix(b, []byte(`{"seq":`)); ok && c.light {
		var l line
		if l.parseHead(rest) == nil && l.typ == typeEvent && b[len(b)-1] == '}' {
			return l, nil
		}
	}
	return parseLine(b)
}

// begin takes the first line of all for where the log begins.
func (c *checker) begin(l line) {
	c.begun = true
	c.report.First = l.seq
	c.seq, c.hash, c.before = l.seq-1, l.prev, l.prev
	if l.typ == typeHeader {
		c.log, c.events, c.failed = l.log, l.wire.Events, l.wire.Failed
	}
	c.report.Log = c.log
	if l.seq == 1 && l.typ == typeHeader {
		if l.prev != ([32]byte{}) || l.wire.Part != 1 {
			c.here(Changed, 1, "the first line of a log has no line before it, and is of part 1")
		}
		return
	}
	if !c.tail {
		c.here(MissingStart, l.seq, "the log begins before this file: give the earlier parts, or say that they aren't wanted")
	}
}

// inPlace reports whether the line is the next one, and finds what is wrong if it isn't.
func (c *checker) inPlace(l line, hash [32]byte) bool {
	if l.typ == typeNote && l.wire.Note == noteCut && l.wire.Last < math.MaxUint64 && l.seq == max(c.seq, l.wire.Last)+1 && l.prev == c.hash {
		c.noted(Missing, l, "the vault's store knew of them when the log was opened, and they were gone: the end was cut off, or an older copy was put back")
		return true
	}
	switch {
	case l.seq == c.seq+1:
		if l.prev != c.hash && c.blind == 0 {
			c.find(Changed, c.lastFile, c.lastLine, c.seq, c.seq, "its hash is not the one that record %d has: it was changed after that was written, or that one was", l.seq)
		}
		return true
	case l.seq <= c.seq:
		c.outOfPlace(l, hash)
		return false
	case l.seq-c.seq-1 <= c.blind: // the unreadable lines stand in their places
		return true
	}
	c.find(Missing, c.file, c.lineNo, c.seq+1, l.seq-1, "they should stand before this line")
	return true
}

// outOfPlace finds a line whose number was before.
func (c *checker) outOfPlace(l line, hash [32]byte) {
	if hash == c.hash {
		c.here(Duplicated, l.seq, "it stands there twice")
		return
	}
	for i := range c.report.Findings {
		f := &c.report.Findings[i]
		if f.Kind == Missing && f.Seq <= l.seq && l.seq <= f.Last {
			if f.Seq == f.Last { // not missing after all
				f.Kind, f.File, f.Line, f.Text = Reordered, c.file, c.lineNo, fmt.Sprintf("it stands after record %d", c.seq)
				return
			}
			c.here(Reordered, l.seq, "it stands after record %d", c.seq)
			return
		}
	}
	c.here(Inserted, l.seq, "a record with this number was before; it was inserted, or moved here, or that one was")
}

// accept moves on to a line that has its place.
func (c *checker) accept(l line, b []byte, hash [32]byte) {
	clean := len(c.report.Findings) == 0 && c.report.Omitted == 0
	switch l.typ {
	case typeHeader:
		if clean && c.lineNo == 1 && c.part != 0 && l.wire.Part != c.part+1 {
			c.here(Changed, l.seq, "part %d follows part %d", l.wire.Part, c.part)
		}
		c.part = l.wire.Part
		c.counts(l, clean)
	case typeEvent:
		c.events++
		c.report.Events++
		if l.wire.ErrorClass != "" || c.light && hasClass(b) {
			c.failed++
			c.report.Failed++
		}
	case typeNote:
		c.notes(l)
	case typeCheckpoint:
		c.counts(l, clean)
	}
	prev := c.hash
	c.seq, c.hash, c.blind = l.seq, hash, 0
	c.lastFile, c.lastLine = c.file, c.lineNo
	c.unchecked++
	if l.typ == typeCheckpoint {
		c.checkpoint(l, prev)
	}
	if l.typ != typeCheckpoint || !c.report.Closed {
		c.report.Closed = l.typ == typeNote && l.wire.Note == noteClosed
	}
	if c.unchecked > MaxUnchecked && c.macSeen && c.over == nil {
		c.over = &Finding{File: c.file, Line: c.lineNo, Seq: l.seq}
	}
	if c.seq == c.mark && c.mark > 0 {
		c.markSeen, c.markHash = true, hash
	}
	c.compareHead()
}

// hasClass reports whether the line of an event that was taken as it is says that it
// failed. A key context may have a pair of the member's name.
func hasClass(b []byte) bool {
	if !bytes.Contains(b, []byte(`,"error_class":"`)) {
		return false
	}
	l, err := parseLine(b)
	return err == nil && l.wire.ErrorClass != ""
}

// counts compares what a line counts. Where something else was found the counts say
// nothing more.
func (c *checker) counts(l line, clean bool) {
	if clean && (l.wire.Events != c.events || l.wire.Failed != c.failed) {
		c.here(WrongCount, l.seq, "it counts %d events, %d of them failed, and there were %d and %d", l.wire.Events, l.wire.Failed, c.events, c.failed)
	}
	c.events, c.failed = l.wire.Events, l.wire.Failed
}

func (c *checker) notes(l line) {
	switch l.wire.Note {
	case noteTorn:
		c.note(Torn, l.seq, "a process was killed in the middle of a record: %d bytes were cut off; their event may or may not have been answered", l.wire.Bytes)
	case noteLost:
		c.note(Lost, l.seq, "%d events could not be written before this line, and their operations were told so", l.wire.Count)
	case noteRewritten:
		c.noted(OtherHead, l, "when the log was opened, the vault's store had another hash of this record: the log had been rewritten")
	case noteOpened:
		c.note(Reopened, l.seq, "opened again")
	}
}
