package audit

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"

	"github.com/embedvault/vault"
)

// VerifyOptions are the options of [Verify]. The zero value checks the chain alone.
type VerifyOptions struct {
	// Keys check the checkpoints: all versions that the log names. Without them a log
	// that somebody has rewritten from end to end has no findings.
	Keys []*vault.AuditKey

	// Head is what the vault's store keeps of the log (vault.AuditHead): without it
	// records that were cut off at the end can't be seen.
	Head *vault.AuditHead

	// Tail says that the parts before the first file aren't wanted: they were archived.
	Tail bool

	// MaxFindings is how many findings are reported. Default 100.
	MaxFindings int
}

// Source is a file of a log, in the order of its parts.
type Source struct {
	Name   string // for findings
	Reader io.Reader
}

// Verify reads the parts of one log, oldest first, and reports what was changed,
// removed, inserted, moved or cut off, and where. The error is that of reading, or of
// ctx: what is wrong with the log is in the report. It takes bounded memory, whatever
// it is given.
func Verify(ctx context.Context, sources []Source, opts VerifyOptions) (Report, error) {
	c := newChecker(opts)
	for _, s := range sources {
		if err := c.read(ctx, s); err != nil {
			return c.report, fmt.Errorf("audit: verify %s: %w", s.Name, err)
		}
	}
	c.end()
	return c.report, nil
}

func newChecker(opts VerifyOptions) *checker {
	c := &checker{keys: opts.Keys, head: opts.Head, tail: opts.Tail, limit: opts.MaxFindings}
	if c.limit <= 0 {
		c.limit = 100
	}
	return c
}

// VerifyFiles is [Verify] of files, in whatever order: their headers say which is
// first. A file without one stays where it stands.
func VerifyFiles(ctx context.Context, paths []string, opts VerifyOptions) (Report, error) {
	paths = inOrder(paths)
	c := newChecker(opts)
	for _, path := range paths {
		if err := c.readFile(ctx, path); err != nil {
			return c.report, fmt.Errorf("audit: verify: %w", err)
		}
	}
	c.end()
	return c.report, nil
}

func (c *checker) readFile(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.read(ctx, Source{Name: path, Reader: f})
}

// read takes the lines of one file.
func (c *checker) read(ctx context.Context, s Source) error {
	c.beginFile(s.Name)
	lines := newLines(s.Reader)
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b, err := lines.next()
		if errors.Is(err, io.EOF) {
			c.tear(lines.size, lines.hash)
			return nil
		}
		if err != nil {
			return err
		}
		c.take(b, lines.long, lines.hash, lines.size+1)
	}
}

// lines reads lines of which no more is held than a line can have.
type lines struct {
	r    *bufio.Reader
	long bool     // the line was longer
	hash [32]byte // of the whole line, without its end
	size int64    // of it
	buf  []byte
	sum  hash.Hash
}

func newLines(r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
}

// next returns the next line without its end, good until the next call. At the end it
// returns io.EOF; hash and size are then of what is behind the last line's end.
func (l *lines) next() ([]byte, error) {
	l.buf, l.long, l.size = l.buf[:0], false, 0
	l.sum.Reset()
	for {
		b, err := l.r.ReadSlice('\n')
		if err == nil {
			b = b[:len(b)-1]
		}
		l.size += int64(len(b))
		l.sum.Write(b)
		if l.long = l.long || l.size > maxLine; !l.long {
			l.buf = append(l.buf, b...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		l.sum.Sum(l.hash[:0])
		return l.buf, err
	}
}

// inOrder sorts files by the number of their first line.
func inOrder(paths []string) []string {
	type numbered struct {
		path string
		seq  uint64
	}
	list := make([]numbered, len(paths))
	for i, p := range paths {
		list[i] = numbered{p, firstSeq(p)}
		if list[i].seq == 0 && i > 0 {
			list[i].seq = list[i-1].seq
		}
	}
	slices.SortStableFunc(list, func(a, b numbered) int {
		switch {
		case a.seq < b.seq:
			return -1
		case a.seq > b.seq:
			return 1
		}
		return 0
	})
	out := make([]string, len(list))
	for i, n := range list {
		out[i] = n.path
	}
	return out
}

// firstSeq returns the number of a file's header, or 0.
func firstSeq(path string) uint64 {
	l, err := headerOf(path)
	if err != nil {
		return 0
	}
	return l.seq
}

// LogID returns the ID of the log that a file is part of, as its first line says it:
// for finding the log's head. Nothing is checked.
func LogID(path string) (vault.ID, error) {
	l, err := headerOf(path)
	if err != nil {
		return vault.ID{}, fmt.Errorf("audit: log ID of %s: %w", path, err)
	}
	return l.log, nil
}

func headerOf(path string) (line, error) {
	f, err := os.Open(path)
	if err != nil {
		return line{}, err
	}
	defer f.Close()
	b, err := newLines(f).next()
	if err != nil && !errors.Is(err, io.EOF) {
		return line{}, err
	}
	l, err := parseLine(b)
	if err == nil && l.typ != typeHeader {
		err = fmt.Errorf("%w: the first is no header", errNotALine)
	}
	return l, err
}
