package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/embedvault/vault"
)

// maxCut is how many records can be missing at the end at the most. A head that is
// further ahead is nobody's: it was put into the store by hand.
const maxCut = 1 << 40

// compare compares the log as it was when it was opened with a head, and checks the
// checkpoints of the open file that were made with this key. What doesn't fit is noted in the log, for everyone to
// see who reads it.
//
// The line of the head must be there: nothing is covered by a new checkpoint, and put in
// the place of the head in the store, that doesn't go on from it.
func (w *writer) compare(head vault.AuditHead, key *vault.AuditKey) (not, err error) {
	if head.Log != w.log { // none is kept
		head = vault.AuditHead{}
	}
	l := w.begin()
	if head.Seq > w.opened {
		if head.Seq-w.opened > maxCut {
			return fmt.Errorf("%w: it has record %d, and the log ends with %d: somebody wrote it into the store", ErrHead, head.Seq, w.opened), nil
		}
		l.state.seq = max(l.state.seq, head.Seq)
		l.note(noteCut, fmt.Sprintf(`,"first":%d,"last":%d`, w.opened+1, head.Seq))
		not = fmt.Errorf("%w: records %d to %d are missing at its end", ErrHead, w.opened+1, head.Seq)
		return not, w.commit(l)
	}
	wrong, err := w.rewritten(head, key)
	if err != nil || wrong == "" {
		return nil, err
	}
	l.note(noteRewritten, fmt.Sprintf(`,"first":%d`, head.Seq))
	return fmt.Errorf("%w: %s", ErrHead, wrong), w.commit(l)
}

// rewritten says what is wrong with the records up to the one that w was opened with; ""
// if nothing is. It reads the file that is open and locked, and not what its path names
// by now; of earlier parts, which the open file's first line is chained to, only as many
// as there are until the head and until that record.
func (w *writer) rewritten(head vault.AuditHead, key *vault.AuditKey) (wrong string, err error) {
	c, err := w.check(io.NewSectionReader(w.at, 0, math.MaxInt64), w.path, head, key)
	if err != nil {
		return "", err
	}
	fresh := w.openedHash == [32]byte{}
	headSeen, endSeen := head.Seq == 0, fresh
	for part, later := w.part, (*checker)(nil); ; part, later = part-1, c {
		if later != nil {
			name := partName(w.path, part)
			f, err := os.Open(name)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Sprintf("the part before record %d is not beside the log: put %s back", later.report.First, name), nil
			}
			if err != nil {
				return "", err
			}
			c, err = w.check(f, name, head, key)
			if err = errors.Join(err, f.Close()); err != nil {
				return "", err
			}
			if c.hash != later.before || c.seq+1 != later.report.First {
				return fmt.Sprintf("%s is not the part before", name), nil
			}
		}
		for _, f := range c.report.Findings {
			return f.String(), nil
		}
		// What is read now must be what was read when the log was opened.
		if c.markSeen && !fresh && c.markHash != w.openedHash {
			return fmt.Sprintf("record %d is another than when the log was opened", w.opened), nil
		}
		headSeen, endSeen = headSeen || c.headSeen, endSeen || c.markSeen
		switch {
		case headSeen && endSeen:
			return "", nil
		case !headSeen && (part <= 1 || head.Seq >= c.report.First):
			return fmt.Sprintf("it has no record %d of the one in the store", head.Seq), nil
		case !endSeen && (part <= 1 || w.opened >= c.report.First):
			return fmt.Sprintf("record %d, which was the last when the log was opened, is gone", w.opened), nil
		}
	}
}

// check reads a file of one's own with all that there is to check it.
func (w *writer) check(r io.Reader, name string, head vault.AuditHead, key *vault.AuditKey) (*checker, error) {
	c := &checker{limit: 1, tail: true, light: true, keys: []*vault.AuditKey{key}, oneKey: true, mark: w.opened}
	if head.Seq > 0 {
		c.head = &head
	}
	if err := c.read(context.Background(), Source{Name: name, Reader: r}); err != nil {
		return nil, err
	}
	return c, nil
}
