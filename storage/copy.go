package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/embedvault/vault/keyctx"
)

// ErrCopyDiffers is matched by [Copy] when the destination has something else
// in a record's place, and with VerifyOnly when it isn't a copy of the source.
var ErrCopyDiffers = errors.New("destination differs from the source")

// CopyOptions say what [Copy] copies, and how.
type CopyOptions struct {
	// Contexts selects the contexts whose keys and objects are copied; the zero
	// value selects all of every namespace. Keys that wrap a selected key
	// ([KeyRecord].ParentID) are copied whatever their context.
	Contexts ContextFilter

	// Update brings what an earlier copy has written up to date where the source
	// has changed it in place since: a key's state and wrappings, a version's key
	// and envelope. Without it that is a difference, and refused. It removes
	// nothing: versions that the source no longer has stay, and are counted. A
	// destination's record that is seen to be newer is never replaced, and a
	// shredded key never comes back.
	Update bool

	// VerifyOnly compares and writes nothing. All differences are counted.
	VerifyOnly bool

	// Workers is how many records are under way at a time; 0 means 8, at most
	// 256. Databases with many writers share the cost of their syncs.
	Workers int

	// Progress, if not nil, is called after each page, by the goroutine that
	// called Copy, with the counts so far.
	Progress func(CopyReport)
}

const (
	defaultWorkers = 8
	maxWorkers     = 256
	copyPage       = 256 // keys or objects
)

// CopyReport counts what [Copy] has seen and done.
type CopyReport struct {
	Keys, Objects, Versions int64 // of the source, looked at

	KeysCopied, VersionsCopied   int64
	KeysUpdated, VersionsUpdated int64 // with Update
	BytesCopied                  int64 // of envelopes, updates included

	// VersionsWithoutKey are versions whose key isn't in the source: nobody can
	// read them there either. They are copied as they are.
	VersionsWithoutKey int64

	// ExtraVersions are versions in the destination that are older than what the
	// source has of the object, with Update or VerifyOnly.
	ExtraVersions int64

	// With VerifyOnly: what is not in the destination, what is there otherwise,
	// and what only the destination has in the selected contexts.
	KeysMissing, VersionsMissing     int64
	KeysDifferent, VersionsDifferent int64
	ExtraKeys, ExtraObjects          int64
}

// Changed reports whether the copy wrote anything.
func (r CopyReport) Changed() bool {
	return r.KeysCopied+r.VersionsCopied+r.KeysUpdated+r.VersionsUpdated > 0
}

// Copy copies keys and objects from one store to another, of whatever kinds:
// keys of all states and purposes, tombstones included, and objects with all
// their versions, expired or not, with IDs, numbers and times as they are. Only
// the revision of a key record is the destination's own. It only reads src.
//
// Keys come before objects, and a key before those that it wraps: no version
// is in dst before its key is. Every record that is written is read back and
// compared before it counts as copied. What is in dst already, and the same, is
// left alone; something else in its place is an error that matches
// [ErrCopyDiffers] and names it, and nothing is overwritten (but see Update).
// What dst has beside that is nobody's business: several stores may be copied
// into one, say a namespace each. The error of a database is returned as it is.
//
// A copy that was interrupted, by an error, its ctx or a kill, is resumed by
// calling Copy again: what is there is compared and not written again. No
// cursor is kept, as what lies behind it might have changed: when Copy returns
// nil, all that the source had when it began, and still has, is in dst.
//
// While the source is written to, what is added behind Copy's back is missed,
// and what is deleted stays in dst. So copy while the application runs, to have
// most of it done; then stop whatever writes, copy again with Update until the
// report says that nothing has Changed, and look with VerifyOnly for what dst
// has that src no longer has. Or stop first, and copy once into an empty store.
//
// System records, being cursors and notes of jobs on the source, are not
// copied: finish such jobs first.
//
// The report is right also if there is an error. Some versions are in memory at
// a time: about 4 MiB for each of the workers, or one version if that is larger.
func Copy(ctx context.Context, dst, src Store, o CopyOptions) (CopyReport, error) {
	c := &copier{dst: dst, src: src, o: o, known: map[keyctx.KeyID]bool{}}
	err := c.setUp()
	if err == nil {
		err = c.keys(ctx)
	}
	if err == nil {
		err = c.objects(ctx)
	}
	if err == nil && o.VerifyOnly {
		if err = c.extras(ctx); err == nil {
			err = c.verdict()
		}
	}
	if err != nil {
		err = fmt.Errorf("storage: copy: %w", err)
	}
	return c.snapshot(), err
}

// copier is a copy under way.
type copier struct {
	dst, src Store
	o        CopyOptions

	mu     sync.Mutex // guards what is below
	report CopyReport
	known  map[keyctx.KeyID]bool // keys that are in dst, some of them
}

func (c *copier) setUp() error {
	f := c.o.Contexts
	if f.Hash == (keyctx.Hash{}) && len(f.Match) == 0 && !f.All && f.Namespace == "" && !f.AnyNamespace {
		c.o.Contexts = ContextFilter{All: true, AnyNamespace: true}
	}
	c.o.Contexts.Match = f.Match.Clone()
	switch {
	case c.o.Workers == 0:
		c.o.Workers = defaultWorkers
	case c.o.Workers < 0 || c.o.Workers > maxWorkers:
		return fmt.Errorf("CopyOptions.Workers is %d, 0 to %d are allowed", c.o.Workers, maxWorkers)
	}
	if c.o.Update && c.o.VerifyOnly {
		return errors.New("CopyOptions has both Update and VerifyOnly")
	}
	return c.o.Contexts.Validate()
}

// count changes the report.
func (c *copier) count(f func(*CopyReport)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.report)
}

func (c *copier) snapshot() CopyReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.report
}

func (c *copier) progress() {
	if c.o.Progress != nil {
		c.o.Progress(c.snapshot())
	}
}

// each calls f for 0 to n-1, some at a time. The first error ends it.
func (c *copier) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, c.o.Workers) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(ctx, i); err != nil {
					cancel(err) // the first one counts
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// verdict is the error of a verification, if any.
func (c *copier) verdict() error {
	r := c.snapshot()
	if r.KeysMissing+r.KeysDifferent+r.VersionsMissing+r.VersionsDifferent == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d keys and %d versions are missing, %d keys and %d versions are different",
		ErrCopyDiffers, r.KeysMissing, r.VersionsMissing, r.KeysDifferent, r.VersionsDifferent)
}

// extras counts what only the destination has.
func (c *copier) extras(ctx context.Context) error {
	err := allKeys(ctx, c.dst, c.o.Contexts, func(page []KeyRecord) error {
		return c.each(ctx, len(page), func(ctx context.Context, i int) error {
			_, err := c.src.GetKey(ctx, page[i].KeyID)
			return c.extra(err, func(r *CopyReport) { r.ExtraKeys++ })
		})
	})
	if err != nil {
		return err
	}
	return allObjects(ctx, c.dst, c.o.Contexts, func(page []ObjectRecord) error {
		return c.each(ctx, len(page), func(ctx context.Context, i int) error {
			_, err := c.src.GetObject(ctx, ObjectRef{ID: page[i].ID, NoEnvelope: true})
			return c.extra(err, func(r *CopyReport) { r.ExtraObjects++ })
		})
	})
}

func (c *copier) extra(err error, found func(*CopyReport)) error {
	if errors.Is(err, ErrNotFound) {
		c.count(found)
		return nil
	}
	return err
}
