package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/embedvault/vault"
)

// writer writes the file. It belongs to the log's goroutine.
type writer struct {
	path string
	opts Options

	f          file
	state               // after the last whole line of the file
	dirty      bool     // part of a line may stand behind it
	lost       uint64   // events that could not be written since the last note of it
	opened     uint64   // number of the last line when the log was opened
	openedHash [32]byte // of that line; zero: it is in no file that this one has open
	unsure     bool     // something that a sync failed for may not be on the disk
	key        *vault.AuditKey
	at         io.ReaderAt // the file, to read
	synced     state       // what lasts, of a log that syncs
	not        error       // what Start found

	rotateAt int64 // size
	onHead   func(vault.AuditHead)
	buf      []byte
	marks    []mark
}

// mark is where a line ends in what is being written.
type mark struct {
	end   int
	state state
	entry *entry // nil: a line of the log's own
	lost  uint64 // events that this note tells of
	check bool   // a checkpoint
}

func (w *writer) tell(err error) {
	if err != nil && w.opts.OnError != nil {
		_ = guarded(func() error { w.opts.OnError(fmt.Errorf("audit: %w", err)); return nil })
	}
}

// process does what entries say, in their order. Events that stand together are
// written together.
func (w *writer) process(batch []*entry) {
	for len(batch) > 0 {
		if e := batch[0]; e.run != nil {
			e.done <- e.run()
			batch = batch[1:]
			continue
		}
		n := 1
		for n < len(batch) && batch[n].run == nil {
			n++
		}
		w.events(batch[:n])
		batch = batch[n:]
	}
}

func (w *writer) events(batch []*entry) {
	if w.rotateAt > 0 && w.size >= w.rotateAt {
		if err := w.rotate(); err != nil {
			w.rotateAt = w.size + w.opts.MaxSize/8 + 1 // not at every write
			w.tell(fmt.Errorf("begin the next file: %w", err))
		}
	}
	l := w.begin()
	for _, e := range batch {
		l.buf = l.state.appendEventLine(l.buf, e.members, e.failed)
		l.mark(mark{entry: e})
		if w.key != nil && l.state.unchecked >= uint64(w.opts.Every) {
			l.checkpoint(w.key)
		}
	}
	w.tell(w.commit(l))
}

// lot is what is written at once.
type lot struct {
	state state
	buf   []byte
	marks []mark
}

func (l *lot) mark(m mark) {
	m.end, m.state = len(l.buf), l.state
	l.marks = append(l.marks, m)
}

func (l *lot) checkpoint(key *vault.AuditKey) {
	l.buf = l.state.appendCheckpoint(l.buf, time.Now(), key)
	l.mark(mark{check: true})
}

func (l *lot) note(note, more string) {
	l.buf = l.state.appendNote(l.buf, time.Now(), note, more)
	l.mark(mark{})
}

// begin begins a lot. Events that were lost before are told of first.
func (w *writer) begin() *lot {
	l := &lot{state: w.state, buf: w.buf[:0], marks: w.marks[:0]}
	if w.lost > 0 {
		l.buf = l.state.appendNote(l.buf, time.Now(), noteLost, fmt.Sprintf(`,"count":%d`, w.lost))
		l.mark(mark{lost: w.lost})
	}
	return l
}

// commit writes a lot, makes it last, and answers its entries. The error is for those
// who have no entry: it is of the log's own lines, or nil if an entry was told.
func (w *writer) commit(l *lot) error {
	if w.buf, w.marks = l.buf, l.marks; cap(w.buf) > 1<<20 {
		w.buf = nil // that much is the exception
	}
	defer func() { clear(w.marks) }() // which hold entries
	whole, err := w.write(l)
	var synced error
	checked := slices.ContainsFunc(l.marks[:whole], func(m mark) bool { return m.check })
	if whole > 0 && (checked || !w.opts.NoSync) {
		if synced = w.sync(); synced != nil && !w.opts.NoSync {
			whole = 0 // they were cut off again
			err = synced
		}
	}
	for _, m := range l.marks[:whole] {
		w.lost -= m.lost
	}
	told := false
	for i, m := range l.marks {
		if m.entry == nil {
			continue
		}
		told = true
		if i < whole {
			m.entry.done <- synced
			continue
		}
		w.lost++
		m.entry.done <- err
	}
	if checked {
		w.head(l.marks[:whole])
	}
	if told {
		return nil
	}
	return errors.Join(err, synced)
}

