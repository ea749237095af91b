package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/embedvault/vault"
)

// errClosed is matched by calls on a sink that was closed.
var errClosed = errors.New("the audit log was closed")

// JSONLines is a sink that appends one JSON object for each event, and a line end. Its
// OnEvent is for vault.Config.OnEvent. The names of the fields are in docs/SPEC.md,
// "Audit log"; they are added to and never renamed. No event can make a second line, or
// anything that a terminal takes for a command. It is safe for concurrent use.
type JSONLines struct {
	path string
	sync bool

	mu     sync.Mutex // guards what follows
	w      io.Writer  // nil: closed
	file   *os.File   // what w is, if it is a file of ours
	broken bool       // the last line has no end
	buf    []byte
}

// JSONLinesOptions are the options of a [JSONLines]. The zero value is good.
type JSONLinesOptions struct {
	// Sync makes each event last before OnEvent returns, at the cost of one fsync for
	// each. Without it events survive the process, and not the machine.
	Sync bool
}

// OpenJSONLines opens the file at path, and makes it, with mode 0600, if it isn't there.
// Several processes may append to one. A link, or what isn't a regular file, is
// refused: ErrNotRegular.
func OpenJSONLines(path string, opts JSONLinesOptions) (*JSONLines, error) {
	j := &JSONLines{path: path, sync: opts.Sync}
	if err := j.open(); err != nil {
		return nil, fmt.Errorf("audit: open: %w", err)
	}
	return j, nil
}

// NewJSONLines returns a sink that writes to w, each line by one call of Write: the
// standard output of a container. Reopen does nothing, and Close doesn't close w.
func NewJSONLines(w io.Writer) *JSONLines { return &JSONLines{w: w} }

// open opens the file in place of the one before. The caller has the lock, or is alone.
func (j *JSONLines) open() error {
	f, err := openPlain(j.path)
	if err != nil {
		return err
	}
	broken, err := endsBroken(j.path)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if j.file != nil {
		err = j.file.Close()
	}
	j.w, j.file, j.broken = f, f, broken
	return err
}

// endsBroken reports whether a file's last line has no end: somebody was killed, or the
// disk was full.
func endsBroken(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return false, err
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return last[0] != '\n', err
}

// othersBroke reports whether the file's last line has no end, which another process
// has left so.
func (j *JSONLines) othersBroke() bool {
	if j.file == nil {
		return false
	}
	broken, err := endsBroken(j.path)
	return err == nil && broken
}

// OnEvent appends an event. If the line can't be written whole, it says so, and the next
// one begins on a line of its own.
func (j *JSONLines) OnEvent(_ context.Context, e vault.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.w == nil {
		return fmt.Errorf("audit: %w", errClosed)
	}
	j.buf = j.buf[:0]
	if j.broken || j.othersBroke() {
		j.buf = append(j.buf, '\n')
	}
	j.buf = append(j.buf, '{')
	j.buf = append(appendEvent(j.buf, e), "}\n"...)
	n, err := j.w.Write(j.buf)
	if err == nil && n < len(j.buf) {
		err = io.ErrShortWrite
	}
	if n > 0 {
		j.broken = n < len(j.buf)
	}
	if err == nil && j.sync && j.file != nil {
		err = j.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("audit: write: %w", err)
	}
	return nil
}

// Reopen opens the path again, after something like logrotate has moved the file away.
// If that fails, the file before goes on being written.
func (j *JSONLines) Reopen() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.w == nil:
		return fmt.Errorf("audit: reopen: %w", errClosed)
	case j.file == nil:
		return nil
	}
	if err := j.open(); err != nil {
		return fmt.Errorf("audit: reopen: %w", err)
	}
	return nil
}

// Close closes the file. Events after it fail. It may be called more than once.
func (j *JSONLines) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	f := j.file
	j.w, j.file = nil, nil
	if f == nil {
		return nil
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("audit: close: %w", err)
	}
	return nil
}
