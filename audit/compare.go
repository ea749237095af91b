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
// as there are until the head.
func (w *writer) rewritten(head vault.AuditHead, key *vault.AuditKey) (wrong string, err error) {
	c, err := check(io.NewSectionReader(w.at, 0, math.MaxInt64), w.path, head, key)
	if err != nil {
		return "", err
	}
	if bad := c.wrong(); bad != "" {
		return bad, nil
	}
	if head.Seq == 0 || c.headSeen {
		return "", nil
	}
	for part, first := w.part, c; part > 1 && head.Seq < first.report.First; part-- {
		f, err := os.Open(partName(w.path, part-1))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("the part with record %d is not beside the log: put %s back", head.Seq, partName(w.path, part-1)), nil
		}
		if err != nil {
			return "", err
		}
		earlier, err := check(f, f.Name(), head, key)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		if bad := earlier.wrong(); bad != "" {
			return bad, nil
		}
		if earlier.hash != first.before || earlier.seq+1 != first.report.First {
			return fmt.Sprintf("%s is not the part before", f.Name()), nil
		}
		if earlier.headSeen {
			return "", nil
		}
		first = earlier
	}
	return fmt.Sprintf("it has no record %d of the one in the store", head.Seq), nil
}

// check reads a file of one's own with all that there is to check it.
func check(r io.Reader, name string, head vault.AuditHead, key *vault.AuditKey) (*checker, error) {
	c := &checker{limit: 1, tail: true, light: true, keys: []*vault.AuditKey{key}, oneKey: true}
	if head.Seq > 0 {
		c.head = &head
	}
	if err := c.read(context.Background(), Source{Name: name, Reader: r}); err != nil {
		return nil, err
	}
	return c, nil
}

// wrong is the first finding, or "".
func (c *checker) wrong() string {
	for _, f := range c.report.Findings {
		return f.String()
	}
	return ""
}