// sync makes what was written last. What a failed sync leaves behind nobody knows: the
// kernel may take it for written, and the next sync succeeds without it. So the file is
// cut back to what lasts, and what comes next is written over it. Without a sync for
// each event only heads depend on it.
func (w *writer) sync() error {
	err := w.f.Sync()
	if err == nil {
		w.synced = w.state
		return nil
	}
	if !w.opts.NoSync {
		w.state = w.synced
		w.dirty = w.f.Truncate(w.size) != nil
	}
	w.unsure = w.unsure || w.opts.NoSync
	return fmt.Errorf("sync: %w", err)
}

// write writes a lot and returns how many of its lines are whole in the file. What is
// there of the next one is cut off again, now or before the next write.
func (w *writer) write(l *lot) (whole int, err error) {
	if w.dirty {
		if err := w.f.Truncate(w.size); err != nil {
			return 0, fmt.Errorf("cut off part of a record: %w", err)
		}
		w.dirty = false
	}
	n, err := w.f.Write(l.buf)
	if err == nil && n < len(l.buf) {
		err = io.ErrShortWrite
	}
	for whole < len(l.marks) && l.marks[whole].end <= n {
		whole++
	}
	if whole > 0 {
		w.state = l.marks[whole-1].state
	}
	if err != nil {
		w.dirty = w.f.Truncate(w.size) != nil
	}
	return whole, err
}

// head tells of the last checkpoint that was written. A file of which something may be
// missing on the disk gets no head any more.
func (w *writer) head(marks []mark) {
	for i := len(marks) - 1; i >= 0; i-- {
		if s := marks[i].state; marks[i].check && w.onHead != nil && !w.unsure {
			w.onHead(vault.AuditHead{Log: s.log, Seq: s.seq, Hash: s.hash, Time: time.Now().UTC().Truncate(time.Microsecond)})
			return
		}
	}
}

// periodic makes a checkpoint if there is something to check.
func (w *writer) periodic() {
	if w.key != nil && w.unchecked > 0 {
		w.tell(w.checkpoint())
	}
}

func (w *writer) checkpoint() error {
	l := w.begin()
	l.checkpoint(w.key)
	if err := w.commit(l); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// finish ends the log.
func (w *writer) finish() error {
	l := w.begin()
	l.note(noteClosed, "")
	if w.key != nil {
		l.checkpoint(w.key)
	}
	err := w.commit(l)
	return errors.Join(err, w.f.Sync(), w.f.Close())
}

// partName is what a part's file is called when the next one is begun.
func partName(path string, part uint64) string { return fmt.Sprintf("%s.%06d", path, part) }

// rotate begins the next file. Killed at any moment, or failed, it leaves a log that
// Open goes on with.
func (w *writer) rotate() error {
	if w.key != nil && w.unchecked > 0 {
		if err := w.checkpoint(); err != nil {
			return err
		}
	}
	if w.dirty {
		if err := w.f.Truncate(w.size); err != nil {
			return err
		}
		w.dirty = false
	}
	old := partName(w.path, w.part)
	if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", fs.ErrExist, old)
	}
	if err := w.sync(); err != nil {
		return err
	}
	if err := os.Rename(w.path, old); err != nil {
		return err
	}
	next := w.state
	next.part, next.size = next.part+1, 0
	f, err := newFile(w.path, next.appendHeader(nil, time.Now()))
	if err != nil {
		// What somebody else has put there is not overwritten: this file goes on under
		// its new name then.
		if _, there := os.Lstat(w.path); errors.Is(there, fs.ErrNotExist) {
			err = errors.Join(err, os.Rename(old, w.path))
		}
		return err
	}
	err = w.f.Close()
	w.f, w.at, w.state, w.synced, w.rotateAt, w.unsure = f, f, next, next, w.opts.MaxSize, false
	if w.key != nil { // so that the head moves on to this file
		err = errors.Join(err, w.checkpoint())
	}
	return err
}

// newFile makes a file that begins with these lines, and locks it.
func newFile(path string, header []byte) (osFile, error) {
	f, err := openLocked(path, true)
	if err != nil {
		return osFile{}, err
	}
	_, err = f.Write(header)
	if err = errors.Join(err, f.Sync(), syncDir(path)); err != nil {
		return osFile{}, errors.Join(err, f.Close(), os.Remove(path))
	}
	return osFile{f}, nil
}

func tornMembers(t *tear) string {
	return fmt.Sprintf(`,"bytes":%d,"sha256":"%s"`, t.bytes, hex.EncodeToString(t.hash[:]))
}
