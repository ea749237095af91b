package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/embedvault/vault"
)

// A line of a log is, with HEX the SHA-256 of the line before (without its end) in
// lower-case hexadecimal, or zeros in the first line of all,
//
//	{"seq":N,"prev":"HEX","type":"TYPE","time":…
//
// and then what its type has. SPEC: docs/SPEC.md, "Audit log".
const (
	typeHeader     = "header"
	typeEvent      = "event"
	typeCheckpoint = "checkpoint"
	typeNote       = "note"
)

// The notes.
const (
	noteOpened    = "opened"    // the file was opened again
	noteTorn      = "torn"      // what was behind the last whole line was cut off
	noteCut       = "cut"       // records that the vault's store knows of are missing
	noteRewritten = "rewritten" // the vault's store knows another hash of a record
	noteLost      = "lost"      // events could not be written
	noteClosed    = "closed"    // Close was called
)

// logFormat is the version of the format.
const logFormat = 1

// MaxUnchecked is how many records a log with a key has after a checkpoint at the most
// until the next one. It is part of the format: more of them are a finding.
const MaxUnchecked = 10_000

// state is where a log stands after a line. It is copied freely.
type state struct {
	log            vault.ID
	part           uint64 // of the file: 1, 2, 3 …
	seq            uint64 // of the last line
	hash           [32]byte
	events, failed uint64 // so far, all parts together
	unchecked      uint64 // lines since the last checkpoint
	size           int64  // of the file, in bytes
}

// appendLine appends a line of this type with these members, and moves the state on.
func (s *state) appendLine(dst []byte, typ string, members []byte) []byte {
	from := len(dst)
	dst = strconv.AppendUint(append(dst, `{"seq":`...), s.seq+1, 10)
	dst = hex.AppendEncode(append(dst, `,"prev":"`...), s.hash[:])
	dst = append(append(dst, `","type":"`...), typ...)
	dst = append(append(dst, `",`...), members...)
	dst = append(dst, '}')
	s.hash = sha256.Sum256(dst[from:])
	s.seq++
	s.unchecked++
	s.size += int64(len(dst) - from + 1)
	return append(dst, '\n')
}

// appendEventLine appends the line of an event, whose members are those of appendEvent.
func (s *state) appendEventLine(dst, members []byte, failed bool) []byte {
	s.events++
	if failed {
		s.failed++
	}
	return s.appendLine(dst, typeEvent, members)
}

// appendHeader appends the first line of a file.
func (s *state) appendHeader(dst []byte, now time.Time) []byte {
	m := appendTime([]byte(`"time":`), now)
	m = strconv.AppendUint(append(m, `,"format":`...), logFormat, 10)
	m = append(append(append(m, `,"log":"`...), s.log.String()...), '"')
	m = strconv.AppendUint(append(m, `,"part":`...), s.part, 10)
	m = s.appendCounts(m)
	return s.appendLine(dst, typeHeader, m)
}

func (s *state) appendCounts(dst []byte) []byte {
	dst = strconv.AppendUint(append(dst, `,"events":`...), s.events, 10)
	return strconv.AppendUint(append(dst, `,"failed":`...), s.failed, 10)
}

// appendNote appends a note. more is what it has besides, with a comma before it.
func (s *state) appendNote(dst []byte, now time.Time, note, more string) []byte {
	m := appendTime([]byte(`"time":`), now)
	m = append(append(append(m, `,"note":"`...), note...), '"')
	return s.appendLine(dst, typeNote, append(m, more...))
}

// appendCheckpoint appends a checkpoint of all lines before it.
func (s *state) appendCheckpoint(dst []byte, now time.Time, key *vault.AuditKey) []byte {
	now = now.UTC().Truncate(time.Microsecond)
	mac := key.MAC(checkpointMessage(s.log, s.seq+1, s.hash, now, s.events, s.failed))
	m := s.appendCounts(appendTime([]byte(`"time":`), now))
	m = append(append(append(m, `,"key_id":"`...), key.ID().String()...), '"')
	m = append(hex.AppendEncode(append(m, `,"mac":"`...), mac[:]), '"')
	dst = s.appendLine(dst, typeCheckpoint, m)
	s.unchecked = 0
	return dst
}

// checkpointMessage is what a checkpoint's MAC is of:
//
//	"vault/audit/v1" ‖ log ID (16) ‖ u64 seq ‖ prev (32) ‖ i64 time (µs) ‖ u64 events ‖ u64 failed
//
// with the checkpoint's own seq, prev and time. SPEC: docs/SPEC.md, "Audit log".
func checkpointMessage(log vault.ID, seq uint64, prev [32]byte, at time.Time, events, failed uint64) []byte {
	const label = "vault/audit/v1"
	b := make([]byte, 0, len(label)+len(log)+len(prev)+4*8)
	b = append(append(b, label...), log[:]...)
	b = append(binary.BigEndian.AppendUint64(b, seq), prev[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, events)
	return binary.BigEndian.AppendUint64(b, failed)
}
