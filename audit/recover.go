package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/embedvault/vault/storage"
)

// openWriter opens a file and finds out where its log stands.
func openWriter(path string, opts Options) (*writer, error) {
	f, err := openLocked(path, false)
	if err != nil {
		return nil, err
	}
	w := &writer{path: path, opts: opts, f: osFile{f}, at: f, rotateAt: opts.MaxSize}
	if err := w.recover(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// recover goes on where the file ends, and writes a note of it.
func (w *writer) recover(f *os.File) error {
	c, err := scan(f, w.path)
	if err != nil {
		return err
	}
	if c.torn != nil {
		if err := w.f.Truncate(c.size); err != nil {
			return err
		}
	}
	var buf []byte
	fresh := !c.begun
	if fresh {
		if err := w.beginAfterOthers(); err != nil {
			_ = os.Remove(w.path) // it is empty, and in the way of who goes on with the last part
			return err
		}
		w.opened = w.seq
		buf = w.appendHeader(nil, time.Now())
	} else {
		w.state = c.state
		w.opened, w.openedHash = w.seq, w.hash
	}
	if c.torn != nil {
		buf = w.appendNote(buf, time.Now(), noteTorn, tornMembers(c.torn))
	}
	if !fresh {
		buf = w.appendNote(buf, time.Now(), noteOpened, "")
	}
	if _, err := w.f.Write(buf); err != nil {
		return err
	}
	w.synced = w.state
	if err := w.f.Sync(); err != nil || !fresh {
		return err
	}
	return syncDir(w.path)
}

// beginAfterOthers takes the state of a new file: after the last part, if there is one
// (a process was killed while it began the next, or somebody moved that away), or that
// of a new log.
func (w *writer) beginAfterOthers() error {
	part, err := lastPart(w.path)
	if err != nil {
		return err
	}
	if part == 0 {
		w.state = state{log: storage.NewID(time.Now()), part: 1}
		return nil
	}
	// Locked: a process that has it open goes on with it, although it was moved.
	f, err := openLocked(partName(w.path, part), false)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := scan(f, partName(w.path, part))
	if err != nil {
		return err
	}
	if !c.begun || c.torn != nil || c.part != part {
		return fmt.Errorf("%w: %s doesn't end as a part of a log, or isn't the part that its name says", ErrDamaged, partName(w.path, part))
	}
	w.state = c.state
	w.part, w.size = part+1, 0
	return nil
}

// lastPart returns the number of the last file that was ended; 0: there is none.
func lastPart(path string) (last uint64, err error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+".")
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && filepath.Base(partName(path, n)) == e.Name() {
			last = max(last, n)
		}
	}
	return last, nil
}

// scan reads a file of one's own from its beginning and leaves it at its end.
func scan(f *os.File, name string) (*checker, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	c := &checker{limit: 1, tail: true, light: true}
	if err := c.read(context.Background(), Source{Name: name, Reader: f}); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	for _, f := range c.report.Findings {
		return nil, fmt.Errorf("%w: %s: move the file away, keep it, and open the log again", ErrDamaged, f)
	}
	return c, nil
}
